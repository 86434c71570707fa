"""Plates of flat rectangles in the fakes' colours, with exact truth, for tests of everything
around the models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813

from server.models.fake import PALETTE

SIZE = (180, 320)


@dataclass(frozen=True)
class Actor:
    """A rectangle that moves at constant speed while it is on."""

    category: str
    number: int
    x: float
    y: float
    width: int
    height: int
    speed: float = 0.0
    first: int = 0
    last: int = 10_000

    def mask(self, index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
        pixels = np.zeros(size, np.bool_)
        if self.first <= index <= self.last:
            x, y = round(self.x + self.speed * index), round(self.y)
            left, right = max(0, x), max(0, min(size[1], x + self.width))
            pixels[y : y + self.height, left:right] = True
        return pixels

    @property
    def colour(self) -> tuple[int, int, int]:
        return PALETTE[self.category][self.number]


CAST = (
    Actor("person", 0, 20, 40, 40, 100, 2.0),
    Actor("person", 1, 220, 50, 36, 100, -2.5),
    Actor("person", 2, -76, 30, 34, 90, 3.0),  # enters mid-shot
    Actor("car", 0, 90, 120, 90, 40, 1.0),
)


def picture(actors: tuple[Actor, ...], index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The frame, later actors in front; (H, W, 3) uint8."""
    pixels = np.full((*size, 3), 90, np.uint8)
    for actor in actors:
        pixels[actor.mask(index, size)] = actor.colour
    return pixels


def visible(actors: tuple[Actor, ...], which: int, index: int) -> np.ndarray:
    """Pixels of one actor that nobody stands in front of."""
    pixels = actors[which].mask(index)
    for other in actors[which + 1 :]:
        pixels &= ~other.mask(index)
    return pixels


def write_flat_plate(
    folder: Path,
    *,
    frames: int,
    actors: tuple[Actor, ...] = CAST,
    name: str = "flat",
    first: int = 1001,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Write the plate as PNG; returns its pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(frames):
        output = oiio.ImageOutput.create("x.png")
        output.open(
            str(folder / f"{name}.{first + index:04d}.png"),
            oiio.ImageSpec(size[1], size[0], 3, "uint8"),
        )
        output.write_image(picture(actors, index, size))
        output.close()
    return folder / f"{name}.####.png"
