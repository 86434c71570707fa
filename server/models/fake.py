"""Public fakes of the detector, the segmenter and the tracker: flat colours instead of networks.

A picture of flat shapes in the colours of ``PALETTE`` has exact answers: one colour is one object,
and its category is the palette's. Deterministic and without torch, for fast tests of everything
around the models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.detect import BoxScores
from server.frames import ModelImage
from server.segment import Features, SegmentPrompt

PALETTE: dict[str, tuple[tuple[int, int, int], ...]] = {
    "person": ((220, 40, 40), (220, 140, 40), (220, 40, 140), (130, 20, 20)),
    "car": ((40, 200, 60), (40, 200, 180), (140, 220, 40)),
    "bag": ((40, 60, 220), (120, 40, 220)),
}
"""sRGB colours of the objects the fakes know, by category. Everything else is background."""

TOLERANCE = 24
"""A pixel is of a colour if no channel differs by more: colour conversion and resizing round."""

_OBJECTS = tuple((category, colour) for category, colours in PALETTE.items() for colour in colours)
_SCORE = 0.9
_CONFIDENCE = 62_259  # 0.95 of 65535
_LEAST_PIXELS = 4


def read_labels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Which object each pixel shows.

    Args:
        pixels: (H, W, 3) sRGB.

    Returns:
        (H, W), 0 = background, else 1 + position among all colours of ``PALETTE``.
    """
    labels = np.zeros(pixels.shape[:2], np.uint8)
    for number, (_, colour) in enumerate(_OBJECTS, start=1):
        difference = np.abs(pixels.astype(np.int16) - np.array(colour, np.int16)).max(axis=2)
        labels[difference <= TOLERANCE] = number
    return labels


@dataclass(frozen=True)
class FakeFeatures:
    """An encoded frame: its labels."""

    frame: int
    labels: NDArray[np.uint8]

    @property
    def size_bytes(self) -> int:
        """Memory the labels hold."""
        return self.labels.nbytes


class FakeDetector:
    """A detector that finds every object of the palette, exactly."""

    def __init__(self) -> None:
        self.name = "fake"
        self.weights_sha256 = ""
        self.usual_threshold = 0.3
        self.calls: Counter[str] = Counter()
        self.notes: list[str] = []

    def score(self, images: Sequence[ModelImage], categories: Sequence[str]) -> list[BoxScores]:
        """One box per colour with at least four pixels; 0.9 for its category, 0 for others."""
        self.calls["detector"] += 1
        return [self._score(read_labels(image.pixels), categories) for image in images]

    def _score(self, labels: NDArray[np.uint8], categories: Sequence[str]) -> BoxScores:
        boxes, scores = [], []
        for number, (category, _) in enumerate(_OBJECTS, start=1):
            rows, columns = np.nonzero(labels == number)
            if len(rows) >= _LEAST_PIXELS:
                boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
                scores.append([_SCORE if category == asked else 0.0 for asked in categories])
        return BoxScores(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32).reshape(-1, len(categories)),
        )


