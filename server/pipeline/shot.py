"""One shot on its way through the stages.

``run_shot`` fuses stages 2 and 3 over one set of features and delivers behind the backward pass;
``run_stage`` does one stage from its predecessor's files, for a farm. Both are the same steps on
the same files, so either can go on where the other stopped.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from objectid import ObjectIdError, object_colour, write_sidecar
from server.deliver import (
    Delivery,
    EarlierResult,
    Legend,
    OverlayVideo,
    contact_sheet,
    overlay,
    plan_delivery,
    sheet_positions,
    srgb,
    write_png,
)
from server.detect import Detector, parse_prompt
from server.errors import InputError, ResourceError, ResultError, SettingsError
from server.frames import Plate, open_plate
from server.pipeline.artist import ArtistFolder
from server.pipeline.features import FeatureSource
from server.pipeline.folder import ResultFolder, read_json, settle_json, shot_name, write_json
from server.pipeline.keyframes import DetectionFolder, SegmentationFolder
from server.pipeline.measure import Measure
from server.pipeline.report import build_report, build_sidecar
from server.pipeline.request import Models, SegmenterTracker, ShotRequest, working_size
from server.progress import Cancellation, Progress, Report, ignore_progress
from server.segment import Features, Segmentation
from server.track import ArtistObject, MaskCache, ShotTracker, key_indices

Stage = Literal["detect", "segment", "track", "deliver"]
STAGES: tuple[Stage, ...] = ("detect", "segment", "track", "deliver")

FEATURE_BUDGET_BYTES = 1 << 30
"""Memory that features of the forward pass may hold for the backward pass."""

DELIVERIES_UNDER_WAY = 2
"""Frames that may wait for their delivery while the next ones are tracked."""


@dataclass(frozen=True)
class ShotResult:
    """What a finished run leaves behind."""

    folder: ResultFolder
    names: tuple[str, ...]
    """Objects found; none is a valid result."""
    warnings: tuple[str, ...]


def run_shot(
    request: ShotRequest,
    out: Path,
    *,
    models: Models,
    report: Report = ignore_progress,
    cancellation: Cancellation | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> ShotResult:
    """Plate in, named mattes out.

    Args:
        request: the shot and everything that decides its result.
        out: folder of the result, see ``ResultFolder``.
        models: where models come from; the detector is released when stage 1 is done.
        report: hears of every frame, stage by stage: ``detect``, ``track forward``,
            ``track backward`` (= delivered frames), ``pictures``.
        cancellation: asked once per frame; what is finished is kept.
        resume: go on with a stopped run in ``out``; gives the same bytes as an undisturbed one.
        overwrite: replace an earlier result in ``out``.

    Raises:
        ServerError: as drawn in ``server.errors``.
    """
    with _opened(request) as plate:
        shot = Shot(request, plate, out, models, report, cancellation or Cancellation())
        shot.start(resume=resume, overwrite=overwrite)
        try:
            shot.detect(shot.stage_2_indices)
            models.release_detector()
            shot.track(deliver=True)
            shot.pictures()
            return shot.finish()
        finally:
            shot.measure.save()


def run_stage(
    stage: Stage,
    out: Path,
    *,
    models: Models,
    request: ShotRequest | None = None,
    frames: Sequence[int] | None = None,
    report: Report = ignore_progress,
    cancellation: Cancellation | None = None,
) -> ShotResult | None:
    """One stage of a shot; what is there already is not done again.

    Args:
        stage: ``detect`` and ``segment`` may run on several machines at once, by chunks of
            ``frames``; so may ``deliver`` once tracking is finished. ``deliver`` of all frames
            adds what belongs to the whole shot: sidecar, report and pictures.
        out: folder of the result.
        models: where models come from.
        request: needed by the first call, which starts the shot; None reads it from ``out``.
        frames: plate frame numbers to work on; None: all.
        report: hears of every frame.
        cancellation: asked once per frame.

    Returns:
        The result, if ``deliver`` has completed the shot, else None.

    Raises:
        ServerError: as drawn in ``server.errors``.
    """
    request = request or read_request(out)
    with _opened(request) as plate:
        part = stage if frames is None else f"{stage}.{min(frames)}"
        shot = Shot(request, plate, out, models, report, cancellation or Cancellation(), part=part)
        shot.join()
        chosen = shot.chosen(frames)
        try:
            if stage == "detect":
                shot.detect([i for i in shot.stage_2_indices if i in chosen])
            elif stage == "segment":
                shot.segment([i for i in shot.stage_2_indices if i in chosen])
            elif stage == "track":
                shot.track(deliver=False)
            else:
                shot.deliver(chosen)
                if frames is None:
                    shot.pictures()
                    return shot.finish()
            return None
        finally:
            shot.measure.save()


def _opened(request: ShotRequest) -> Plate:
    return open_plate(
        request.plate, frame_range=request.frame_range, settings=request.plate_settings
    )


def read_request(out: Path) -> ShotRequest:
    """The request a result folder was started with.

    Raises:
        ResultError: nothing was started there.
    """
    return ShotRequest.from_data(read_json(out / "work" / "shot.json")["request"])


class Shot:
    """The steps of one shot, with everything they share."""

    def __init__(
        self,
        request: ShotRequest,
        plate: Plate,
        out: Path,
        models: Models,
        report: Report,
        cancellation: Cancellation,
        *,
        part: str = "",
    ) -> None:
        self.request = request
        self.plate = plate
        self.folder = ResultFolder(out, shot_name(plate.name))
        self.size = working_size(plate.model_size, request.working_size)
        self.measure = Measure(self.folder.work, part)
        self.categories = parse_prompt(request.prompt) if request.prompt is not None else ()
        self._models = models
        self._report = report
        self._cancellation = cancellation
        work = self.folder.work
        self.artist = ArtistFolder(work / "artist", request.artist, plate, self.size)
        self._detections = DetectionFolder(work / "detect")
        self._masks = SegmentationFolder(
            work / "segment",
            detections=self._detections,
            frames=plate.frames,
            model_size=plate.model_size,
            size=self.size,
            settings=request.segment,
        )
        self._tracker: ShotTracker | None = None
        self._delivery: Delivery | None = None
        self._segmenter: SegmenterTracker | None = None
        self._notes: list[list[str]] = []

    # Starting

    def start(self, *, resume: bool, overwrite: bool) -> None:
        """Make the result folder ready; errors as ``ResultFolder.start``."""
        self.folder.start(self._data(), resume=resume, overwrite=overwrite)

    def join(self) -> None:
        """Take part in the run in the result folder; errors as ``ResultFolder.join``."""
        self.folder.join(self._data())

    def _data(self) -> dict[str, Any]:
        return {"request": self.request.as_data(), "frames": list(self.plate.frames)}

    @functools.cached_property
    def stage_2_indices(self) -> tuple[int, ...]:
        """Positions at which stages 1 and 2 run."""
        if not self.categories:
            return ()
        count = len(self.plate.frames)
        if self.request.every_frame:
            return tuple(range(count))
        artist = [index for keys in self.artist.keyframes.values() for index in keys]
        return key_indices(count, self.request.track.step, artist)

    def chosen(self, frames: Sequence[int] | None) -> set[int]:
        """Positions of the frames asked for."""
        if frames is None:
            return set(range(len(self.plate.frames)))
        unknown = sorted(set(frames) - set(self.plate.frames))
        if unknown:
            raise InputError(
                f"Frame {unknown[0]} is not among the shot's frames {self.plate.frames[0]}-"
                f"{self.plate.frames[-1]}. Choose frames of the shot."
            )
        return {self.plate.frames.index(frame) for frame in frames}

    def _pin(self, role: str, model: Any, **computing: Any) -> None:
        """Fix what a shot is made with, at its first use.

        Args:
            role: ``detector`` or ``segmenter``.
            model: a loaded one.
            computing: further values that may not change within a shot.

        Raises:
            SettingsError: the shot was begun with something else.
        """
        path = self.folder.work / f"{role}.json"
        now = {"name": model.name, "weights_sha256": model.weights_sha256, **computing}
        self.measure.watch(model.calls)
        self._notes.append(model.notes)
        before = settle_json(path, now)
        for key, value in now.items():
            if before.get(key) != value:
                raise SettingsError(
                    f"This shot was begun with the {role}'s {key} = {before.get(key)}; now it is "
                    f"{value}. Use the same one, or start anew with --overwrite."
                )

    def segmenter(self) -> SegmenterTracker:
        """The segmenter, loaded, counted and pinned to the shot."""
        if self._segmenter is not None:
            return self._segmenter
        with self.measure.stage("load"):
            segmenter = self._models.segmenter()
        self._pin(
            "segmenter",
            segmenter,
            computing=segmenter.computing,
            objects_per_batch=segmenter.objects_per_batch,
        )
        self._segmenter = segmenter
        return segmenter

    def follow(
        self, stage: str, steps: Iterator[int], *, total: int, done: Callable[[int], int]
    ) -> None:
        """Run a stage to its end, frame by frame.

        Args:
            stage: its name for the user.
            steps: 0-based positions as they are finished.
            total: frames of the stage.
            done: frames finished once a position is.
        """
        self._report(Progress(stage, 0, total))
        last = 0
        for index in steps:
            last = done(index)
            self._report(Progress(stage, last, total, frame=self.plate.frames[index]))
            self._cancellation.raise_if_cancelled()
        if last < total:  # everything was there already
            self._report(Progress(stage, total, total))

    # Stages 1 and 2

    def detect(self, indices: Sequence[int]) -> None:
        """Stage 1 at the given positions."""
        frames = {self.plate.frames[index]: index for index in indices}
        missing = [frame for frame in frames if not self._detections.path(frame).exists()]
        found: Iterator[int] = iter(())
        if missing:
            with self.measure.stage("load"):
                detector: Detector = self._models.detector()
            self._pin("detector", detector)
            found = self._detections.fill(
                detector,
                self.plate,
                missing,
                categories=self.categories,
                settings=self.request.detect,
            )
        with self.measure.stage("detect"):
            self.follow(
                "detect",
                (frames[frame] for frame in found),
                total=len(indices),
                done=_counter(len(indices) - len(missing)),
            )

    def segment(self, indices: Sequence[int]) -> None:
        """Stage 2 at the given positions."""
        missing = [i for i in indices if not self._masks.path(self.plate.frames[i]).exists()]
        segmenter = self.segmenter() if missing else None

        def steps() -> Iterator[int]:
            images = self.plate.images([self.plate.frames[i] for i in missing])
            if segmenter is not None:
                for index, image in zip(missing, images, strict=True):
                    self._masks.at(segmenter, index, segmenter.encode(image))
                    yield index

        with self.measure.stage("segment"):
            self.follow(
                "segment",
                steps(),
                total=len(indices),
                done=_counter(len(indices) - len(missing)),
            )

    # Stage 3, with delivery behind it

    def track(self, *, deliver: bool) -> None:
        """Both passes; with ``deliver``, every frame is delivered once it is final."""
        segmenter = self.segmenter()
        source = FeatureSource(self.plate, segmenter, budget_bytes=FEATURE_BUDGET_BYTES)
        with self.measure.stage("segment"):
            artists = self.artist.prepare(segmenter)
        self._tracker = tracker = self._open_tracker(segmenter, artists)

        def masks_at(index: int, features: Features) -> Segmentation:
            if index not in self.stage_2_indices:
                return Segmentation((), ())
            with self.measure.stage("segment"):
                return self._masks.at(segmenter, index, features)

        def forward_stream(order: Sequence[int]) -> Iterator[Features]:
            for index, features in zip(order, source.stream(order, keep=True), strict=True):
                if self.request.every_frame:
                    masks_at(index, features)
                yield features

        count = len(self.plate.frames)
        with self.measure.stage("track forward"):
            forward = self._keeping_clocks(tracker.forward(forward_stream, masks_at))
            self.follow("track forward", forward, total=count, done=lambda index: index + 1)
        with self.measure.stage("track backward"):
            finished = tracker.backward(source.stream, masks_at)
            steps = (
                self._delivering(tracker, finished) if deliver else (index for index, _ in finished)
            )
            backward = self._keeping_clocks(steps)
            self.follow("track backward", backward, total=count, done=lambda index: count - index)

    def _open_tracker(
        self, segmenter: SegmenterTracker | None, artists: Sequence[ArtistObject]
    ) -> ShotTracker:
        return ShotTracker(
            segmenter,
            frames=self.plate.frames,
            size=self.size,
            categories=self.categories,
            artist_objects=artists,
            settings=self.request.track,
            folder=self.folder.work,
        )

    def _keeping_clocks(self, steps: Iterator[int]) -> Iterator[int]:
        """Save the clocks at every key frame, for a run that is killed."""
        for index in steps:
            if index % self.request.track.step == 0:
                self.measure.save()
            yield index

    def _delivering(
        self, tracker: ShotTracker, finished: Iterator[tuple[int, MaskCache]]
    ) -> Iterator[int]:
        """Deliver on a thread of its own while the next frames are tracked.

        Yields:
            The position of each frame once it is delivered, in the order of the pass.
        """
        delivery = None
        under_way: deque[tuple[int, Future[_Written]]] = deque()
        with ThreadPoolExecutor(1, "delivery") as writer:
            for index, cache in finished:
                if delivery is None:
                    with self.measure.stage("deliver"):
                        delivery = self.open_delivery(tracker)
                frame = self.plate.frames[index]
                under_way.append((index, writer.submit(_written, delivery, frame, cache)))
                if len(under_way) > DELIVERIES_UNDER_WAY:
                    yield self._delivered(*under_way.popleft())
            while under_way:
                yield self._delivered(*under_way.popleft())

    def _delivered(self, index: int, writing: Future[_Written]) -> int:
        done = writing.result()
        self.measure.normalised_pixels += done.normalised_pixels
        self.measure.beside("deliver", wall=done.wall, cpu=done.cpu)
        return index

    def _write(self, delivery: Delivery, index: int, cache: MaskCache) -> None:
        self.measure.normalised_pixels += delivery.write(self.plate.frames[index], cache)

    # Delivery from finished passes

    def deliver(self, chosen: set[int]) -> None:
        """Deliver the given positions, from the last to the first."""
        with self.measure.stage("deliver"):
            tracker = self.restore()
            delivery = self.open_delivery(tracker)

            def steps() -> Iterator[int]:
                for index in sorted(chosen, reverse=True):
                    cache = tracker.caches.read(self.plate.frames[index])
                    self._write(delivery, index, cache)
                    yield index

            self.follow("deliver", steps(), total=len(chosen), done=_counter(0))

    def restore(self) -> ShotTracker:
        """The finished passes, from their files.

        Raises:
            ResultError: they are not finished, or a file is damaged.
        """
        tracker = self._open_tracker(None, self.artist.prepare(None))
        tracker.restore()
        self._tracker = tracker
        return tracker

    def open_delivery(self, tracker: ShotTracker) -> Delivery:
        """Settle names, ids and turns, and be ready to write frames."""
        earlier = EarlierResult(self.request.reference) if self.request.reference else None
        plan = plan_delivery(
            tracker.layers,
            tracker.forward_caches,
            self.plate.frames,
            window=self.plate.window,
            size=self.size,
            earlier=earlier,
        )
        position = {frame: index for index, frame in enumerate(self.plate.frames)}
        weights = self._weights()
        self._delivery = Delivery(
            plan,
            path_of=self.folder.frame_path,
            display=self.plate.format.display_window,
            window=self.plate.window,
            pixel_aspect=self.plate.format.pixel_aspect,
            edges=self.request.edges,
            locked=lambda frame: self.artist.locked(position[frame]),
            attributes={
                "segmatte/models": ", ".join(w["name"] for w in weights.values()),
                "segmatte/plate": self.plate.name,
            },
        )
        return self._delivery

    def _weights(self) -> dict[str, dict[str, Any]]:
        paths = {role: self.folder.work / f"{role}.json" for role in ("detector", "segmenter")}
        return {role: read_json(path) for role, path in paths.items() if path.exists()}

    # What a person looks at

    def pictures(self) -> None:
        """Contact sheet and overlay video."""
        tracker, delivery = self._finished()
        names = delivery.plan.naming.names
        models = {w["name"].split(":")[0].split("-")[0] for w in self._weights().values()}
        unreal = sorted(models & {"demo", "oracle", "fake"})
        legend = Legend(
            names,
            {layer: srgb(object_colour(name)) for layer, name in names.items()},
            note=f"{'/'.join(unreal)} models" if unreal else "",
        )
        frames = self.plate.frames
        shown = set(sheet_positions(len(frames)))
        sheet = []

        def steps() -> Iterator[int]:
            with OverlayVideo(self.folder.overlay) as video:
                for index, image in enumerate(self.plate.images()):
                    picture = overlay(image, tracker.caches.read(frames[index]), legend)
                    video.add(picture)
                    if index in shown:
                        sheet.append(picture)
                    yield index

        with self.measure.stage("pictures"):
            self.follow("pictures", steps(), total=len(frames), done=lambda index: index + 1)
            write_png(self.folder.contact_sheet, contact_sheet(sheet))

    def finish(self) -> ShotResult:
        """Sidecar and report; the report is the sign that the shot is finished."""
        tracker, delivery = self._finished()
        rejections = [*self._masks.rejections(), *tracker.rejections]
        notes = list(dict.fromkeys(note for notes in self._notes for note in notes))
        sidecar = build_sidecar(
            name=self.folder.name,
            request=self.request,
            layers=tracker.layers,
            delivery=delivery,
            rejections=rejections,
            weights=self._weights(),
        )
        try:
            write_sidecar(self.folder.sidecar, sidecar)
        except ObjectIdError as error:
            raise ResourceError(f"The sidecar cannot be written: {error}") from error
        report = build_report(
            request=self.request,
            plate=self.plate,
            size=self.size,
            layers=tracker.layers,
            delivery=delivery,
            rejections=rejections,
            untracked=tracker.untracked,
            left_out=tracker.left_out,
            weights=self._weights(),
            measure=self.measure,
            notes=notes,
        )
        write_json(self.folder.report, report)
        names = tuple(sorted(delivery.plan.naming.names.values()))
        return ShotResult(self.folder, names, tuple(report["warnings"]))

    def _finished(self) -> tuple[ShotTracker, Delivery]:
        if self._tracker is None or self._delivery is None:
            raise ResultError(f"The shot in {self.folder.path} is not delivered yet.")
        return self._tracker, self._delivery


def _counter(start: int) -> Callable[[int], int]:
    """Counts calls, whatever the position."""
    numbers = itertools.count(start + 1)
    return lambda index: next(numbers)


@dataclass(frozen=True)
class _Written:
    """A frame delivered on another thread, and its seconds there."""

    normalised_pixels: int
    wall: float
    cpu: float


def _written(delivery: Delivery, frame: int, cache: MaskCache) -> _Written:
    wall, cpu = time.perf_counter(), time.thread_time()
    pixels = delivery.write(frame, cache)
    return _Written(pixels, time.perf_counter() - wall, time.thread_time() - cpu)
