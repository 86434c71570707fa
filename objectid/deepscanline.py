"""Deep scanline pixels as flat arrays: a numpy codec for ZIPS, RLE and uncompressed files.

One image is a count per pixel and, per channel, all samples in a row: left to right, top to
bottom, nearest first within a pixel. The OpenEXR binding makes one Python object per pixel and
channel instead, which costs twenty times as much and 7 GB at 4K.

Files are not trusted. Before anything is allocated, every chunk of the file is checked to lie in
the file, to overlap no other, and to claim no more than its compression can hold; inflating stops
at the size that was claimed. So memory stays below a fixed multiple of the file, and below
``largest_bytes``.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from objectid.errors import DamagedFileError, RequestError, UnsupportedFileError
from objectid.header import (
    FLAG_DEEP,
    FLAG_MULTIPART,
    FLAG_TILED,
    Attribute,
    Header,
    Window,
    encode_header,
    parse_header,
)

LARGEST_BYTES = 2 << 30
"""Most bytes of decoded counts and samples that a reader accepts unless told otherwise."""

Samples = NDArray[Any]

_DTYPES: dict[str, np.dtype[Any]] = {
    "uint": np.dtype("<u4"),
    "half": np.dtype("<f2"),
    "float": np.dtype("<f4"),
}
_KINDS = {dtype: kind for kind, dtype in _DTYPES.items()}
COUNTS_LEVEL, DATA_LEVEL = 3, 4
"""zlib levels: from 3 to 4 both take twice the time, counts become 4 % smaller, data 8 %."""
_CHUNK = struct.Struct("<iQQQ")
_EVEN_BYTES, _LANES = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0001000100010001)
_OFFSETS = np.uint64(0x0080008000800080)
_EIGHT, _LAST_LANE = np.uint64(8), np.uint64(48)
_EXPANSION = {"zips": 1032, "rle": 64, "none": 1}
"""By how much one byte of a chunk can grow; zlib's own limit, and runs of 128 in two bytes."""


@dataclass(frozen=True, eq=False)
class DeepImage:
    """The pixels of one deep scanline file."""

    counts: NDArray[np.int32]
    """(H, W) samples of each pixel of the data window."""
    channels: Mapping[str, Samples]
    """Name → (S,) uint32, float16 or float32."""
    data_window: Window

    def __post_init__(self) -> None:
        expected = (self.data_window.height, self.data_window.width)
        total = int(self.counts.sum(dtype=np.int64))
        if self.counts.shape != expected:
            raise RequestError(f"Expected counts of shape {expected}, got {self.counts.shape}.")
        for name, samples in self.channels.items():
            if samples.shape != (total,) or samples.dtype not in _KINDS:
                raise RequestError(
                    f"Channel '{name}' needs {total} values of uint32, float16 or float32, got "
                    f"{samples.shape} of {samples.dtype}."
                )


def encode_deep(
    image: DeepImage,
    *,
    display_window: Window,
    pixel_aspect: float = 1.0,
    attributes: Mapping[str, Attribute] | None = None,
) -> Iterator[bytes]:
    """A deep scanline file, ZIPS, piece by piece.

    Args:
        image: counts and channels.
        display_window: the plate's.
        pixel_aspect: width of a pixel over its height.
        attributes: further header attributes.
    """
    names = sorted(image.channels, key=lambda name: name.encode("utf-8"))
    kinds = {name: _KINDS[image.channels[name].dtype] for name in names}
    header = {
        **(attributes or {}),
        "channels": Attribute.of_channels(kinds),
        "compression": Attribute("compression", b"\2"),
        "dataWindow": Attribute.of_window(image.data_window),
        "displayWindow": Attribute.of_window(display_window),
        "lineOrder": Attribute("lineOrder", b"\0"),
        "pixelAspectRatio": Attribute.of_float(pixel_aspect),
        "screenWindowCenter": Attribute("v2f", bytes(8)),
        "screenWindowWidth": Attribute.of_float(1.0),
        "type": Attribute.of_text("deepscanline"),
        "version": Attribute.of_int(1),
        "chunkCount": Attribute.of_int(image.data_window.height),
        "maxSamplesPerPixel": Attribute.of_int(int(image.counts.max())),
    }
    head = encode_header(header, flags=FLAG_DEEP)
    chunks = list(_encoded_lines(image, [image.channels[name] for name in names]))
    sizes = np.fromiter((len(chunk) for chunk in chunks), np.uint64, len(chunks))
    first = len(head) + 8 * len(chunks)
    yield head
    yield (first + np.cumsum(sizes) - sizes).astype("<u8").tobytes()
    yield from chunks


