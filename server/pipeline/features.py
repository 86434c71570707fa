"""Features of a shot's frames: each encoded when it is wanted, the newest kept for the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from server.frames import Plate
from server.segment import Features, Segmenter


class FeatureSource:
    """Encodes frames in the order a pass asks for them.

    The backward pass starts where the forward pass ends, so the newest features are the ones worth
    keeping: as many as fit the budget. Kept or encoded again, they are the same numbers.
    """

    def __init__(self, plate: Plate, segmenter: Segmenter, *, budget_bytes: int) -> None:
        """Start with nothing kept.

        Args:
            plate: read in any order, ahead of its use.
            segmenter: encodes.
            budget_bytes: memory that kept features may hold.
        """
        self._plate = plate
        self._segmenter = segmenter
        self._budget_bytes = budget_bytes
        self._kept: dict[int, Features] = {}
        self._size_bytes = 0

    def stream(self, order: Sequence[int], *, keep: bool = False) -> Iterator[Features]:
        """Features of the given 0-based positions, one after the other.

        Args:
            order: positions; a kept one is handed out once.
            keep: keep what is encoded now, for a later stream.
        """
        reused = set() if keep else self._kept.keys() & set(order)
        missing = [self._plate.frames[index] for index in order if index not in reused]
        images = self._plate.images(missing)
        for index in order:
            if index in reused:
                features = self._kept.pop(index)
                self._size_bytes -= features.size_bytes
            else:
                features = self._segmenter.encode(next(images))
                if keep:
                    self._keep(index, features)
            yield features

    def _keep(self, index: int, features: Features) -> None:
        self._kept[index] = features
        self._size_bytes += features.size_bytes
        while self._size_bytes > self._budget_bytes:
            oldest = next(iter(self._kept))
            self._size_bytes -= self._kept.pop(oldest).size_bytes
