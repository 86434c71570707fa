"""Click segmentation: sessions on one frame, and prompt sets to keep."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from starlette.responses import Response

from client.errors import InputError
from client.web import messages
from client.web.access import SignedIn
from objectid.flat import encode_flat
from objectid.header import Window
from protos import segmatte_pb2 as wire

_STEEPNESS = 4.0
"""A model's probability p becomes the coverage 0.5 + 4 (p - 0.5): same outline, narrow edge."""
_MOST_PIXELS = 1 << 28


def open_session(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Encode ``frame`` of ``plate`` for clicks; ``session`` names it, sizes as ``shown``."""
    head, _ = visit.client.open_session(
        wire.OpenSessionRequest(
            plate=messages.plate(visit, messages.value(data, "plate", dict, {})),
            options=messages.options(messages.value(data, "options", dict, {})),
            frame=messages.value(data, "frame", int, 0),
            segmenter=messages.value(data, "segmenter", str, ""),
        )
    )
    return {"session": head.session_id, **messages.shown(head)}


def prompt(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """The mask of ``object`` for its whole prompt: ``points`` and ``box``."""
    answer = visit.client.prompt_session(
        wire.PromptSessionRequest(
            session_id=data["session"],
            object=messages.value(data, "object", str, ""),
            points=messages.points(data),
            box=messages.box(data),
        )
    )
    return {"mask": messages.picture_data(answer.mask_png), "seconds": answer.seconds}


def close_session(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Forget a session."""
    visit.client.close_session(data["session"])
    return {}


def prompt_set(visit: SignedIn, data: dict[str, Any]) -> Response:
    """Objects as a ZIP archive for ``segmatte run --prompts``.

    ``prompts.json`` gives the masks as answered (EXR files beside it), ``clicks.json`` the clicks
    and boxes that led to them.

    Args:
        visit: who asks.
        data: ``objects`` whose keyframes have ``mask`` (a PNG as data address), ``points``, ``box``
            and ``rect`` (x, y, width, height of the mask in plate pixels); ``plate_size``;
            ``pixel_aspect``.

    Raises:
        InputError: a mask is no PNG, or sizes make no sense.
    """
    width, height = (messages.value({"n": n}, "n", int) for n in _four(data, "plate_size", 2))
    if not (0 < width and 0 < height and width * height <= _MOST_PIXELS):
        raise InputError(f"Expected the size of a plate, found {width}×{height}.")
    pixel_aspect = messages.value(data, "pixel_aspect", float, 1.0)
    masked: list[dict[str, Any]] = []
    clicked: list[dict[str, Any]] = []
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for number, item in enumerate(messages.items(data, "objects"), 1):
            name = messages.value(item, "name", str, "")
            stem = f"{number:02}_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_') or 'object'}"
            masks, clicks = [], []
            for keyframe in messages.items(item, "keyframes"):
                frame = messages.value(keyframe, "frame", int, 0)
                path = f"masks/{stem}.{frame}.exr"
                coverage = _coverage(keyframe, size=(height, width))
                channels = {"A": coverage.astype(np.float16)}
                window = Window(0, 0, width, height)
                pieces = encode_flat(channels, window=window, pixel_aspect=pixel_aspect)
                archive.writestr(path, b"".join(pieces))
                masks.append({"frame": frame, "mask": {"path": path, "channel": "A"}})
                clicks.append(_clicks(frame, keyframe))
            masked.append({"name": name, "keyframes": masks})
            clicked.append({"name": name, "keyframes": clicks})
        for name, objects in (("prompts.json", masked), ("clicks.json", clicked)):
            text = json.dumps({"version": 1, "objects": objects}, ensure_ascii=False, indent=1)
            archive.writestr(name, text + "\n")
    headers = {"Content-Disposition": 'attachment; filename="prompts.zip"'}
    return Response(body.getvalue(), media_type="application/zip", headers=headers)


def _clicks(frame: int, keyframe: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "frame": frame,
        "points": [
            {"x": p.x, "y": p.y, "positive": not p.negative} for p in messages.points(keyframe)
        ],
    }
    if (box := messages.box(keyframe)) is not None:
        found["box"] = [box.x0, box.y0, box.x1, box.y1]
    return found


def _coverage(keyframe: Mapping[str, Any], *, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) float32 0..1 of the display window."""
    x, y, w, h = (messages.value({"n": n}, "n", int) for n in _four(keyframe, "rect", 4))
    if not (0 < w and 0 < h and w * h <= _MOST_PIXELS):
        raise InputError(f"Expected rect to be a part of the plate, found {w}×{h}.")
    head, _, text = messages.value(keyframe, "mask", str, "").partition(",")
    try:
        if head != "data:image/png;base64":
            raise ValueError("no data address of a PNG")
        with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError("too many pixels")
            large = image.convert("L").resize((w, h), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise InputError(f"Expected a mask as PNG, found none: {error}.") from error
    soft = np.clip(0.5 + _STEEPNESS * (np.asarray(large, np.float32) / 255 - 0.5), 0, 1)
    height, width = size
    plate = np.zeros(size, np.float32)
    x0, y0, x1, y1 = max(0, x), max(0, y), min(width, x + w), min(height, y + h)
    if x0 < x1 and y0 < y1:
        plate[y0:y1, x0:x1] = soft[y0 - y : y1 - y, x0 - x : x1 - x]
    return plate


def _four(data: Mapping[str, Any], name: str, count: int) -> list[Any]:
    found = messages.value(data, name, list, [])
    if len(found) != count:
        raise InputError(f"Expected {name} to have {count} numbers, found {len(found)}.")
    return [round(n) if isinstance(n, float) else n for n in found]
