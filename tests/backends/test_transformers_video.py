"""SAM 2, EdgeTAM and SAM 3 by transformers: the same answers, and models from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from server.errors import ModelError, SettingsError
from server.models import load_segmenter
from server.models.download import sha256_of
from server.models.sam2 import Sam2, build_sam2
from server.models.transformers_sam2 import _configuration, convert_state
from server.models.transformers_video import EDGETAM, SAM3, TransformersVideo
from server.segment import SegmentPrompt
from tests.backends.conftest import Shot, small_edgetam

# The prompt frame is remembered by the mask itself here, by a quarter of it officially.
EDGES = 1e-3

HAS_SAM3 = hasattr(transformers, SAM3.model)


def test_features_are_those_of_the_sam2_package_to_the_bit(
    small_sam2_adapter: Sam2, transformers_sam2_adapter: TransformersVideo, coloured_shot: Shot
) -> None:
    expected = small_sam2_adapter.encode(coloured_shot.images[0]).levels
    found = transformers_sam2_adapter.encode(coloured_shot.images[0]).maps()

    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "prompt",
    [
        SegmentPrompt(box=(10.0, 6.0, 40.0, 30.0)),
        SegmentPrompt(points=((16.0, 10.0, True),)),
        SegmentPrompt(box=(10.0, 6.0, 40.0, 30.0), points=((20.0, 20.0, False),)),
    ],
    ids=["box", "point", "both"],
)
def test_prompts_are_answered_as_by_the_sam2_package(
    small_sam2_adapter: Sam2,
    transformers_sam2_adapter: TransformersVideo,
    coloured_shot: Shot,
    prompt: SegmentPrompt,
) -> None:
    image = coloured_shot.images[0]
    size = image.pixels.shape[:2]
    (expected,) = small_sam2_adapter.segment_logits(
        small_sam2_adapter.encode(image), [prompt], size=size
    )
    found = transformers_sam2_adapter.segment_logits(
        transformers_sam2_adapter.encode(image), prompt, size=size
    )

    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_windows_agree_with_the_sam2_package(
    small_sam2_adapter: Sam2,
    transformers_sam2_adapter: TransformersVideo,
    coloured_shot: Shot,
    reverse: bool,
) -> None:
    images = coloured_shot.images[4::-1] if reverse else coloured_shot.images[:5]
    masks = coloured_shot.masks(4 if reverse else 0)[:2]
    models = (small_sam2_adapter, transformers_sam2_adapter)
    windows = [
        model.open_window(model.encode(images[0]), masks, reverse=reverse) for model in models
    ]
    for image in images[1:]:
        expected, found = (
            np.concatenate(list(window.step(model.encode(image)))) / 65535
            for model, window in zip(models, windows, strict=True)
        )
        assert np.ptp(expected) > 0.02  # a network that says nothing would agree with any other
        np.testing.assert_allclose(found, expected, atol=EDGES)


@pytest.mark.parametrize("backend", ["transformers_sam2_adapter", "edgetam_adapter"])
def test_the_state_of_a_window_stops_growing(
    backend: str, coloured_shot: Shot, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(backend)
    features = [model.encode(image) for image in coloured_shot.images[:2]]
    window = model.open_window(features[0], coloured_shot.masks(0)[:1], reverse=False)
    sizes = []
    for age in range(20):
        list(window.step(features[age % 2]))
        sizes.append(window.size_bytes)

    assert sizes[0] < sizes[5] < sizes[14]
    assert len(set(sizes[14:])) == 1


@pytest.mark.parametrize("size", ["t", "s", "b+", "l"])
def test_every_official_layout_has_a_place_for_every_weight(size: str) -> None:
    network: Any = build_sam2(f"configs/sam2.1/sam2.1_hiera_{size}.yaml")
    converted = convert_state(network.state_dict())
    with torch.device("meta"):
        model = transformers.Sam2VideoModel(_configuration(network))
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}

    assert {key: tuple(tensor.shape) for key, tensor in converted.items()} == expected


def write_folder(network: Any, folder: Path) -> None:
    """Write a model as transformers lays it out; its own writer would ask the model hub."""
    (folder / "config.json").write_text(json.dumps(network.config.to_dict()))
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def test_an_edgetam_folder_is_loaded_by_its_name(tmp_path: Path, coloured_shot: Shot) -> None:
    network = small_edgetam()
    write_folder(network, tmp_path)
    model = load_segmenter(f"edgetam:{tmp_path}")
    levels = model.encode(coloured_shot.images[0]).levels  # type: ignore[attr-defined]
    original = TransformersVideo(network, family=EDGETAM, name="", weights_sha256="")

    assert model.name == f"edgetam:{tmp_path}"
    assert model.weights_sha256 == sha256_of(tmp_path / "model.safetensors")
    expected = original.encode(coloured_shot.images[0]).levels
    assert all(torch.equal(a, b) for a, b in zip(levels, expected, strict=True))


def test_a_folder_without_weights_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_segmenter(f"edgetam:{tmp_path}")


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    network = small_edgetam()
    del network.no_memory_embedding
    write_folder(network, tmp_path)

    with pytest.raises(ModelError, match="missing: no_memory_embedding"):
        load_segmenter(f"edgetam:{tmp_path}")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"model_type": "sam2_video"}', "type 'sam2_video', expected 'edgetam_video'"),
        ('{"model_type": "edgetam_video", "vision_config": 3}', "cannot be loaded as EdgeTAM"),
        ("no configuration", "cannot be loaded as EdgeTAM"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, config: str, words: str) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")

    with pytest.raises(ModelError, match=words):
        load_segmenter(f"edgetam:{tmp_path}")


@pytest.mark.skipif(HAS_SAM3, reason="this transformers has SAM 3")
def test_sam3_says_which_transformers_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"SAM 3 needs transformers 5\.0 or later, found 4\."):
        load_segmenter(f"sam3:{tmp_path}")


@pytest.mark.parametrize("options", [{"objects_per_batch": 8}, {"compiled": True}])
def test_options_these_backends_do_not_have_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="computes one object at a time and is not compiled"):
        load_segmenter("transformers:sam2.1-tiny", **options)


@pytest.mark.parametrize("name", ["edgetam", "sam3:", "transformers:sam2.1-huge"])
def test_a_name_without_its_folder_or_size_is_unknown(name: str) -> None:
    with pytest.raises(SettingsError, match="is unknown"):
        load_segmenter(name)
