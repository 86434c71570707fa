"""What a worker process can do: run a shot, correct one, preview a frame, answer clicks.

``PipelineEngine`` does it with the real pipeline and keeps models between jobs. It sees links to
opened files (see ``prepare``), never a client's path, the store or a token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from server.deliver import EdgeSettings
from server.detect import DetectSettings, detect, parse_prompt
from server.errors import InputError
from server.executors.derive import write_outputs
from server.frames import Box, ModelImage, Original, Plate, PlateFormat, PlateSettings, open_plate
from server.jobs.request import JobRequest, UploadedPlate
from server.pipeline import ShotRequest, working_size
from server.progress import Cancellation, Report
from server.prompts import (
    Keyframe,
    Point,
    fit_mask,
    polygon_coverage,
    segment_prompt,
    working_mask,
)
from server.segment import HALF, Segmenter, SegmentSettings, segment
from server.track import TrackSettings

if TYPE_CHECKING:
    from server.pipeline import Models, SegmenterTracker

GreyImage = NDArray[np.uint8]


@dataclass(frozen=True)
class Defaults:
    """The site's usual models and limits."""

    detector: str
    segmenter: str
    frame_pixels: int
    frames: int


@dataclass(frozen=True)
class Work:
    """One job, its files opened and linked."""

    request: JobRequest
    plate: str
    """Path as ``open_plate`` takes it, relative to the attempt's folder."""
    result: Path
    """Where the pipeline writes, relative to the attempt's folder."""
    defaults: Defaults
    reference: Path | None = None
    """Published result of an earlier job, for names."""
    image_size: int = 0
    """Longest side of a preview's picture; 0: the model image's."""


@dataclass(frozen=True)
class Candidate:
    """One box or mask of a preview."""

    category: str
    score: float
    box: tuple[float, float, float, float]
    """Plate pixels from the display window's corner, y down."""
    reason: str
    """Empty: kept."""
    mask: GreyImage | None = field(default=None, repr=False)
    """(H, W) uint8, 255 = inside."""
    object: str = ""


@dataclass(frozen=True)
class Shown:
    """What a preview or session shows of a frame."""

    image: ModelImage
    size: tuple[int, int]
    """(H, W) of the masks."""
    format: PlateFormat
    window: Box


class FrameSession(Protocol):
    """One encoded frame that answers prompts."""

    shown: Shown

    def mask(
        self, points: Sequence[Point], box: tuple[float, float, float, float] | None
    ) -> GreyImage:
        """Probability × 255 of the prompted object, (H, W) uint8."""
        ...


class Engine(Protocol):
    """What a worker process runs."""

    def run(
        self,
        work: Work,
        *,
        report: Report,
        cancellation: Cancellation,
        warn: Callable[[str], None],
    ) -> str:
        """Run or go on with a shot.

        Returns:
            A note for people: empty, or why the result is empty.
        """
        ...

    def preview(self, work: Work, frame: int, *, boxes_only: bool) -> tuple[Shown, list[Candidate]]:
        """Stages 1 and 2 on one frame."""
        ...

    def open_session(self, work: Work, frame: int) -> FrameSession:
        """Encode one frame for clicks."""
        ...


def shot_request(
    request: JobRequest, *, plate: str, defaults: Defaults, reference: Path | None = None
) -> ShotRequest:
    """What the pipeline is asked for.

    Args:
        request: of the client.
        plate: path as ``open_plate`` takes it.
        defaults: what the client left to the site.
        reference: an earlier result's folder.

    Raises:
        ServerError: a prompt or a setting cannot be used.
    """
    choices = request.choices

    def given(**values: Any) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value is not None}

    segment_settings = given(clean_up=choices.clean_up)
    return ShotRequest(
        plate=plate,
        prompt=request.prompt,
        artist=request.artist,
        frame_range=request.frame_range,
        plate_settings=plate_settings(request),
        reference=reference,
        detector=choices.detector or defaults.detector,
        segmenter=choices.segmenter or defaults.segmenter,
        detect=DetectSettings(
            **given(
                threshold=choices.detect_threshold,
                suppress_iou=choices.suppress_iou,
                joint_caption=choices.joint_caption,
            )
        ),
        segment=SegmentSettings(**segment_settings),
        track=TrackSettings(
            **given(
                step=choices.step,
                interval=choices.interval,
                margin=choices.margin,
                max_objects=choices.max_objects,
            )
        ),
        edges=EdgeSettings(**given(width=choices.edge_width)),
        every_frame=choices.every_frame,
        **given(working_size=choices.working_size),
    )


