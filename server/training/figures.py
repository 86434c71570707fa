"""What a drawn plate is made of: people, cars, dogs, balls, things in the way, and backgrounds.

Leaf of the plate generator (``plates`` stages these into shots). An `Actor` is a set of polygons
that move with a phase, in *unit* coordinates: 1.0 is a person's height, a car's or dog's length, a
ball's diameter; y points down and y = 1 (0 for things that hang) is where it touches the ground.
The decision to know: polygons are filled into an index map at a multiple of the wanted size and
reduced by area, so alpha is true coverage, and colour comes premultiplied with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Point = Sequence[float] | npt.NDArray[Any]
"""x, y in units."""

CATEGORIES = ("person", "car", "dog", "ball")
TEXTURE_PIXELS = 96
"""Side of a material's tile; it covers 0.75 of a unit and repeats mirrored."""


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


# ---------------------------------------------------------------- colours and textures


def noise_field(
    rng: np.random.Generator, height: int, width: int, *, cells: Sequence[int], gain: float = 0.6
) -> Floats:
    """Smooth noise of several octaves, 0..1.

    Args:
        rng: source of randomness.
        height: rows.
        width: columns.
        cells: grid cells along a side per octave, coarse to fine.
        gain: strength of an octave against the one before it.
    """
    total = np.zeros((height, width), np.float32)
    strength = 1.0
    for count in cells:
        grid = rng.standard_normal((count, count)).astype(np.float32)
        total += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        strength *= gain
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / (high - low + 1e-6), np.float32)


def random_color(rng: np.random.Generator) -> Floats:
    """(3,) float32 0..255: a colour of cloth or paint, grey ones as often as bright ones."""
    value, saturation = rng.uniform(25, 245), rng.uniform(0, 1) ** 1.3
    hue = rng.uniform(0, 3)
    wheel = np.abs((hue - np.arange(3) + 1.5) % 3 - 1.5)
    tint = np.clip(1.5 - wheel, 0, 1)
    return np.asarray(value * (1 - saturation * (1 - tint)), np.float32)


def skin_color(rng: np.random.Generator) -> Floats:
    """(3,) float32 0..255: a skin tone from dark to pale."""
    t = rng.uniform(0, 1)
    dark, pale = np.array([62, 38, 28]), np.array([242, 205, 178])
    color = np.clip(dark + t * (pale - dark) + rng.normal(0, 8, 3), 0, 255)
    return np.asarray(color, np.float32)


