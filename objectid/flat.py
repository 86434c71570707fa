"""Flat scanline EXR files, written with numpy and zlib.

The base install has no EXR library, and mattes need one kind of file only: scanlines, ZIP, half or
float. That is the page below, with the same parting and differences as in ``deepscanline``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from objectid.errors import RequestError
from objectid.frame import Crop
from objectid.header import Attribute, Window, encode_header
from objectid.sequence import write_atomically

_KINDS = {np.dtype(np.uint32): "uint", np.dtype(np.float16): "half", np.dtype(np.float32): "float"}
_LINES = 16
_LEVEL = 4

Image = NDArray[Any]
Channel = Union[Image, Crop]
"""Pixels of the whole window, or a crop of coverage with nothing around it, stored as half."""


def write_flat(
    path: str | Path,
    channels: Mapping[str, Channel],
    *,
    window: Window,
    pixel_aspect: float = 1.0,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """A flat EXR file, complete or not at all.

    Args:
        path: the file; its folder is made if it is missing.
        channels: name → (H, W) float16, float32 or uint32, or a crop on the same pixel grid.
        window: display and data window.
        pixel_aspect: width of a pixel over its height.
        attributes: texts for the header.

    Raises:
        RequestError: a channel has another shape or type.
        StorageError: the file cannot be written.
    """
    write_atomically(
        Path(path),
        encode_flat(channels, window=window, pixel_aspect=pixel_aspect, attributes=attributes),
    )


def encode_flat(
    channels: Mapping[str, Channel],
    *,
    window: Window,
    pixel_aspect: float = 1.0,
    attributes: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """The bytes of a flat EXR file, piece by piece; everything as in ``write_flat``."""
    if not channels:
        raise RequestError("A flat file needs at least one channel.")
    shape = (window.height, window.width)
    kinds = {name: _kind(name, channel, shape) for name, channel in channels.items()}
    names = sorted(channels, key=lambda name: name.encode("utf-8"))
    texts = {name: Attribute.of_text(text) for name, text in (attributes or {}).items()}
    head = encode_header(
        {
            **texts,
            "channels": Attribute.of_channels(kinds),
            "compression": Attribute("compression", b"\3"),
            "dataWindow": Attribute.of_window(window),
            "displayWindow": Attribute.of_window(window),
            "lineOrder": Attribute("lineOrder", b"\0"),
            "pixelAspectRatio": Attribute.of_float(pixel_aspect),
            "screenWindowCenter": Attribute("v2f", bytes(8)),
            "screenWindowWidth": Attribute.of_float(1.0),
        }
    )
    chunks = []
    for top in range(0, window.height, _LINES):
        bottom = min(top + _LINES, window.height)
        packed = _packed([_lines(channels[name], top, bottom, window) for name in names])
        chunks.append(struct.pack("<ii", window.y0 + top, len(packed)) + packed)
    yield head
    offset = len(head) + 8 * len(chunks)
    for chunk in chunks:
        yield struct.pack("<Q", offset)
        offset += len(chunk)
    yield from chunks


def _kind(name: str, channel: Channel, shape: tuple[int, int]) -> str:
    if isinstance(channel, Crop):
        return "half"
    if channel.shape != shape or channel.dtype not in _KINDS:
        raise RequestError(
            f"Channel '{name}' needs (H, W) = {shape} of half, float or uint, got "
            f"{channel.shape} of {channel.dtype}."
        )
    return _KINDS[channel.dtype]


def _lines(channel: Channel, top: int, bottom: int, window: Window) -> Image:
    """Some lines of a channel, counted from the top of the window."""
    if not isinstance(channel, Crop):
        return channel[top:bottom]
    lines = np.zeros((bottom - top, window.width), np.float16)
    height, width = channel.coverage.shape
    own = Window(channel.x0, channel.y0, channel.x0 + width, channel.y0 + height)
    strip = Window(window.x0, window.y0 + top, window.x1, window.y0 + bottom)
    shared = own.intersection(strip)
    if shared is not None:
        lines[shared.y0 - strip.y0 : shared.y1 - strip.y0, shared.x0 - strip.x0 :][
            :, : shared.width
        ] = channel.coverage[
            shared.y0 - own.y0 : shared.y1 - own.y0, shared.x0 - own.x0 : shared.x1 - own.x0
        ]
    return lines


def _packed(images: list[Image]) -> bytes:
    """Some lines of all channels: line by line, in each line channel by channel."""
    lines = [np.ascontiguousarray(image).view(np.uint8) for image in images]
    raw = np.concatenate(lines, axis=1).ravel()
    half = (raw.size + 1) // 2
    parted = np.empty_like(raw)
    parted[:half] = raw[0::2]
    parted[half:] = raw[1::2]
    differences = np.empty_like(parted)
    differences[0] = parted[0]
    np.subtract(parted[1:], parted[:-1], out=differences[1:])
    differences[1:] ^= 128
    packed = zlib.compress(differences.data, _LEVEL)
    return packed if len(packed) < raw.size else raw.tobytes()