def decode_deep(
    data: bytes, *, path: Path | None = None, largest_bytes: int = LARGEST_BYTES
) -> tuple[Header, DeepImage]:
    """Header and pixels of a deep scanline file.

    Args:
        data: the whole file.
        path: for messages.
        largest_bytes: refuse files whose counts and samples need more.

    Raises:
        DamagedFileError: the file is cut off or contradicts itself.
        UnsupportedFileError: it is no deep scanline file, has several parts, another compression,
            or more pixels than allowed.
    """
    header = parse_header(io.BytesIO(data), size_bytes=len(data), path=path)
    _check_kind(header)
    window = header.window("dataWindow")
    kinds = header.channels
    if not kinds:
        raise DamagedFileError("Has no channels.", path=path)
    chunks = _chunks(data, header, window, largest_bytes)
    counts = np.empty((window.height, window.width), np.int32)
    decode = _DECODERS[header.compression]
    sample_bytes = sum(_DTYPES[kind].itemsize for kind in kinds.values())
    totals = np.zeros(window.height, np.int64)
    for row, chunk in enumerate(chunks):
        line = f"line {window.y0 + row}"
        packed = data[chunk.start : chunk.start + chunk.counts_bytes]
        raw = decode(packed, 4 * window.width, line, path)
        cumulative = raw.view("<i4")
        counts[row] = cumulative
        totals[row] = cumulative[-1]
        if totals[row] * sample_bytes != chunk.unpacked_bytes:
            raise DamagedFileError(
                f"The counts of {line} promise {totals[row]} samples, its data hold "
                f"{chunk.unpacked_bytes} bytes.",
                path=path,
            )
    if (counts[:, :1] < 0).any() or (counts[:, 1:] < counts[:, :-1]).any():
        raise DamagedFileError("A pixel has a negative number of samples.", path=path)
    counts[:, 1:] -= counts[:, :-1].copy()
    total = int(totals.sum())
    channels = {name: np.empty(total, _DTYPES[kind]) for name, kind in kinds.items()}
    planes = [
        (samples.view(np.uint8), samples.dtype.itemsize // 2) for samples in channels.values()
    ]
    position = 0
    for row, chunk in enumerate(chunks):
        number = int(totals[row])
        if not number:
            continue
        start = chunk.start + chunk.counts_bytes
        packed = data[start : start + chunk.data_bytes]
        if chunk.data_bytes == chunk.unpacked_bytes:
            _spread_raw(np.frombuffer(packed, np.uint8), planes, position, number)
        else:
            halves = _expand(packed, chunk.unpacked_bytes, header.compression, row, window, path)
            _spread_halves(halves, planes, position, number)
        position += number
    return header, DeepImage(counts, channels, window)


def is_read_here(header: Header) -> bool:
    """Whether this codec reads the file, as far as its kind is concerned.

    What it does not read may still be sound: tiles, several parts, another compression.
    """
    deep_lines = header.flags & (FLAG_MULTIPART | FLAG_TILED | FLAG_DEEP) == FLAG_DEEP
    return deep_lines and header.text("type") == "deepscanline" and header.compression in _DECODERS


def _check_kind(header: Header) -> None:
    path = header.path
    if header.flags & FLAG_MULTIPART:
        raise UnsupportedFileError("Has several parts.", path=path)
    if not header.flags & FLAG_DEEP or header.flags & FLAG_TILED:
        raise UnsupportedFileError(
            "Is not a deep scanline file but a flat image or tiles.", path=path
        )
    if header.text("type") != "deepscanline":
        raise UnsupportedFileError(f"Is of type {header.text('type')!r}.", path=path)
    if header.compression not in _DECODERS:
        raise UnsupportedFileError(f"Is compressed with {header.compression}.", path=path)


class _Chunk(NamedTuple):
    start: int
    counts_bytes: int
    data_bytes: int
    unpacked_bytes: int


def _chunks(data: bytes, header: Header, window: Window, largest_bytes: int) -> list[_Chunk]:
    """Where each line's bytes lie, from top to bottom; every claim checked against the file."""
    path, height = header.path, window.height
    first = header.size_bytes + 8 * height
    if first > len(data):
        raise DamagedFileError(
            f"The table of {height} lines is cut off; the file has {len(data)} bytes.", path=path
        )
    expansion = _EXPANSION[header.compression]
    found: list[_Chunk | None] = [None] * height
    left = len(data) - first
    needed = 4 * window.width * height
    for number, offset in enumerate(struct.unpack_from(f"<{height}Q", data, header.size_bytes)):
        if offset == 0:
            raise DamagedFileError(f"Is incomplete: line {number} was never written.", path=path)
        if not first <= offset <= len(data) - _CHUNK.size:
            raise DamagedFileError(f"Entry {number} of the line table leads out.", path=path)
        y, counts_bytes, data_bytes, unpacked = _CHUNK.unpack_from(data, offset)
        row = y - window.y0
        if not 0 <= row < height or found[row] is not None:
            raise DamagedFileError(f"Line {y} is outside the window or there twice.", path=path)
        left -= _CHUNK.size + counts_bytes + data_bytes
        start = offset + _CHUNK.size
        if left < 0 or start + counts_bytes + data_bytes > len(data):
            raise DamagedFileError(f"Line {y} is cut off or overlaps another.", path=path)
        needed += unpacked
        if not _plausible(counts_bytes, 4 * window.width, expansion) or not _plausible(
            data_bytes, unpacked, expansion
        ):
            raise DamagedFileError(f"Line {y} claims an impossible size.", path=path)
        if needed > largest_bytes:
            raise UnsupportedFileError(
                f"Needs more than {largest_bytes} bytes of memory; raise the limit if this file "
                "is to be trusted.",
                path=path,
            )
        found[row] = _Chunk(start, counts_bytes, data_bytes, unpacked)
    return [chunk for chunk in found if chunk is not None]


def _plausible(packed: int, unpacked: int, expansion: int) -> bool:
    return packed <= unpacked <= expansion * packed


# --- lines to bytes ----------------------------------------------------------------------------


def _encoded_lines(image: DeepImage, channels: list[Samples]) -> Iterator[bytes]:
    """Chunks of all lines.

    ZIPS parts a line into its even and its odd bytes, stores differences + 128, and deflates.
    Every sample has an even number of bytes, so both halves can be taken from the channels
    directly, without laying out the line first.
    """
    counts = image.counts
    height, width = counts.shape
    totals = counts.sum(axis=1, dtype=np.int64)
    planes = [(*_pairs_of(samples), samples.dtype.itemsize // 2) for samples in channels]
    pair_bytes = sum(size for _, _, size in planes)
    longest = 2 * pair_bytes * int(totals.max(initial=0))
    halves = np.empty(max(longest, 4 * width), np.uint8)
    differences = np.empty_like(halves)
    cumulative = np.empty(width, "<i4")
    cumulative_bytes = cumulative.view(np.uint8)
    nothing = np.zeros_like(cumulative_bytes)
    empty_counts = _smaller(_deflated(_parted(nothing, halves), differences, COUNTS_LEVEL), nothing)
    position = 0
    for row in range(height):
        y, number = image.data_window.y0 + row, int(totals[row])
        if not number:
            yield _CHUNK.pack(y, len(empty_counts), 0, 0) + empty_counts
            continue
        np.cumsum(counts[row], out=cumulative)
        packed_counts = _deflated(_parted(cumulative_bytes, halves), differences, COUNTS_LEVEL)
        packed_counts = _smaller(packed_counts, cumulative_bytes)
        half = pair_bytes * number
        start = 0
        for pairs, odd_bytes, size in planes:
            first, last = size * position, size * (position + number)
            stop = start + size * number
            np.copyto(halves[start:stop], pairs[first:last], casting="unsafe")  # even bytes
            halves[half + start : half + stop] = odd_bytes[first:last]
            start = stop
        unpacked = 2 * half
        packed = _deflated(halves[:unpacked], differences, DATA_LEVEL)
        if len(packed) >= unpacked:
            packed = b"".join(
                pairs[size * position : size * (position + number)].tobytes()
                for pairs, _, size in planes
            )
        head = _CHUNK.pack(y, len(packed_counts), len(packed), unpacked)
        yield b"".join((head, packed_counts, packed))
        position += number


def _pairs_of(samples: Samples) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Samples as pairs of bytes, and the second byte of each pair."""
    little = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
    contiguous = np.ascontiguousarray(little)
    return contiguous.view("<u2"), contiguous.view(np.uint8)[1::2]


def _parted(raw: NDArray[np.uint8], halves: NDArray[np.uint8]) -> NDArray[np.uint8]:
    half = raw.size // 2
    halves[:half] = raw[0::2]
    halves[half : raw.size] = raw[1::2]
    return halves[: raw.size]


def _deflated(halves: NDArray[np.uint8], differences: NDArray[np.uint8], level: int) -> bytes:
    out = differences[: halves.size]
    out[0] = halves[0]
    np.subtract(halves[1:], halves[:-1], out=out[1:])
    out[1:] ^= 128  # adding 128 modulo 256
    return zlib.compress(out.data, level)


def _smaller(packed: bytes, raw: NDArray[np.uint8]) -> bytes:
    return packed if len(packed) < raw.size else raw.tobytes()


# --- bytes to lines ----------------------------------------------------------------------------


def _expand(
    packed: bytes, size_bytes: int, compression: str, row: int, window: Window, path: Path | None
) -> NDArray[np.uint8]:
    """Even bytes of a line, then its odd ones."""
    line = f"line {window.y0 + row}"
    expand = _inflated if compression == "zips" else _unrolled
    return _undone(expand(packed, size_bytes, line, path))


def _counts_none(packed: bytes, size_bytes: int, line: str, path: Path | None) -> NDArray[np.uint8]:
    if len(packed) != size_bytes:
        raise DamagedFileError(f"The counts of {line} are cut off.", path=path)
    return np.frombuffer(packed, np.uint8)


def _counts_zips(packed: bytes, size_bytes: int, line: str, path: Path | None) -> NDArray[np.uint8]:
    if len(packed) == size_bytes:
        return np.frombuffer(packed, np.uint8)
    return _joined(_inflated(packed, size_bytes, line, path))


def _counts_rle(packed: bytes, size_bytes: int, line: str, path: Path | None) -> NDArray[np.uint8]:
    if len(packed) == size_bytes:
        return np.frombuffer(packed, np.uint8)
    return _joined(_unrolled(packed, size_bytes, line, path))


_DECODERS = {"none": _counts_none, "zips": _counts_zips, "rle": _counts_rle}


def _joined(values: bytes) -> NDArray[np.uint8]:
    halves = _undone(values)
    half = (halves.size + 1) // 2
    out = np.empty_like(halves)
    out[0::2] = halves[:half]
    out[1::2] = halves[half:]
    return out


def _undone(values: bytes) -> NDArray[np.uint8]:
    """The bytes whose differences + 128 these are: running sums, modulo 256.

    Eight at a time, because numpy's own running sum takes one at a time. In a word of eight bytes
    b0 … b7, the sums b0 + b1, b2 + b3 … stand in four lanes of 16 bits; multiplied by
    1 + 2^16 + 2^32 + 2^48 they are running sums over the lanes, and 8 · 255 does not leave a lane.
    What is then missing is the sum of all words before.
    """
    words = np.frombuffer(values + bytes(-len(values) % 8), "<u8")
    odd = words >> _EIGHT
    odd &= _EVEN_BYTES
    sums = words & _EVEN_BYTES
    sums += odd
    sums *= _LANES
    whole = (sums >> _LAST_LANE).astype(np.uint8)
    before = np.cumsum(whole, dtype=np.uint8)
    before -= whole
    sums += before.astype("<u8") * _LANES
    odd = (sums - odd) & _EVEN_BYTES  # the even bytes: without the odd one behind them
    sums &= _EVEN_BYTES
    sums ^= _OFFSETS  # the sum of i times 128 modulo 256
    sums <<= _EIGHT
    sums |= odd
    return sums.view(np.uint8)[: len(values)]


def _inflated(packed: bytes, size_bytes: int, line: str, path: Path | None) -> bytes:
    inflate = zlib.decompressobj()
    try:
        out = inflate.decompress(packed, size_bytes)
        more = b"" if inflate.eof else inflate.decompress(inflate.unconsumed_tail, 1)
    except zlib.error as error:
        raise DamagedFileError(f"Bad compressed data in {line} ({error}).", path=path) from error
    if len(out) != size_bytes or more or not inflate.eof:
        raise DamagedFileError(f"The data of {line} have another size than stated.", path=path)
    return out


def _unrolled(packed: bytes, size_bytes: int, line: str, path: Path | None) -> bytes:
    """Runs and literals, as RLE stores them: a count below 0 is followed by as many bytes."""
    out = bytearray()
    position, end = 0, len(packed)
    while position < end and len(out) <= size_bytes:
        count = packed[position]
        if count > 127:
            stop = position + 257 - count
            out += packed[position + 1 : stop]
            position = stop
        else:
            out += packed[position + 1 : position + 2] * (count + 1)
            position += 2
    if position != end or len(out) != size_bytes:
        raise DamagedFileError(f"Bad run lengths in {line}.", path=path)
    return bytes(out)


_Planes = list[tuple[NDArray[np.uint8], int]]


def _spread_halves(halves: NDArray[np.uint8], planes: _Planes, position: int, number: int) -> None:
    """Put a line that is parted into even and odd bytes where its samples belong."""
    half = halves.size // 2
    start = 0
    for plane, size in planes:
        low = 2 * size * position
        end = low + 2 * size * number
        stop = start + size * number
        plane[low:end:2] = halves[start:stop]
        plane[low + 1 : end : 2] = halves[half + start : half + stop]
        start = stop


def _spread_raw(raw: NDArray[np.uint8], planes: _Planes, position: int, number: int) -> None:
    """Put an uncompressed line where its samples belong."""
    start = 0
    for plane, size in planes:
        stop = start + 2 * size * number
        plane[2 * size * position : 2 * size * (position + number)] = raw[start:stop]
        start = stop
