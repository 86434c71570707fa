"""From what is on a workstation to messages: plates to upload, prompt files, result folders."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from client.errors import PlateError, PromptError
from protos import segmatte_pb2 as wire

SUFFIXES = ("png", "jpg", "jpeg", "exr", "dpx", "tif", "tiff")
"""What servers take by upload."""
_PATTERN = re.compile(r"%0?(\d*)d|[#@]+")
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
