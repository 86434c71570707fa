"""The SAM 2 adapter against the official predictors, and what it does when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from server.errors import ModelError, ResourceError, SettingsError
from server.frames import ModelImage
from server.models.demo import build_demo_sam2
from server.models.sam2 import Sam2, build_sam2
from server.models.weights import load_strict
from server.segment import SegmentPrompt
from tests.backends.conftest import Shot, small_sam2

# Objects of a batch are computed by other kernels than one alone: noise of 1e-5, which a memory
# rounded to bf16, as the official code keeps it, may carry to more than 1e-3 somewhere.
BATCH_NOISE = 5e-3


def official_logits(
    network: Any, folder: Path, masks: np.ndarray, *, start: int, reverse: bool
) -> Iterator[tuple[int, torch.Tensor]]:
    """Frame by frame from the package's own video predictor, the prompt frame left out."""
    state = network.init_state(str(folder))
    for number, mask in enumerate(masks, start=1):
        network.add_new_mask(state, start, number, mask)
    for position, _, logits in network.propagate_in_video(state, start, 20, reverse=reverse):
        if position != start:
            yield position, logits[:, 0]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_window_equals_the_official_video_predictor(
    demo_sam2: Sam2, drawn_shot: Shot, drawn_folder: Path, count: int, reverse: bool
) -> None:
    start = len(drawn_shot.images) - 1 if reverse else 0
    masks = drawn_shot.masks(start)[:count]
    window = demo_sam2.open_window(
        demo_sam2.encode(drawn_shot.images[start]), masks, reverse=reverse
    )
    steps, foreground, worst = 0, [], 0.0
    for position, expected in official_logits(
        _demo_network(), drawn_folder, masks, start=start, reverse=reverse
    ):
        features = demo_sam2.encode(drawn_shot.images[position])
        small = torch.from_numpy(np.concatenate(list(window.step_logits(features))))
        found = F.interpolate(
            small[:, None], size=masks.shape[1:], mode="bilinear", align_corners=False
        )[:, 0]
        worst = max(worst, float((found - expected).abs().max()))
        foreground.append(float((expected > 0).any(dim=0).float().mean()))
        steps += 1

    assert steps == 20
    assert 0.05 <= min(foreground) <= max(foreground) <= 0.6
    assert worst <= 1e-3


def test_boxes_equal_the_official_image_predictor_on_the_same_features(
    demo_sam2: Sam2, drawn_shot: Shot
) -> None:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    image = drawn_shot.images[0]
    boxes = np.array([_box(mask) for mask in drawn_shot.masks(0)])
    features = demo_sam2.encode(image)
    prompts = [SegmentPrompt(box=tuple(box)) for box in boxes.tolist()]
    found = demo_sam2.segment_logits(features, prompts, size=image.pixels.shape[:2])

    network = _demo_network()
    predictor = _predictor_with(network, features.levels, size=image.pixels.shape[:2])
    assert isinstance(predictor, SAM2ImagePredictor)
    expected = predictor.predict(box=boxes, multimask_output=False)[2][:, 0]

    assert 0.05 <= float((expected > 0).any(axis=0).mean()) <= 0.6
    np.testing.assert_allclose(np.clip(found, -32, 32), expected, atol=1e-4)


