"""From what is on a workstation to messages: plates to upload, prompt files, result folders."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from client.errors import PlateError, PromptError, SettingsError
from protos import segmatte_pb2 as wire

SUFFIXES = ("png", "jpg", "jpeg", "exr", "dpx", "tif", "tiff")
"""What servers take by upload."""
_PICTURE_PACKAGES = ("OpenImageIO", "PyOpenColorIO", "cv2", "fileseq", "PIL")
_PATTERN = re.compile(r"%0?(\d*)d|[#@]+")
OUTPUTS = {
    "objectid": wire.OUTPUT_OBJECTID,
    "cryptomatte": wire.OUTPUT_CRYPTOMATTE,
    "masks": wire.OUTPUT_MASKS,
}
"""What can be asked for, by the names people use."""
STATES = {
    wire.QUEUED: "queued",
    wire.RUNNING: "running",
    wire.DONE: "done",
    wire.FAILED: "failed",
    wire.CANCELLED: "cancelled",
}
"""What people call the states of a job."""
_OPERATIONS = {
    "add": wire.Polygon.ADD,
    "subtract": wire.Polygon.SUBTRACT,
    "intersect": wire.Polygon.INTERSECT,
}


def find_pictures(pattern: str) -> dict[int, Path]:
    """Frame number → file of a plate on this machine.

    Args:
        pattern: ``plate.####.exr``, ``plate.%04d.exr``, or one file.

    Raises:
        PlateError: nothing is there, or of a format that is not uploaded.
    """
    path = Path(pattern)
    match = _PATTERN.search(path.name)
    if match is None:
        files = {_frame_of(path): path} if path.is_file() else {}
    else:
        head, tail = path.name[: match.start()], path.name[match.end() :]
        form = re.compile(re.escape(head) + r"(-?\d+)" + re.escape(tail))
        found = path.parent.iterdir() if path.parent.is_dir() else ()
        files = {int(m.group(1)): p for p in found if (m := form.fullmatch(p.name)) and p.is_file()}
    if not files:
        raise PlateError(f"Expected a plate at {pattern}, found none. Check the path.")
    suffix = next(iter(files.values())).suffix.lower()[1:]
    if suffix not in SUFFIXES:
        raise PlateError(
            f"Pictures uploaded are {', '.join(SUFFIXES)}, not .{suffix}. Put the plate on storage "
            "the server sees, or convert it."
        )
    return dict(sorted(files.items()))


def hash_file(path: Path) -> bytes:
    """sha256 of a file, 32 bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.digest()


def upload_source(
    pattern: str, *, first: int | None = None, last: int | None = None
) -> tuple[Any, dict[bytes, Path]]:
    """A plate on this machine as an upload.

    Args:
        pattern: as ``find_pictures`` takes it.
        first: first frame wanted.
        last: last frame wanted.

    Returns:
        PlateSource, and sha256 → file of what has to be on the server before the submit.

    Raises:
        PlateError: nothing is there in that range.
    """
    contents: dict[bytes, Path] = {}
    upload = wire.UploadedPlate(name=Path(pattern).name, kind=wire.UploadedPlate.PLATE)
    for frame, path in find_pictures(pattern).items():
        if (first is None or frame >= first) and (last is None or frame <= last):
            sha256 = hash_file(path)
            contents[sha256] = path
            upload.frames.add(frame=frame, sha256=sha256, suffix=path.suffix.lower()[1:])
    if not contents:
        raise PlateError(f"{pattern} has no frame in {first}-{last}.")
    return wire.PlateSource(upload=upload), contents


def makes_pictures() -> bool:
    """Whether this installation can make model images: the server's packages are there."""
    return all(importlib.util.find_spec(name) is not None for name in _PICTURE_PACKAGES)


