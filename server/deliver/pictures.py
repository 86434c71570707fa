"""Pictures a person looks at: contact sheet and overlay video with names and stable colours."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from server.errors import ResourceError
from server.frames import ModelImage
from server.track import MaskCache

Picture = NDArray[np.uint8]

_LONGEST_SIDE = 960
_TINT = 0.45
_SHEET_COLUMNS = 4
_SHEET_FRAMES = 12
_FONT_SIZE = 15
_INK, _PAPER = (255, 255, 255), (24, 24, 24)


@dataclass(frozen=True)
class Legend:
    """How the layers of a shot are shown."""

    names: Mapping[int, str]
    colours: Mapping[int, tuple[int, int, int]]
    """sRGB 0..255."""
    note: str = ""
    """Said on every picture, for example which models drew the mattes."""


def srgb(linear: tuple[float, float, float]) -> tuple[int, int, int]:
    """A linear Rec. 709 colour, 0..1, as sRGB 0..255."""

    def encode(value: float) -> int:
        value = min(max(value, 0.0), 1.0)
        curve = 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
        return round(255 * curve)

    red, green, blue = linear
    return encode(red), encode(green), encode(blue)


def overlay(image: ModelImage, cache: MaskCache, legend: Legend) -> Picture:
    """The plate with its objects tinted, outlined and named.

    Args:
        image: the frame.
        cache: its layers.
        legend: names and colours; layers without a name are not shown.

    Returns:
        (h, w, 3) uint8 sRGB, longest side 960 at most, even sides.
    """
    height, width = image.pixels.shape[:2]
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    size = max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
    picture = np.asarray(cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    labels: list[tuple[int, int, str, tuple[int, int, int]]] = []
    for group in range(cache.groups):
        layers = cv2.resize(cache.layer[group], size, interpolation=cv2.INTER_NEAREST)
        for layer in np.unique(layers).tolist():
            if layer in legend.names:
                place = _paint(picture, layers == layer, legend.colours[layer])
                labels.append((*place, _last_part(legend.names[layer]), legend.colours[layer]))
    return _write_on(picture, labels, frame=image.frame, note=legend.note)


def _paint(
    picture: Picture, inside: NDArray[np.bool_], colour: tuple[int, int, int]
) -> tuple[int, int]:
    """Tint and outline one object in place; returns where its label goes."""
    tint = np.array(colour, np.float32)
    picture[inside] = ((1 - _TINT) * picture[inside] + _TINT * tint).astype(np.uint8)
    mask = inside.astype(np.uint8)
    rim = inside & (cv2.erode(mask, np.ones((3, 3), np.uint8)) == 0)
    picture[rim] = colour
    ys, xs = np.nonzero(inside)
    top = int(ys.min())
    return int(xs[ys == top].mean()), top


def _write_on(
    picture: Picture,
    labels: Sequence[tuple[int, int, str, tuple[int, int, int]]],
    *,
    frame: int,
    note: str,
) -> Picture:
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_FONT_SIZE)
    for x, y, text, colour in labels:
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        w, h = right - left + 8, bottom - top + 6
        x0 = min(max(0, x - w / 2), max(0, canvas.width - w))
        y0 = max(0, y - h - 3)
        draw.rectangle((x0, y0, x0 + w, y0 + h), fill=colour)
        bright = 0.3 * colour[0] + 0.6 * colour[1] + 0.1 * colour[2] > 140
        ink = _PAPER if bright else _INK
        draw.text((x0 + 4 - left, y0 + 3 - top), text, font=font, fill=ink)
    text = f"{frame}   {note}" if note else str(frame)
    right, bottom = draw.textbbox((0, 0), text, font=font)[2:]
    draw.rectangle((0, canvas.height - bottom - 8, right + 12, canvas.height), fill=_PAPER)
    draw.text((6, canvas.height - bottom - 5), text, font=font, fill=_INK)
    return np.asarray(canvas, np.uint8)


def _last_part(name: str) -> str:
    return name.rsplit("/", 1)[-1]


class OverlayVideo:
    """Writes overlays as a WebM video (VP8), which browsers and players show; a context manager.

    The file appears under its final name when the last picture is in.
    """

    def __init__(self, path: Path, *, fps: float = 24.0) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.stem}.part{path.suffix}")
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> OverlayVideo:
        return self

    def add(self, picture: Picture) -> None:
        """Append one overlay; all have one size.

        Raises:
            ResourceError: the video cannot be written.
        """
        if self._writer is None:
            size = picture.shape[1], picture.shape[0]
            codec = cv2.VideoWriter.fourcc(*"VP80")
            with _silent_errors():  # the encoder's remark on the container's tag
                self._writer = cv2.VideoWriter(str(self._partial), codec, self._fps, size)
            if not self._writer.isOpened():
                raise ResourceError(
                    f"The overlay video {self._path} cannot be written. Check that its folder is "
                    "writable and has space."
                )
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()
            if error is None:
                self._partial.replace(self._path)
        self._partial.unlink(missing_ok=True)


@contextmanager
def _silent_errors() -> Iterator[None]:
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def sheet_positions(count: int) -> tuple[int, ...]:
    """Positions shown on a contact sheet: spread evenly, first and last among them."""
    wanted = min(count, _SHEET_FRAMES)
    return tuple(sorted({round(i) for i in np.linspace(0, count - 1, wanted)})) if count else ()


def contact_sheet(pictures: Sequence[Picture]) -> Picture:
    """Overlays side by side.

    Args:
        pictures: at least one, of one size.

    Returns:
        (h, w, 3) uint8.
    """
    columns = min(_SHEET_COLUMNS, len(pictures))
    width = 480 if columns > 1 else pictures[0].shape[1]
    height = round(pictures[0].shape[0] * width / pictures[0].shape[1])
    gap = 4
    rows = -(-len(pictures) // columns)
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, 3), _PAPER, np.uint8
    )
    for index, picture in enumerate(pictures):
        y = gap + index // columns * (height + gap)
        x = gap + index % columns * (width + gap)
        sheet[y : y + height, x : x + width] = cv2.resize(
            picture, (width, height), interpolation=cv2.INTER_AREA
        )
    return sheet


def write_png(path: Path, picture: Picture) -> None:
    """Write a picture as a whole or not at all.

    Raises:
        ResourceError: it cannot be written.
    """
    partial = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        Image.fromarray(picture).save(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ResourceError(f"{path} cannot be written: {error.strerror or error}.") from error
