"""transformers' GroundingDINO answers like groundingdino-py with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from server.errors import ModelError
from server.models.groundingdino import GroundingDino
from server.models.transformers_groundingdino import convert
from tests.backends.conftest import Shot, small_dino


@pytest.fixture(scope="module")
def both(text_folder: Path) -> tuple[Any, Any]:
    network = small_dino(text_folder, num_queries=40, enc_layers=2)
    with torch.no_grad():
        # A trained network has logits between -10 and 3, a random one ten times that.
        network.transformer.decoder.norm.weight.mul_(0.2)
    return network, convert(network)


def test_logits_and_boxes_agree(both: tuple[Any, Any]) -> None:
    original, converted = both
    pixels = torch.randn((2, 3, 160, 224), generator=torch.Generator().manual_seed(1))
    captions = ["person . red car . dog ."] * 2
    with torch.inference_mode():
        expected = original(pixels, captions=captions)
        found = converted(pixels, captions=captions)
    tokens = int(torch.isfinite(expected["pred_logits"][0, 0]).sum())

    assert tokens > 6
    assert 1 < float(expected["pred_logits"][..., :tokens].std()) < 10
    torch.testing.assert_close(
        found["pred_logits"][..., :tokens],
        expected["pred_logits"][..., :tokens],
        atol=3e-5,
        rtol=0,
    )
    torch.testing.assert_close(found["pred_boxes"], expected["pred_boxes"], atol=3e-6, rtol=0)


def test_scores_agree_behind_the_adapter(both: tuple[Any, Any], coloured_shot: Shot) -> None:
    answers = [
        GroundingDino(network, name="", weights_sha256="", short_side=96, longest_side=160).score(
            coloured_shot.images[:2], ["person", "red car"]
        )
        for network in both
    ]
    for a, b in zip(*answers, strict=True):
        torch.testing.assert_close(torch.from_numpy(a.scores), torch.from_numpy(b.scores))
        torch.testing.assert_close(
            torch.from_numpy(a.boxes), torch.from_numpy(b.boxes), atol=1e-3, rtol=0
        )


def test_the_demo_detector_is_refused_with_the_reason(demo_dino: GroundingDino) -> None:
    from server.models.demo.groundingdino import build_groundingdino_network

    with pytest.raises(ModelError, match="Swin trunk only"):
        convert(build_groundingdino_network())


def test_a_vocabulary_with_other_special_tokens_is_refused(text_folder: Path) -> None:
    from server.models.demo.groundingdino import TEXT_FOLDER

    with pytest.raises(ModelError, match="expects the special tokens at"):
        convert(small_dino(TEXT_FOLDER))
