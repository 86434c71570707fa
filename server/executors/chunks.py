"""Some key frames of stages 1 and 2, done by one of several workers of a shot.

``SharingEngine`` is what workers run: the pipeline, and chunks of other workers' shots. The plate
stays open between two chunks of a shot, since opening reads every header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.executors.engine import PipelineEngine, Work, check_plate, shot_request
from server.frames import open_plate
from server.progress import Cancellation, Report, ignore_progress

if TYPE_CHECKING:
    from server.pipeline import Models
    from server.pipeline.shot import Shot


@dataclass(frozen=True)
class Plan:
    """What there is to share of a shot."""

    frames: tuple[int, ...]
    """Key frames without masks."""
    total: int
    """All key frames."""
    batch: int
    """Frames the detector takes at once."""


class SharedShot:
    """A shot of which this worker does some key frames."""

    def __init__(self, work: Work, *, models: Models, part: str) -> None:
        """Open the plate.

        Args:
            work: files opened and linked, until ``close``.
            models: of this device.
            part: name of this worker, for the shot's clocks.

        Raises:
            ServerError: the plate or a setting cannot be used.
        """
        self._request = shot_request(
            work.request, plate=work.plate, defaults=work.defaults, reference=work.reference
        )
        check_plate(self._request, work.defaults)
        self._result = work.result
        self._models = models
        self._part = part
        self._plate = open_plate(
            self._request.plate,
            frame_range=self._request.frame_range,
            settings=self._request.plate_settings,
        )

    def close(self) -> None:
        """Let go of the plate."""
        self._plate.close()

    def plan(self) -> Plan:
        """Start the shot and settle what every worker must compute with.

        Raises:
            ServerError: the model cannot be loaded, or the shot was begun with another one.
        """
        shot = self._shot(ignore_progress, Cancellation())
        shot.segmenter()
        frames = [self._plate.frames[index] for index in shot.stage_2_indices]
        done = {path.stem for path in (shot.folder.work / "segment").glob("*.npz")}
        missing = tuple(frame for frame in frames if str(frame) not in done)
        return Plan(missing, len(frames), self._request.detect.batch)

    def do(
        self,
        frames: Sequence[int],
        *,
        boxes_only: bool,
        report: Report,
        cancellation: Cancellation,
    ) -> None:
        """Boxes and masks of some key frames; what is there already is not done again.

        Args:
            frames: numbers of key frames; none: only get ready, the shot itself is not touched.
            boxes_only: leave their masks to somebody else.
            report: told about every frame.
            cancellation: asked once per frame.

        Raises:
            ServerError: a frame cannot be read, or this device computes otherwise than the one
                the shot was begun on.
        """
        if not frames:
            if self._request.prompt is not None:
                self._models.segmenter()
                self._models.detector()
            return
        shot = self._shot(report, cancellation)
        indices = sorted(shot.chosen(frames))
        try:
            shot.segmenter()  # first: a device that may not take part has done nothing yet
            shot.detect(indices)
            if not boxes_only:
                shot.segment(indices)
        finally:
            shot.measure.save()

    def _shot(self, report: Report, cancellation: Cancellation) -> Shot:
        from server.pipeline.shot import Shot

        shot = Shot(
            self._request,
            self._plate,
            self._result,
            self._models,
            report,
            cancellation,
            part=self._part,
        )
        shot.join()
        return shot


class SharingEngine(PipelineEngine):
    """The real pipeline on one device, which also does chunks of shots run by others."""

    def open_shared(self, work: Work, *, part: str) -> SharedShot:
        """Be ready to do key frames of a shot.

        Args:
            work: files opened and linked.
            part: name of this worker, for the shot's clocks.

        Raises:
            ServerError: the plate or a setting cannot be used.
        """
        request = shot_request(work.request, plate=work.plate, defaults=work.defaults)
        models = self._warm.for_shot(detector=request.detector, segmenter=request.segmenter)
        return SharedShot(work, models=models, part=part)
