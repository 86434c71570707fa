"""A figure, and how it is drawn.

An `Actor` is a set of polygons that move with a phase, in *unit* coordinates: 1.0 is a person's
height, a car's or dog's length, a ball's diameter; y points down and y = 1 (0 for things that
hang) is where it touches the ground. The decision to know: polygons are filled into an index map at
a multiple of the wanted size and reduced by area, so alpha is true coverage, and colour comes
premultiplied with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

CATEGORIES = ("person", "car", "dog", "ball")


@dataclass(frozen=True)
class Part:
    """A filled polygon of an actor, nearer than every part before it."""

    points: Floats
    """(P, 2) unit coordinates x, y."""
    material: int
    """Index into the actor's materials."""


@dataclass(frozen=True)
class Actor:
    """One thing that can be placed in a shot."""

    category: str
    """One of `CATEGORIES`, or empty for a thing nobody asks for (an occluder)."""
    pose: Callable[[float], list[Part]]
    """Parts at a phase in radians; periodic in 2π."""
    materials: tuple[Bytes, ...]
    """(n, n, 3) uint8 sRGB tile per material."""
    extent: tuple[float, float, float, float]
    """x0, y0, x1, y1 in units: holds the parts at every phase."""
    anchor: tuple[float, float]
    """The point, in units, that a path carries: where it stands on the ground."""
    pace: float
    """Radians of phase per unit of way gone; per frame when it stands still, times 0.02."""
    light: tuple[float, float] = (0.0, 0.0)
    """Change of brightness across the actor, left to right and top to bottom."""
    mean_color: Floats = field(init=False, repr=False)
    """(3,) float32 0..255: mean colour, for the choice of a contrasting background."""

    def __post_init__(self) -> None:
        image = draw_actor(self, phase=0.0, unit_pixels=32.0)[0].reshape(-1, 4).astype(np.float32)
        total = max(float(image[:, 3].sum()), 1.0)
        object.__setattr__(self, "mean_color", image[:, :3].sum(0) * (255.0 / total))

    @property
    def reach(self) -> float:
        """Largest distance, in units, from x = 0 sideways."""
        return max(abs(self.extent[0]), abs(self.extent[2]))


def draw_actor(
    actor: Actor,
    *,
    phase: float,
    unit_pixels: float,
    squeeze: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> tuple[Bytes, tuple[float, float]]:
    """An actor as a premultiplied picture.

    Args:
        actor: what to draw.
        phase: radians of its cycle.
        unit_pixels: pixels of one unit, vertically.
        squeeze: horizontal pixels per vertical pixel of the same length; 0.5 for 2:1 anamorphic.
        shift: moves the drawing right and down by a part of a pixel, each 0 <= value < 1.

    Returns:
        (h, w, 4) uint8 premultiplied sRGB and alpha, and the x, y of the anchor in it, shift
        not counted.
    """
    x0, y0, x1, y1 = actor.extent
    scale = np.array([unit_pixels * squeeze, unit_pixels], np.float32)
    width = max(1, math.ceil((x1 - x0) * float(scale[0])) + 2)
    height = max(1, math.ceil((y1 - y0) * float(scale[1])) + 2)
    fine = 4 if height < 100 else 3 if height < 300 else 2
    index = np.zeros((height * fine, width * fine), np.uint8)
    origin = np.array([x0, y0], np.float32)
    offset = np.array([1.0 + shift[0], 1.0 + shift[1]], np.float32)
    for part in actor.pose(phase):
        points = ((part.points - origin) * scale + offset) * fine - 0.5
        cv2.fillPoly(index, [np.round(points * 8).astype(np.int32)], part.material + 1, 8, 3)
    picture = np.zeros((height, width, 4), np.float32)
    tile = max(1, round(0.75 * unit_pixels))
    for material, texture in enumerate(actor.materials):
        here = cv2.compare(index, material + 1, cv2.CMP_EQ)
        if not cv2.hasNonZero(here):
            continue
        coverage = cv2.resize(here, (width, height), interpolation=cv2.INTER_AREA)
        cover = coverage.astype(np.float32)[..., None] * (1 / 255)
        picture[..., :3] += cover * _tiled(texture, tile, width, height)
        picture[..., 3:] += cover * 255
    across, down = actor.light
    if across or down:
        ramp = 1 + across * np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
        ramp = ramp + down * np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
        picture[..., :3] = np.minimum(picture[..., :3] * ramp, picture[..., 3:])
    anchor = (
        (actor.anchor[0] - x0) * float(scale[0]) + 1.0,
        (actor.anchor[1] - y0) * float(scale[1]) + 1.0,
    )
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8), anchor


def _tiled(texture: Bytes, tile: int, width: int, height: int) -> Floats:
    """A tile repeated, mirrored, over (height, width), float32."""
    interpolation = cv2.INTER_AREA if tile < texture.shape[0] else cv2.INTER_LINEAR
    small = cv2.resize(texture, (tile, tile), interpolation=interpolation)
    right, below = max(0, width - tile), max(0, height - tile)
    if right or below:
        small = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_REFLECT)
    return np.asarray(small[:height, :width], np.float32)


def measure(pose: Callable[[float], list[Part]]) -> tuple[float, float, float, float]:
    """The box, in units, that holds a pose at every phase."""
    points = np.concatenate(
        [
            part.points
            for phase in np.linspace(0, 2 * math.pi, 13)[:-1]
            for part in pose(float(phase))
        ]
    )
    low, high = points.min(0) - 0.01, points.max(0) + 0.01
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def standing(parts: list[Part]) -> list[Part]:
    """Parts moved up or down until the lowest touches the ground."""
    low = max(float(part.points[:, 1].max()) for part in parts)
    lift = np.array([0.0, 1.0 - low], np.float32)
    return [Part(part.points + lift, part.material) for part in parts]


def mirrored(parts: list[Part], facing: float) -> list[Part]:
    """Parts of a figure that faces right: as they are (1), or turned to the left (-1)."""
    mirror = np.array([facing, 1.0], np.float32)
    return [Part(part.points * mirror, part.material) for part in parts]