class FakeSegmenter:
    """A segmenter and tracker that takes every pixel of the prompted object's colour."""

    def __init__(self, *, objects_per_batch: int = 4, fade: float = 0.0) -> None:
        """Choose how it answers.

        Args:
            objects_per_batch: objects a window answers together.
            fade: probability lost with every frame of a window, never below 0.55.
        """
        self.name = "fake"
        self.weights_sha256 = ""
        self.calls: Counter[str] = Counter()
        self.notes: list[str] = []
        self.objects_per_batch = objects_per_batch
        self.computing = "cpu"
        self._fade = fade

    def encode(self, image: ModelImage) -> FakeFeatures:
        """Labels of one frame."""
        self.calls["image_encoder"] += 1
        return FakeFeatures(image.frame, read_labels(image.pixels))

    def segment(
        self, features: Features, prompts: Sequence[SegmentPrompt], *, size: tuple[int, int]
    ) -> NDArray[np.uint16]:
        """The colour that fills most of the box, or lies under the first positive point.

        Negative points on the same colour, and prompts on nothing, give an empty answer.

        Returns:
            (K, H, W) uint16, 0.95 inside.
        """
        labels = resize_labels(_own(features).labels, size=size)
        result = np.zeros((len(prompts), *size), np.uint16)
        if prompts:
            self.calls["mask_decoder"] += 1
        for index, prompt in enumerate(prompts):
            if number := _prompted(labels, prompt):
                result[index][labels == number] = _CONFIDENCE
        return result

    def open_window(
        self, features: Features, masks: NDArray[np.bool_], *, reverse: bool
    ) -> FakeWindow:
        """Follow the colour that fills most of each mask (K, H, W)."""
        del reverse
        labels = resize_labels(_own(features).labels, size=(masks.shape[1], masks.shape[2]))
        self.calls["mask_decoder"] += 1
        return FakeWindow(
            [_most_frequent(labels[mask]) for mask in masks],
            size=(masks.shape[1], masks.shape[2]),
            objects_per_batch=self.objects_per_batch,
            fade=self._fade,
            calls=self.calls,
        )


class FakeWindow:
    """Colours followed from one prompt frame."""

    def __init__(
        self,
        numbers: Sequence[int],
        *,
        size: tuple[int, int],
        objects_per_batch: int,
        fade: float,
        calls: Counter[str],
    ) -> None:
        """Use ``FakeSegmenter.open_window``."""
        self._numbers = list(numbers)
        self._size = size
        self._objects_per_batch = objects_per_batch
        self._fade = fade
        self._calls = calls
        self._age = 0

    def step(self, features: Features) -> Iterator[NDArray[np.uint16]]:
        """Where the colours are on the next frame, (k, H, W) uint16 per batch of objects."""
        self._age += 1
        labels = resize_labels(_own(features).labels, size=self._size)
        probability = max(0.55, _CONFIDENCE / 65535 - self._fade * self._age)
        value = round(probability * 65535)
        for start in range(0, len(self._numbers), self._objects_per_batch):
            numbers = self._numbers[start : start + self._objects_per_batch]
            result = np.zeros((len(numbers), *self._size), np.uint16)
            if any(numbers):
                self._calls.update(memory_attention=1, mask_decoder=1)
            for index, number in enumerate(numbers):
                if number:
                    result[index][labels == number] = value
            yield result

    def drop(self, index: int) -> None:
        """Answer zeros for one object from now on."""
        self._numbers[index] = 0


def resize_labels(labels: NDArray[np.uint8], *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels (h, w) at another size (H, W), each pixel that of the nearest one."""
    rows = ((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(np.intp)
    return np.asarray(labels[rows[:, None], columns[None, :]])


def _own(features: Features) -> FakeFeatures:
    if not isinstance(features, FakeFeatures):
        raise TypeError(f"features: expected the fake's own, got {type(features).__name__}")
    return features


def _prompted(labels: NDArray[np.uint8], prompt: SegmentPrompt) -> int:
    """Number of the object a prompt means; 0: none."""
    points = [(_at(labels, x, y), positive) for x, y, positive in prompt.points]
    unwanted = {number for number, positive in points if not positive}
    wanted = [number for number, positive in points if positive]
    if wanted:
        number = wanted[0]
    elif prompt.box is not None:
        x0, y0, x1, y1 = (max(0, round(value)) for value in prompt.box)
        number = _most_frequent(labels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])
    else:
        number = 0
    return 0 if number in unwanted else number


def _at(labels: NDArray[np.uint8], x: float, y: float) -> int:
    row = min(max(int(y), 0), labels.shape[0] - 1)
    column = min(max(int(x), 0), labels.shape[1] - 1)
    return int(labels[row, column])


def _most_frequent(labels: NDArray[np.uint8]) -> int:
    counts = np.bincount(labels.ravel(), minlength=1)
    counts[0] = 0
    return int(counts.argmax())
