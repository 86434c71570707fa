"""The header of an EXR file: typed attributes, read and written with the standard library.

Enough for Nuke's own Python to get the manifest out of a file without decoding pixels. Windows
are ``Window`` everywhere in this package, with exclusive ends; the inclusive ``box2i`` of the file
exists only here.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from objectid.errors import DamagedFileError, StorageError, UnsupportedFileError

MAGIC = 20000630
FLAG_TILED, FLAG_LONG_NAMES, FLAG_DEEP, FLAG_MULTIPART = 0x200, 0x400, 0x800, 0x1000
COMPRESSIONS = (
    "none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab", "htj2k256",
    "htj2k32", "zstd10", "zstd",
)  # fmt: skip
"""Names of compressions by their number in the file."""
PIXEL_TYPES = ("uint", "half", "float")
"""Names of channel types by their number in the file."""

_LARGEST_HEADER_BYTES = 1 << 28
_LARGEST_COORDINATE = 1 << 30
_LONGEST_SHORT_NAME, _LONGEST_NAME = 31, 255
_KNOWN_FLAGS = FLAG_TILED | FLAG_LONG_NAMES | FLAG_DEEP | FLAG_MULTIPART


class Window(NamedTuple):
    """A window on the plate's pixel grid, y down; ends are exclusive, offsets may be negative."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.y1 - self.y0

    def union(self, other: Window) -> Window:
        """The smallest window that holds both."""
        return Window(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
        )

    def intersection(self, other: Window) -> Window | None:
        """What both share, or nothing."""
        shared = Window(
            max(self.x0, other.x0),
            max(self.y0, other.y0),
            min(self.x1, other.x1),
            min(self.y1, other.y1),
        )
        return shared if shared.width > 0 and shared.height > 0 else None


class Attribute(NamedTuple):
    """One attribute as it stands in the file."""

    type: str
    payload: bytes

    @classmethod
    def of_text(cls, text: str) -> Attribute:
        """A ``string`` attribute."""
        return cls("string", text.encode("utf-8"))

    @classmethod
    def of_int(cls, value: int) -> Attribute:
        """An ``int`` attribute."""
        return cls("int", struct.pack("<i", value))

    @classmethod
    def of_float(cls, value: float) -> Attribute:
        """A ``float`` attribute."""
        return cls("float", struct.pack("<f", value))

    @classmethod
    def of_window(cls, window: Window) -> Attribute:
        """A ``box2i`` attribute."""
        return cls("box2i", struct.pack("<4i", window.x0, window.y0, window.x1 - 1, window.y1 - 1))

    @classmethod
    def of_channels(cls, channels: Mapping[str, str]) -> Attribute:
        """A ``chlist`` attribute.

        Args:
            channels: name → ``uint``, ``half`` or ``float``.
        """
        entries = (
            name.encode("utf-8") + struct.pack("<xiB3xii", PIXEL_TYPES.index(kind), 0, 1, 1)
            for name, kind in sorted(channels.items(), key=lambda item: item[0].encode("utf-8"))
        )
        return cls("chlist", b"".join(entries) + b"\0")


@dataclass(frozen=True)
class Header:
    """The first header of a file."""

    attributes: Mapping[str, Attribute]
    flags: int
    """Bits of the version field: FLAG_TILED, FLAG_DEEP …"""
    size_bytes: int
    """Where the header ends: offset of the chunk table in a single-part file."""
    path: Path | None = None

    def text(self, name: str) -> str | None:
        """The value of a ``string`` attribute, or nothing.

        Raises:
            DamagedFileError: the attribute is there but is not UTF-8 text.
        """
        found = self.attributes.get(name)
        if found is None:
            return None
        try:
            return found.payload.decode("utf-8")
        except UnicodeDecodeError:
            raise DamagedFileError(
                f"Attribute '{name}' is not UTF-8 text.", path=self.path
            ) from None

    def number(self, name: str) -> float | None:
        """The value of an ``int`` or ``float`` attribute, or nothing.

        Raises:
            DamagedFileError: the attribute is there but has another type or size.
        """
        found = self.attributes.get(name)
        if found is None:
            return None
        if found.type not in ("int", "float") or len(found.payload) != 4:
            raise DamagedFileError(f"Attribute '{name}' is not a number.", path=self.path)
        value: float = struct.unpack("<i" if found.type == "int" else "<f", found.payload)[0]
        return value

    def window(self, name: str) -> Window:
        """The value of a ``box2i`` attribute.

        Raises:
            DamagedFileError: it is missing, empty or absurd.
        """
        x0, y0, x1, y1 = struct.unpack("<4i", self._payload(name, "box2i", 16))
        if x1 < x0 or y1 < y0 or max(map(abs, (x0, y0, x1, y1))) > _LARGEST_COORDINATE:
            raise DamagedFileError(
                f"Attribute '{name}' is ({x0} {y0}) - ({x1} {y1}), which is no window.",
                path=self.path,
            )
        return Window(x0, y0, x1 + 1, y1 + 1)

    @property
    def compression(self) -> str:
        """Name of the compression."""
        number = self._payload("compression", "compression", 1)[0]
        return COMPRESSIONS[number] if number < len(COMPRESSIONS) else f"number {number}"

    @property
    def channels(self) -> dict[str, str]:
        """Name → ``uint``, ``half`` or ``float``, in the order of the file.

        Raises:
            DamagedFileError: the list is malformed, or a name stands in it twice.
            UnsupportedFileError: a channel is subsampled.
        """
        payload = self._payload("channels", "chlist")
        found: dict[str, str] = {}
        position = 0
        while payload[position : position + 1] not in (b"\0", b""):
            end = payload.find(b"\0", position)
            entry = payload[end + 1 : end + 17]
            if end < 0 or len(entry) < 16:
                raise DamagedFileError("The list of channels is cut off.", path=self.path)
            name = payload[position:end].decode("utf-8", "backslashreplace")
            kind, _, x_step, y_step = struct.unpack("<iB3xii", entry)
            if not 0 <= kind < len(PIXEL_TYPES) or name in found:
                raise DamagedFileError(f"Channel '{name}' is malformed.", path=self.path)
            if (x_step, y_step) != (1, 1):
                raise UnsupportedFileError(f"Channel '{name}' is subsampled.", path=self.path)
            found[name] = PIXEL_TYPES[kind]
            position = end + 17
        return found

    def _payload(self, name: str, kind: str, size_bytes: int | None = None) -> bytes:
        found = self.attributes.get(name)
        if found is None:
            raise DamagedFileError(f"Attribute '{name}' is missing.", path=self.path)
        if found.type != kind or size_bytes not in (None, len(found.payload)):
            raise DamagedFileError(f"Attribute '{name}' is not of type {kind}.", path=self.path)
        return found.payload


