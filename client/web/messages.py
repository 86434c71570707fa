"""JSON of the pages ↔ messages of the wire, in both directions.

Frames are the plate's numbers, coordinates plate pixels from the top left of the display window.
What a page sends wrongly raises InputError; nothing is guessed.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from client.errors import InputError
from client.shots import STATES
from client.web.access import SignedIn
from protos import segmatte_pb2 as wire

Data = Mapping[str, Any]

_EVENTS = {
    wire.JobEvent.STATE: "state",
    wire.JobEvent.STAGE: "stage",
    wire.JobEvent.FRAME: "frame",
    wire.JobEvent.LOG: "log",
    wire.JobEvent.WARNING: "warning",
}
_SETTINGS = (
    ("detector", str),
    ("segmenter", str),
    ("working_size", int),
    ("detect_threshold", float),
    ("joint_caption", bool),
    ("step", int),
    ("interval", int),
    ("max_objects", int),
    ("edge_width", float),
    ("suppress_iou", float),
    ("clean_up", str),
    ("margin", float),
    ("every_frame", bool),
)
_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def value(data: Data, name: str, kind: type[Any], default: Any = None) -> Any:
    """One value of a JSON object; ``default`` where it is absent or null.

    Raises:
        InputError: it has another type, or is no finite number.
    """
    found = data.get(name)
    if found is None:
        return default
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        found = float(found)
    if kind is int and isinstance(found, str) and re.fullmatch(r"-?\d{1,9}", found):
        found = int(found)  # from a query
    wrong = not isinstance(found, kind) or (kind is int and isinstance(found, bool))
    if wrong or (kind is float and not math.isfinite(found)):
        raise InputError(f"Expected {name} to be {_KINDS.get(kind, kind.__name__)}.")
    return found


def items(data: Data, name: str) -> list[Data]:
    """A list of JSON objects; empty where it is absent.

    Raises:
        InputError: it is something else.
    """
    found = data.get(name) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InputError(f"Expected {name} to be a list of objects.")
    return found


def of_text(text: str) -> Data:
    """A JSON object sent in a query.

    Raises:
        InputError: it is none.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError("Expected a JSON object.")
    return found


def plate(visit: SignedIn, data: Data) -> Any:
    """``{"path": "…"}`` or ``{"upload": "…"}`` as PlateSource.

    Raises:
        InputError: neither, or an upload of another visit.
    """
    path, upload = value(data, "path", str), value(data, "upload", str)
    if path:
        return wire.PlateSource(path=path)
    if upload in visit.uploads:
        return visit.uploads[upload]
    raise InputError("Choose a plate first." if not upload else "Drop the plate's files again.")


def options(data: Data) -> Any:
    """How a plate is read: ``colorspace``, ``display``, ``view``, ``exposure_stops``."""
    return wire.PlateOptions(
        colorspace=value(data, "colorspace", str, ""),
        display=value(data, "display", str, ""),
        view=value(data, "view", str, ""),
        exposure_stops=value(data, "exposure_stops", float, 0.0),
    )


def settings(data: Data) -> Any:
    """ShotSettings; keys are those of the message, what is absent is left out."""
    message = wire.ShotSettings()
    for name, kind in _SETTINGS:
        if (found := value(data, name, kind)) is not None:
            _set(message, name, found)
    return message


def keyframe(data: Data) -> Any:
    """``{"frame", "points": [{"x", "y", "positive"}], "box": [x0, y0, x1, y1] or null}``."""
    message = wire.Keyframe(frame=_frame(data))
    message.points.extend(points(data))
    if (corners := box(data)) is not None:
        message.box.CopyFrom(corners)
    return message


def points(data: Data) -> list[Any]:
    """PointPrompts of ``points``."""
    return [
        wire.PointPrompt(
            x=value(item, "x", float, 0.0),
            y=value(item, "y", float, 0.0),
            negative=not value(item, "positive", bool, True),
        )
        for item in items(data, "points")
    ]


def box(data: Data) -> Any | None:
    """BoxPrompt of ``box``, if there is one."""
    corners = value(data, "box", list)
    if corners is None:
        return None
    if len(corners) != 4:
        raise InputError("Expected box as [x0, y0, x1, y1].")
    numbers = [value({"box": corner}, "box", float) for corner in corners]
    return wire.BoxPrompt(x0=numbers[0], y0=numbers[1], x1=numbers[2], y1=numbers[3])


def prompts(data: Data) -> Any:
    """Prompts of ``text`` and ``objects`` (``[{"name", "keyframes"}]``)."""
    return wire.Prompts(
        text=value(data, "text", str, ""),
        objects=[
            wire.PromptedObject(
                name=value(item, "name", str, ""),
                keyframes=[keyframe(k) for k in items(item, "keyframes")],
            )
            for item in items(data, "objects")
        ],
    )