def plate_settings(request: JobRequest) -> PlateSettings:
    """How the plate is read; pictures that stand for a plate say which."""
    plate = request.plate
    if not isinstance(plate, UploadedPlate) or plate.format is None:
        return request.options
    original = Original(plate.format, plate.window or plate.format.display_window)
    return replace(request.options, stands_for=original)


class WarmModels:
    """Models kept between jobs; another name or a full device makes room."""

    def __init__(self, device: str) -> None:
        """Keep models of one device."""
        self._device = device
        self._detector: tuple[str, Any] | None = None
        self._segmenter: tuple[str, Any] | None = None

    def for_shot(self, *, detector: str, segmenter: str) -> Models:
        """The models of one shot, as the pipeline asks for them."""
        return _ShotModels(self, detector=detector, segmenter=segmenter)

    def detector(self, name: str) -> Any:
        """A detector, loaded at most once in a row."""
        from server.models import load_detector

        if self._detector is None or self._detector[0] != name:
            self._detector = None
            self._detector = (name, load_detector(name, device=self._device))
        return self._detector[1]

    def segmenter(self, name: str) -> Any:
        """A segmenter, loaded at most once in a row."""
        from server.models import load_segmenter

        if self._segmenter is None or self._segmenter[0] != name:
            self._segmenter = None
            self._segmenter = (name, load_segmenter(name, device=self._device))
        return self._segmenter[1]

    def release_detector(self) -> None:
        """On a GPU the detector's memory goes to tracking; in main memory it may stay."""
        if self._device.startswith("cuda"):
            self._detector = None
            import torch

            torch.cuda.empty_cache()


class _ShotModels:
    def __init__(self, warm: WarmModels, *, detector: str, segmenter: str) -> None:
        self._warm = warm
        self._names = (detector, segmenter)

    def detector(self) -> Any:
        return self._warm.detector(self._names[0])

    def segmenter(self) -> SegmenterTracker:
        return self._warm.segmenter(self._names[1])  # type: ignore[no-any-return]

    def release_detector(self) -> None:
        self._warm.release_detector()


