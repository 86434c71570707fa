"""Plates: folders of the server, files dropped on a page, and the picture of a frame."""

from __future__ import annotations

import io
import json
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from client.errors import InputError, LimitError
from client.shots import find_pictures, upload_source
from client.web import messages
from client.web.access import SignedIn
from protos import segmatte_pb2 as wire

_NAME = re.compile(r"[^\W_][\w .,()+=@\-]{0,199}")
_MOST_FILES = 5000
_CACHE_BYTES = 64 << 20
_PROXY_QUALITY = 85
_PLATE_PIXELS = 1 << 16
"""A longest side no plate has: the picture is never made larger than the plate."""


def folder(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Folders and plates of ``path``; empty: the caller's roots."""
    found = visit.client.list_folder(messages.value(data, "path", str, ""))
    return {
        "path": found.path,
        "folders": list(found.folders),
        "truncated": found.truncated,
        "plates": [
            {
                "path": p.path,
                "name": p.name,
                "first": p.first_frame,
                "last": p.last_frame,
                "count": p.frame_count,
            }
            for p in found.plates
        ],
    }


# ------------------------------------------------------------------------------ dropped files


async def take_file(request: Request) -> Response:
    """Store one dropped file until ``finish_upload``: PUT of its bytes.

    Raises:
        InputError: its name is none for a picture.
        LimitError: it, or all files together, are larger than the server takes.
    """
    visit, name = request.scope["visit"], request.path_params["name"]
    place = _upload_folder(visit, request.path_params["upload"])
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot be used as a file name. Rename the file.")
    limits = (await run_in_threadpool(visit.client.server_info)).limits
    place.mkdir(parents=True, exist_ok=True)
    others = (p for p in place.parent.glob("*/*") if p != place / name)
    waiting = sum(p.stat().st_size for p in others)
    size = 0
    try:
        with (place / name).open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > limits.frame_bytes or waiting + size > limits.upload_bytes:
                    raise LimitError(
                        f"{name} is more than this server takes: {limits.frame_bytes >> 20} MiB "
                        f"for one picture, {limits.upload_bytes >> 20} MiB for all of one user."
                    )
                await run_in_threadpool(file.write, part)
    except BaseException:
        (place / name).unlink(missing_ok=True)
        raise
    return JSONResponse({})


def finish_upload(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Send the files of ``upload`` to the server, as one plate.

    Returns:
        ``plate``, as all calls take it, ``name``, ``first``, ``last`` and ``count``.

    Raises:
        InputError: the files are not one sequence or picture.
    """
    identity = messages.value(data, "upload", str, "")
    place = _upload_folder(visit, identity)
    try:
        names = sorted(p.name for p in place.iterdir()) if place.is_dir() else []
        if len(names) > _MOST_FILES:
            raise LimitError(f"At most {_MOST_FILES} files are taken at once.")
        pattern = str(place / _pattern(names))
        source, contents = upload_source(pattern)
        visit.client.upload(contents)
        frames = list(find_pictures(pattern))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    visit.uploads[identity] = source
    return {
        "plate": {"upload": identity},
        "name": source.upload.name,
        "first": frames[0],
        "last": frames[-1],
        "count": len(frames),
    }


def _upload_folder(visit: SignedIn, identity: str) -> Path:
    if not re.fullmatch(r"[0-9a-f\-]{8,40}", identity):
        raise InputError("Expected the id of an upload.")
    return visit.scratch / "uploads" / identity


def _pattern(names: list[str]) -> str:
    """``plate.####.exr`` for the files of a sequence, or the name of the only file."""
    if not names:
        raise InputError("No file arrived. Drop the pictures of a plate.")
    if len(names) == 1:
        return names[0]
    forms = {re.sub(r"\d+(?=\.[^.]+$)", "####", name) for name in names}
    if len(forms) != 1 or "####" not in (form := min(forms)):
        raise InputError(
            "The files are not one numbered sequence: "
            f"{', '.join(sorted(forms)[:3])}. Drop the pictures of one plate."
        )
    return form


# ---------------------------------------------------------------------------------- pictures


class _Pictures:
    """The last pictures asked for, by who asked; may be used from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], tuple[bytes, str]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: tuple[str, ...]) -> tuple[bytes, str] | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: tuple[str, ...], picture: tuple[bytes, str]) -> None:
        with self._lock:
            self._kept[key] = picture
            while sum(len(png) for png, _ in self._kept.values()) > _CACHE_BYTES:
                self._kept.popitem(last=False)


_pictures = _Pictures()


def picture(visit: SignedIn, data: dict[str, Any]) -> Response:
    """A frame as the artist sees it: through the plate's display view, 8 bit sRGB.

    Args:
        visit: who asks.
        data: ``plate`` and ``options`` (JSON), ``frame``, and ``size``: longest side of a quick
            JPEG; 0 for the PNG of all pixels that the models see; -1 for that of all plate pixels.

    Returns:
        The picture; header ``X-Segmatte-Frame`` holds ``messages.shown``.
    """
    plate, options = messages.of_text(data.get("plate", "")), data.get("options", "{}")
    frame, size = messages.value(data, "frame", int, 0), messages.value(data, "size", int, 0)
    longest = _PLATE_PIXELS if size < 0 else 0
    key = (visit.key, json.dumps(plate, sort_keys=True), options, f"{frame} {longest}")
    found = _pictures.find(key)
    if found is None:
        found = _read(visit, plate, messages.of_text(options), frame, longest=longest)
        _pictures.keep(key, found)
    png, shown = found
    headers = {"X-Segmatte-Frame": shown, "Cache-Control": "private, max-age=300"}
    if size <= 0:
        return Response(png, media_type="image/png", headers=headers)
    with Image.open(io.BytesIO(png)) as full:
        proxy = full.convert("RGB")
        proxy.thumbnail((size, size), Image.Resampling.BILINEAR, reducing_gap=1.0)
    body = io.BytesIO()
    proxy.save(body, "jpeg", quality=_PROXY_QUALITY)
    return Response(body.getvalue(), media_type="image/jpeg", headers=headers)


def _read(
    visit: SignedIn,
    plate: Mapping[str, Any],
    options: Mapping[str, Any],
    frame: int,
    *,
    longest: int,
) -> tuple[bytes, str]:
    # A preview of boxes without a text runs no model: what is left of it is the picture.
    anything = wire.PromptedObject(name="/picture")
    anything.keyframes.add(frame=frame).points.add(x=0, y=0)
    head, png, _ = visit.client.preview(
        wire.PreviewFrameRequest(
            plate=messages.plate(visit, plate),
            options=messages.options(options),
            frame=frame,
            prompts=wire.Prompts(objects=[anything]),
            boxes_only=True,
            with_image=True,
            image_size=longest,
        )
    )
    return png, json.dumps(messages.shown(head))
