"""Small drawn shots whose coverages are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import objectid

NAMES = ("/person/person_01", "/person/person_02", "/car/car_01")
SIZE = (54, 96)
"""(H, W) of the display window."""


def disc(*, y: float, x: float, radius: float, size=SIZE, softness: float = 4.0) -> np.ndarray:
    """(H, W) float32 coverage of a soft disc."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    distance = np.hypot(rows - y, columns - x) - radius
    return np.clip(0.5 - distance / softness, 0, 1).astype(np.float32)


def coverages(names=NAMES, *, seed: int = 0, shift: float = 0.0, size=SIZE) -> dict:
    """name → (H, W) coverage; discs that overlap."""
    random = np.random.default_rng(seed)
    found = {}
    for name in names:
        y, x = random.uniform(0.3, 0.7, 2) * size
        found[name] = disc(y=y, x=x + shift, radius=random.uniform(0.1, 0.3) * size[0], size=size)
    return found


def normalised(found: dict) -> dict:
    """The coverages a file can hold: divided by their sum where that is above 1."""
    total = np.maximum(sum(found.values()), 1)
    return {name: coverage / total for name, coverage in found.items()}


def encode(found: dict, ids=None, **options) -> objectid.EncodedFrame:
    """A frame of full-size coverages."""
    ids = objectid.object_ids(found) if ids is None else ids
    height, width = next(iter(found.values())).shape if found else SIZE
    options.setdefault("display_window", (0, 0, width, height))
    return objectid.encode_coverages(
        [(0, 0, coverage) for coverage in found.values()],
        ids=[ids[name] for name in found],
        **options,
    )


def write_shot(folder: Path, names=NAMES, *, frames=range(1001, 1005), seed: int = 0) -> dict:
    """A result folder; name → id."""
    ids = objectid.object_ids(names)
    for frame in frames:
        found = coverages(names, seed=seed, shift=2.0 * (frame - frames[0]))
        objectid.write_frame(
            folder / "objectid" / f"shot.{frame}.exr",
            encode(found, ids).frame,
            manifest=ids,
            attributes={"segmatte/models": "drawn"},
        )
    records = tuple(
        objectid.ObjectRecord(
            name,
            ids[name],
            category=name.split("/")[1],
            frames=objectid.frame_runs(frames),
            score=0.5,
        )
        for name in names
    )
    objectid.write_sidecar(
        folder / "shot.manifest.json",
        objectid.Sidecar("shot", records, {"prompts": ["person, car"]}),
    )
    return ids


def random_samples(*, seed: int = 0, size=(7, 9), most: int = 3) -> dict:
    """Counts and samples of random pixels: ids ascending, alphas 0..1."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, most + 1, size).astype(np.int32)
    ids = np.concatenate(
        [np.sort(random.choice(np.arange(1, 20), n, replace=False)) for n in counts.ravel()]
        or [np.zeros(0)]
    ).astype(np.uint32)
    alpha = random.uniform(0.01, 0.99, ids.size).astype(np.float16)
    return {"counts": counts, "ids": ids, "alpha": alpha}
