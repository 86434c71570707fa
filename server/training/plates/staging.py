"""Staging: who appears in a shot, where they go, and what camera looks at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from server.training.figures import Floats
from server.training.plates.scenes import Look, Path2D, Role, Sprite

UNIT_RANGE = {"person": (0.28, 0.8), "car": (0.3, 0.75), "dog": (0.2, 0.5), "ball": (0.1, 0.24)}
"""Size of one unit in frame heights, smallest and largest."""

CATEGORY_SHARE = {"person": 0.45, "car": 0.2, "dog": 0.17, "ball": 0.18}


def stage(
    rng: np.random.Generator,
    *,
    frames: int,
    level: float,
    aspect: float,
    categories: Sequence[str],
    mean_background: Floats,
    find: Callable[[str], Sprite],
) -> tuple[tuple[Role, ...], Look]:
    """Cast and camera of a shot.

    Args:
        rng: source of randomness.
        frames: length the paths are planned for.
        level: 0 few, well separated, contrasting objects that walk; 1 groups, crossings,
            obstacles, entering, leaving, returning, approaching, unsteady and fast cameras.
        aspect: width by height of the picture as seen.
        categories: what may appear.
        mean_background: (3,) mean colour of the set.
        find: gives a new sprite of a category ("" for an obstacle).

    Returns:
        Roles back to front, and the look.
    """
    count = int(rng.integers(2, 5)) if rng.random() >= level else int(rng.integers(2, 8))
    share = np.array([CATEGORY_SHARE[category] for category in categories])
    slots = rng.permutation(count)
    roles: list[tuple[float, Role]] = []
    leader: Path2D | None = None
    for number in range(count):
        category = str(rng.choice(categories, p=share / share.sum()))
        sprite = _contrasting(find, category, against=mean_background, least=45 - 25 * level)
        low, high = UNIT_RANGE[category]
        if level < 0.3:
            high = low + (high - low) * 0.85
        unit = float(np.exp(rng.uniform(math.log(low), math.log(high))))
        moving = "walk"
        if rng.random() < 0.12 + 0.63 * level:
            moving = str(rng.choice(list(_MOVING), p=list(_MOVING.values())))
        x = (slots[number] + rng.uniform(0.25, 0.75)) / count
        y = float(np.clip(0.5 + 0.5 * unit + rng.normal(0, 0.08), unit * 0.8, 1.1))
        speed = float(abs(rng.normal(0, 0.004 + 0.006 * level)) + 0.002)
        path = _path(
            rng,
            Path2D(x, y),
            moving=moving,
            speed=speed * (1.6 if category == "car" else 1.0),
            reach=(sprite.reach + 0.05) * unit / aspect,
            frames=frames,
            leader=leader,
        )
        if category == "ball":
            path = replace(
                path,
                bounce=float(rng.uniform(0, 0.3)) * (rng.random() < 0.6),
                bounce_period=float(rng.uniform(10, 26)),
                start=float(rng.uniform(0, 30)),
            )
        if rng.random() < 0.3 + 0.3 * level:
            path = replace(path, zoom=float(rng.normal(0, 0.004 + 0.006 * level)))
        if moving != "group":
            leader = path
        role = _role(rng, number + 1, sprite=sprite, path=path, unit=unit)
        roles.append((y + float(rng.normal(0, 0.05)), role))
    for _ in range(int(rng.integers(0, 3)) if rng.random() < level else 0):
        obstacle = _obstacle(rng, find)
        roles.append((obstacle.path.y + float(rng.normal(0, 0.1)), obstacle))
    roles.sort(key=lambda pair: pair[0])
    return tuple(role for _, role in roles), _look(rng, level)


_MOVING = {
    "cross": 0.28,
    "enter": 0.18,
    "leave": 0.14,
    "return": 0.16,
    "group": 0.16,
    "still": 0.08,
}
"""What objects do that do not just walk, and how often."""


def _contrasting(
    find: Callable[[str], Sprite], category: str, *, against: Floats, least: float
) -> Sprite:
    """A sprite that differs from the set by `least` in a channel, if one is found soon."""
    sprite = find(category)
    for _ in range(6):
        if float(np.abs(sprite.mean_color - against).max()) > least:
            break
        sprite = find(category)
    return sprite


def _path(
    rng: np.random.Generator,
    path: Path2D,
    *,
    moving: str,
    speed: float,
    reach: float,
    frames: int,
    leader: Path2D | None,
) -> Path2D:
    """A path for what an object does.

    Args:
        rng: source of randomness.
        path: where it stands.
        moving: "walk", or a key of `_MOVING`.
        speed: frame widths per frame, at least.
        reach: frame widths from its anchor to its side.
        frames: length of the shot.
        leader: path of an object before it that others may go with.
    """
    way = 1.0 if rng.random() < 0.5 else -1.0
    path = replace(path, vx=way * speed, vy=float(rng.normal(0, 0.0012)))
    if moving == "still":
        return replace(path, vx=0.0, vy=0.0, sway=0.004)
    if moving == "cross":
        meet = frames * rng.uniform(0.25, 0.75)
        speed = max(speed, float(rng.uniform(0.004, 0.012)))
        return replace(path, x=float(rng.uniform(0.3, 0.7)) - way * speed * meet, vx=way * speed)
    if moving in ("enter", "leave"):
        moment = frames * rng.uniform(0.15, 0.7)
        speed = max(speed, float(rng.uniform(0.006, 0.016)))
        edge = -reach if (way > 0) == (moving == "enter") else 1 + reach
        return replace(path, x=edge - way * speed * moment, vx=way * speed)
    if moving == "return":
        period = frames * rng.uniform(0.9, 1.8) + 12
        side = 0.0 if rng.random() < 0.5 else 1.0
        return replace(
            path,
            x=side,
            vx=0.0,
            sway=reach + float(rng.uniform(0.1, 0.35)),
            sway_period=float(period),
            start=float(rng.uniform(0, period)),
        )
    if moving == "group" and leader is not None:
        return replace(
            leader,
            x=leader.x + float(rng.normal(0, 0.06)),
            y=float(np.clip(leader.y + rng.normal(0, 0.03), 0.2, 1.1)),
        )
    return path


def _role(
    rng: np.random.Generator, number: int, *, sprite: Sprite, path: Path2D, unit: float
) -> Role:
    scheme = (0, 1, 2) if rng.random() < 0.6 else tuple(int(c) for c in rng.permutation(3))
    return Role(
        number,
        sprite,
        path,
        unit,
        phase=float(rng.uniform(0, 2 * math.pi)),
        channels=(scheme[0], scheme[1], scheme[2]),
        shadow=float(rng.uniform(0.15, 0.6)) * (rng.random() < 0.5),
        # A mirrored sprite walks backwards as often as not, which is welcome.
        flip=bool(rng.random() < 0.5),
    )


def _obstacle(rng: np.random.Generator, find: Callable[[str], Sprite]) -> Role:
    unit = float(rng.uniform(0.2, 0.9))
    path = Path2D(
        float(rng.uniform(0, 1)),
        float(rng.uniform(0.6, 1.1)),
        vx=float(rng.normal(0, 0.002)) * (rng.random() < 0.3),
    )
    return Role(0, find(""), path, unit, 0.0, shadow=0.3 * (rng.random() < 0.5))


def _look(rng: np.random.Generator, level: float) -> Look:
    steady = rng.random() < 0.4
    tint = np.exp(rng.normal(0, 0.06, 3))
    return Look(
        pan=(0.0, 0.0) if steady else (float(rng.normal(0, 0.0025)), float(rng.normal(0, 0.0008))),
        shake=0.0 if steady else float(rng.uniform(0, 0.004 + 0.006 * level)),
        shutter=float(rng.uniform(0, 0.6)) if rng.random() < 0.6 else 0.0,
        softness=float(rng.uniform(0, 0.8)),
        gain=float(rng.uniform(0.75, 1.2)),
        gain_change=float(rng.uniform(0, 0.25)) * (rng.random() < 0.4),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        grain=float(rng.uniform(0, 3 + 4 * level)),
    )
