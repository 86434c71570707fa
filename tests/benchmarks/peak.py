"""One piece of work in a process of its own; prints its peak memory as JSON. See ``memory``.

python -m tests.benchmarks.peak shot FRAMES | objects COUNT | deliver WIDTH HEIGHT OBJECTS
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from server.deliver import coverages
from server.deliver.coverage import EdgeSettings
from server.models import load_detector, load_segmenter
from server.models.oracle import OracleDetector, OracleSegmenter, ShotTruth
from server.pipeline import ShotRequest, run_shot
from server.track import FULL, MaskCache
from tests.benchmarks.measure import one_thread
from tests.benchmarks.models import FixedModels, write_pictures
from tests.flat_plates import CAST, SIZE, picture


def peak_mib() -> float:
    """Most memory this process ever held; unlike ``ru_maxrss`` it knows nothing of its parent."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def shot(frames: int) -> None:
    """A whole shot with the fakes, everything delivered."""
    with tempfile.TemporaryDirectory() as folder:
        pixels = (picture(CAST, index % 40, SIZE)[::2, ::2] for index in range(frames))
        plate = write_pictures(pixels, Path(folder) / "plate")
        request = ShotRequest(plate=plate, prompt="person", detector="fake", segmenter="fake")
        models = FixedModels(load_detector("fake"), load_segmenter("fake"))
        run_shot(request, Path(folder) / "out", models=models)


def objects(count: int) -> None:
    """Some frames of the full working size with many objects, sixteen at once in the model."""
    height, width, frames = 576, 1024, 12
    labels = np.zeros((frames, height, width), np.uint8)
    for index in range(frames):
        for number in range(count):
            row, column = divmod(number, 10)
            y, x = row * 110 + 10, column * 100 + 10 + index
            labels[index, y : y + 90, x : x + 70] = number + 1
    truth = ShotTruth(tuple(range(frames)), labels, ("person",) * count)
    with tempfile.TemporaryDirectory() as folder:
        plate = write_pictures(
            (np.repeat(plane[..., None], 3, axis=2) for plane in labels), Path(folder) / "plate"
        )
        request = ShotRequest(plate=plate, prompt="person", detector="oracle", segmenter="oracle")
        models = FixedModels(OracleDetector(truth), OracleSegmenter(truth, objects_per_batch=16))
        run_shot(request, Path(folder) / "out", models=models)


def deliver(width: int, height: int, count: int) -> None:
    """One frame from its cache to its file, with soft discs all over."""
    from objectid import encode_coverages, write_frame
    from objectid.frame import Crop, Window

    working = (round(1024 * height / width), 1024)
    cache = MaskCache.empty(1, working)
    ys, xs = np.mgrid[0 : working[0], 0 : working[1]].astype(np.float32)
    for layer in range(1, count + 1):
        row, column = divmod(layer - 1, 10)
        distance = np.hypot(ys - 55 - row * 105, xs - 52 - column * 102)
        answer = (FULL / (1 + np.exp((distance - 55) / 1.5))).astype(np.uint16)
        cache.merge([answer[None]], layers=[layer], groups=[0], margins=[0])
    found = coverages(cache, plate_size=(height, width), settings=EdgeSettings(), rank={})
    encoded = encode_coverages(
        [Crop(one.y, one.x, one.pixels) for one in found],
        ids=[one.layer for one in found],
        display_window=Window(0, 0, width, height),
        pixel_aspect=1.0,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.exr"
        manifest = {f"/person/person_{one.layer:02d}": one.layer for one in found}
        write_frame(path, encoded.frame, manifest=manifest, attributes={})


WORK: dict[str, Callable[..., None]] = {"shot": shot, "objects": objects, "deliver": deliver}

if __name__ == "__main__":
    one_thread()
    WORK[sys.argv[1]](*map(int, sys.argv[2:]))
    print(json.dumps({"peak_mib": peak_mib()}))