def test_clicks_and_refinement_equal_the_official_image_predictor(
    demo_sam2: Sam2, drawn_shot: Shot
) -> None:
    image = drawn_shot.images[0]
    size = image.pixels.shape[:2]
    rows, columns = np.nonzero(drawn_shot.masks(0)[0])
    inside = (float(columns[len(columns) // 2]), float(rows[len(rows) // 2]))
    outside = (float(size[1] - 4), 4.0)
    features = demo_sam2.encode(image)
    predictor = _predictor_with(_demo_network(), features.levels, size=size)
    one = SegmentPrompt(points=((*inside, True),))
    two = SegmentPrompt(points=((*inside, True), (*outside, False)))

    first = demo_sam2.segment_logits(features, [one], size=size)
    refined = demo_sam2.segment_logits(features, [two], size=size, previous=first)

    # The demo network was trained to answer a point with one mask, and says so.
    expected = predictor.predict(
        point_coords=np.array([inside]), point_labels=np.array([1]), multimask_output=False
    )[2]
    np.testing.assert_allclose(np.clip(first, -32, 32), expected, atol=1e-4)
    expected = predictor.predict(
        point_coords=np.array([inside, outside]),
        point_labels=np.array([1, 0]),
        mask_input=expected,
        multimask_output=False,
    )[2]
    np.testing.assert_allclose(np.clip(refined, -32, 32), expected, atol=1e-4)


def test_a_single_point_takes_the_best_of_three_where_the_network_offers_three(
    small_sam2_adapter: Sam2, coloured_shot: Shot
) -> None:
    image = coloured_shot.images[0]
    size = image.pixels.shape[:2]
    features = small_sam2_adapter.encode(image)
    predictor = _predictor_with(small_sam2(), features.levels, size=size)
    point = SegmentPrompt(points=((16.0, 10.0, True),))

    found = small_sam2_adapter.segment_logits(features, [point], size=size)
    _, scores, three = predictor.predict(
        point_coords=np.array([[16.0, 10.0]]), point_labels=np.array([1]), multimask_output=True
    )

    assert len(three) == 3
    expected = three[int(scores.argmax())]
    np.testing.assert_allclose(np.clip(found[0], -32, 32), expected, atol=1e-4)


def test_the_network_sees_what_the_official_video_predictor_sees(
    demo_sam2: Sam2, drawn_shot: Shot, drawn_folder: Path
) -> None:
    network = _demo_network()
    state = network.init_state(str(drawn_folder))
    with torch.inference_mode():
        expected = network.forward_image(state["images"][3][None])["backbone_fpn"]

    found = demo_sam2.encode(drawn_shot.images[3]).levels
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_state_of_a_window_stops_growing(demo_sam2: Sam2, drawn_shot: Shot) -> None:
    features = [demo_sam2.encode(image) for image in drawn_shot.images[:2]]
    window = demo_sam2.open_window(features[0], drawn_shot.masks(0), reverse=False)
    sizes = []
    for age in range(20):
        list(window.step(features[age % 2]))
        sizes.append(window.size_bytes)

    # Spatial memories of the prompt and six frames, pointers of sixteen frames, no logits.
    objects, side, width, pointer = 4, 16, 64, 128
    spatial = 7 * objects * side * side * width * 2
    pointers = 16 * objects * pointer * 4
    assert sizes[0] < sizes[5] < sizes[14]
    assert set(sizes[14:]) == {spatial + pointers}


def test_an_object_does_not_depend_on_what_else_is_tracked(
    demo_sam2: Sam2, drawn_shot: Shot
) -> None:
    features = [demo_sam2.encode(image) for image in drawn_shot.images[:6]]
    masks = drawn_shot.masks(0)
    both = demo_sam2.open_window(features[0], masks, reverse=False)
    alone = demo_sam2.open_window(features[0], masks[2:3], reverse=False)
    for frame in features[1:]:
        expected = np.concatenate(list(alone.step_logits(frame)))[0]
        found = np.concatenate(list(both.step_logits(frame)))[2]

        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [3, 4])
def test_object_batches_of_any_size_agree(demo_sam2: Sam2, drawn_shot: Shot, size: int) -> None:
    batched = Sam2(_demo_network(), name="", weights_sha256="", objects_per_batch=size)
    features = [demo_sam2.encode(image) for image in drawn_shot.images[:5]]
    masks = drawn_shot.masks(0)
    windows = [
        model.open_window(features[0], masks, reverse=False) for model in (demo_sam2, batched)
    ]
    for frame in features[1:]:
        expected, found = (list(window.step_logits(frame)) for window in windows)

        assert len(found) == -(-4 // size)
        np.testing.assert_allclose(
            np.concatenate(found), np.concatenate(expected), atol=BATCH_NOISE
        )


def test_a_mask_too_thin_for_the_network_is_still_tracked(
    demo_sam2: Sam2, drawn_shot: Shot
) -> None:
    # One line of working pixels covers a tenth of a row of the network's square.
    mask = np.zeros((1, 2560, 64), np.bool_)
    mask[0, 1200, 8:56] = True
    window = demo_sam2.open_window(demo_sam2.encode(drawn_shot.images[0]), mask, reverse=False)
    (answer,) = window.step(demo_sam2.encode(drawn_shot.images[1]))

    assert answer.shape == mask.shape


class _Hungry(nn.Module):
    """A part of the network that fails like a full device when it gets too many objects."""

    def __init__(self, part: nn.Module, *, limit: int, error: Exception) -> None:
        super().__init__()
        self.part = part
        self.limit = limit
        self.error = error

    def forward(self, curr, **arguments):
        if arguments["memory"].shape[1] > self.limit:
            raise self.error
        return self.part(curr=curr, **arguments)


FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"),
]


@pytest.mark.parametrize("error", FULL, ids=["gpu", "cpu"])
def test_when_memory_runs_out_fewer_objects_are_computed_at_a_time(
    demo_sam2: Sam2, drawn_shot: Shot, error: Exception
) -> None:
    network = _demo_network()
    network.memory_attention = _Hungry(network.memory_attention, limit=1, error=error)
    tight = Sam2(network, name="tight", weights_sha256="", objects_per_batch=16)
    features = [demo_sam2.encode(image) for image in drawn_shot.images[:4]]
    masks = drawn_shot.masks(0)
    expected = demo_sam2.open_window(features[0], masks, reverse=False)
    window = tight.open_window(features[0], masks, reverse=False)
    for frame in features[1:]:
        found = list(window.step(frame))
        assert [len(answer) for answer in found] == [1, 1, 1, 1]
        difference = np.concatenate(found).astype(int) - np.concatenate(list(expected.step(frame)))
        assert np.abs(difference).max() <= BATCH_NOISE * 65535

    assert tight.objects_per_batch == 1
    assert tight.notes == [
        "Memory of cpu ran out: 2 instead of 16 objects at once from there on.",
        "Memory of cpu ran out: 1 instead of 2 objects at once from there on.",
    ]


def test_a_split_batch_keeps_its_dropped_objects_in_place(
    demo_sam2: Sam2, drawn_shot: Shot
) -> None:
    network = _demo_network()
    network.memory_attention = _Hungry(network.memory_attention, limit=2, error=FULL[0])
    tight = Sam2(network, name="tight", weights_sha256="", objects_per_batch=16)
    features = [demo_sam2.encode(image) for image in drawn_shot.images[:3]]
    masks = drawn_shot.masks(0)
    windows = [model.open_window(features[0], masks, reverse=False) for model in (tight, demo_sam2)]
    for window in windows:
        window.drop(1)
    for frame in features[1:]:
        found, expected = (
            np.concatenate(list(window.step(frame))).astype(int) for window in windows
        )
        assert not found[1].any()
        assert np.abs(found - expected).max() <= BATCH_NOISE * 65535


def test_when_not_even_one_object_fits_the_error_says_what_to_do(drawn_shot: Shot) -> None:
    network = _demo_network()
    network.memory_attention = _Hungry(network.memory_attention, limit=0, error=FULL[0])
    tight = Sam2(network, name="tight", weights_sha256="")
    features = tight.encode(drawn_shot.images[0])
    window = tight.open_window(features, drawn_shot.masks(0), reverse=False)

    with pytest.raises(ResourceError, match="one item was computed at a time"):
        list(window.step(features))


def test_other_errors_are_not_taken_for_a_full_memory(drawn_shot: Shot) -> None:
    network = _demo_network()
    broken = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    network.memory_attention = _Hungry(network.memory_attention, limit=0, error=broken)
    tight = Sam2(network, name="tight", weights_sha256="")
    features = tight.encode(drawn_shot.images[0])
    window = tight.open_window(features, drawn_shot.masks(0), reverse=False)

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(window.step(features))


def test_a_warm_up_changes_no_counter(small_sam2_adapter: Sam2) -> None:
    before = small_sam2_adapter.calls.copy()

    assert small_sam2_adapter.warm_up() > 0
    assert small_sam2_adapter.calls == before


@pytest.mark.parametrize("size", ["t", "s", "b+", "l"])
def test_every_official_layout_is_built_like_the_official_builder_does(size: str) -> None:
    from sam2.build_sam import build_sam2_video_predictor

    config = f"configs/sam2.1/sam2.1_hiera_{size}.yaml"
    ours = build_sam2(config)
    theirs = build_sam2_video_predictor(config, None, device="cpu")

    assert _layout(ours) == _layout(theirs)
    for name in (
        "binarize_mask_from_pts_for_mem_enc",
        "sam_mask_decoder_extra_args",
        "num_maskmem",
        "max_obj_ptrs_in_encoder",
        "multimask_output_in_sam",
        "image_size",
    ):
        assert getattr(ours, name) == getattr(theirs, name)


def test_an_official_layout_runs_and_loads_strictly() -> None:
    source, target = small_sam2(), build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", image_size=128)
    load_strict(target, source.state_dict(), source="tiny")
    image = ModelImage(frame=1, pixels=np.full((72, 128, 3), 90, np.uint8))
    a, b = (Sam2(network, name="", weights_sha256="").encode(image) for network in (source, target))

    assert all(torch.equal(x, y) for x, y in zip(a.levels, b.levels, strict=True))


def test_building_a_network_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", image_size=128)

    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", r"missing: no_mem_embed"),
        ("unexpected", r"unexpected: no_mem_embed_2"),
        ("shape", r"other shape: no_mem_embed \(expected \(1, 1, 256\), found \(1, 256\)\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(change: str, words: str) -> None:
    network = small_sam2()
    state = dict(network.state_dict())
    if change == "missing":
        del state["no_mem_embed"]
    elif change == "unexpected":
        state["no_mem_embed_2"] = state["no_mem_embed"]
    else:
        state["no_mem_embed"] = state["no_mem_embed"][0]

    with pytest.raises(ModelError, match=words):
        load_strict(network, state, source="sam2.1-tiny")


def test_an_unknown_device_is_an_error_that_lists_devices() -> None:
    with pytest.raises(SettingsError, match="Use `auto`, `cpu`, `cuda`"):
        Sam2(small_sam2(), name="", weights_sha256="", device="abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_that_says_so() -> None:
    with pytest.raises(SettingsError, match=r"shows 0 CUDA device"):
        Sam2(small_sam2(), name="", weights_sha256="", device="cuda")


def _demo_network() -> Any:
    """Another network with the demo weights; the adapter keeps its own to itself."""
    return build_demo_sam2()


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def _predictor_with(network: Any, levels: tuple[torch.Tensor, ...], *, size):
    """The official image predictor, given features instead of an image."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(network)
    *fine, coarse = levels
    with torch.inference_mode():
        embed = coarse + network.no_mem_embed.reshape(1, -1, 1, 1)
    predictor._features = {"image_embed": embed, "high_res_feats": fine}
    predictor._orig_hw = [size]
    predictor._is_image_set = True
    return predictor


def _layout(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
