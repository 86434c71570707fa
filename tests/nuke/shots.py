"""Small ObjectId sequences with known coverages, written with the real writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR

import objectid
from tests.nuke.graph import Deep

NAMES = (
    "/person/person_01",
    "/person/person_02",
    "/person/person_03",
    "/car/car_01",
    "/hero",
    "/hero/dress",
)


def write_shot(
    folder: Path, *, frames=(1001,), size=(40, 64), names=NAMES, seed=0, ids=None, sidecar=None
):
    """Random soft ellipses, one per name; the pattern of the sequence comes back."""
    random = np.random.default_rng(seed)
    ids = ids or objectid.object_ids(names)
    h, w = size
    for frame in frames:
        crops = []
        for _ in names:
            y, x = random.uniform(5, h - 5), random.uniform(5, w - 5)
            ry, rx = random.uniform(4, h / 2), random.uniform(4, w / 3)
            yy, xx = np.mgrid[0:h, 0:w] + 0.5
            distance = np.hypot((yy - y) / ry, (xx - x) / rx)
            crops.append((0, 0, np.clip((1.2 - distance) * 2, 0, 1).astype(np.float32)))
        encoded = objectid.encode_coverages(
            crops, ids=[ids[n] for n in names], display_window=(0, 0, w, h), pixel_aspect=1.0
        )
        objectid.write_frame(
            folder / "objectid" / f"shot.{frame:04d}.exr", encoded.frame, manifest=ids
        )
    if sidecar is not None:
        objectid.write_sidecar(folder / "shot.manifest.json", sidecar(ids))
    return folder / "objectid" / "shot.%04d.exr"


def as_nuke_reads(path: Path) -> Deep:
    """The samples of a file by the OpenEXR package, with the names and types Nuke gives them."""
    part = OpenEXR.File(str(path), separate_channels=True).parts[0]
    header = part.header
    (x0, y0), (x1, y1) = (tuple(v) for v in header["dataWindow"])
    (_, _), (right, bottom) = (tuple(v) for v in header["displayWindow"])
    size = (int(bottom) + 1, int(right) + 1)
    pixel, columns = [], {name: [] for name in part.channels}
    arrays = {name: channel.pixels for name, channel in part.channels.items()}
    for row in range(int(y1 - y0) + 1):
        for column in range(int(x1 - x0) + 1):
            count = 0 if arrays["A"][row, column] is None else len(arrays["A"][row, column])
            y, x = row + int(y0), column + int(x0)
            if count and 0 <= y < size[0] and 0 <= x < size[1]:
                pixel += [y * size[1] + x] * count
                for name, values in columns.items():
                    values.append(arrays[name][row, column])
    spelt = {"R": "rgba.red", "G": "rgba.green", "B": "rgba.blue", "A": "rgba.alpha"}
    spelt |= {"Z": "deep.front", "ZBack": "deep.back", "id": "other.id"}
    channels = {
        spelt[name]: np.concatenate(values).astype(np.float32) if values else np.zeros(0, "f4")
        for name, values in columns.items()
    }
    return Deep(size, np.array(pixel, np.int64), channels)


def connect(nuke, pattern: Path, *, class_name="ObjectIdPicker", frame=1001):
    """A DeepRead of a sequence and a node of ours on it, as after creating them in Nuke."""
    nuke.frame(frame)
    read = nuke.createNode("DeepRead")
    read["file"].setValue(str(pattern))
    read.is_deep = True
    stream = as_nuke_reads(objectid.frame_path(pattern, frame))
    read.node_format = type(read.format())(stream.size[1], stream.size[0])
    read.channel_names = [*stream.channels]
    for index, place in enumerate(stream.pixel):
        row, column = divmod(int(place), stream.size[1])
        sample = {name: float(values[index]) for name, values in stream.channels.items()}
        read.samples.setdefault((column, stream.size[0] - 1 - row), []).append(sample)
    node = nuke.createNode(class_name)
    node.setInput(0, read)
    return read, node
