"""Drawn shots of the suite, with their truth: apart from training by seed, half of them by hand.

Every kind stresses one thing a method can get wrong. Training draws from pools with seeds of their
own and never from ``FIRST_SEED`` on; the second style (``plates_heldout``) is unknown to it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.frames import ModelImage
from server.models.oracle import ShotTruth
from server.training.plates import (
    MARGIN,
    TRAINING_STYLE,
    DrawnShot,
    DrawnSprite,
    Look,
    Path2D,
    Role,
    Scene,
    Style,
    draw_shot,
    staged,
)
from server.training.plates_heldout import HELD_OUT_STYLE

FIRST_SEED = 7_000_000
FIRST_FRAME = 1001
KINDS = ("mixed", "crossing", "late", "fast", "return", "crowd")


@dataclass(frozen=True)
class Shot:
    """A drawn shot in memory."""

    name: str
    kind: str
    categories: tuple[str, ...]
    images: tuple[ModelImage, ...] = field(repr=False)
    truth: ShotTruth = field(repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.truth.labels.shape[1], self.truth.labels.shape[2]

    @property
    def prompt(self) -> str:
        """The text prompt that asks for all objects."""
        return ", ".join(self.categories)

    @property
    def labels(self) -> list[NDArray[np.uint8]]:
        """Truth per frame."""
        return [*self.truth.labels]

    def boxes(self, index: int) -> list[tuple[float, float, float, float]]:
        """True boxes of a position, ends exclusive, in the order of ids."""
        plane = self.truth.labels[index]
        found = []
        for number in np.unique(plane[plane > 0]):
            ys, xs = np.nonzero(plane == number)
            found.append((float(xs.min()), float(ys.min()), xs.max() + 1.0, ys.max() + 1.0))
        return found

    def write(self, folder: Path) -> Path:
        """Write the frames as JPEG files numbered from 0, as the official predictor wants them."""
        folder.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(self.images):
            Image.fromarray(image.pixels).save(folder / f"{index:05d}.jpg", quality=95)
        return folder


@functools.lru_cache(maxsize=64)
def draw(kind: str, number: int, *, size: tuple[int, int], frames: int) -> Shot:
    """One shot.

    Args:
        kind: one of ``KINDS``.
        number: which of its kind; odd ones are drawn in the second style.
        size: (H, W) in pixels.
        frames: length.
    """
    style = HELD_OUT_STYLE if number % 2 else TRAINING_STYLE
    seed = FIRST_SEED + 100 * KINDS.index(kind) + number
    if kind == "mixed":
        drawn = draw_shot(seed, size=size, frames=frames, level=0.9, style=style)
    else:
        drawn = _stage(kind, seed, style=style, size=size, frames=frames)
    return of(drawn, name=f"{kind} {number}", kind=kind)


def draw_many(kinds: Sequence[str], *, each: int, size: tuple[int, int], frames: int) -> list[Shot]:
    """Some of every kind, in turn."""
    return [
        draw(kind, number, size=size, frames=frames) for number in range(each) for kind in kinds
    ]


def of(drawn: DrawnShot, *, name: str, kind: str) -> Shot:
    """A drawn shot brought into memory."""
    images, labels = [], []
    for frame in drawn:
        images.append(ModelImage(FIRST_FRAME + frame.index, frame.pixels))
        labels.append(frame.labels())
    truth = ShotTruth(
        frames=tuple(range(FIRST_FRAME, FIRST_FRAME + len(drawn))),
        labels=np.stack(labels),
        categories=tuple(item.category for item in drawn.objects),
    )
    categories = tuple(dict.fromkeys(item.category for item in drawn.objects))
    return Shot(name, kind, categories, tuple(images), truth)


def _stage(kind: str, seed: int, *, style: Style, size: tuple[int, int], frames: int) -> DrawnShot:
    rng = np.random.default_rng([seed, 3])
    height, width = size
    background = style.background(
        rng,
        size=(round(height * (1 + 2 * MARGIN)), round(width * (1 + 2 * MARGIN))),
        level=0.6,
    )
    paths = _PATHS[kind](rng, frames)
    roles = [
        _cast(number, category, unit, path, rng=rng, style=style)
        for number, (category, unit, path) in enumerate(paths, 1)
    ]
    roles.sort(key=lambda role: role.path.y)
    look = Look(pan=(0.0008, 0.0), shutter=0.4, softness=0.4, grain=2.5)
    scene = Scene(size, (seed, 13), background, tuple(roles), look)
    return staged(scene, frames=frames)


def _cast(
    number: int,
    category: str,
    unit: float,
    path: Path2D,
    *,
    rng: np.random.Generator,
    style: Style,
) -> Role:
    sprite = DrawnSprite(style.actors[category](rng))
    phase = float(rng.uniform(0, 2 * math.pi))
    return Role(number, sprite, path, unit, phase, flip=path.vx < 0, shadow=0.3)


_Cast = list[tuple[str, float, Path2D]]


def people(count: int, *, seed: int, size: tuple[int, int], frames: int) -> Shot:
    """A given number of people side by side who walk a little and stay in view."""
    rng = np.random.default_rng([FIRST_SEED, seed])
    rows = 1 if count <= 5 else 2
    columns = -(-count // rows)
    unit = 0.62 if rows == 1 else 0.4
    background = TRAINING_STYLE.background(
        rng,
        size=tuple(round(v * (1 + 2 * MARGIN)) for v in size),  # type: ignore[arg-type]
        level=0.0,
    )
    roles = []
    for number in range(count):
        x = (number % columns + 0.5) / columns
        y = (0.9 if rows == 1 else (0.48, 0.96)[number // columns]) + 0.02
        path = Path2D(x, y, sway=0.25 / columns, sway_period=90, start=float(rng.uniform(0, 90)))
        roles.append(_cast(number + 1, "person", unit, path, rng=rng, style=TRAINING_STYLE))
    scene = Scene(size, (FIRST_SEED, seed), background, tuple(roles), Look(grain=1.5))
    return of(staged(scene, frames=frames), name=f"{count} people", kind="people")


def _crossing(rng: np.random.Generator, frames: int) -> _Cast:
    """Four people, two by two, pass each other in the middle of the shot; a dog runs through."""
    cast: _Cast = []
    for index in range(4):
        way = 1.0 if index % 2 else -1.0
        meet = frames * rng.uniform(0.35, 0.65)
        speed = way * rng.uniform(0.006, 0.011)
        y = 0.86 + 0.04 * index
        path = Path2D(float(0.5 - speed * meet), y, vx=float(speed))
        cast.append(("person", float(rng.uniform(0.45, 0.6)), path))
    cast.append(("dog", 0.28, Path2D(-0.1, 0.97, vx=float(1.2 / frames))))
    return cast


def _late(rng: np.random.Generator, frames: int) -> _Cast:
    """One person is there; a car and three more arrive one after the other."""
    cast: _Cast = [("person", 0.5, Path2D(0.5, 0.88, sway=0.05, sway_period=50))]
    for index in range(4):
        moment = frames * (0.2 + 0.18 * index) + float(rng.uniform(-2, 2))
        way = 1.0 if index % 2 else -1.0
        speed = float(rng.uniform(0.012, 0.018))
        edge = (-0.15 if way > 0 else 1.15) - way * speed * moment
        category = "car" if index == 1 else "person"
        cast.append((category, 0.42, Path2D(edge, 0.8 + 0.05 * index, vx=way * speed)))
    return cast


def _fast(rng: np.random.Generator, frames: int) -> _Cast:
    """A ball and a dog cross the whole picture within a second; a person runs; one stands."""
    return [
        ("ball", 0.2, Path2D(0.1, 0.8, sway=0.5, sway_period=32, bounce=0.3, bounce_period=13)),
        ("dog", 0.3, Path2D(0.5, 0.94, sway=0.55, sway_period=46, start=float(rng.uniform(0, 9)))),
        ("person", 0.5, Path2D(0.5, 0.88, sway=0.45, sway_period=64)),
        ("person", 0.55, Path2D(0.3, 0.92, sway=0.01, sway_period=40)),
    ]


def _return(rng: np.random.Generator, frames: int) -> _Cast:
    """Two people and a car leave the picture and come back, one person stays."""
    cast: _Cast = [("person", 0.55, Path2D(0.42, 0.9, sway=0.02, sway_period=44))]
    for index, category in enumerate(("person", "car", "person")):
        side = float(index % 2)
        period = frames * float(rng.uniform(0.7, 1.1))
        path = Path2D(
            side,
            0.82 + 0.05 * index,
            sway=0.3 + 0.06 * index,
            sway_period=period,
            start=period * float(rng.uniform(0.0, 0.5)),
        )
        cast.append((category, 0.42, path))
    return cast


def _crowd(rng: np.random.Generator, frames: int) -> _Cast:
    """Thirty people in three rows who mill about."""
    cast: _Cast = []
    for index in range(30):
        row, column = divmod(index, 10)
        x = (column + 0.5 + float(rng.normal(0, 0.08))) / 10
        path = Path2D(
            x,
            0.42 + 0.25 * row,
            vx=float(rng.normal(0, 0.0009)),
            sway=0.02,
            sway_period=float(rng.uniform(40, 80)),
            start=float(rng.uniform(0, 40)),
        )
        cast.append(("person", 0.26 + 0.02 * row, path))
    return cast


_PATHS = {
    "crossing": _crossing,
    "late": _late,
    "fast": _fast,
    "return": _return,
    "crowd": _crowd,
}
