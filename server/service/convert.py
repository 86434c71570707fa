"""Messages of the wire ↔ values of jobs. What a client sends is checked here, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from protos import segmatte_pb2 as wire
from server.errors import InputError, PromptError, SettingsError
from server.frames import Box, FrameRange, PlateFormat, PlateSettings
from server.jobs.request import (
    JobRequest,
    MaskSource,
    ShotChoices,
    UploadedFrame,
    UploadedPlate,
    check_suffix,
    mask_file,
)
from server.jobs.store import Event, Job, ResultFile, StageRow
from server.prompts import ArtistPrompts, Keyframe, Point, Polygon, PromptedObject

OUTPUTS: dict[int, str] = {
    wire.OUTPUT_OBJECTID: "",
    wire.OUTPUT_PICTURES: "",
    wire.OUTPUT_CRYPTOMATTE: "cryptomatte",
    wire.OUTPUT_MASKS: "masks",
}
_STATES = {
    "queued": wire.QUEUED,
    "running": wire.RUNNING,
    "done": wire.DONE,
    "failed": wire.FAILED,
    "cancelled": wire.CANCELLED,
}
_STATE_NAMES: dict[int, str] = {number: name for name, number in _STATES.items()}
_EVENTS = {
    "state": wire.JobEvent.STATE,
    "stage": wire.JobEvent.STAGE,
    "frame": wire.JobEvent.FRAME,
    "log": wire.JobEvent.LOG,
    "warning": wire.JobEvent.WARNING,
}
_OPERATIONS: dict[int, Literal["add", "subtract", "intersect"]] = {
    0: "add",
    1: "add",
    2: "subtract",
    3: "intersect",
}
_MAX_TEXT = 4096


# ------------------------------------------------------------------------------ from the wire


def shot_request(message: Any) -> JobRequest:
    """The job that a SubmitShotRequest asks for.

    Raises:
        InputError: a field is missing, out of range or contradicts another.
    """
    masks: list[MaskSource] = []
    text = _text(message.prompts.text, "prompts.text")
    outputs = {_output(number) for number in message.outputs}
    return JobRequest(
        plate=plate(message.plate),
        frame_range=frame_range(message.range) if message.HasField("range") else None,
        options=options(message.options),
        prompt=text or None,
        artist=artist_prompts(message.prompts.objects, masks),
        masks=tuple(masks),
        choices=choices(message.settings),
        reference_job=_text(message.reference_job_id, "reference_job_id"),
        outputs=tuple(sorted(filter(None, outputs))),
        output_folder=_text(message.output_folder, "output_folder"),
    )


def frame_request(message: Any) -> JobRequest:
    """What a PreviewFrameRequest or OpenSessionRequest looks at."""
    masks: list[MaskSource] = []
    if isinstance(message, wire.OpenSessionRequest):
        return JobRequest(
            plate=plate(message.plate),
            options=options(message.options),
            prompt="object",
            choices=ShotChoices(
                segmenter=message.segmenter or None, working_size=message.working_size or None
            ),
        )
    return JobRequest(
        plate=plate(message.plate),
        options=options(message.options),
        prompt=_text(message.prompts.text, "prompts.text") or None,
        artist=artist_prompts(message.prompts.objects, masks),
        masks=tuple(masks),
        choices=choices(message.settings),
    )


def plate(message: Any) -> str | UploadedPlate:
    """Where a plate's pictures are.

    Raises:
        InputError: neither a path nor an upload, or an incomplete upload.
    """
    kind = message.WhichOneof("source")
    if kind == "path":
        return _text(message.path, "plate.path")
    if kind != "upload":
        raise InputError("A shot needs a plate: give plate.path or plate.upload.")
    upload = message.upload
    stands_for = upload.kind == wire.UploadedPlate.MODEL_IMAGE
    if stands_for and not upload.HasField("format"):
        raise InputError(
            "Model images need plate.upload.format, so that mattes come back in the plate's pixels."
        )
    return UploadedPlate(
        name=_text(upload.name, "plate.upload.name") or "plate",
        frames=tuple(
            UploadedFrame(item.frame, _sha256(item.sha256), item.suffix.lower().lstrip("."))
            for item in upload.frames
        ),
        format=_format(upload.format) if stands_for else None,
        window=_box(upload.window) if stands_for and upload.HasField("window") else None,
    )


def frame_range(message: Any) -> FrameRange:
    """A frame range; step 0 is 1."""
    return FrameRange(message.first, message.last, message.step or 1)


def options(message: Any) -> PlateSettings:
    """How a plate is read."""
    values: dict[str, Any] = {
        name: _text(getattr(message, name), f"options.{name}") or None
        for name in ("colorspace", "display", "view", "ocio_config", "part", "eye", "layer")
    }
    if message.pixel_aspect:
        values["pixel_aspect"] = message.pixel_aspect
    if message.first_movie_frame:
        values["first_movie_frame"] = message.first_movie_frame
    if message.window == wire.PlateOptions.DATA:
        values["window"] = "data"
    gaps = {wire.PlateOptions.HOLD: "hold", wire.PlateOptions.SKIP: "skip"}.get(message.gaps)
    if gaps:
        values["gaps"] = gaps
    values["exposure"] = "auto" if message.auto_exposure else message.exposure_stops
    return PlateSettings(**values)


def artist_prompts(objects: Iterable[Any], masks: list[MaskSource]) -> ArtistPrompts:
    """Prompts of named objects.

    Args:
        objects: messages.
        masks: gets where each mask comes from.
    """
    return ArtistPrompts(
        tuple(
            PromptedObject(item.name, tuple(keyframe(k, masks) for k in item.keyframes))
            for item in objects
        )
    )


def keyframe(message: Any, masks: list[MaskSource]) -> Keyframe:
    """One keyframe; its mask, if it is one, is added to ``masks``.

    Raises:
        PromptError: none or several kinds of prompt, or one out of range.
    """
    mask = None
    if message.HasField("mask"):
        source = _mask(message.mask, number=len(masks) + 1)
        masks.append(source)
        mask = mask_file(source.name, message.mask.channel)
    return Keyframe(
        frame=message.frame,
        points=points(message.points),
        box=box(message.box) if message.HasField("box") else None,
        polygons=tuple(
            Polygon(
                points=tuple((v.x, v.y) for v in item.points),
                feather=tuple((v.x, v.y) for v in item.feather),
                operation=_OPERATIONS.get(item.operation, "add"),
                opacity=item.opacity if item.HasField("opacity") else 1.0,
            )
            for item in message.polygons
        ),
        mask=mask,
    )


def points(messages: Iterable[Any]) -> tuple[Point, ...]:
    """Clicks."""
    return tuple(Point(item.x, item.y, not item.negative) for item in messages)


def box(message: Any) -> tuple[float, float, float, float]:
    """A box in plate pixels."""
    return (message.x0, message.y0, message.x1, message.y1)


def choices(message: Any) -> ShotChoices:
    """Settings; what was left out is None."""

    def given(name: str) -> Any:
        return getattr(message, name) if message.HasField(name) else None

    if message.clean_up not in ("", "category", "paper"):
        raise SettingsError(f"clean_up must be category or paper, not {message.clean_up!r}.")
    return ShotChoices(
        detector=message.detector or None,
        segmenter=message.segmenter or None,
        working_size=message.working_size or None,
        detect_threshold=given("detect_threshold"),
        suppress_iou=given("suppress_iou"),
        joint_caption=given("joint_caption"),
        clean_up=message.clean_up or None,
        step=message.step or None,
        interval=message.interval or None,
        max_objects=message.max_objects or None,
        margin=given("margin"),
        edge_width=given("edge_width"),
        every_frame=message.every_frame,
    )


def states(numbers: Iterable[int]) -> list[str]:
    """Names of job states."""
    return [_STATE_NAMES[number] for number in numbers if number in _STATE_NAMES]


def labels(message: Any) -> dict[str, str]:
    """A client's own labels.

    Raises:
        InputError: too many or too long.
    """
    found = dict(message)
    if len(found) > 32 or any(len(k) > 64 or len(v) > 1024 for k, v in found.items()):
        raise InputError("A job takes up to 32 labels of up to 1024 characters.")
    return found


def priority(number: int) -> int:
    """A job's priority.

    Raises:
        InputError: out of range.
    """
    if not -100 <= number <= 100:
        raise InputError(f"A priority lies in -100..100, found {number}.")
    return number


def request_id(text: str) -> str:
    """A client's name for its request.

    Raises:
        InputError: too long.
    """
    if len(text) > 128:
        raise InputError("A request_id has up to 128 characters; a UUID is a good one.")
    return text


# -------------------------------------------------------------------------------- to the wire


def job(item: Job, stages: Sequence[StageRow], *, queue_position: int = 0) -> Any:
    """A job as clients see it."""
    title = item.title
    message = wire.Job(
        id=item.id,
        owner=item.owner,
        state=_STATES[item.state],
        kind=item.kind,
        priority=item.priority,
        queue_position=queue_position,
        cancel_requested=item.cancel_requested,
        attempt=item.attempt,
        created=timestamp(item.created),
        plate=title.get("plate", ""),
        prompt=title.get("prompt", ""),
        object_names=title.get("objects", []),
        progress=progress(item, stages),
        result_note=item.note,
        output_folder=title.get("output_folder", ""),
        labels=dict(item.labels),
        request_id=item.request_id,
        source_job_id=item.source,
        last_event=item.last_event,
        device=item.worker,
        warnings=item.warnings,
    )
    if item.started is not None:
        message.started.CopyFrom(timestamp(item.started))
    if item.finished is not None:
        message.finished.CopyFrom(timestamp(item.finished))
    if title.get("range"):
        first, last, step = title["range"]
        message.range.CopyFrom(wire.FrameRange(first=first, last=last, step=step))
    if item.error is not None:
        message.error.CopyFrom(
            wire.JobError(
                kind=item.error.kind,
                message=item.error.message,
                retryable=item.error.retryable,
                frame=item.error.frame or 0,
                has_frame=item.error.frame is not None,
            )
        )
    return message


def progress(item: Job, stages: Sequence[StageRow]) -> Any:
    """How far a job is, with rate and time left where they can be known."""
    present = next((stage for stage in stages if stage.name == item.stage), None)
    rate = present.rate if present and item.state == "running" else 0.0
    return wire.Progress(
        stage=item.stage,
        stages=[
            wire.StageProgress(name=s.name, done=s.done, total=s.total, unit=s.unit) for s in stages
        ],
        frames_done=item.frames_done,
        frames_total=item.frames_total,
        frames_per_minute=rate * 60,
        seconds_left=seconds_left(item, stages),
        message=item.message,
    )


def seconds_left(item: Job, stages: Sequence[StageRow]) -> float:
    """Time left of a running job; -1 where it cannot be known.

    Known from the forward pass on: the backward pass is taken to go as fast. Before that nothing
    says how dear tracking will be.
    """
    if item.ended:
        return 0.0
    rows = {stage.name: stage for stage in stages}
    forward, backward = rows.get("track forward"), rows.get("track backward")
    if item.state != "running" or forward is None:
        return -1.0
    if backward is not None and backward.rate > 0:
        return (backward.total - backward.done) / backward.rate
    if forward.rate <= 0:
        return -1.0
    left = forward.total - forward.done
    left += (backward.total - backward.done) if backward else forward.total
    return left / forward.rate


def event(item: Event) -> Any:
    """Something that happened to a job."""
    return wire.JobEvent(
        number=item.number,
        kind=_EVENTS[item.kind],
        time=timestamp(item.time),
        text=item.text,
        frame=item.frame or 0,
    )


def result_file(item: ResultFile) -> Any:
    """A published file."""
    return wire.ResultFile(
        name=item.name,
        size_bytes=item.size_bytes,
        sha256=item.sha256,
        has_frame=item.frame is not None,
        frame=item.frame or 0,
    )


def timestamp(seconds: float) -> Timestamp:
    """Seconds since 1970 as a message."""
    whole = int(seconds)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))


def box_message(values: Sequence[int]) -> Any:
    """x0 y0 x1 y1 in whole pixels."""
    return wire.Box(x0=values[0], y0=values[1], x1=values[2], y1=values[3])


def format_message(data: Any) -> Any:
    """A plate's format, from a worker's JSON values."""
    return wire.PlateFormat(
        display_window=box_message(data["display"]),
        data_window=box_message(data["data"]),
        pixel_aspect=data["pixel_aspect"],
    )


def title_of(request: JobRequest) -> dict[str, Any]:
    """What lists show of a request."""
    shown = request.plate
    chosen = request.frame_range
    return {
        "plate": shown.name if isinstance(shown, UploadedPlate) else shown,
        "prompt": request.prompt or "",
        "objects": [item.name for item in request.artist.objects],
        "range": [chosen.first, chosen.last, chosen.step] if chosen else None,
        "output_folder": request.output_folder,
    }


def sha256_hex(data: bytes) -> str:
    """A hash from the wire.

    Raises:
        InputError: it has not 32 bytes.
    """
    return _sha256(data)


def _output(number: int) -> str:
    if number not in OUTPUTS:
        raise SettingsError(f"This server does not know output number {number}.")
    return OUTPUTS[number]


def _mask(message: Any, *, number: int) -> MaskSource:
    kind = message.WhichOneof("source")
    if kind == "path":
        path = _text(message.path, "mask.path")
        return MaskSource(f"mask-{number}.{path.rpartition('.')[2][:5].lower()}", path=path)
    if kind == "sha256":
        suffix = message.suffix.lower().lstrip(".")
        check_suffix(suffix)
        return MaskSource(f"mask-{number}.{suffix}", sha256=_sha256(message.sha256))
    raise PromptError("A mask prompt needs a path or the sha256 of an upload.")


def _format(message: Any) -> PlateFormat:
    display = _box(message.display_window)
    data = _box(message.data_window) if message.HasField("data_window") else display
    return PlateFormat(display, data, message.pixel_aspect or 1.0)


def _box(message: Any) -> Box:
    if not (message.x0 < message.x1 and message.y0 < message.y1):
        raise InputError(
            "A window must have x0 < x1 and y0 < y1, found "
            f"{message.x0} {message.y0} {message.x1} {message.y1}."
        )
    return Box(message.x0, message.y0, message.x1, message.y1)


def _sha256(data: bytes) -> str:
    if len(data) != 32:
        raise InputError(f"Expected a sha256 of 32 bytes, found {len(data)} bytes.")
    return data.hex()


def _text(text: str, name: str) -> str:
    if len(text) > _MAX_TEXT or "\0" in text:
        raise InputError(f"{name} is too long or holds a zero character.")
    return text
