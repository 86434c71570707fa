"""Writes plates for the tests of server.frames."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import OpenImageIO
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
OIIOTOOL = Path(OpenImageIO.__file__).parent / "bin" / "oiiotool"


def write_image(
    path: Path,
    pixels: np.ndarray,
    *,
    sample: str = "half",
    origin: tuple[int, int] = (0, 0),
    display: tuple[int, int, int, int] | None = None,
    **attributes: float | str | tuple[float, ...],
) -> None:
    """Write (H, W, 3) float32 in 0..1 or linear.

    Args:
        path: the file; its suffix chooses the format.
        pixels: (H, W, 3).
        sample: stored number format.
        origin: x, y of the data window.
        display: x, y, width, height of the display window.
        attributes: metadata; ``__`` stands for ``:``.
    """
    height, width, count = pixels.shape
    spec = OpenImageIO.ImageSpec(width, height, count, sample)
    spec.x, spec.y = origin
    full = display or (*origin, width, height)
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = full
    for key, value in attributes.items():
        if isinstance(value, tuple):
            spec.attribute(key.replace("__", ":"), f"float[{len(value)}]", value)
        else:
            spec.attribute(key.replace("__", ":"), value)
    output = OpenImageIO.ImageOutput.create(str(path))
    assert output is not None
    assert output.open(str(path), spec), output.geterror()
    assert output.write_image(np.ascontiguousarray(pixels, np.float32)), output.geterror()
    output.close()


def write_sequence(
    folder: Path, frames: Iterable[int], *, size: tuple[int, int] = (6, 8), sample: str = "half"
) -> None:
    """Write one flat picture a frame, red = frame % 10 / 10."""
    for frame in frames:
        number = f"-{-frame:03d}" if frame < 0 else f"{frame:04d}"
        pixels = np.full((*size, 3), 0.25, np.float32)
        pixels[..., 0] = frame % 10 / 10
        write_image(folder / f"plate.{number}.exr", pixels, sample=sample)


def samples(name: str) -> Path:
    """A folder of sample files from public projects; skips where they are absent."""
    root = Path(os.environ.get("SEGMATTE_SAMPLES") or REPOSITORY.parent / "shared" / "samples")
    if not (root / name).is_dir():
        pytest.skip(f"no sample files in {root / name}; set SEGMATTE_SAMPLES to their folder")
    return root / name


def scene(size: tuple[int, int] = (54, 96)) -> np.ndarray:
    """A smooth scene-linear ACEScg picture from deep shadow to four stops over white."""
    import cv2

    random = np.random.default_rng(5)
    stops = cv2.resize(random.uniform(-6, 6, (5, 7)).astype(np.float32), size[::-1])
    tint = cv2.resize(random.uniform(0.5, 1.2, (4, 6, 3)).astype(np.float32), size[::-1])
    linear: np.ndarray = 0.18 * np.exp2(stops)[..., None] * tint
    return linear
