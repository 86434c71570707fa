"""Stand-ins at the model ports: models made elsewhere, boxes that are known, calls that are timed.

And the plates they are tried on, as files.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.detect import BoxScores, Detector
from server.frames import ModelImage
from server.pipeline import SegmenterTracker
from server.segment import Features, SegmentPrompt
from tests.benchmarks.shots import Shot


class FixedModels:
    """Models that are loaded already."""

    def __init__(self, detector: Any, segmenter: Any) -> None:
        self._detector, self._segmenter = detector, segmenter

    def detector(self) -> Detector:
        return self._detector  # type: ignore[no-any-return]

    def segmenter(self) -> SegmenterTracker:
        return self._segmenter  # type: ignore[no-any-return]

    def release_detector(self) -> None:
        pass


class TrueBoxes:
    """A detector that does its work and then answers with the boxes of the truth.

    Frames are numbered from 0, as ``Shot.write`` does.

    So both sides of a comparison pay for detection, and the number of objects is known.
    """

    def __init__(self, detector: Any, shot: Shot) -> None:
        self._detector = detector
        self._shot = shot
        self.images = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)  # what the model says about itself

    def score(self, images: Sequence[ModelImage], categories: Sequence[str]) -> list[BoxScores]:
        self._detector.score(images, categories)
        self.images += len(images)
        answers = []
        for image in images:
            boxes = self._shot.boxes(image.frame)
            scores = np.array([[0.9 - 0.01 * n] for n in range(len(boxes))], np.float32)
            answers.append(
                BoxScores(np.array(boxes, np.float32).reshape(-1, 4), scores.reshape(-1, 1))
            )
        return answers


class TimedSegmenter:
    """Seconds of CPU spent inside a segmenter, on the thread that asks it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # what the model says about itself

    def _timed(self, work: Any, *arguments: Any, **options: Any) -> Any:
        start = time.thread_time()
        try:
            return work(*arguments, **options)
        finally:
            self.seconds += time.thread_time() - start

    def encode(self, image: ModelImage) -> Features:
        return self._timed(self._inner.encode, image)  # type: ignore[no-any-return]

    def segment(
        self, features: Features, prompts: Sequence[SegmentPrompt], *, size: tuple[int, int]
    ) -> NDArray[np.uint16]:
        answer: NDArray[np.uint16] = self._timed(self._inner.segment, features, prompts, size=size)
        return answer

    def open_window(
        self, features: Features, masks: NDArray[np.bool_], *, reverse: bool
    ) -> TimedWindow:
        window = self._timed(self._inner.open_window, features, masks, reverse=reverse)
        return TimedWindow(self, window)


class TimedWindow:
    """A window of a ``TimedSegmenter``."""

    def __init__(self, owner: TimedSegmenter, window: Any) -> None:
        self._owner, self._window = owner, window

    def step(self, features: Features) -> Iterator[NDArray[np.uint16]]:
        answers = self._window.step(features)
        while True:
            batch = self._owner._timed(next, answers, None)
            if batch is None:
                return
            yield batch

    def drop(self, index: int) -> None:
        self._window.drop(index)


def write_pictures(pictures: Iterable[NDArray[np.uint8]], folder: Path) -> str:
    """Write PNG frames from 0 on; returns the plate as ``open_plate`` takes it."""
    folder.mkdir(parents=True)
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"plate.{index:04d}.png", compress_level=1)
    return str(folder / "plate.####.png")
