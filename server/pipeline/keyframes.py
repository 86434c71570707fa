"""Stages 1 and 2 of a shot as files, one per key frame.

Each is computed once, by whichever stage needs it first, so that a run can be split over machines,
stopped and resumed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from server.detect import Detection, Detector, DetectSettings, detect
from server.errors import ResultError
from server.frames import Plate
from server.pipeline.folder import read_json
from server.segment import (
    Features,
    Mask,
    Rejection,
    Segmentation,
    Segmenter,
    SegmentSettings,
    segment,
)
from server.track.cache import save_atomically


class DetectionFolder:
    """Stage 1 on disk: ``detect/FRAME.json``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, frame: int) -> Path:
        """File of one frame."""
        return self._folder / f"{frame}.json"

    def read(self, frame: int) -> tuple[Detection, ...]:
        """Boxes of one frame.

        Raises:
            ResultError: stage 1 has not been there.
        """
        rows = read_json(self.path(frame)).get("detections", [])
        return tuple(Detection(r["category"], tuple(r["box"]), r["score"]) for r in rows)

    def write(self, frame: int, detections: Sequence[Detection]) -> None:
        """Keep boxes of one frame."""
        data = {"detections": [asdict(d) for d in detections]}
        save_atomically(self.path(frame), json.dumps(data).encode())

    def fill(
        self,
        detector: Detector,
        plate: Plate,
        frames: Iterable[int],
        *,
        categories: Sequence[str],
        settings: DetectSettings,
    ) -> Iterator[int]:
        """Detect where it has not been done yet.

        Args:
            detector: the model.
            plate: read ahead.
            frames: the plate's frame numbers.
            categories: of the text prompt.
            settings: how boxes are chosen, and how many images go at once.

        Yields:
            Each frame number once its boxes are on disk.
        """
        missing = [frame for frame in frames if not self.path(frame).exists()]
        images = plate.images(missing, read_ahead=settings.batch)
        for start in range(0, len(missing), settings.batch):
            chunk = missing[start : start + settings.batch]
            found = detect(detector, [next(images) for _ in chunk], categories, settings=settings)
            for frame, detections in zip(chunk, found, strict=True):
                self.write(frame, detections)
                yield frame


class SegmentationFolder:
    """Stage 2 on disk: ``segment/FRAME.npz``."""

    def __init__(
        self,
        folder: Path,
        *,
        detections: DetectionFolder,
        frames: Sequence[int],
        model_size: tuple[int, int],
        size: tuple[int, int],
        settings: SegmentSettings,
    ) -> None:
        """Open a shot's stage 2.

        Args:
            folder: of the files.
            detections: stage 1.
            frames: the plate's frame numbers by position.
            model_size: (H, W) of the model image.
            size: (H, W) of the working image.
            settings: the clean-up.
        """
        self._folder = folder
        self._detections = detections
        self._frames = frames
        self._model_size = model_size
        self._size = size
        self._settings = settings

    def path(self, frame: int) -> Path:
        """File of one frame."""
        return self._folder / f"{frame}.npz"

    def at(self, segmenter: Segmenter, index: int, features: Features) -> Segmentation:
        """Masks of one 0-based position: from disk, or computed and kept."""
        frame = self._frames[index]
        if self.path(frame).exists():
            return self.read(frame)
        answer = segment(
            segmenter,
            features,
            self._detections.read(frame),
            frame=frame,
            model_size=self._model_size,
            size=self._size,
            settings=self._settings,
        )
        self._write(frame, answer)
        return answer

    def read(self, frame: int) -> Segmentation:
        """Masks of one frame from disk.

        Raises:
            ResultError: absent or damaged.
        """
        path = self.path(frame)
        try:
            with np.load(path) as stored:
                record = json.loads(stored["record"].tobytes())
                shape = (len(record["masks"]), *self._size)
                count = int(np.prod(shape))
                pixels = np.unpackbits(stored["masks"], count=count).reshape(shape).astype(bool)
        except (OSError, ValueError, KeyError) as error:
            raise ResultError(
                f"The stored masks {path} cannot be read ({error}). Run the segment stage again."
            ) from error
        masks = tuple(
            Mask(m["category"], m["score"], tuple(m["box"]), one)
            for m, one in zip(record["masks"], pixels, strict=True)
        )
        rejections = tuple(Rejection(**{**r, "box": tuple(r["box"])}) for r in record["rejections"])
        return Segmentation(masks, rejections)

    def _write(self, frame: int, answer: Segmentation) -> None:
        record = {
            "masks": [
                {"category": m.category, "score": m.score, "box": m.box} for m in answer.masks
            ],
            "rejections": [asdict(r) for r in answer.rejections],
        }
        pixels = np.array([m.pixels for m in answer.masks], np.bool_)
        body = io.BytesIO()
        np.savez_compressed(
            body,
            masks=np.packbits(pixels),
            record=np.frombuffer(json.dumps(record).encode(), np.uint8),
        )
        save_atomically(self.path(frame), body.getvalue())

    def rejections(self) -> list[Rejection]:
        """Everything the clean-up removed, of all frames done."""
        done = [frame for frame in self._frames if self.path(frame).exists()]
        return [r for frame in done for r in self.read(frame).rejections]
