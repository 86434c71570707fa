"""What is known of a drawn frame: every object's coverage, visibility and id."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from server.training.figures import Bytes, Floats


@dataclass(frozen=True)
class DrawnObject:
    """One object of a shot."""

    id: int
    """1, 2, …: its value in label maps."""
    name: str
    category: str


@dataclass(frozen=True)
class Truth:
    """What is known about one object in one frame."""

    id: int
    top: int
    left: int
    coverage: Floats = field(repr=False)
    """(h, w) float32 0..1 at (top, left): the share of each pixel the object is seen in."""
    visibility: float
    """Seen part of the object's whole area, 0..1: what neither others nor the border hide."""


@dataclass(frozen=True)
class DrawnFrame:
    """One frame with its truth."""

    index: int
    pixels: Bytes = field(repr=False)
    """(H, W, 3) uint8, display-referred sRGB."""
    truths: tuple[Truth, ...]
    """One for each object, in the order of ids."""

    def linear(self) -> Floats:
        """(H, W, 3) float32 scene-linear picture with sRGB primaries."""
        value = self.pixels.astype(np.float32) / 255
        return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(
            np.float32
        )

    def coverage(self, object_id: int) -> Floats:
        """(H, W) float32 0..1: the soft matte of an object."""
        full = np.zeros(self.pixels.shape[:2], np.float32)
        truth = self.truths[object_id - 1]
        h, w = truth.coverage.shape
        full[truth.top : truth.top + h, truth.left : truth.left + w] = truth.coverage
        return full

    def labels(self) -> Bytes:
        """(H, W) uint8 ids: the strongest object where all together cover half or more, else 0."""
        shape = self.pixels.shape[:2]
        best, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        labels = np.zeros(shape, np.uint8)
        for truth in self.truths:
            h, w = truth.coverage.shape
            window = np.s_[truth.top : truth.top + h, truth.left : truth.left + w]
            total[window] += truth.coverage
            stronger = truth.coverage > best[window]
            labels[window][stronger] = truth.id
            best[window][stronger] = truth.coverage[stronger]
        labels[total < 0.5] = 0
        return labels

    def mask(self, object_id: int) -> npt.NDArray[np.bool_]:
        """(H, W) bool: where the label map shows the object."""
        return np.asarray(self.labels() == object_id)

    def boxes(self) -> dict[int, tuple[float, float, float, float]]:
        """Box x0 y0 x1 y1 (ends exclusive) of every object's part of the label map, by id."""
        labels = self.labels()
        found = {}
        for truth in self.truths:
            h, w = truth.coverage.shape
            here = labels[truth.top : truth.top + h, truth.left : truth.left + w] == truth.id
            columns, rows = np.flatnonzero(here.any(0)), np.flatnonzero(here.any(1))
            if len(columns):
                found[truth.id] = (
                    float(truth.left + columns[0]),
                    float(truth.top + rows[0]),
                    float(truth.left + columns[-1] + 1),
                    float(truth.top + rows[-1] + 1),
                )
        return found