class PipelineEngine:
    """The real pipeline on one device."""

    def __init__(self, device: str) -> None:
        """Nothing is loaded before it is asked for."""
        self._warm = WarmModels(device)

    def run(
        self,
        work: Work,
        *,
        report: Report,
        cancellation: Cancellation,
        warn: Callable[[str], None],
    ) -> str:
        """Run, go on with, or correct a shot.

        Raises:
            ServerError: as the pipeline.
        """
        from server.pipeline import correct_shot, run_shot

        request = shot_request(
            work.request, plate=work.plate, defaults=work.defaults, reference=work.reference
        )
        check_plate(request, work.defaults)
        models = self._warm.for_shot(detector=request.detector, segmenter=request.segmenter)
        derive = partial(
            write_outputs,
            work.result,
            work.request.outputs,
            report=report,
            cancellation=cancellation,
        )
        if work.request.is_correction:
            item = work.request.artist.objects[0]
            _, (first, last) = correct_shot(
                work.result,
                item.name,
                item.keyframes[0],
                models=models,
                report=report,
                cancellation=cancellation,
            )
            derive(anew=True)
            return f"Frames {first}-{last} may have changed."
        resume = (work.result / "work" / "shot.json").exists()
        result = run_shot(
            request,
            work.result,
            models=models,
            report=report,
            cancellation=cancellation,
            resume=resume,
        )
        derive(anew=False)
        for warning in result.warnings:
            warn(warning)
        return "" if result.names else f"Nothing was found for {request.prompt!r}."

    def preview(self, work: Work, frame: int, *, boxes_only: bool) -> tuple[Shown, list[Candidate]]:
        """Stages 1 and 2 on one frame.

        Raises:
            ServerError: the plate, a prompt or a model cannot be used.
        """
        request = shot_request(work.request, plate=work.plate, defaults=work.defaults)
        models = self._warm.for_shot(detector=request.detector, segmenter=request.segmenter)
        with self._open(request, work.defaults) as plate:
            shown = _show(plate, frame, request.working_size)
            found: list[Candidate] = []
            detections: Sequence[Any] = ()
            if request.prompt is not None:
                detections = detect(
                    models.detector(),
                    [shown.image],
                    parse_prompt(request.prompt),
                    settings=request.detect,
                )[0]
            if boxes_only:
                return _enlarged(shown, request, work.image_size), [
                    Candidate(d.category, d.score, _plate_box(d.box, shown, _model_size(shown)), "")
                    for d in detections
                ]
            segmenter = models.segmenter()
            features = segmenter.encode(shown.image)
            found += _segmented(segmenter, features, detections, shown, request)
            for item in request.artist.objects:
                for keyframe in item.keyframes:
                    if keyframe.frame == frame:
                        mask = _artist_mask(segmenter, features, keyframe, shown)
                        box = _plate_box(_mask_box(mask), shown, shown.size)
                        found.append(Candidate("", 1.0, box, "", mask, object=item.name))
            return _enlarged(shown, request, work.image_size), found

    def open_session(self, work: Work, frame: int) -> FrameSession:
        """Encode one frame for clicks.

        Raises:
            ServerError: the plate or the model cannot be used.
        """
        request = shot_request(
            replace(work.request, prompt="object"), plate=work.plate, defaults=work.defaults
        )
        segmenter = self._warm.segmenter(request.segmenter)
        with self._open(request, work.defaults) as plate:
            shown = _show(plate, frame, request.working_size)
        return _PipelineSession(segmenter, shown)

    def _open(self, request: ShotRequest, defaults: Defaults) -> Plate:
        check_plate(request, defaults)
        return open_plate(
            request.plate, frame_range=request.frame_range, settings=request.plate_settings
        )


class _PipelineSession:
    def __init__(self, segmenter: Segmenter, shown: Shown) -> None:
        self.shown = shown
        self._segmenter = segmenter
        self._features = segmenter.encode(shown.image)

    def mask(
        self, points: Sequence[Point], box: tuple[float, float, float, float] | None
    ) -> GreyImage:
        if not points and box is None:
            return np.zeros(self.shown.size, np.uint8)
        keyframe = Keyframe(self.shown.image.frame, tuple(points), box)
        answer = self._segmenter.segment(
            self._features, [_prompt(keyframe, self.shown)], size=self.shown.size
        )[0]
        return np.asarray(np.round(answer / 257), np.uint8)


def check_plate(request: ShotRequest, defaults: Defaults) -> None:
    """Refuse pixel bombs and endless shots by the headers, before anything is decoded.

    Raises:
        InputError: a picture or the shot is larger than the site allows.
    """
    with open_plate(
        request.plate, frame_range=request.frame_range, settings=request.plate_settings
    ) as plate:
        windows = (plate.format.data_window, plate.format.display_window, plate.window)
        pixels = max(plate.stored_pixels, *(w.width * w.height for w in windows))
        if pixels > defaults.frame_pixels:
            raise InputError(
                f"A picture of the plate has {pixels} pixels, this server takes "
                f"{defaults.frame_pixels}. Send it smaller."
            )
        if len(plate.frames) > defaults.frames:
            raise InputError(
                f"The shot has {len(plate.frames)} frames, this server takes {defaults.frames}. "
                "Submit it in parts."
            )