def texture(
    rng: np.random.Generator, color: Floats, *, strength: float = 1.0, size: int = TEXTURE_PIXELS
) -> Bytes:
    """A tile of cloth, paint or fur around a colour.

    Args:
        rng: source of randomness.
        color: (3,) main colour, 0..255.
        strength: 0 gives a flat tile, 1 patterns of full contrast.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    other = np.clip(color + rng.normal(0, 75, 3) * strength, 0, 255)
    kind = rng.choice(7, p=[0.3, 0.17, 0.15, 0.1, 0.1, 0.1, 0.08])
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    if kind == 0:
        mix = noise_field(rng, size, size, cells=(2, 5)) * 0.35
    elif kind == 1:
        mix = noise_field(rng, size, size, cells=(4, 9, 19, 40))
    elif kind == 2:
        angle = rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)])
        wave = (xs * math.cos(angle) + ys * math.sin(angle)) * rng.uniform(0.15, 0.9)
        mix = 0.5 + 0.5 * np.sin(wave)
        if rng.random() < 0.5:
            mix = (mix > rng.uniform(0.3, 0.8)).astype(np.float32)
    elif kind == 3:
        cell = int(rng.integers(5, 20))
        mix = (((xs // cell) + (ys // cell)) % 2).astype(np.float32)
    elif kind == 4:
        cell = int(rng.integers(8, 20))
        away = np.hypot(xs % cell - cell / 2, ys % cell - cell / 2)
        mix = (away < cell * rng.uniform(0.2, 0.4)).astype(np.float32)
    elif kind == 5:
        mix = np.clip((ys / size) ** rng.uniform(0.5, 2), 0, 1)
    else:
        cell = int(rng.integers(4, 14))
        grid = rng.random((size // cell + 1, size // cell + 1)).astype(np.float32)
        mix = cv2.resize(grid, (size, size), interpolation=cv2.INTER_NEAREST)
    mix = mix[..., None]
    tile = color * (1 - mix) + other * mix + rng.normal(0, 4 * strength, (size, size, 1))
    return np.clip(tile, 0, 255).astype(np.uint8)


def _darker(tile: Bytes, factor: float) -> Bytes:
    return (tile.astype(np.float32) * factor).astype(np.uint8)


# ---------------------------------------------------------------- polygons


_ARC = np.linspace(-math.pi / 2, math.pi / 2, 7)
_CIRCLE = np.linspace(0, 2 * math.pi, 22, endpoint=False)


def capsule(start: Point, end: Point, start_radius: float, end_radius: float) -> Floats:
    """(14, 2) outline of a limb with round ends."""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    far, near = _ARC + angle, _ARC + angle + math.pi
    xs = [end[0] + end_radius * np.cos(far), start[0] + start_radius * np.cos(near)]
    ys = [end[1] + end_radius * np.sin(far), start[1] + start_radius * np.sin(near)]
    return np.stack([np.concatenate(xs), np.concatenate(ys)], 1).astype(np.float32)


def ellipse(center: Point, rx: float, ry: float, *, angle: float = 0.0) -> Floats:
    """(22, 2) outline of an ellipse turned by an angle in radians."""
    x, y = rx * np.cos(_CIRCLE), ry * np.sin(_CIRCLE)
    c, s = math.cos(angle), math.sin(angle)
    points = np.stack([center[0] + c * x - s * y, center[1] + s * x + c * y], 1)
    return points.astype(np.float32)


def polygon(*points: Point) -> Floats:
    """(P, 2) outline through the points."""
    return np.array(points, np.float32)


def _regular(center: Point, radius: float, corners: int) -> Floats:
    angles = (np.arange(corners) + 0.5) * 2 * math.pi / corners + math.pi / 2
    return np.stack(
        [center[0] + radius * np.cos(angles), center[1] + radius * np.sin(angles)], 1
    ).astype(np.float32)


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


# ---------------------------------------------------------------- actors


def _by(point: npt.NDArray[Any], x: float, y: float) -> npt.NDArray[Any]:
    return np.asarray(point + np.array([x, y]))


def _toward(
    start: npt.NDArray[np.float64], angle: float, length: float, turn: float, splay: float
) -> npt.NDArray[np.float64]:
    """End of a limb that swings by `angle` in depth or across, as seen by a viewer."""
    across = math.sin(angle) * turn + math.sin(splay) * (1 - 0.5 * turn)
    return start + length * np.array([across, math.cos(angle) * math.cos(splay)])


def person(rng: np.random.Generator) -> Actor:
    """A walking, running, standing, waving or crouching person of any build and clothing."""
    child = rng.random() < 0.2
    head = rng.uniform(0.16, 0.21) if child else rng.uniform(0.115, 0.15)
    wide = rng.uniform(0.7, 1.5)
    turn = rng.uniform(0.0, 1.0)
    hip_y = rng.uniform(0.47, 0.54)
    stride = rng.uniform(0.0, 0.3) if rng.random() < 0.25 else rng.uniform(0.3, 0.85)
    bend = rng.uniform(0.3, 1.2)
    crouch = rng.uniform(0.5, 1.0) if rng.random() < 0.08 else 0.0
    arms = rng.choice(["hang", "swing", "wave", "raised", "carry"], p=[0.25, 0.4, 0.13, 0.1, 0.12])
    rest = rng.uniform(0.02, 0.35, 2)
    elbow = rng.uniform(0.0, 1.3, 2)
    sleeves, legs_bare = rng.random() < 0.65, rng.random() < 0.25
    bottom = rng.choice(["trousers", "skirt", "coat"], p=[0.66, 0.19, 0.15])
    hair_long, hat = rng.random() < 0.3, rng.choice([0, 1, 2], p=[0.72, 0.14, 0.14])
    pack, bag = rng.random() < 0.15, rng.random() < 0.15
    lean, stripe = float(rng.normal(0, 0.05)), rng.random() < 0.25
    facing = 1.0 if rng.random() < 0.5 else -1.0
    top, trousers = texture(rng, random_color(rng)), texture(rng, random_color(rng))
    if rng.random() < 0.2:
        trousers = top
    skin = texture(rng, skin_color(rng), strength=0.15)
    hair = texture(rng, np.clip(random_color(rng) * 0.5, 0, 255).astype(np.float32), strength=0.3)
    shoes, extra = texture(rng, random_color(rng) * 0.6), texture(rng, random_color(rng))
    far = rng.uniform(0.65, 0.95)
    materials = (
        top,
        _darker(top, far),
        trousers,
        _darker(trousers, far),
        skin,
        _darker(skin, far),
        hair,
        shoes,
        extra,
    )

    def pose(phase: float) -> list[Part]:
        parts: list[Part] = []
        hip = np.array([0.0, hip_y])
        neck = np.array([lean, head + 0.012])
        shoulder = _by(neck, 0.0, 0.04)
        reach = 1 - hip_y - 0.02
        lateral = 0.055 * wide * (1 - 0.6 * turn)
        broad = 0.115 * wide * (1 - 0.45 * turn)
        feet: list[list[Part]] = []
        for side in (0, 1):
            sign = 1 if side else -1
            angle = facing * stride * math.sin(phase + side * math.pi) + facing * crouch
            fold = (
                facing * bend * stride * max(0.0, math.cos(phase + side * math.pi))
                + 1.9 * facing * crouch
            )
            start = _by(hip, sign * lateral, 0)
            knee = _toward(start, angle, reach * 0.5, turn if not crouch else 1.0, sign * 0.03)
            foot = _toward(knee, angle - fold, reach * 0.48, turn if not crouch else 1.0, 0.0)
            cloth = 3 - side
            shin = 5 - side if legs_bare or bottom == "skirt" else cloth
            toe = _by(foot, 0.055 * facing * max(turn, 0.25), 0.012)
            feet.append(
                [
                    Part(capsule(start, knee, 0.055 * wide, 0.042 * wide), cloth),
                    Part(capsule(knee, foot, 0.04 * wide, 0.028 * wide), shin),
                    Part(capsule(foot, toe, 0.027, 0.02), 7),
                ]
            )
        parts += feet[0]
        arm_parts: list[list[Part]] = []
        for side in (0, 1):
            sign = 1 if side else -1
            start = _by(shoulder, sign * broad, 0.005)
            swing = facing * 0.8 * stride * math.sin(phase + (1 - side) * math.pi)
            splay, lower = sign * rest[side], elbow[side] * 0.6
            if arms == "hang":
                swing, lower = 0.1 * math.sin(phase), 0.1
            elif arms == "wave" and side:
                splay, swing, lower = sign * 2.2, 0.0, 0.6 * math.sin(phase)
            elif arms == "raised":
                splay, swing, lower = sign * (2.4 + 0.25 * math.sin(phase)), 0.0, 0.3
            elif arms == "carry":
                swing, lower = facing * 0.5, 1.4
            upper_end = _toward(start, swing, 0.165, turn, splay)
            if abs(splay) > 1.2:
                wrist = upper_end + 0.15 * np.array(
                    [math.sin(splay + lower), math.cos(splay + lower)]
                )
            else:
                wrist = _toward(
                    upper_end, swing + facing * lower, 0.15, max(turn, 0.5), splay * 0.5
                )
            arm_parts.append(
                [
                    Part(capsule(start, upper_end, 0.038 * wide, 0.032 * wide), 1 - side),
                    Part(
                        capsule(upper_end, wrist, 0.03 * wide, 0.022 * wide),
                        1 - side if sleeves else 5 - side,
                    ),
                    Part(ellipse(wrist, 0.024, 0.027), 5 - side),
                ]
            )
        parts += arm_parts[0]
        if pack:
            parts.append(
                Part(ellipse(_by(shoulder, -facing * (0.05 + 0.09 * turn), 0.13), 0.1, 0.13), 8)
            )
        parts += feet[1]
        waist = 0.095 * wide * (1 - 0.25 * turn)
        if bottom != "trousers":
            hem = hip_y + (0.2 if bottom == "skirt" else 0.27)
            flare = waist * 1.4 + 0.25 * stride * abs(math.sin(phase)) * turn * 0.5
            parts.append(
                Part(
                    polygon(
                        (-waist, hip_y - 0.05), (waist, hip_y - 0.05), (flare, hem), (-flare, hem)
                    ),
                    2 if bottom == "skirt" else 0,
                )
            )
        parts.append(
            Part(
                polygon(
                    _by(shoulder, -broad, -0.015),
                    _by(shoulder, -0.03, -0.035),
                    _by(shoulder, 0.03, -0.035),
                    _by(shoulder, broad, -0.015),
                    (waist, hip_y + 0.03),
                    (-waist, hip_y + 0.03),
                ),
                0,
            )
        )
        if stripe:
            parts.append(
                Part(
                    polygon(
                        _by(shoulder, -broad * 0.95, 0.06),
                        _by(shoulder, broad * 0.95, 0.06),
                        _by(shoulder, broad * 0.9, 0.12),
                        _by(shoulder, -broad * 0.9, 0.12),
                    ),
                    8,
                )
            )
        middle = np.array([lean * 1.3 + facing * 0.012 * turn, head * 0.5])
        parts.append(Part(capsule(shoulder, middle, 0.032 * wide, 0.03), 4))
        radius = head * 0.37
        if hair_long:
            parts.append(
                Part(
                    ellipse(
                        _by(middle, -facing * 0.02 * turn, head * 0.25),
                        radius * 1.2,
                        head * 0.62,
                    ),
                    6,
                )
            )
        parts.append(Part(ellipse(middle, radius, head * 0.48), 4))
        parts.append(
            Part(
                ellipse(
                    _by(middle, -facing * radius * 0.35 * turn, -head * 0.22),
                    radius * 1.05,
                    head * 0.3,
                ),
                6,
            )
        )
        if hat == 1:
            parts.append(Part(ellipse(_by(middle, 0, -head * 0.3), radius * 1.1, head * 0.24), 8))
            parts.append(
                Part(
                    capsule(
                        _by(middle, 0, -head * 0.16),
                        _by(middle, facing * radius * 1.7, -head * 0.14),
                        0.012,
                        0.01,
                    ),
                    8,
                )
            )
        elif hat == 2:
            parts.append(Part(ellipse(_by(middle, 0, -head * 0.2), radius * 1.9, head * 0.1), 8))
            parts.append(Part(ellipse(_by(middle, 0, -head * 0.36), radius * 1.0, head * 0.26), 8))
        parts += arm_parts[1]
        if bag:
            hand = arm_parts[1][2].points.mean(0)
            parts.append(
                Part(
                    polygon(
                        _by(hand, -0.05, 0.02),
                        _by(hand, 0.05, 0.02),
                        _by(hand, 0.06, 0.13),
                        _by(hand, -0.06, 0.13),
                    ),
                    8,
                )
            )
        low = max(float(part.points[:, 1].max()) for part in parts)
        lift = np.array([0.0, 1.0 - low], np.float32)
        return [Part(part.points + lift, part.material) for part in parts]

    return Actor(
        "person",
        pose,
        materials,
        measure(pose),
        (0.0, 1.0),
        rng.uniform(5.0, 9.0),
        _random_light(rng),
    )


def car(rng: np.random.Generator) -> Actor:
    """A saloon, hatchback, van or lorry from the side, or a car from the front or back."""
    paint = texture(rng, random_color(rng), strength=0.25 if rng.random() < 0.8 else 1.0)
    glass = texture(
        rng, (random_color(rng) * 0.4 + rng.uniform(20, 130)).astype(np.float32), strength=0.4
    )
    rubber = texture(rng, np.full(3, rng.uniform(15, 60), np.float32), strength=0.2)
    metal = texture(rng, np.full(3, rng.uniform(110, 225), np.float32), strength=0.4)
    lamp = texture(rng, np.array([250, rng.uniform(60, 240), 120], np.float32), strength=0.2)
    second = texture(rng, random_color(rng))
    materials = (paint, glass, rubber, metal, lamp, second, _darker(paint, 0.6))
    facing = 1.0 if rng.random() < 0.5 else -1.0
    if rng.random() < 0.25:
        pose = _car_front(rng)
    else:
        pose = _car_side(rng)

    def turned(phase: float) -> list[Part]:
        return [
            Part(part.points * np.array([facing, 1], np.float32), part.material)
            for part in pose(phase)
        ]

    return Actor(
        "car",
        turned,
        materials,
        measure(turned),
        (0.0, 1.0),
        rng.uniform(8.0, 14.0),
        _random_light(rng),
    )


def _car_side(rng: np.random.Generator) -> Callable[[float], list[Part]]:
    kind = rng.choice(["saloon", "hatch", "van", "lorry"], p=[0.35, 0.3, 0.22, 0.13])
    body = rng.uniform(0.14, 0.19)
    cabin = {"saloon": 0.12, "hatch": 0.13, "van": 0.2, "lorry": 0.17}[kind] * rng.uniform(
        0.85, 1.2
    )
    wheel = rng.uniform(0.062, 0.088)
    clear = wheel * rng.uniform(0.6, 0.9)
    wheels = (-0.5 + rng.uniform(0.15, 0.22), 0.5 - rng.uniform(0.15, 0.22))
    rake = rng.uniform(0.05, 0.13)
    back = {"saloon": -0.3, "hatch": -0.46, "van": -0.49, "lorry": 0.15}[kind] + rng.uniform(
        0, 0.05
    )
    front = {"saloon": 0.22, "hatch": 0.24, "van": 0.33, "lorry": 0.38}[kind] + rng.uniform(0, 0.06)
    spokes, two_tone, rack = int(rng.integers(3, 7)), rng.random() < 0.25, rng.random() < 0.12
    floor = 1 - clear
    belt = floor - body
    roof = belt - cabin

    def pose(phase: float) -> list[Part]:
        parts = []
        if kind == "lorry":
            parts.append(
                Part(
                    polygon((-0.5, belt - 0.2), (0.12, belt - 0.2), (0.12, floor), (-0.5, floor)), 5
                )
            )
        parts.append(
            Part(
                polygon(
                    (back, belt + 0.01),
                    (back + rake * 0.7, roof),
                    (front - rake, roof),
                    (front + 0.02, belt + 0.01),
                ),
                0,
            )
        )
        parts.append(
            Part(
                polygon(
                    (-0.5, belt + 0.04),
                    (-0.47, belt),
                    (front, belt),
                    (0.47, belt + 0.04),
                    (0.5, belt + 0.09),
                    (0.5, floor),
                    (-0.5, floor),
                ),
                0,
            )
        )
        if two_tone:
            parts.append(
                Part(
                    polygon(
                        (-0.5, floor - body * 0.4),
                        (0.5, floor - body * 0.4),
                        (0.5, floor),
                        (-0.5, floor),
                    ),
                    5,
                )
            )
        if rack:
            parts.append(
                Part(
                    capsule(
                        (back + rake, roof - 0.015), (front - rake, roof - 0.015), 0.008, 0.008
                    ),
                    2,
                )
            )
        middle = (back + front) / 2
        glass_left = [
            (back + 0.03, belt),
            (back + rake * 0.7 + 0.015, roof + 0.02),
            (middle - 0.012, roof + 0.02),
            (middle - 0.012, belt),
        ]
        glass_right = [
            (middle + 0.012, belt),
            (middle + 0.012, roof + 0.02),
            (front - rake - 0.005, roof + 0.02),
            (front - 0.02, belt),
        ]
        if kind != "van" or not two_tone:
            parts.append(Part(polygon(*glass_left), 1))
        parts.append(Part(polygon(*glass_right), 1))
        parts.append(Part(capsule((middle, belt + 0.02), (middle, floor - 0.01), 0.003, 0.003), 6))
        parts.append(Part(ellipse((0.475, belt + 0.075), 0.02, 0.025), 4))
        parts.append(Part(ellipse((-0.488, belt + 0.07), 0.012, 0.03), 4))
        for x in wheels:
            hub = (x, 1 - wheel)
            parts.append(Part(ellipse(hub, wheel * 1.15, wheel * 1.15), 6))
            parts.append(Part(ellipse(hub, wheel, wheel), 2))
            parts.append(Part(ellipse(hub, wheel * 0.55, wheel * 0.55), 3))
            for spoke in range(spokes):
                angle = phase + 2 * math.pi * spoke / spokes
                tip = (x + 0.5 * wheel * math.cos(angle), hub[1] + 0.5 * wheel * math.sin(angle))
                parts.append(Part(capsule(hub, tip, 0.006, 0.006), 2))
        return parts

    return pose


def _car_front(rng: np.random.Generator) -> Callable[[float], list[Part]]:
    half, tall = rng.uniform(0.3, 0.38), rng.uniform(0.5, 0.68)
    shoulder, roof_half = rng.uniform(0.42, 0.55), rng.uniform(0.68, 0.85)
    grille = rng.random() < 0.7

    def pose(phase: float) -> list[Part]:
        top, belt = 1 - tall, 1 - tall * shoulder
        sway = 0.004 * math.sin(phase)
        parts = [
            Part(
                polygon(
                    (-half * 0.95, 0.9), (-half * 0.6, 0.9), (-half * 0.6, 1), (-half * 0.95, 1)
                ),
                2,
            ),
            Part(
                polygon((half * 0.6, 0.9), (half * 0.95, 0.9), (half * 0.95, 1), (half * 0.6, 1)), 2
            ),
            Part(
                polygon(
                    (-half * 0.9, belt + sway),
                    (-half * roof_half, top + sway),
                    (half * roof_half, top + sway),
                    (half * 0.9, belt + sway),
                ),
                0,
            ),
            Part(
                polygon(
                    (-half, belt + 0.03),
                    (-half * 0.9, belt),
                    (half * 0.9, belt),
                    (half, belt + 0.03),
                    (half, 0.95),
                    (-half, 0.95),
                ),
                0,
            ),
            Part(
                polygon(
                    (-half * 0.8, belt),
                    (-half * roof_half * 0.9, top + 0.04 + sway),
                    (half * roof_half * 0.9, top + 0.04 + sway),
                    (half * 0.8, belt),
                ),
                1,
            ),
        ]
        middle = (belt + 0.95) / 2
        for sign in (-1, 1):
            parts.append(Part(ellipse((sign * half * 0.76, middle - 0.02), 0.05, 0.035), 4))
            parts.append(Part(ellipse((sign * half * 1.06, belt), 0.03, 0.025), 6))
        if grille:
            parts.append(
                Part(
                    polygon(
                        (-half * 0.5, middle),
                        (half * 0.5, middle),
                        (half * 0.45, middle + 0.07),
                        (-half * 0.45, middle + 0.07),
                    ),
                    2,
                )
            )
        parts.append(Part(polygon((-0.07, 0.89), (0.07, 0.89), (0.07, 0.93), (-0.07, 0.93)), 3))
        return parts

    return pose


def dog(rng: np.random.Generator) -> Actor:
    """A dog from the side, from long and low to tall and slim."""
    color = np.array([150, 105, 65]) * rng.uniform(0.15, 1.6) + rng.normal(0, 14, 3)
    if rng.random() < 0.25:
        color = np.full(3, rng.uniform(15, 245))
    fur = texture(rng, np.clip(color, 5, 250).astype(np.float32), strength=rng.uniform(0.1, 0.6))
    patch = texture(
        rng, np.clip(color * rng.uniform(0.4, 1.6), 5, 250).astype(np.float32), strength=0.4
    )
    dark = texture(rng, np.full(3, rng.uniform(5, 40), np.float32), strength=0.1)
    collar = texture(rng, random_color(rng))
    materials = (fur, _darker(fur, rng.uniform(0.6, 0.9)), dark, patch, collar)
    leg = rng.uniform(0.2, 0.36)
    girth = rng.uniform(0.095, 0.15)
    gait = rng.uniform(0.15, 0.7)
    tail_up, tail_long = rng.uniform(-0.3, 1.3), rng.uniform(0.08, 0.24)
    ears_up, snout = rng.random() < 0.5, rng.uniform(0.08, 0.15)
    head_size, neck_up = rng.uniform(0.075, 0.11), rng.uniform(0.06, 0.22)
    has_patch, has_collar = rng.random() < 0.45, rng.random() < 0.5
    facing = 1.0 if rng.random() < 0.5 else -1.0

    def pose(phase: float) -> list[Part]:
        back = 1 - leg - girth
        parts = []
        wag = tail_up + 0.25 * math.sin(2 * phase)
        root = np.array([-0.3, back - girth * 0.4])
        tip = root + tail_long * np.array([-math.cos(wag), -math.sin(wag)])
        parts.append(Part(capsule(root, tip, 0.03, 0.015), 0))
        for number, (x, side, beat) in enumerate(
            ((-0.24, 1, 0.0), (0.2, 1, math.pi / 2), (-0.27, 0, math.pi), (0.24, 0, 1.5 * math.pi))
        ):
            if number == 2:
                parts += _dog_body(back, girth, has_patch)
            angle = gait * math.sin(phase + beat)
            fold = 0.8 * gait * max(0.0, math.cos(phase + beat))
            hip = np.array([x, back + girth * 0.35])
            reach = 1 - hip[1] - 0.02
            knee = hip + reach * 0.52 * np.array([math.sin(angle), math.cos(angle)])
            foot = knee + reach * 0.48 * np.array([math.sin(angle - fold), math.cos(angle - fold)])
            parts.append(Part(capsule(hip, knee, 0.055, 0.034), side))
            parts.append(Part(capsule(knee, foot, 0.03, 0.023), side))
            parts.append(Part(capsule(foot, _by(foot, 0.03, 0.005), 0.022, 0.018), side))
        nod = 0.015 * math.sin(phase)
        head = np.array([0.4, back - girth * 0.5 - neck_up + nod])
        parts.append(
            Part(capsule((0.25, back - girth * 0.1), head, girth * 0.75, head_size * 0.7), 0)
        )
        if has_collar:
            middle = 0.4 * np.array([0.25, back]) + 0.6 * head
            parts.append(
                Part(
                    capsule(_by(middle, -0.05, -0.03), _by(middle, 0.06, 0.04), 0.014, 0.014),
                    4,
                )
            )
        parts.append(
            Part(
                capsule(_by(head, 0.03, 0.02), _by(head, snout, 0.035), head_size * 0.6, 0.032),
                0,
            )
        )
        parts.append(Part(ellipse(head, head_size, head_size * 0.9), 0))
        parts.append(Part(ellipse(_by(head, snout + 0.025, 0.025), 0.017, 0.015), 2))
        parts.append(Part(ellipse(_by(head, 0.035, -0.02), 0.012, 0.012), 2))
        if ears_up:
            parts.append(
                Part(
                    polygon(
                        _by(head, -0.06, -0.03),
                        _by(head, -0.03, -head_size - 0.06),
                        _by(head, 0.015, -0.05),
                    ),
                    1,
                )
            )
        else:
            parts.append(Part(ellipse(_by(head, -0.05, 0.03), 0.032, 0.075, angle=0.2), 1))
        low = max(float(part.points[:, 1].max()) for part in parts)
        lift = np.array([0.0, 1 - low], np.float32)
        mirror = np.array([facing, 1.0], np.float32)
        return [Part((part.points + lift) * mirror, part.material) for part in parts]

    return Actor(
        "dog",
        pose,
        materials,
        measure(pose),
        (0.0, 1.0),
        rng.uniform(6.0, 11.0),
        _random_light(rng),
    )


def _dog_body(back: float, girth: float, has_patch: bool) -> list[Part]:
    parts = [
        Part(capsule((-0.25, back), (0.22, back - girth * 0.05), girth * 0.95, girth * 1.05), 0)
    ]
    if has_patch:
        parts.append(Part(ellipse((-0.05, back - girth * 0.2), 0.14, girth * 0.75), 3))
    return parts


def ball(rng: np.random.Generator) -> Actor:
    """A ball with panels, stripes, a band or none, that rolls."""
    first, second = random_color(rng), random_color(rng)
    if rng.random() < 0.6:
        first = np.clip(first * 0.6 + 100, 0, 255).astype(np.float32)
    materials = (
        texture(rng, first, strength=0.3),
        texture(rng, second, strength=0.3),
        texture(rng, np.clip(first * 1.3 + 25, 0, 255).astype(np.float32), strength=0.1),
    )
    kind = int(rng.integers(0, 4))

    def pose(phase: float) -> list[Part]:
        center = np.array([0.0, 0.5])
        rim = ellipse(center, 0.5, 0.5)
        parts = [Part(rim, 0)]
        if kind == 0:
            for number in range(5):
                angle = phase + 2 * math.pi * number / 5
                parts.append(
                    Part(
                        ellipse(
                            center + 0.31 * np.array([math.cos(angle), math.sin(angle)]), 0.11, 0.11
                        ),
                        1,
                    )
                )
            parts.append(Part(ellipse(center, 0.11, 0.11), 1))
        elif kind == 1:
            for start in range(0, 6, 2):
                arc = phase + (start + np.linspace(0, 1, 6)) * math.pi / 3
                rim_points = center + 0.5 * np.stack([np.cos(arc), np.sin(arc)], 1)
                parts.append(Part(np.concatenate([center[None], rim_points]).astype(np.float32), 1))
        elif kind == 2:
            along = np.array([math.cos(phase), math.sin(phase)])
            normal = np.array([-along[1], along[0]])
            parts.append(
                Part(
                    polygon(
                        center + 0.48 * along + 0.1 * normal,
                        center - 0.48 * along + 0.1 * normal,
                        center - 0.48 * along - 0.1 * normal,
                        center + 0.48 * along - 0.1 * normal,
                    ),
                    1,
                )
            )
        parts.append(Part(ellipse((-0.16, 0.33), 0.08, 0.06, angle=-0.6), 2))
        return parts

    return Actor(
        "ball", pose, materials, (-0.52, -0.02, 0.52, 1.02), (0.0, 1.0), 2.0, _random_light(rng)
    )


def thing(rng: np.random.Generator) -> Actor:
    """Something that stands in the way: a post, a crate, a bush, a lamp, a sign."""
    kind = rng.choice(["post", "crate", "bush", "sign", "fence"])
    materials = (texture(rng, random_color(rng)), texture(rng, random_color(rng)))
    wide = rng.uniform(0.05, 0.5)
    leaves = rng.uniform(-0.25, 0.25, (24, 3))
    sign_corners = int(rng.integers(3, 5))
    lamp = rng.random() < 0.5

    def pose(phase: float) -> list[Part]:
        if kind == "post":
            parts = [Part(polygon((-0.03, 0), (0.03, 0), (0.035, 1), (-0.035, 1)), 0)]
            return [*parts, Part(ellipse((0, 0.03), 0.08, 0.04), 1)] if lamp else parts
        if kind == "crate":
            return [
                Part(polygon((-wide, 0.5), (wide, 0.5), (wide, 1), (-wide, 1)), 0),
                Part(polygon((-wide, 0.7), (wide, 0.7), (wide, 0.75), (-wide, 0.75)), 1),
            ]
        if kind == "bush":
            sway = 0.01 * math.sin(phase)
            return [
                Part(ellipse((x + sway, 0.75 + y), 0.15, 0.05, angle=6 * turn), number % 2)
                for number, (x, y, turn) in enumerate(leaves)
            ]
        if kind == "sign":
            return [
                Part(polygon((-0.015, 0.2), (0.015, 0.2), (0.015, 1), (-0.015, 1)), 0),
                Part(_regular((0.0, 0.16), 0.16, sign_corners), 1),
            ]
        bars = np.linspace(-0.5, 0.5, 6)
        return [
            Part(polygon((x - 0.02, 0.5), (x + 0.02, 0.5), (x + 0.02, 1), (x - 0.02, 1)), 0)
            for x in bars
        ] + [Part(polygon((-0.52, 0.6), (0.52, 0.6), (0.52, 0.64), (-0.52, 0.64)), 1)]

    return Actor("", pose, materials, measure(pose), (0.0, 1.0), 1.0)


def _random_light(rng: np.random.Generator) -> tuple[float, float]:
    if rng.random() < 0.3:
        return (0.0, 0.0)
    return float(rng.normal(0, 0.15)), float(rng.normal(-0.05, 0.1))


# ---------------------------------------------------------------- backgrounds


def background(rng: np.random.Generator, *, size: tuple[int, int], level: float) -> Bytes:
    """A set without actors.

    Args:
        rng: source of randomness.
        size: H, W.
        level: 0 gives a smooth wall of colour, 1 streets, rooms and textures with clutter.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    height, width = size
    if rng.random() >= level:
        picture = _wall(rng, height, width, strength=0.35)
        blur = min(height, width) * rng.uniform(0.015, 0.04)
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), blur).clip(0, 255), np.uint8)
    kind = rng.choice(4, p=[0.25, 0.3, 0.25, 0.2])
    if kind == 0:
        picture = _wall(rng, height, width, strength=1.0)
    elif kind == 1:
        picture = _street(rng, height, width)
    elif kind == 2:
        picture = _landscape(rng, height, width)
    else:
        picture = _room(rng, height, width)
    _clutter(rng, picture, int(rng.integers(0, 9)))
    grain = noise_field(rng, height, width, cells=(20, 60, 120), gain=0.9)[..., None] - 0.5
    picture += grain * rng.uniform(5, 35)
    blur = min(height, width) * rng.uniform(0.0015, 0.008)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), blur).clip(0, 255), np.uint8)


