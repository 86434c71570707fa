"""The GroundingDINO adapter: text, batches, sizes, strict weights, no network."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from server.errors import ModelError, PromptError, ResourceError
from server.frames import ModelImage
from server.models.groundingdino import (
    GroundingDino,
    build_groundingdino,
    repair_text_masks,
    resized_shape,
)
from server.models.weights import load_strict
from tests.backends.conftest import SMALL_DINO, Shot, small_dino

MIXED = ["person . car .", "dog .", "red truck . person . dog ."]


def pictures(count: int, *, size: tuple[int, int] = (96, 128)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn((count, 3, *size), generator=generator)


def image(height: int, width: int) -> ModelImage:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return ModelImage(frame=1001, pixels=pixels)


def test_a_batch_of_images_equals_single_images(small_dino_network: Any) -> None:
    pixels, caption = pictures(3), "person . red car ."
    with torch.inference_mode():
        together = small_dino_network(pixels, captions=[caption] * 3)
        for index in range(3):
            alone = small_dino_network(pixels[index : index + 1], captions=[caption])
            for key in ("pred_boxes", "pred_logits"):
                a, b = together[key][index], alone[key][0]
                # Logits beyond the caption are -inf in both.
                torch.testing.assert_close(a, b, atol=3e-5, rtol=0)


def test_different_captions_in_a_batch_equal_single_runs(small_dino_network: Any) -> None:
    repair_text_masks(small_dino_network)
    pixels = pictures(3)
    with torch.inference_mode():
        together = small_dino_network(pixels, captions=MIXED)["pred_boxes"]
        alone = [
            small_dino_network(pixels[index : index + 1], captions=MIXED[index : index + 1])
            for index in range(3)
        ]
    for index in range(3):
        torch.testing.assert_close(
            together[index], alone[index]["pred_boxes"][0], atol=1e-5, rtol=0
        )


def test_without_the_repair_different_captions_disturb_each_other(text_folder: Path) -> None:
    # If this fails the package was corrected, and the repair may go.
    network, pixels = small_dino(text_folder), pictures(3)
    with torch.inference_mode():
        together = network(pixels, captions=MIXED)["pred_boxes"][1]
        alone = network(pixels[1:2], captions=MIXED[1:2])["pred_boxes"][0]

    assert float((together - alone).abs().max()) > 1e-4


def test_more_categories_than_one_caption_holds_are_asked_in_several(
    small_dino_network: Any,
) -> None:
    detector = _adapter(small_dino_network)
    categories = [f"{first}{second}" for first in "abcdefghij" for second in "klmnopqrst"]
    (answer,) = detector.score([image(60, 80)], categories)

    assert detector.calls["detector"] == 2
    assert answer.scores.shape == (40, 100)
    # A box of one caption knows nothing of the other one's categories.
    first = (answer.scores[:20] > 0).any(axis=0)
    second = (answer.scores[20:] > 0).any(axis=0)
    assert not (first & second).any()
    assert (first | second).all()


def test_a_category_scores_the_same_alone_or_written_differently(
    small_dino_network: Any,
) -> None:
    detector = _adapter(small_dino_network)
    (plain,) = detector.score([image(60, 80)], ["firefighter"])
    (odd,) = detector.score([image(60, 80)], [" Firefighter. "])

    np.testing.assert_array_equal(plain.scores, odd.scores)


def test_a_prompt_without_words_is_refused(small_dino_network: Any) -> None:
    with pytest.raises(PromptError, match="no word a detector could look for"):
        _adapter(small_dino_network).score([image(60, 80)], ["?!".replace("!", ".")])


@pytest.mark.parametrize("size", [(9, 7), (16, 400), (33, 65)])
def test_images_of_any_size_have_a_token_for_every_query(
    text_folder: Path, size: tuple[int, int]
) -> None:
    detector = _adapter(small_dino(text_folder, num_queries=150), short_side=16, longest_side=64)
    (answer,) = detector.score([image(*size)], ["person"])

    assert len(answer.boxes) == 150
    assert answer.boxes[:, [0, 2]].max() <= size[1]
    assert answer.boxes[:, [1, 3]].max() <= size[0]


def test_images_of_different_sizes_in_one_call_are_refused(small_dino_network: Any) -> None:
    with pytest.raises(ValueError, match="expected one size"):
        _adapter(small_dino_network).score([image(60, 80), image(80, 60)], ["person"])


@pytest.mark.parametrize(
    "size", [(480, 640), (640, 480), (1080, 1920), (858, 2048), (100, 2000), (800, 900)]
)
def test_the_resize_rule_is_the_official_one(size: tuple[int, int]) -> None:
    from groundingdino.datasets.transforms import resize
    from PIL import Image

    picture = Image.new("RGB", (size[1], size[0]))
    expected, _ = resize(picture, None, 800, 1333)

    assert resized_shape(*size, short_side=800, longest_side=1333) == expected.size[::-1]


def test_the_network_sees_what_the_official_transform_gives(
    small_dino_network: Any,
) -> None:
    from groundingdino.datasets import transforms
    from PIL import Image

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = small_dino_network.tokenizer
            self.num_queries, self.num_feature_levels = 20, 4
            self.seen = torch.zeros(0)

        def forward(self, pixels, captions):
            self.seen = pixels
            return small_dino_network(pixels, captions=captions)

    spy, picture = Spy(), image(90, 150)
    _adapter(spy, short_side=96, longest_side=150).score([picture], ["person"])
    official = transforms.Compose(
        [
            transforms.RandomResize([96], max_size=150),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    expected, _ = official(Image.fromarray(picture.pixels), None)

    torch.testing.assert_close(spy.seen[0], expected, atol=1e-6, rtol=0)


class _Hungry(nn.Module):
    """A network that fails like a full device when it gets too many images."""

    def __init__(self, network: Any, *, limit: int) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = network.tokenizer
        self.num_queries, self.num_feature_levels = network.num_queries, 4
        self.limit = limit

    def forward(self, pixels, captions):
        if len(pixels) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.network(pixels, captions=captions)


def test_when_memory_runs_out_fewer_images_are_seen_at_a_time(
    small_dino_network: Any, coloured_shot: Shot
) -> None:
    tight = _adapter(_Hungry(small_dino_network, limit=1))
    images = coloured_shot.images[:3]
    found = tight.score(images, ["person"])
    expected = _adapter(small_dino_network).score(images, ["person"])

    assert tight.notes == ["Memory of cpu ran out: 1 instead of 3 images at once."]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-3)


def test_when_not_even_one_image_fits_the_error_says_what_to_do(
    small_dino_network: Any,
) -> None:
    with pytest.raises(ResourceError, match="choose a smaller model"):
        _adapter(_Hungry(small_dino_network, limit=0)).score([image(60, 80)], ["person"])


@pytest.mark.parametrize("config", ["GroundingDINO_SwinT_OGC", "GroundingDINO_SwinB_cfg"])
def test_official_layouts_are_built_and_load_strictly(text_folder: Path, config: str) -> None:
    small = {key: value for key, value in SMALL_DINO.items() if key != "backbone"}
    first = build_groundingdino(config, text_folder=text_folder, **small)
    second = build_groundingdino(config, text_folder=text_folder, **small)
    load_strict(second, first.state_dict(), source=config)

    with torch.inference_mode():
        a, b = (network(pictures(1), captions=["person ."]) for network in (first, second))
    assert torch.equal(a["pred_boxes"], b["pred_boxes"])


def test_a_tensor_the_network_uses_twice_may_be_stored_once(text_folder: Path) -> None:
    network = small_dino(text_folder)
    state = dict(network.state_dict())
    once = {key: value for key, value in state.items() if "decoder.bbox_embed" not in key}
    other = small_dino(text_folder, dropout=0.0)
    with torch.no_grad():
        other.bbox_embed[0].layers[0].weight.zero_()
    load_strict(other, once, source="stored once")

    assert len(once) < len(state)
    found = other.transformer.decoder.bbox_embed[1].layers[0].weight
    assert torch.equal(found, state["bbox_embed.0.layers.0.weight"])


def test_a_missing_text_tower_is_an_error_that_names_it(text_folder: Path) -> None:
    network = small_dino(text_folder)
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("bert.")}

    with pytest.raises(ModelError, match=r"missing: bert\.embeddings\.word_embeddings\.weight"):
        load_strict(network, state, source="swin-t")


def test_building_asks_no_hub(text_folder: Path) -> None:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *arguments) -> None:
            """Keep quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = (
        "import sys, pathlib; from server.models.groundingdino import build_groundingdino as b;"
        "b('GroundingDINO_SwinT_OGC', text_folder=pathlib.Path(sys.argv[1]), enc_layers=1,"
        " dec_layers=1, dim_feedforward=64)"
    )
    environment = {key: value for key, value in os.environ.items() if "OFFLINE" not in key}
    environment["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program, str(text_folder)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        server.shutdown()
        server.server_close()

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert asked == []


def _adapter(network: nn.Module, *, short_side: int = 96, longest_side: int = 160) -> GroundingDino:
    return GroundingDino(
        network,
        name="groundingdino",
        weights_sha256="",
        short_side=short_side,
        longest_side=longest_side,
    )