def _show(plate: Plate, frame: int, longest: int) -> Shown:
    if frame not in plate.frames:
        raise InputError(
            f"Frame {frame} is not among the plate's frames {plate.frames[0]}-{plate.frames[-1]}."
        )
    image = plate.read(frame)
    return Shown(image, working_size(plate.model_size, longest), plate.format, plate.window)


def _enlarged(shown: Shown, request: ShotRequest, longest: int) -> Shown:
    """The same frame with a picture of another size: masks and boxes stay."""
    if not longest:
        return shown
    settings = replace(request.plate_settings, longest_side=max(16, longest))
    with open_plate(request.plate, frame_range=request.frame_range, settings=settings) as plate:
        return replace(shown, image=plate.read(shown.image.frame))


def _model_size(shown: Shown) -> tuple[int, int]:
    return shown.image.pixels.shape[0], shown.image.pixels.shape[1]


def _prompt(keyframe: Keyframe, shown: Shown) -> Any:
    return segment_prompt(
        keyframe, display=shown.format.display_window, window=shown.window, size=shown.size
    )


def _segmented(
    segmenter: Segmenter,
    features: Any,
    detections: Sequence[Any],
    shown: Shown,
    request: ShotRequest,
) -> list[Candidate]:
    """Stage 2's masks, then what it removed with the mask the box gave."""
    result = segment(
        segmenter,
        features,
        detections,
        frame=shown.image.frame,
        model_size=_model_size(shown),
        size=shown.size,
        settings=request.segment,
    )
    found = [
        Candidate(
            mask.category,
            mask.score,
            _plate_box(mask.box, shown, shown.size),
            "",
            mask.pixels.astype(np.uint8) * 255,
        )
        for mask in result.masks
    ]
    for rejection in result.rejections:
        prompt = Keyframe(shown.image.frame, box=_plate_box(rejection.box, shown, shown.size))
        answer = segmenter.segment(features, [_prompt(prompt, shown)], size=shown.size)[0]
        found.append(
            Candidate(
                rejection.category,
                rejection.score,
                _plate_box(rejection.box, shown, shown.size),
                rejection.reason,
                (answer >= HALF).astype(np.uint8) * 255,
            )
        )
    return found


def _artist_mask(
    segmenter: Segmenter, features: Any, keyframe: Keyframe, shown: Shown
) -> GreyImage:
    from server.frames import read_mask

    display = shown.format.display_window
    if keyframe.polygons:
        coverage = polygon_coverage(keyframe.polygons, display=display, window=shown.window)
        return working_mask(coverage, shown.size).astype(np.uint8) * 255
    if keyframe.mask is not None:
        pixels, origin = read_mask(keyframe.mask.path, channel=keyframe.mask.channel)
        place = (origin[0] + display.x0, origin[1] + display.y0)
        coverage = fit_mask(pixels, origin=place, window=shown.window)
        return working_mask(coverage, shown.size).astype(np.uint8) * 255
    answer = segmenter.segment(features, [_prompt(keyframe, shown)], size=shown.size)[0]
    return np.asarray((answer >= HALF) * np.uint8(255), np.uint8)


def _mask_box(mask: GreyImage) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0.0, 0.0, 1.0, 1.0)
    return (
        float(columns[0]),
        float(rows[0]),
        float(columns[-1] + 1),
        float(rows[-1] + 1),
    )


def _plate_box(
    box: Sequence[float], shown: Shown, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A box given in an image of the window of ``size``, in plate pixels of the display window."""
    window, display = shown.window, shown.format.display_window
    sx, sy = window.width / size[1], window.height / size[0]
    x, y = window.x0 - display.x0, window.y0 - display.y0
    return (box[0] * sx + x, box[1] * sy + y, box[2] * sx + x, box[3] * sy + y)
