"""Flat mattes as files: one picked matte, one file per object, or one layer per object.

A matte is half float in the channel ``A`` alone, which Nuke's Read shows as ``rgba.alpha`` and
every compositing program takes as the alpha of the file; ``rgba`` repeats it in R, G and B (white,
premultiplied) for programs that want a picture. Layers are called after their object and hold one
channel ``A`` each; R, G, B and A of the file itself stay unused, so that Nuke's rgba is clean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from objectid.errors import RequestError
from objectid.filter import Filter
from objectid.flat import write_flat
from objectid.frame import Crop, DeepFrame, FrameFile, decode_coverages, read_frame
from objectid.manifest import Manifest
from objectid.mattes import Matte, pick, pick_others
from objectid.sequence import Report, ignore_progress, over_frames

Kind = Literal["pick", "inverse", "others"]
MatteChannels = Literal["alpha", "rgba"]

MOST_LAYERS = 1000
"""Most layers of one file: a Nuke script holds about 1023 channels."""


def matte_of(file: FrameFile, wanted: Filter, *, kind: Kind = "pick") -> Matte:
    """The matte that a filter picks from a file.

    Args:
        file: what ``read_frame`` returns.
        wanted: which objects.
        kind: ``pick``; ``inverse`` = 1 - pick; ``others`` = all objects except these.

    Returns:
        (H, W) float32 coverage, 0..1, over the display window.
    """
    ids = wanted.select(file.manifest.ids)
    if kind == "others":
        return pick_others(file.frame, ids)
    matte = pick(file.frame, ids)
    return matte if kind == "pick" else 1 - matte


def mattes(
    files: Mapping[int, Path],
    wanted: Filter,
    *,
    kind: Kind = "pick",
    lenient: bool = False,
    processes: int = 1,
    report: Report = ignore_progress,
) -> Iterator[tuple[int, Matte]]:
    """The mattes of a sequence, one after the other.

    Args:
        files: frame number → file, as ``find_result(…).frames``.
        wanted: which objects.
        kind: as in ``matte_of``.
        lenient: as in ``read_frame``.
        processes: how many frames are read at a time.
        report: told about every frame.

    Yields:
        Frame number and (H, W) float32 coverage, 0..1.

    Raises:
        ObjectIdError: a file cannot be read.
    """
    work = partial(_read_matte, wanted=wanted, kind=kind, lenient=lenient)
    yield from over_frames(work, files, stage="pick", processes=processes, report=report)


def _read_matte(frame: int, path: Path, *, wanted: Filter, kind: Kind, lenient: bool) -> Matte:
    return matte_of(read_frame(path, lenient=lenient), wanted, kind=kind)


def write_matte(
    path: str | Path,
    matte: Matte,
    *,
    frame: DeepFrame,
    channels: MatteChannels = "alpha",
    attributes: Mapping[str, str] | None = None,
) -> None:
    """A matte as a flat EXR file.

    Args:
        path: the file.
        matte: (H, W) float32 coverage, 0..1, over the frame's display window.
        frame: the frame it was picked from; its windows and pixel aspect ratio are the file's.
        channels: ``alpha`` writes ``A``, ``rgba`` the same in ``R G B A``.
        attributes: texts for the header.

    Raises:
        StorageError: the file cannot be written.
    """
    pixels = matte.astype(np.float16)
    write_flat(
        path,
        dict.fromkeys("A" if channels == "alpha" else "RGBA", pixels),
        window=frame.display_window,
        pixel_aspect=frame.pixel_aspect,
        attributes=attributes,
    )


def write_layers(
    path: str | Path,
    file: FrameFile,
    *,
    layers: Mapping[str, str],
) -> None:
    """All objects of a frame as one flat EXR file with a layer each.

    Args:
        path: the file.
        file: what ``read_frame`` returns.
        layers: object name → layer, as ``layer_names`` makes them for the whole shot; every layer
            is in the file, also of objects that are not in this frame.

    Raises:
        RequestError: there are no layers or too many.
        StorageError: the file cannot be written.
    """
    if not 0 < len(layers) <= MOST_LAYERS:
        raise RequestError(
            f"A file holds 1 to {MOST_LAYERS} layers, not {len(layers)}. Choose objects with a "
            "filter, or write one file per object."
        )
    crops = dict(decode_coverages(file.frame))
    window = file.frame.display_window
    nothing = Crop(window.y0, window.x0, np.zeros((0, 0), np.float32))
    write_flat(
        path,
        {f"{layers[n]}.A": crops.get(file.manifest.ids.get(n, 0), nothing) for n in layers},
        window=window,
        pixel_aspect=file.frame.pixel_aspect,
        attributes=file.attributes,
    )


def write_objects(
    paths: Mapping[str, Path], file: FrameFile, *, channels: MatteChannels = "alpha"
) -> None:
    """All objects of a frame as one flat EXR file each.

    Args:
        paths: object name → file; objects that are not in this frame get an empty matte.
        file: what ``read_frame`` returns.
        channels: as in ``write_matte``.

    Raises:
        StorageError: a file cannot be written.
    """
    crops = dict(decode_coverages(file.frame))
    window = file.frame.display_window
    nothing = Crop(window.y0, window.x0, np.zeros((0, 0), np.float32))
    for name, path in paths.items():
        crop = crops.get(file.manifest.ids.get(name, 0), nothing)
        write_flat(
            path,
            dict.fromkeys("A" if channels == "alpha" else "RGBA", crop),
            window=window,
            pixel_aspect=file.frame.pixel_aspect,
            attributes={**file.attributes, "objectid/name": name},
        )


def layer_names(manifest: Manifest) -> dict[str, str]:
    """A layer name for every object: letters, digits and ``_``, beginning with a letter.

    The levels of a name are joined by ``_``; a level that the next one begins with is left out, so
    ``/person/person_01`` becomes ``person_01``. Objects that would share a layer get their id
    behind it.
    """
    wanted = {name: _layer_name(name) for name in manifest.ids}
    shared = [layer.lower() for layer in wanted.values()]
    return {
        name: layer if shared.count(layer.lower()) == 1 else f"{layer}_{manifest.ids[name]:06x}"
        for name, layer in wanted.items()
    }


def _layer_name(name: str) -> str:
    levels = [re.sub(r"[^0-9A-Za-z]+", "_", level).strip("_") for level in name.split("/")]
    levels = [level for level in levels if level]
    kept = [
        level
        for level, below in zip(levels, [*levels[1:], ""])
        if not below.startswith(f"{level}_")
    ]
    layer = "_".join(kept)
    return layer if layer[:1].isalpha() else f"object_{layer}".rstrip("_")
