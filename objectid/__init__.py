"""ObjectId: deep EXR files in which every object of a shot is picked by name.

    import objectid

    ids = objectid.object_ids(["/person/person_01", "/car/car_01"])        # name → 24-bit id
    encoded = objectid.encode_coverages(
        [(y0, x0, coverage), …],            # coverage (h, w) float32 0..1 on the plate's pixel grid
        ids=[ids["/person/person_01"], …],  # one id per crop
        display_window=(0, 0, 1920, 1080),  # x0 y0 x1 y1, ends exclusive
        pixel_aspect=1.0,
    )                                       # .frame, .normalised_pixels, .largest_sum
    objectid.write_frame("out/objectid/shot.1001.exr", encoded.frame, manifest=ids,
                         attributes={"segmatte/models": "…"})               # complete or not at all

    file = objectid.read_frame("out/objectid/shot.1001.exr")  # .frame, .manifest, .attributes
    wanted = objectid.compile_filter("person*, -person_03")
    wanted.match(file.manifest.ids)         # names, in the order given
    matte = objectid.pick(file.frame, wanted.select(file.manifest.ids))     # (H, W) float32
    for number, crop in objectid.decode_coverages(file.frame): …            # back to coverages

    records = (objectid.ObjectRecord("/car/car_01", ids["/car/car_01"], category="car",
                                     frames=objectid.frame_runs([1001, 1002]), score=0.8),)
    objectid.write_sidecar("out/shot.manifest.json", objectid.Sidecar(
        "shot", records, {"prompts": […], "provenance": {…}, "rejected": […], "inheritance": […]}))
    objectid.read_sidecar("out/shot.manifest.json").ids

Every error is an ``ObjectIdError``. Names, ids, filter, manifest and sequences need the standard
library only and run inside Nuke; what touches pixels is imported on first use and needs numpy.
The format itself is described in ``SPEC.md``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from objectid.errors import (
    DamagedFileError,
    FilterError,
    ManifestError,
    NewerVersionError,
    ObjectIdError,
    RequestError,
    StorageError,
    UnsupportedFileError,
)
from objectid.filter import Filter, Term, compile_filter, quote
from objectid.header import Window
from objectid.ids import LARGEST_ID, check_name, murmur3_32, object_colour, object_id, object_ids
from objectid.manifest import (
    Manifest,
    ObjectRecord,
    Sidecar,
    frame_runs,
    read_manifest,
    read_sidecar,
    write_sidecar,
)
from objectid.sequence import (
    Progress,
    Result,
    find_result,
    frame_path,
    parse_frames,
    write_atomically,
)

if TYPE_CHECKING:
    from objectid.frame import (
        Crop,
        DeepFrame,
        EncodedFrame,
        FrameFile,
        decode_coverages,
        encode_coverages,
        read_frame,
        write_frame,
    )
    from objectid.mattes import ids_at, pick, pick_others

_PIXEL_NAMES = {
    "Crop": "objectid.frame",
    "DeepFrame": "objectid.frame",
    "EncodedFrame": "objectid.frame",
    "FrameFile": "objectid.frame",
    "decode_coverages": "objectid.frame",
    "encode_coverages": "objectid.frame",
    "read_frame": "objectid.frame",
    "write_frame": "objectid.frame",
    "ids_at": "objectid.mattes",
    "pick": "objectid.mattes",
    "pick_others": "objectid.mattes",
}
"""Public names that need numpy, and the module that is imported on first use."""

__all__ = [
    "LARGEST_ID",
    "Crop",
    "DamagedFileError",
    "DeepFrame",
    "EncodedFrame",
    "Filter",
    "FilterError",
    "FrameFile",
    "Manifest",
    "ManifestError",
    "NewerVersionError",
    "ObjectIdError",
    "ObjectRecord",
    "Progress",
    "RequestError",
    "Result",
    "Sidecar",
    "StorageError",
    "Term",
    "UnsupportedFileError",
    "Window",
    "check_name",
    "compile_filter",
    "decode_coverages",
    "encode_coverages",
    "find_result",
    "frame_path",
    "frame_runs",
    "ids_at",
    "murmur3_32",
    "object_colour",
    "object_id",
    "object_ids",
    "parse_frames",
    "pick",
    "pick_others",
    "quote",
    "read_frame",
    "read_manifest",
    "read_sidecar",
    "write_atomically",
    "write_frame",
    "write_sidecar",
]


def __getattr__(name: str) -> Any:
    """A public name that needs numpy, imported now."""
    if name in _PIXEL_NAMES:
        return getattr(importlib.import_module(_PIXEL_NAMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