def frame_range(data: Data) -> Any | None:
    """FrameRange of ``range`` ([first, last]), if there is one."""
    ends = value(data, "range", list)
    if ends is None:
        return None
    if len(ends) != 2:
        raise InputError("Expected range as [first, last].")
    first, last = (value({"range": end}, "range", int) for end in ends)
    return wire.FrameRange(first=first, last=last)


def shown(head: Any) -> dict[str, Any]:
    """Sizes of a PreviewHead or SessionHead, and where the picture lies on the plate.

    Returns:
        ``width``, ``height`` of the model image, ``mask_width``, ``mask_height``, ``plate`` (width
        and height of the display window), ``pixel_aspect`` and ``rect`` (x, y, width, height of
        the picture in plate pixels).
    """
    display, window = head.format.display_window, head.window
    return {
        "width": head.width,
        "height": head.height,
        "mask_width": head.mask_width,
        "mask_height": head.mask_height,
        "plate": [display.x1 - display.x0, display.y1 - display.y0],
        "pixel_aspect": head.format.pixel_aspect or 1.0,
        "rect": [
            window.x0 - display.x0,
            window.y0 - display.y0,
            window.x1 - window.x0,
            window.y1 - window.y0,
        ],
    }


def candidate_data(item: Any) -> dict[str, Any]:
    """A preview's Candidate."""
    return {
        "category": item.category,
        "score": item.score,
        "box": [item.box.x0, item.box.y0, item.box.x1, item.box.y1],
        "reason": item.reason,
        "object": item.object,
        "mask": picture_data(item.mask_png),
    }


def picture_data(png: bytes) -> str:
    """A PNG as the address an <img> takes; empty: none."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""


def job_data(job: Any) -> dict[str, Any]:
    """A Job."""
    progress = job.progress
    return {
        "id": job.id,
        "owner": job.owner,
        "state": STATES.get(job.state, "unknown"),
        "kind": job.kind,
        "priority": job.priority,
        "queue_position": job.queue_position,
        "cancel_requested": job.cancel_requested,
        "attempt": job.attempt,
        "created": _seconds(job.created),
        "started": _seconds(job.started),
        "finished": _seconds(job.finished),
        "plate": job.plate,
        "prompt": job.prompt,
        "objects": list(job.object_names),
        "range": [job.range.first, job.range.last] if job.HasField("range") else None,
        "stage": progress.stage,
        "stages": [
            {"name": s.name, "done": s.done, "total": s.total, "unit": s.unit}
            for s in progress.stages
        ],
        "frames_done": progress.frames_done,
        "frames_total": progress.frames_total,
        "frames_per_minute": progress.frames_per_minute,
        "seconds_left": progress.seconds_left,
        "message": progress.message,
        "error": {
            "kind": job.error.kind,
            "message": job.error.message,
            "retryable": job.error.retryable,
        }
        if job.error.message
        else None,
        "note": job.result_note,
        "labels": dict(job.labels),
        "source_job": job.source_job_id,
        "last_event": job.last_event,
        "device": job.device,
        "warnings": job.warnings,
    }


def update_data(update: Any) -> dict[str, Any]:
    """A JobUpdate."""
    return {
        "job": job_data(update.job),
        "events": [
            {
                "number": e.number,
                "kind": _EVENTS.get(e.kind, "unknown"),
                "time": _seconds(e.time),
                "text": e.text,
                "frame": e.frame,
            }
            for e in update.events
        ],
    }


def labels(data: Data) -> dict[str, str]:
    """``labels``, texts by name."""
    found = value(data, "labels", dict, {})
    return {str(name): value(found, name, str, "") for name in found}


def texts(data: Data, name: str) -> Sequence[str]:
    """A list of texts; empty where it is absent."""
    found = value(data, name, list, [])
    return [value({name: item}, name, str, "") for item in found]


def states(names: Sequence[str]) -> list[int]:
    """JobStates by name.

    Raises:
        InputError: there is no such state.
    """
    numbers = {name: number for number, name in STATES.items()}
    if unknown := set(names) - set(numbers):
        raise InputError(f"Expected states among {', '.join(numbers)}, found {min(unknown)!r}.")
    return [numbers[name] for name in names]


def _frame(data: Data) -> int:
    frame = value(data, "frame", int)
    if frame is None:
        raise InputError("Expected a frame.")
    return int(frame)


def _set(message: Any, name: str, found: Any) -> None:
    try:
        setattr(message, name, found)
    except ValueError as error:
        raise InputError(f"Expected {name} in its range: {error}.") from error


def _seconds(time: Any) -> float:
    return float(time.seconds + time.nanos / 1e9)