def read_header(path: Path) -> Header:
    """The first header of an EXR file; no pixel is read.

    Raises:
        DamagedFileError: the header is cut off or malformed.
        UnsupportedFileError: not an EXR file.
        StorageError: the file cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            size_bytes = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            return parse_header(stream, size_bytes=size_bytes, path=path)
    except OSError as error:
        raise StorageError(f"Cannot be read: {error.strerror or error}.", path=path) from error


def parse_header(stream: BinaryIO, *, size_bytes: int, path: Path | None = None) -> Header:
    """The first header of an EXR file.

    Args:
        stream: buffered, at the file's first byte.
        size_bytes: size of the whole file.
        path: for messages.

    Raises:
        DamagedFileError: the header is cut off or malformed.
        UnsupportedFileError: not an EXR file, or of a later version of EXR.
    """
    source = _Source(stream, min(size_bytes, _LARGEST_HEADER_BYTES), path)
    if size_bytes < 8:
        raise DamagedFileError(f"Has {size_bytes} bytes, too few for an EXR file.", path=path)
    magic, version = struct.unpack("<iI", source.take(8))
    if magic != MAGIC:
        raise UnsupportedFileError("Is not an EXR file.", path=path)
    if version & 0xFF != 2 or version & ~0xFF & ~_KNOWN_FLAGS:
        raise UnsupportedFileError(
            f"Is EXR of version {version & 0xFF} with flags {version >> 8:#x}, not known here.",
            path=path,
        )
    longest = _LONGEST_NAME if version & FLAG_LONG_NAMES else _LONGEST_SHORT_NAME
    attributes: dict[str, Attribute] = {}
    while True:
        name = source.name(longest)
        if not name:
            break
        kind = source.name(longest)
        (length,) = struct.unpack("<i", source.take(4))
        if name in attributes:
            raise DamagedFileError(f"Attribute '{name}' stands in the header twice.", path=path)
        if not kind or length < 0:
            raise DamagedFileError(f"Attribute '{name}' is malformed.", path=path)
        attributes[name] = Attribute(kind, source.take(length))
    return Header(attributes, version & ~0xFF, source.position, path)


def encode_header(attributes: Mapping[str, Attribute], *, flags: int = 0) -> bytes:
    """A header as bytes, attributes in byte order of their names.

    Args:
        attributes: name → attribute.
        flags: FLAG_DEEP or 0; FLAG_LONG_NAMES is added where a name needs it.
    """
    names = [part.encode("utf-8") for name, a in attributes.items() for part in (name, a.type)]
    channels = attributes.get("channels", Attribute("chlist", b"\0")).payload
    names += _channel_names(channels)
    if max(map(len, names), default=0) > _LONGEST_SHORT_NAME:
        flags |= FLAG_LONG_NAMES
    out = [struct.pack("<iI", MAGIC, 2 | flags)]
    for name in sorted(attributes, key=lambda text: text.encode("utf-8")):
        kind, payload = attributes[name]
        out += [name.encode("utf-8"), b"\0", kind.encode("utf-8"), b"\0"]
        out += [struct.pack("<i", len(payload)), payload]
    return b"".join(out) + b"\0"


def _channel_names(payload: bytes) -> list[bytes]:
    names = []
    position = 0
    while payload[position : position + 1] not in (b"\0", b""):
        end = payload.index(b"\0", position)
        names.append(payload[position:end])
        position = end + 17
    return names


class _Source:
    """A stream that is never read past a limit."""

    def __init__(self, stream: BinaryIO, limit: int, path: Path | None) -> None:
        self._stream, self._limit, self._path = stream, limit, path
        self.position = 0

    def take(self, length: int) -> bytes:
        """Exactly so many bytes."""
        if length > self._limit - self.position:
            raise DamagedFileError(
                f"The header is cut off at byte {self.position}: {length} more bytes expected.",
                path=self._path,
            )
        data = self._stream.read(length)
        if len(data) != length:
            raise DamagedFileError("The file ended while it was read.", path=self._path)
        self.position += length
        return data

    def name(self, longest: int) -> str:
        """Text up to a NUL byte."""
        out = bytearray()
        while True:
            sign = self.take(1)
            if sign == b"\0":
                return out.decode("utf-8", "backslashreplace")
            out += sign
            if len(out) > longest:
                raise DamagedFileError(
                    f"A name in the header at byte {self.position} is longer than {longest} bytes.",
                    path=self._path,
                )
