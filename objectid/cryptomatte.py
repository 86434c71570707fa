"""Cryptomatte 1.2.0 out of ObjectId frames: the node for it is in every compositor's Nuke.

Per pixel the objects by falling coverage, two ranks to a layer; an object's id is the hash of its
name, reinterpreted as float32. Coverages add up to at most 1. A pixel with more objects than ranks
loses the weakest.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from objectid.errors import RequestError
from objectid.flat import write_flat
from objectid.frame import DeepFrame, first_samples, tidied
from objectid.ids import murmur3_32
from objectid.manifest import Manifest
from objectid.mattes import on_display
from objectid.sequence import write_atomically

DEFAULT_LAYER = "CryptoObject"
"""Name of the layers: the one that the Cryptomatte node looks for first."""
DEFAULT_RANKS = 6


def cryptomatte_id(name: str) -> int:
    """The bits of the float32 that stands for a name.

    Exponents 0 and 255 would be denormal, infinite or no number, so one bit is turned over.
    """
    bits = murmur3_32(name.encode("utf-8"))
    return bits ^ 1 << 23 if bits >> 23 & 255 in (0, 255) else bits


def write_cryptomatte(
    path: str | Path,
    frame: DeepFrame,
    *,
    manifest: Manifest,
    layer: str = DEFAULT_LAYER,
    ranks: int = DEFAULT_RANKS,
    sidecar: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """One frame as a Cryptomatte file.

    Args:
        path: the flat EXR file.
        frame: the samples.
        manifest: names of all objects of the shot.
        layer: name of the Cryptomatte layer.
        ranks: how many objects a pixel can hold, an even number.
        sidecar: file name of the manifest beside the file, as ``write_cryptomatte_sidecar`` makes
            it; without one the manifest is embedded.
        attributes: further texts for the header.

    Raises:
        RequestError: the layer or the ranks are not usable, or two names have one hash.
        StorageError: the file cannot be written.
    """
    if ranks < 2 or ranks % 2:
        raise RequestError(f"Cryptomatte has an even number of ranks, not {ranks}.")
    if not layer or not all(sign.isalnum() or sign == "_" for sign in layer):
        raise RequestError(f"Layer name {layer!r} needs letters, digits and '_' only.")
    key = f"cryptomatte/{murmur3_32(layer.encode('utf-8')):08x}"[: len("cryptomatte/") + 7]
    texts = {
        **(attributes or {}),
        f"{key}/name": layer,
        f"{key}/hash": "MurmurHash3_32",
        f"{key}/conversion": "uint32_to_float32",
    }
    if sidecar is None:
        texts[f"{key}/manifest"] = _manifest_json(manifest)
    else:
        texts[f"{key}/manif_file"] = sidecar
    channels = {}
    for rank, (numbers, coverage) in enumerate(_ranked(frame, manifest, ranks)):
        first, second = ("R", "G") if rank % 2 == 0 else ("B", "A")
        channels[f"{layer}{rank // 2:02d}.{first}"] = numbers
        channels[f"{layer}{rank // 2:02d}.{second}"] = coverage
    write_flat(
        path,
        channels,
        window=frame.display_window,
        pixel_aspect=frame.pixel_aspect,
        attributes=texts,
    )


def write_cryptomatte_sidecar(path: str | Path, manifest: Manifest) -> None:
    """The manifest of a Cryptomatte sequence as a file beside it; its name ends in ``.json``."""
    write_atomically(Path(path), [_manifest_json(manifest).encode("utf-8")])


def _manifest_json(manifest: Manifest) -> str:
    table: dict[str, str] = {}
    owner: dict[int, str] = {}
    for name in manifest.ids:
        bits = cryptomatte_id(name)
        if bits in owner:
            raise RequestError(
                f"Names {owner[bits]!r} and {name!r} have the same Cryptomatte hash. Rename one."
            )
        owner[bits] = name
        table[name] = f"{bits:08x}"
    return json.dumps(table, ensure_ascii=False, separators=(",", ":"))


def _ranked(
    frame: DeepFrame, manifest: Manifest, ranks: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Per rank: id bits as float32 and coverage, (H, W) over the display window."""
    frame = tidied(frame)
    names = manifest.names
    present = frame.present
    unnamed = [number for number in present if number not in names]
    if unnamed:
        raise RequestError(f"Samples have id {unnamed[0]}, which the manifest does not name.")
    bits = [struct.pack("<I", cryptomatte_id(names[number])) for number in present]
    values = np.frombuffer(b"".join(bits), "<f4")
    counts = frame.counts.ravel()
    visible = frame.visible()
    pixels = np.repeat(np.arange(counts.size), counts)
    if frame.alpha_mode == "coverage":
        sums = np.bincount(pixels, weights=visible, minlength=counts.size)
        visible = (visible / np.maximum(sums, 1)[pixels]).astype(np.float32)
    sample_values = values[np.searchsorted(np.array(present, np.uint32), frame.ids)]
    rank = np.zeros(pixels.size, np.int64)
    shared = np.flatnonzero(counts[pixels] > 1)
    order = shared[np.lexsort((-visible[shared], pixels[shared]))]
    starts = first_samples(counts)
    # Samples of a pixel stay together when sorted, so the place in the sorted run is the rank.
    rank[order] = shared - starts[pixels[shared]]
    for number in range(ranks):
        chosen = rank == number
        numbers, coverage = (np.zeros(counts.size, np.float32) for _ in range(2))
        numbers[pixels[chosen]] = sample_values[chosen]
        coverage[pixels[chosen]] = visible[chosen]
        yield (
            on_display(numbers.reshape(frame.counts.shape), frame),
            on_display(coverage.reshape(frame.counts.shape), frame),
        )
