"""Damage done to small files, for the tests and for longer runs by hand.

``python -m tests.unit.objectid.hostile 100000`` reads that many damaged files and says what came
of them; anything but a frame or an ``ObjectIdError`` ends it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import random
import struct
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np

import objectid
from objectid.deepscanline import DeepImage, decode_deep, encode_deep
from objectid.frame import decode_frame, encode_frame
from objectid.header import Window
from tests.unit.objectid.drawn import random_samples

LIMIT = 1 << 22
"""Most bytes a reader may decode here; the whole files are some kilobytes."""
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def small_frame(**changes) -> objectid.DeepFrame:
    """4×2 pixels with three samples."""
    window = Window(0, 0, 4, 2)
    frame = objectid.DeepFrame(
        np.array([[0, 1, 2, 0], [0, 0, 0, 0]], np.int32),
        np.array([5, 5, 9], np.uint32),
        np.array([1, 0.5, 0.25], np.float16),
        window,
        window,
    )
    return dataclasses.replace(frame, **changes)


def small_file() -> bytes:
    """The bytes of a file of ours with 4×2 pixels."""
    return b"".join(encode_frame(small_frame(), manifest={"/a": 5, "/b": 9}))


@functools.cache
def files() -> tuple[bytes, ...]:
    """Sound files of several kinds: ours, and as other programs write them."""
    samples = random_samples(size=(6, 40), most=4)
    window = Window(-3, 2, 37, 8)
    frame = objectid.DeepFrame(**samples, data_window=window, display_window=window)
    ours = b"".join(encode_frame(frame, manifest={f"/n/n_{n}": n for n in range(1, 20)}))
    image = DeepImage(
        samples["counts"],
        {
            "A": samples["alpha"].astype(np.float32),
            "Z": samples["ids"].astype(np.float32)[::-1].copy(),
            "other.id": samples["ids"].astype(np.float32),
        },
        window,
    )
    other = b"".join(encode_deep(image, display_window=window))
    return small_file(), ours, other, recompressed(other, "rle"), recompressed(ours, "none")


def recompressed(data: bytes, compression: str) -> bytes:
    """The same file with another compression: RLE in literals only, or none."""
    header, image = decode_deep(data)
    start = data.index(b"compression\0compression\0") + len(b"compression\0compression\0") + 4
    out = bytearray(data[: header.size_bytes])
    out[start] = {"none": 0, "rle": 1}[compression]
    pack = {"none": bytes, "rle": rle}[compression]
    chunks, position = [], 0
    for row, counts in enumerate(image.counts):
        number = int(counts.sum())
        raw = b"".join(
            samples[position : position + number].tobytes() for samples in image.channels.values()
        )
        packed_counts = pack(np.cumsum(counts, dtype="<i4").tobytes())
        packed = pack(raw)
        chunks.append(
            struct.pack(
                "<iQQQ", image.data_window.y0 + row, len(packed_counts), len(packed), len(raw)
            )
            + packed_counts
            + packed
        )
        position += number
    offset = len(out) + 8 * len(chunks)
    for chunk in chunks:
        out += struct.pack("<Q", offset)
        offset += len(chunk)
    return bytes(out) + b"".join(chunks)


def rle(raw: bytes) -> bytes:
    """Bytes packed into runs and literals, as it is when that is not smaller."""
    half = (len(raw) + 1) // 2
    parted = bytearray(len(raw))
    parted[:half], parted[half:] = raw[0::2], raw[1::2]
    values = bytes([*parted[:1], *((b - a + 128) & 255 for a, b in zip(parted, parted[1:]))])  # noqa: B905, RUF007
    out = bytearray()
    position = 0
    while position < len(values):
        run = 1
        while (
            run < 128
            and values[position : position + 1] * (run + 1) == values[position : position + run + 1]
        ):
            run += 1
        if run > 2:
            out += bytes([run - 1, values[position]])
        else:
            out += bytes([256 - run]) + values[position : position + run]
        position += run
    return bytes(out) if len(out) < len(raw) else raw


def damage(data: bytes, number: random.Random) -> bytes:
    """A file with one to four kinds of damage."""
    out = bytearray(data)
    for _ in range(number.randint(1, 4)):
        place = number.randrange(max(len(out), 1))
        kind = number.randrange(8)
        if kind == 0:
            out[place : place + 1] = bytes([out[place] ^ 1 << number.randrange(8)])
        elif kind == 1:
            out[place : place + 1] = bytes([number.randrange(256)])
        elif kind == 2:
            out[place : place + 4] = struct.pack("<I", number.choice(EXTREMES))
        elif kind == 3:
            out[place : place + 8] = struct.pack(
                "<Q", number.choice(EXTREMES) << number.randrange(33)
            )
        elif kind == 4:
            del out[place:]
        elif kind == 5:
            del out[place : place + number.randrange(1, 40)]
        elif kind == 6:
            start = number.randrange(len(out))
            out[place:place] = out[start : start + number.randrange(1, 60)]
        else:
            start = number.randrange(len(out))
            piece = out[start : start + number.randrange(1, 60)]
            out[place : place + len(piece)] = piece
        if not out:
            break
    return bytes(out)


def outcome(data: bytes) -> str:
    """What reading comes to: ``frame`` or the name of an ``ObjectIdError``."""
    path = Path("hostile.exr")
    try:
        file = decode_frame(data, path=path, largest_bytes=LIMIT)
        objectid.pick(file.frame, [5])
    except objectid.ObjectIdError as error:
        if not error.reason or error.path != path:
            raise AssertionError(f"no path or reason: {error!r}") from error
        return type(error).__name__
    return "frame"


def bomb(size_bytes: int) -> bytes:
    """zlib data that inflate to so many zeros."""
    return zlib.compress(bytes(size_bytes), 9)


def main(number: int, seed: int = 0) -> int:
    """Read damaged files and count what comes of them."""
    source = random.Random(seed)
    seen: collections.Counter[str] = collections.Counter()
    sound = files()
    tracemalloc.start()
    slowest, begin = 0.0, time.perf_counter()
    for _ in range(number):
        data = damage(source.choice(sound), source)
        start = time.perf_counter()
        seen[outcome(data)] += 1
        slowest = max(slowest, time.perf_counter() - start)
    _, peak = tracemalloc.get_traced_memory()
    seconds = time.perf_counter() - begin
    print(f"{number} files in {seconds:.0f} s, slowest {slowest:.3f} s, peak {peak / 1e6:.1f} MB")
    for name, count in seen.most_common():
        print(f"{count:9d}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *map(int, sys.argv[2:3])))
