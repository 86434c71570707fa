"""Material for training: a library of figures and sets drawn once, and scenes composed of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from server.errors import InputError
from server.training.figures import CATEGORIES, Actor, Bytes, Floats, draw_actor
from server.training.plates.scenes import MARGIN, Scene, Sprite
from server.training.plates.shots import TRAINING_STYLE, Style
from server.training.plates.staging import stage

POOL_UNIT_PIXELS = {"person": 150.0, "car": 130.0, "dog": 110.0, "ball": 56.0, "": 130.0}
_POOL_PHASES = {"person": 12, "car": 3, "dog": 10, "ball": 6, "": 1}
_POOL_SHARE = {"person": 0.5, "car": 0.17, "dog": 0.13, "ball": 0.12, "": 0.08}
_POOL_BACKGROUND = 384


@dataclass(frozen=True)
class PooledSprite:
    """A sprite from drawings made beforehand; whole pixels and nearest phase only."""

    category: str
    pace: float
    mean_color: Floats
    reach: float
    anchor: tuple[float, float]
    unit_pixels: float
    drawings: Bytes = field(repr=False)
    """(F, h, w, 4) uint8 premultiplied."""

    def image(
        self, *, phase: float, unit_pixels: float, squeeze: float, shift: tuple[float, float]
    ) -> tuple[Bytes, tuple[float, float]]:
        """See `Sprite`; `shift` is left out."""
        count, height, width = self.drawings.shape[:3]
        number = round(phase / (2 * math.pi) * count) % count
        scale = unit_pixels / self.unit_pixels
        w, h = max(2, round(width * scale * squeeze)), max(2, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = cv2.resize(self.drawings[number], (w, h), interpolation=method)
        return picture, (self.anchor[0] * w / width, self.anchor[1] * h / height)


def make_pool(
    folder: Path, *, sprites: int, backgrounds: int, seed: int, style: Style = TRAINING_STYLE
) -> None:
    """Draw a library of figures and sets that training composes its scenes from.

    Args:
        folder: made if missing; ``sprites.npz`` and ``pixels.npy``, ``backgrounds.npy`` in it.
        sprites: number of figures, all categories together.
        backgrounds: number of sets; the even ones are smooth.
        seed: the same seed draws the same pool.
        style: how things are drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(_POOL_SHARE)
    shares = np.array([_POOL_SHARE[name] for name in names])
    chunks: list[Bytes] = []
    rows: list[tuple[float, ...]] = []
    start = 0
    for number in range(sprites):
        rng = np.random.default_rng([seed, 0, number])
        name = names[int(rng.choice(len(names), p=shares))]
        actor = style.actors[name](rng) if name else style.thing(rng)
        unit = POOL_UNIT_PIXELS[name]
        drawings, anchor = _cycle(actor, phases=_POOL_PHASES[name], unit_pixels=unit)
        rows.append(
            (
                names.index(name),
                start,
                *drawings.shape[:3],
                *anchor,
                actor.pace,
                actor.reach,
                unit,
                *actor.mean_color.tolist(),
            )
        )
        chunks.append(drawings.reshape(-1))
        start += drawings.size
    sets = [
        style.background(
            np.random.default_rng([seed, 1, number]),
            size=(_POOL_BACKGROUND, _POOL_BACKGROUND),
            level=float(number % 2),
        )
        for number in range(backgrounds)
    ]
    np.save(folder / "pixels.npy", np.concatenate(chunks))
    np.save(folder / "backgrounds.npy", np.stack(sets))
    np.savez(folder / "sprites.npz", table=np.array(rows, np.float64), names=np.array(names))


def _cycle(actor: Actor, *, phases: int, unit_pixels: float) -> tuple[Bytes, tuple[float, float]]:
    """(F, h, w, 4) pictures of an actor over its phases, and the anchor in them."""
    drawn = [
        draw_actor(actor, phase=2 * math.pi * phase / phases, unit_pixels=unit_pixels)
        for phase in range(phases)
    ]
    return np.stack([picture for picture, _ in drawn]), drawn[-1][1]


class SpritePool:
    """A library made by `make_pool`, mapped into memory and shared between processes."""

    def __init__(self, folder: Path) -> None:
        """Open a pool.

        Raises:
            InputError: the folder holds no pool.
        """
        try:
            with np.load(folder / "sprites.npz") as index:
                table, names = index["table"], [str(name) for name in index["names"]]
            pixels = np.load(folder / "pixels.npy", mmap_mode="r")
            self._backgrounds = np.load(folder / "backgrounds.npy", mmap_mode="r")
        except OSError as error:
            raise InputError(
                f"Expected a sprite pool in {folder}, found none ({error}). "
                "Draw one with `python -m server.training plates --pool`."
            ) from error
        self._sprites: dict[str, list[PooledSprite]] = {name: [] for name in names}
        for row in table:
            start, *shape = (int(value) for value in row[1:5])
            drawings = pixels[start : start + math.prod(shape) * 4].reshape(*shape, 4)
            sprite = PooledSprite(
                category=names[int(row[0])],
                pace=float(row[7]),
                reach=float(row[8]),
                mean_color=row[10:13].astype(np.float32),
                anchor=(float(row[5]), float(row[6])),
                unit_pixels=float(row[9]),
                drawings=drawings,
            )
            self._sprites[sprite.category].append(sprite)

    def scene(
        self,
        seed: Sequence[int],
        *,
        size: tuple[int, int],
        level: float,
        frames: int = 48,
        aspect: float = 1.0,
    ) -> Scene:
        """A new scene of sprites from the pool.

        Args:
            seed: numbers that choose everything.
            size: H, W in pixels.
            level: share of hard material, see `draw_shot`.
            frames: length the paths are planned for.
            aspect: width by height of the picture as seen; the pixels are squeezed to `size`.
        """
        rng = np.random.default_rng(list(seed))
        height, width = size
        hard = int(rng.random() < level)
        number = int(rng.integers(0, len(self._backgrounds) // 2)) * 2 + hard
        side = self._backgrounds.shape[1]
        part = int(rng.uniform(0.55, 1.0) * side)
        y, x = rng.integers(0, side - part + 1, 2)
        shape = (round(width * (1 + 2 * MARGIN)), round(height * (1 + 2 * MARGIN)))
        backdrop = self._backgrounds[number, y : y + part, x : x + part]
        backdrop = cv2.resize(np.ascontiguousarray(backdrop), shape, interpolation=cv2.INTER_AREA)
        if rng.random() < 0.5:
            backdrop = np.ascontiguousarray(backdrop[:, ::-1])

        def find(category: str) -> Sprite:
            shelf = self._sprites[category]
            return shelf[int(rng.integers(0, len(shelf)))]

        roles, look = stage(
            rng,
            frames=frames,
            level=float(hard),
            aspect=aspect,
            categories=CATEGORIES,
            find=find,
            mean_background=backdrop.reshape(-1, 3)[::17].mean(0).astype(np.float32),
        )
        order = rng.permutation(3)
        look = replace(look, channels=(int(order[0]), int(order[1]), int(order[2])))
        squeeze = width / height / aspect
        return Scene(size, tuple(int(value) for value in seed), backdrop, roles, look, squeeze)