def picture_source(
    plate: str, folder: Path, *, frames: str = "", colorspace: str = "", exposure: str = "0"
) -> tuple[Any, dict[bytes, Path]]:
    """A plate on this machine as model images: a few megabytes a frame, mattes as of the plate.

    Args:
        plate: a sequence, folder, picture or movie.
        folder: for the pictures, until they are uploaded.
        frames: range wanted; empty: all.
        colorspace: of the plate; empty: inferred.
        exposure: stops, or ``auto``.

    Returns:
        PlateSource, and sha256 → file of what has to be on the server before the submit. Colour
        and exposure are in the pictures: the request's options stay empty.

    Raises:
        PlateError: the plate cannot be read.
    """
    # By name, as commands are found: the client itself needs none of the server's packages.
    frames_package = importlib.import_module("server.frames")
    pictures = importlib.import_module("server.frames.pictures").write_model_images(
        plate,
        folder,
        frame_range=frames_package.FrameRange.parse(frames) if frames else None,
        settings=frames_package.PlateSettings(
            colorspace=colorspace or None,
            exposure="auto" if exposure == "auto" else float(exposure),
        ),
    )
    shape = pictures.format
    upload = wire.UploadedPlate(
        name=pictures.name,
        kind=wire.UploadedPlate.MODEL_IMAGE,
        format=wire.PlateFormat(
            display_window=_box(shape.display_window),
            data_window=_box(shape.data_window),
            pixel_aspect=shape.pixel_aspect,
        ),
        window=_box(pictures.window),
    )
    contents: dict[bytes, Path] = {}
    for frame, path in pictures.files.items():
        sha256 = hash_file(path)
        contents[sha256] = path
        upload.frames.add(frame=frame, sha256=sha256, suffix="png")
    return wire.PlateSource(upload=upload), contents


def read_prompts(path: Path) -> tuple[list[Any], dict[bytes, Path]]:
    """A prompt file (the form of ``segmatte run --prompts``) as messages.

    Args:
        path: JSON; paths of masks are relative to it.

    Returns:
        PromptedObjects, and sha256 → file of the masks to upload.

    Raises:
        PromptError: the file cannot be read or has something missing or unknown.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        masks: dict[bytes, Path] = {}
        objects = [_object(item, path.parent, masks) for item in data["objects"]]
    except OSError as error:
        raise PromptError(f"The prompt file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise PromptError(f"The prompt file {path} is not as expected: {error!r}.") from error
    return objects, masks


def parse_range(text: str) -> Any:
    """``1001``, ``1001-1100`` or ``1001-1100x2`` as a message.

    Raises:
        PlateError: it is none.
    """
    match = re.fullmatch(r"\s*(-?\d+)(?:\s*-\s*(-?\d+)(?:\s*x\s*(\d+))?)?\s*", text)
    if match is None:
        raise PlateError(f"Expected a frame range like 1001-1100 or 1001-1100x2, found {text!r}.")
    first, last, step = match.groups()
    return wire.FrameRange(first=int(first), last=int(last or first), step=int(step or 1))


def parse_outputs(text: str) -> list[Any]:
    """``cryptomatte, masks`` as numbers of the wire.

    Raises:
        SettingsError: one is not known.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in OUTPUTS:
            raise SettingsError(f"Outputs are {', '.join(OUTPUTS)}, not {name!r}.")
    return [OUTPUTS[name] for name in names]


def _box(window: Any) -> Any:
    return wire.Box(x0=window.x0, y0=window.y0, x1=window.x1, y1=window.y1)


def _object(data: Mapping[str, Any], folder: Path, masks: dict[bytes, Path]) -> Any:
    keyframes = [_keyframe(item, folder, masks) for item in data["keyframes"]]
    return wire.PromptedObject(name=data["name"], keyframes=keyframes)


def _keyframe(data: Mapping[str, Any], folder: Path, masks: dict[bytes, Path]) -> Any:
    unknown = set(data) - {"frame", "points", "box", "polygons", "mask"}
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r} in a keyframe")
    message = wire.Keyframe(frame=data["frame"])
    for point in data.get("points", []):
        message.points.add(x=point["x"], y=point["y"], negative=not point.get("positive", True))
    if data.get("box"):
        x0, y0, x1, y1 = data["box"]
        message.box.CopyFrom(wire.BoxPrompt(x0=x0, y0=y0, x1=x1, y1=y1))
    for item in data.get("polygons", []):
        polygon = message.polygons.add(
            operation=_OPERATIONS[item.get("operation", "add")], opacity=item.get("opacity", 1.0)
        )
        for name in ("points", "feather"):
            for x, y in item.get(name, []):
                getattr(polygon, name).add(x=x, y=y)
    if data.get("mask"):
        file = folder / data["mask"]["path"]
        sha256 = hash_file(file)
        masks[sha256] = file
        message.mask.CopyFrom(
            wire.MaskPrompt(
                sha256=sha256,
                suffix=file.suffix.lower()[1:],
                channel=data["mask"].get("channel", ""),
            )
        )
    return message


def _frame_of(path: Path) -> int:
    match = re.search(r"(?:(?<=[._ ])-)?\d+$", path.stem)
    return int(match.group()) if match else 1