def _wall(rng: np.random.Generator, height: int, width: int, *, strength: float) -> Floats:
    tile = texture(rng, random_color(rng), strength=strength, size=160)
    picture = cv2.resize(tile, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    cloud = noise_field(rng, height, width, cells=(2, 4, 9))[..., None]
    return np.asarray(picture * (0.7 + 0.5 * cloud), np.float32)


def _street(rng: np.random.Generator, height: int, width: int) -> Floats:
    horizon = int(height * rng.uniform(0.4, 0.65))
    picture = np.empty((height, width, 3), np.float32)
    picture[:horizon] = _gradient(rng, horizon, width)
    picture[horizon:] = _gradient(rng, height - horizon, width) * 0.8
    x = 0
    while x < width:
        house = int(width * rng.uniform(0.08, 0.3)) + 2
        top = int(horizon * rng.uniform(0.0, 0.7))
        face = texture(rng, random_color(rng), strength=0.4)
        shape = (min(house, width - x), horizon - top)
        picture[top:horizon, x : x + house] = cv2.resize(face, shape)
        step = max(6, int(house * rng.uniform(0.15, 0.35)))
        pane, color = max(2, int(step * 0.5)), random_color(rng)
        for y in range(top + step // 2, horizon - step, int(step * rng.uniform(1, 1.6))):
            for column in range(x + step // 3, min(width, x + house) - pane, step):
                picture[y : y + pane, column : column + pane] = color * rng.uniform(0.6, 1.2)
        x += house
    ground = height - horizon
    for _ in range(int(rng.integers(0, 5))):
        y = horizon + int(ground * rng.uniform(0.05, 0.95))
        thick = max(1, int(0.03 * ground * rng.uniform(0.3, 1.5)))
        picture[y : y + thick] = picture[y : y + thick] * 0.4 + random_color(rng) * 0.6
    return picture


def _landscape(rng: np.random.Generator, height: int, width: int) -> Floats:
    picture = _gradient(rng, height, width)
    for number in range(int(rng.integers(2, 6))):
        line = noise_field(rng, 1, width, cells=(3, 7, 19), gain=0.5)[0]
        top = height * (0.25 + 0.13 * number + 0.2 * line)
        below = np.arange(height, dtype=np.float32)[:, None] > top[None]
        tile = texture(rng, random_color(rng), strength=0.7, size=128)
        cover = cv2.resize(tile, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        leaves = noise_field(rng, height, width, cells=(30, 80), gain=0.9)[..., None]
        picture = np.where(below[..., None], cover * (0.6 + 0.6 * leaves), picture)
    return picture.astype(np.float32)


def _room(rng: np.random.Generator, height: int, width: int) -> Floats:
    picture = _wall(rng, height, width, strength=0.6)
    edge = int(height * rng.uniform(0.55, 0.8))
    boards = texture(rng, random_color(rng), size=128)
    picture[edge:] = cv2.resize(boards, (width, height - edge))
    for _ in range(int(rng.integers(1, 5))):
        w, h = (np.array([width, edge]) * rng.uniform(0.08, 0.4, 2)).astype(int) + 4
        x, y = int(rng.integers(0, max(1, width - w))), int(rng.integers(0, max(1, edge - h)))
        picture[y : y + h, x : x + w] = random_color(rng)
        inner = cv2.resize(texture(rng, random_color(rng)), (max(1, w - 4), max(1, h - 4)))
        picture[y + 2 : y + 2 + inner.shape[0], x + 2 : x + 2 + inner.shape[1]] = inner
    return picture


def _gradient(rng: np.random.Generator, height: int, width: int) -> Floats:
    ramp = np.linspace(0, 1, max(height, 1), dtype=np.float32)[:, None, None]
    sheet = random_color(rng) * (1 - ramp) + random_color(rng) * ramp
    cloud = noise_field(rng, height, width, cells=(2, 5, 11))[..., None]
    return np.asarray(sheet * (0.85 + 0.3 * cloud), np.float32)


def _clutter(rng: np.random.Generator, picture: Floats, count: int) -> None:
    """Paint shapes that are no object over a picture, in place."""
    height, width = picture.shape[:2]
    side = min(height, width)
    for _ in range(count):
        mask = np.zeros((height, width), np.uint8)
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        a, b = (side * rng.uniform(0.03, 0.2, 2)).astype(int) + 1
        kind = rng.integers(0, 4)
        if kind == 0:  # long ones only: a round one would be a ball
            b = max(1, int(a * rng.uniform(0.2, 0.6)))
            cv2.ellipse(mask, (x, y), (int(a), int(b)), float(rng.uniform(0, 180)), 0, 360, 255, -1)
        elif kind == 1:
            cv2.rectangle(mask, (x, y), (x + int(a), y + 2 * int(b)), 255, -1)
        elif kind == 2:
            corners = np.array([x, y]) + rng.integers(-side // 4, side // 4 + 1, (3, 2))
            cv2.fillPoly(mask, [corners.astype(np.int32)], 255)
        else:
            end = (int(rng.integers(0, width)), int(rng.integers(0, height)))
            cv2.line(mask, (x, y), end, 255, max(1, int(side * rng.uniform(0.004, 0.03))))
        left, top, w, h = cv2.boundingRect(mask)
        if not w or not h:
            continue
        patch = cv2.resize(texture(rng, random_color(rng)), (w, h)).astype(np.float32)
        here = mask[top : top + h, left : left + w] > 0
        picture[top : top + h, left : left + w][here] = patch[here]


ACTORS: dict[str, Callable[[np.random.Generator], Actor]] = {
    "person": person,
    "car": car,
    "dog": dog,
    "ball": ball,
}
