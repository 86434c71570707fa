"""ObjectId files against the OpenEXR package, and against zlib alone.

A 4096×2160 frame of ten soft objects with the full channel set. Both sides start from, or end at,
the same flat arrays of counts, ids and alphas. The package makes a Python object per pixel and
channel, some 13 GB for a whole frame; it works on the frame in four strips, which costs it nothing.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR

import objectid
from objectid.deepscanline import (
    COUNTS_LEVEL,
    DATA_LEVEL,
    LARGEST_BYTES,
    DeepImage,
    _chunks,
    decode_deep,
)
from objectid.header import Window, parse_header
from tests.benchmarks.measure import (
    Part,
    Size,
    Spread,
    Table,
    as_data,
    repeat,
    timed,
)

TITLE = "ObjectId files"
GOALS = {
    "write_cpu_ratio": (">=", 20),
    "read_cpu_ratio": (">=", 15),
    "zlib_wall_ratio": ("<=", 1.5),
    "pick_seconds": ("<=", 0.3),
    "file_to_matte_ratio": (">=", 10),
    "filter_milliseconds": ("<=", 20),
}

_STRIPS = 4
_CHANNELS = ("A", "B", "G", "R", "Z", "id")
_OBJECTS = 10


def soft_objects(height: int, width: int) -> list[tuple[int, int, np.ndarray]]:
    """Crops of ten wobbly ellipses with soft edges, 8 pixels at 1080 lines."""
    random = np.random.default_rng(5)
    softness = 8 * height / 1080
    crops = []
    for number in range(_OBJECTS):
        y, x = random.uniform(0.1, 0.9, 2) * (height, width)
        radii = random.uniform(0.1, 0.27) * height, random.uniform(0.06, 0.15) * width
        top, bottom = max(0, int(y - 1.2 * radii[0])), min(height, int(y + 1.2 * radii[0]))
        left, right = max(0, int(x - 1.2 * radii[1])), min(width, int(x + 1.2 * radii[1]))
        rows = (np.arange(top, bottom, dtype=np.float32)[:, None] - y) / radii[0]
        columns = (np.arange(left, right, dtype=np.float32)[None] - x) / radii[1]
        angle = np.arctan2(rows, columns)
        edge = 1 + 0.06 * np.sin(5 * angle + number) + 0.03 * np.sin(11 * angle)
        distance = (np.hypot(rows, columns) - edge) * min(radii) / softness
        crops.append((top, left, np.clip(0.5 - distance, 0, 1).astype(np.float32)))
    return crops


def zlib_chunks(data: bytes) -> list[tuple[bytes, int]]:
    """What our writer handed to zlib, line by line, and at which level."""
    header = parse_header(io.BytesIO(data), size_bytes=len(data))
    chunks = []
    for chunk in _chunks(data, header, header.window("dataWindow"), LARGEST_BYTES):
        middle = chunk.start + chunk.counts_bytes
        chunks.append((zlib.decompress(data[chunk.start : middle]), COUNTS_LEVEL))
        if chunk.data_bytes:
            packed = data[middle : middle + chunk.data_bytes]
            chunks.append((zlib.decompress(packed), DATA_LEVEL))
    return chunks


def strips(image: DeepImage) -> list[DeepImage]:
    """The image in parts of whole lines."""
    ends = np.cumsum(image.counts.sum(axis=1, dtype=np.int64))
    height = image.counts.shape[0]
    parts = []
    for number in range(_STRIPS):
        top, bottom = height * number // _STRIPS, height * (number + 1) // _STRIPS
        first, last = int(ends[top - 1]) if top else 0, int(ends[bottom - 1])
        channels = {name: image.channels[name][first:last] for name in _CHANNELS}
        window = Window(0, 0, image.data_window.width, bottom - top)
        parts.append(DeepImage(image.counts[top:bottom], channels, window))
    return parts


def package_write(image: DeepImage, path: Path) -> None:
    """Write through the OpenEXR package, beginning with flat arrays."""
    flat = image.counts.ravel()
    at = np.flatnonzero(flat)
    ends = np.cumsum(flat[at]).tolist()
    starts = [0, *ends[:-1]]
    channels = {}
    for name in _CHANNELS:
        values = image.channels[name]
        pixels = np.full(flat.size, None, object)
        views = np.empty(at.size, object)
        views[:] = [values[start:end] for start, end in zip(starts, ends, strict=True)]
        pixels[at] = views
        channels[name] = pixels.reshape(image.counts.shape)
    header = {"type": OpenEXR.deepscanline, "compression": OpenEXR.ZIPS_COMPRESSION}
    OpenEXR.File(header, channels).write(str(path))


def package_read(path: Path, *, flatten: bool) -> tuple[Any, ...]:
    """Read through the OpenEXR package, as far as flat counts, ids and alphas."""
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    if not flatten:
        return ()
    ids, alpha = channels["id"].pixels.ravel(), channels["A"].pixels.ravel()
    counts = np.fromiter((0 if p is None else p.size for p in ids), np.int32, ids.size)
    at = np.flatnonzero(counts)
    return counts, np.concatenate(ids[at]), np.concatenate(alpha[at])


def run(size: Size) -> Part:
    """Measure."""
    height, width = (2160, 4096) if size == "full" else (270, 512)
    runs = 3 if size == "full" else 1
    names = [f"/person/person_{number:02d}" for number in range(_OBJECTS)]
    ids = objectid.object_ids(names)
    frame = objectid.encode_coverages(
        soft_objects(height, width), ids=list(ids.values()), display_window=(0, 0, width, height)
    ).frame
    wanted = list(ids.values())[: _OBJECTS // 2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.exr"
        write = repeat(lambda: objectid.write_frame(path, frame, manifest=ids), runs=runs)
        read = repeat(lambda: objectid.read_frame(path), runs=runs)
        pick = repeat(lambda: objectid.pick(frame, wanted), runs=runs)
        to_matte = repeat(lambda: objectid.pick(objectid.read_frame(path).frame, wanted), runs=runs)
        _, image = decode_deep(path.read_bytes())
        chunks = zlib_chunks(path.read_bytes())
        bare = repeat(lambda: [zlib.compress(*chunk) for chunk in chunks], runs=runs)
        size_bytes = path.stat().st_size
        package = _package(strips(image), Path(folder), wanted)
    filtering = repeat(_filter_many, runs=5)
    values = {
        "write_cpu_ratio": package["write"] / write[0].median,
        "read_cpu_ratio": package["read and flatten"] / read[0].median,
        "read_cpu_ratio_without_flattening": package["read"] / read[0].median,
        "zlib_wall_ratio": write[1].median / bare[1].median,
        "pick_seconds": pick[0].median,
        "file_to_matte_ratio": package["file to matte"] / to_matte[0].median,
        "filter_milliseconds": 1000 * filtering[0].median,
        "samples": int(frame.ids.size),
        "pixels_with_samples": float((frame.counts > 0).mean()),
        "file_bytes": size_bytes,
    }
    rows = [
        ("write", _text(write), f"{package['write']:.1f}", _ratio(values, "write_cpu_ratio")),
        (
            "read",
            _text(read),
            f"{package['read and flatten']:.1f}",
            _ratio(values, "read_cpu_ratio"),
        ),
        ("pick half the objects", _text(pick), "", ""),
        (
            "file to matte",
            _text(to_matte),
            f"{package['file to matte']:.1f}",
            _ratio(values, "file_to_matte_ratio"),
        ),
        ("zlib on the same chunks", _text(bare), "", _ratio(values, "zlib_wall_ratio")),
        ("filter 10 000 names", _text(filtering), "", ""),
    ]
    table = Table(
        f"One frame, {width} × {height}, {values['samples']} samples, CPU seconds",
        ("work", "ours: CPU; wall", "OpenEXR package, CPU", "ratio"),
        tuple(rows),
        (
            "The package: one run after a warm-up on a strip, frame in four strips.",
            "The last ratio is wall time of our write over zlib alone.",
        ),
    )
    return Part(TITLE, tuple(_verdicts(values)), (table,), values=values)


def _package(parts: list[DeepImage], folder: Path, wanted: Any) -> dict[str, float]:
    seconds = dict.fromkeys(("write", "read", "read and flatten", "file to matte"), 0.0)
    paths = [folder / f"strip{number}.exr" for number in range(len(parts))]
    package_write(parts[0], paths[0])
    for part, path in zip(parts, paths, strict=True):
        with timed() as clock:
            package_write(part, path)
        seconds["write"] += clock.cpu
        with timed() as clock:
            package_read(path, flatten=False)
        seconds["read"] += clock.cpu
        start = time.process_time()
        counts, ids, alpha = package_read(path, flatten=True)
        seconds["read and flatten"] += time.process_time() - start
        window = part.data_window
        frame = objectid.DeepFrame(counts.reshape(part.counts.shape), ids, alpha, window, window)
        objectid.pick(frame, wanted)
        seconds["file to matte"] += time.process_time() - start
        if not ((ids == part.channels["id"]).all() and (alpha == part.channels["A"]).all()):
            raise RuntimeError("the package read something else")
    return seconds


def _filter_many() -> int:
    names = [
        f"/{kind}/{kind}_{n:04d}" for kind in ("person", "car", "dog", "tree") for n in range(2500)
    ]
    with_wildcards = objectid.compile_filter("person*, car/*_01*, **_2*, -person_0*")
    return len(with_wildcards.match(names))


def _text(measured: tuple[Spread, Spread]) -> str:
    return f"{measured[0]}; {measured[1].median:.3g}"


def _ratio(values: dict[str, Any], name: str) -> str:
    return f"{values[name]:.3g}"


def _verdicts(values: dict[str, Any]) -> list[str]:
    lines = []
    for name, (relation, goal) in GOALS.items():
        met = values[name] >= goal if relation == ">=" else values[name] <= goal
        lines.append(
            f"{name} {values[name]:.3g}, goal {relation} {goal}: {'met' if met else 'NOT met'}"
        )
    return lines


def main() -> None:
    """The command line; with ``--json`` the ratios are keys of the outermost object."""
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    arguments = parser.parse_args()
    size: Size = "quick" if arguments.quick else "full"
    with timed() as clock:
        part = run(size)
    data = as_data(part, size=size, seconds=clock)
    if arguments.json:
        print(json.dumps({**part.values, **data}))
        return
    from tests.benchmarks.report import as_markdown

    print(as_markdown(data))


if __name__ == "__main__":
    main()
