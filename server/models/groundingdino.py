"""GroundingDINO behind stage 1: boxes of what a text names.

Boxes and token scores come from the network; everything about text is ours (see
``server.models.caption``), the package's phrases are never read. Two things of the package are
set right from outside: the text masks of a batch with different captions, and images so small
that they have fewer tokens than the network has queries. The package's code is not changed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from server.detect import BoxScores
from server.frames import ModelImage
from server.models.caption import Caption, build_captions, span_scores
from server.models.device import autocast, choose_device, smaller_batch
from server.models.weights import build_without_init

SHORT_SIDE, LONGEST_SIDE = 800, 1333
"""The size the published weights belong to, in pixels of the resized image."""

USUAL_THRESHOLD = 0.35
"""The score of a box the authors use with the published weights."""

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)

_build_lock = threading.Lock()


@contextlib.contextmanager
def text_tower_from_config() -> Iterator[None]:
    """While this is open, the package builds its BERT from ``config.json`` alone, offline.

    The published checkpoints hold the text tower's weights, so nobody needs a second file; the
    package would ask for one, and for the model hub.
    """
    # Read when transformers is first imported; a local folder never asks the hub, this makes sure.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from groundingdino.util import get_tokenlizer
    from transformers import BertConfig, BertModel

    with _build_lock, contextlib.redirect_stdout(io.StringIO()):  # it prints while building
        original = get_tokenlizer.get_pretrained_language_model
        get_tokenlizer.get_pretrained_language_model = lambda folder: BertModel(
            BertConfig.from_pretrained(folder, local_files_only=True)
        )
        try:
            yield
        finally:
            get_tokenlizer.get_pretrained_language_model = original


def build_groundingdino(config: str, *, text_folder: Path, **overrides: object) -> nn.Module:
    """An official network with random weights.

    Args:
        config: a configuration of the package, for example ``GroundingDINO_SwinT_OGC``.
        text_folder: tokenizer files and ``config.json`` of the text tower; no weights needed.
        overrides: values of the configuration, for smaller networks in tests.
    """
    values = vars(importlib.import_module(f"groundingdino.config.{config}"))
    arguments = SimpleNamespace(**{k: v for k, v in values.items() if not k.startswith("_")})
    vars(arguments).update(
        text_encoder_type=str(text_folder),
        # Recomputing activations saves memory in training only.
        use_checkpoint=False,
        use_transformer_ckpt=False,
        **overrides,
    )
    with text_tower_from_config():
        from groundingdino.models import build_model

        network: nn.Module = build_without_init(lambda: build_model(arguments))
    return network.eval()


def repair_text_masks(network: nn.Module) -> None:
    """Make a batch of different captions equal to single runs.

    The package repeats the (batch, T, T) text masks head by head, while torch's attention wants
    them image by image, so that every image of such a batch reads another one's mask. Masks that
    already have one entry per image and head are left alone by the package, so the right order is
    made before each layer. Repairing twice does no harm.
    """

    def order_by_image(
        layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        masks, images = kwargs["src_mask"], kwargs["src"].shape[1]
        if len(masks) == images:
            masks = masks.repeat_interleave(cast(int, layer.nhead), dim=0)
        return args, {**kwargs, "src_mask": masks}

    for layer in cast(Any, network).transformer.encoder.text_layers:
        layer.register_forward_pre_hook(order_by_image, with_kwargs=True)


class GroundingDino:
    """Detector of stage 1.

    Attributes:
        name: the model's name, as written to reports.
        weights_sha256: which weights these are.
        usual_threshold: the score of a box that counts, if the user says nothing.
        calls: calls of ``detector``; a batch of images is one call per caption.
        notes: what had to be changed on the way, for the report.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        weights_sha256: str,
        device: str = "cpu",
        short_side: int = SHORT_SIDE,
        longest_side: int = LONGEST_SIDE,
        usual_threshold: float = USUAL_THRESHOLD,
    ) -> None:
        """Wrap a network.

        Args:
            network: the package's ``GroundingDINO`` or anything with its ``tokenizer``,
                ``num_queries``, ``num_feature_levels`` and ``forward(pixels, captions=[...])``;
                moved to the device, used for nothing else.
            name: of the model.
            weights_sha256: of its weights.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            short_side: pixels the shorter side of an image is resized to.
            longest_side: pixels the longer side must not exceed.
            usual_threshold: 0..1.

        Raises:
            SettingsError: the device does not exist.
        """
        self.name = name
        self.weights_sha256 = weights_sha256
        self.usual_threshold = usual_threshold
        self.calls: Counter[str] = Counter()
        self.notes: list[str] = []
        self._device = choose_device(device)
        self._short_side = short_side
        self._longest_side = longest_side
        # The package has no types; its attributes are used as its source documents them.
        self._network = cast(Any, network)
        if hasattr(network, "transformer"):
            repair_text_masks(network)
        network.to(self._device).eval()

    def score(self, images: Sequence[ModelImage], categories: Sequence[str]) -> list[BoxScores]:
        """Score boxes of equally sized images against categories put in one caption.

        A list of categories too long for one caption is split into several; a box then has a
        score of 0 for the categories of the other captions.

        Args:
            images: one size for all, seen at once.
            categories: at least one.

        Returns:
            One ``BoxScores`` per image, K = number of categories, in their order.

        Raises:
            PromptError: a category has nothing to look for.
            ResourceError: memory ran out with a single image.
        """
        if len({image.pixels.shape for image in images}) > 1:
            shapes = sorted({image.pixels.shape[:2] for image in images})
            raise ValueError(f"images: expected one size, got {shapes}")
        captions = build_captions(categories, self._offsets)
        results: list[BoxScores] = []
        count = len(images)
        while len(results) < len(images):
            batch = images[len(results) : len(results) + count]
            try:
                results += self._score(batch, captions, columns=len(categories))
            except (RuntimeError, MemoryError) as error:
                count = smaller_batch(len(batch), device=self._device, cause=error)
                self.notes.append(
                    f"Memory of {self._device} ran out: {count} instead of {len(batch)} images "
                    "at once."
                )
        return results

    @torch.inference_mode()
    def _score(
        self, images: Sequence[ModelImage], captions: Sequence[Caption], *, columns: int
    ) -> list[BoxScores]:
        height, width = images[0].pixels.shape[:2]
        pixels = torch.from_numpy(np.stack([self._prepare(image.pixels) for image in images]))
        pixels = pixels.to(self._device)
        parts: list[list[BoxScores]] = []
        for caption in captions:
            self.calls["detector"] += 1
            with autocast(self._device):
                answer = self._network(pixels, captions=[caption.text] * len(images))
            probabilities = answer["pred_logits"].float().sigmoid().cpu().numpy()
            boxes = _corners(answer["pred_boxes"].float().cpu().numpy(), width=width, height=height)
            scores = np.zeros((*boxes.shape[:2], columns), np.float32)
            for image in range(len(images)):
                scores[image][:, list(caption.indices)] = span_scores(
                    probabilities[image], caption.spans
                )
            parts.append([BoxScores(b, s) for b, s in zip(boxes, scores, strict=True)])
        return [
            BoxScores(
                np.concatenate([part.boxes for part in of_image]),
                np.concatenate([part.scores for part in of_image]),
            )
            for of_image in zip(*parts, strict=True)
        ]

    def _prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """An image (H, W, 3) as the network takes it: (3, h, w), resized and normalised."""
        height, width = self._fitting_size(pixels.shape[0], pixels.shape[1])
        resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        values = (np.asarray(resized, np.float32) / np.float32(255) - _MEAN) / _STD
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def _fitting_size(self, height: int, width: int) -> tuple[int, int]:
        """Size the network sees: the official rule, enlarged until every query has a token."""
        size = resized_shape(
            height, width, short_side=self._short_side, longest_side=self._longest_side
        )
        queries = int(self._network.num_queries)
        levels = int(self._network.num_feature_levels)
        while (tokens := _tokens(size, levels=levels)) < queries:
            growth = max(1.05, math.sqrt(queries / tokens))
            size = (math.ceil(size[0] * growth), math.ceil(size[1] * growth))
        return size

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        encoded = self._network.tokenizer(text, return_offsets_mapping=True)
        return [(int(begin), int(end)) for begin, end in encoded["offset_mapping"]]


def resized_shape(
    height: int, width: int, *, short_side: int, longest_side: int
) -> tuple[int, int]:
    """The size an image is resized to, with its aspect kept, by the official rule.

    Args:
        height: of the image.
        width: of the image.
        short_side: for the shorter side,
        longest_side: unless the longer one would exceed this.

    Returns:
        (height, width).
    """
    short, long = sorted((height, width))
    if long / short * short_side > longest_side:
        short_side = max(1, round(longest_side * short / long))
    if height <= width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


def _tokens(size: tuple[int, int], *, levels: int) -> int:
    """Image tokens of all levels; the finest has stride 8."""
    strides = [8 << level for level in range(levels)]
    return sum(math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in strides)


def _corners(boxes: NDArray[np.float32], *, width: int, height: int) -> NDArray[np.float32]:
    """Boxes (..., 4) from centre and size, 0..1, to x0 y0 x1 y1 in pixels, inside the image."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=-1).clip(0, 1)
    return np.asarray(corners * np.array([width, height, width, height]), np.float32)
