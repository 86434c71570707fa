"""The models of a run, each loaded when it is first asked for."""

from __future__ import annotations

from server.models import LoadedDetector, LoadedSegmenter
from server.models import load_detector as _load_detector
from server.models import load_segmenter as _load_segmenter


class ModelSet:
    """A detector and a segmenter by name.

    With ``keep`` both stay loaded from one shot to the next; otherwise the detector goes as soon
    as stage 1 is done, before the segmenter needs its memory.
    """

    def __init__(
        self,
        *,
        detector: str,
        segmenter: str,
        device: str = "cpu",
        objects_per_batch: int | None = None,
        compiled: bool = False,
        keep: bool = False,
    ) -> None:
        self._names = detector, segmenter
        self._device = device
        self._objects_per_batch = objects_per_batch
        self._compiled = compiled
        self._keep = keep
        self._detector: LoadedDetector | None = None
        self._segmenter: LoadedSegmenter | None = None

    def detector(self) -> LoadedDetector:
        """The detector.

        Raises:
            ModelError: it is not fetched or damaged.
            SettingsError: its name or the device is unknown.
        """
        if self._detector is None:
            self._detector = _load_detector(self._names[0], device=self._device)
        return self._detector

    def segmenter(self) -> LoadedSegmenter:
        """The segmenter and tracker; errors as ``detector``."""
        if self._segmenter is None:
            self._segmenter = _load_segmenter(
                self._names[1],
                device=self._device,
                objects_per_batch=self._objects_per_batch,
                compiled=self._compiled,
            )
        return self._segmenter

    def release_detector(self) -> None:
        """Give the detector's memory back, unless models are kept."""
        if not self._keep:
            self._detector = None
