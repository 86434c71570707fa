"""A second way to draw plates, to measure what the demo models make of a hand they never saw.

Nothing here is shared with the style of training but the frame of an `Actor` and the staging:
figures are soft closed curves and stacked ellipses instead of limbs, cloth is cells, plaid and
rings, palettes are few related hues, and backgrounds are mosaics, 1/f noise, floors in perspective
and woods. The decision to know: training never imports this module, and a test sees to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from server.training.figures import TEXTURE_PIXELS, Actor, Bytes, Floats, Part, measure
from server.training.plates import Style


def _hue_color(hue: float, saturation: float, value: float) -> Floats:
    """(3,) float32 0..255 from hue in turns and saturation and value in 0..1."""
    wheel = np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return np.asarray(255 * value * (1 - saturation * (1 - np.clip(wheel, 0, 1))), np.float32)


def _palette(rng: np.random.Generator, count: int) -> list[Floats]:
    """Related hues: one base, its neighbours, one opposite."""
    base = rng.uniform(0, 1)
    turns = rng.choice([0.0, 0.06, -0.07, 0.12, 0.5, 0.45], count)
    return [
        _hue_color(base + turn, rng.uniform(0.15, 0.85), rng.uniform(0.2, 1.0)) for turn in turns
    ]


def _cells(rng: np.random.Generator, height: int, width: int, count: int) -> tuple[Floats, Floats]:
    """Distance to the nearest of random seeds, 0..1, and that seed's number / count."""
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    best = np.full((height, width), np.inf, np.float32)
    owner = np.zeros((height, width), np.float32)
    for number, (y, x) in enumerate(rng.uniform(0, 1, (count, 2)) * [height, width]):
        distance = (ys - y) ** 2 + (xs - x) ** 2
        nearer = distance < best
        best[nearer], owner[nearer] = distance[nearer], number / count
    return np.asarray(np.sqrt(best / best.max())), owner


def _cloth(rng: np.random.Generator, color: Floats, other: Floats) -> Bytes:
    """A tile of plain, cell, plaid, ring or speckle pattern in two colours."""
    size = TEXTURE_PIXELS
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    kind = int(rng.integers(0, 5))
    if kind == 0:
        mix = np.full((size, size), 0.08, np.float32)
    elif kind == 1:
        mix = _cells(rng, size, size, int(rng.integers(8, 30)))[1]
    elif kind == 2:
        step = rng.uniform(6, 18)
        mix = 0.45 * (np.sin(xs / step * math.pi) > 0.3) + 0.45 * (
            np.sin(ys / step * math.pi) > 0.3
        )
    elif kind == 3:
        radius = np.hypot(xs - size / 2, ys - size / 2)
        mix = 0.5 + 0.5 * np.sin(radius * rng.uniform(0.2, 0.7))
    else:
        mix = (cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), 1.5) > 0.25) * 0.8
    tile = color * (1 - mix[..., None]) + other * mix[..., None]
    return np.asarray(tile.clip(0, 255), np.uint8)


def _curve(*points: tuple[float, float], steps: int = 6) -> Floats:
    """Closed smooth outline through points (Catmull-Rom)."""
    p = np.array(points)
    before, after, later = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    outline = []
    for t in np.linspace(0, 1, steps, endpoint=False):
        a = -0.5 * t + t**2 - 0.5 * t**3
        b = 1 - 2.5 * t**2 + 1.5 * t**3
        c = 0.5 * t + 2 * t**2 - 1.5 * t**3
        d = -0.5 * t**2 + 0.5 * t**3
        outline.append(a * before + b * p + c * after + d * later)
    return np.asarray(np.stack(outline, 1).reshape(-1, 2), np.float32)


def _oval(x: float, y: float, rx: float, ry: float, *, turn: float = 0.0) -> Floats:
    """Superellipse, a little boxier than an ellipse."""
    angle = np.linspace(0, 2 * math.pi, 26, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    u = rx * np.sign(cosine) * np.abs(cosine) ** 0.8
    v = ry * np.sign(sine) * np.abs(sine) ** 0.8
    c, s = math.cos(turn), math.sin(turn)
    return np.stack([x + u * c - v * s, y + u * s + v * c], 1).astype(np.float32)


def person(rng: np.random.Generator) -> Actor:
    """A soft figure: bean legs, one curve for the body, sausage arms, a round head."""
    main, second, third, hair = _palette(rng, 4)
    skin = _hue_color(rng.uniform(0.03, 0.1), rng.uniform(0.2, 0.65), rng.uniform(0.3, 1.0))
    materials = (
        _cloth(rng, main, second),
        _cloth(rng, third, main),
        _cloth(rng, skin, skin * 0.9),
        _cloth(rng, hair * 0.6, hair),
        _cloth(rng, second, third),
    )
    head, wide = rng.uniform(0.06, 0.1), rng.uniform(0.09, 0.17)
    step, swing = rng.uniform(0.05, 0.22), rng.uniform(0.1, 0.7)
    cape, robe, bun = rng.random() < 0.25, rng.random() < 0.25, rng.random() < 0.3
    raised = rng.random() < 0.15

    def pose(phase: float) -> list[Part]:
        bob = 0.012 * math.cos(2 * phase)
        top, hip = 2 * head + 0.01 + bob, 0.55 + bob
        parts = []
        if cape:
            flow = 0.04 * math.sin(phase)
            cape_line = _curve(
                (-wide * 0.8, top + 0.02),
                (wide * 0.8, top + 0.02),
                (wide * 1.5 + flow, 0.8),
                (-wide * 1.5 + flow, 0.78),
            )
            parts.append(Part(cape_line, 4))
        for side in (-1, 1):
            foot = side * (0.04 + step * math.sin(phase))
            lift = 0.05 * max(0.0, side * math.cos(phase)) * (step > 0.1)
            leg = _curve(
                (side * 0.02, hip),
                (side * wide * 0.85, hip),
                (foot + 0.05, 0.97 - lift),
                (foot + 0.06, 0.995 - lift),
                (foot - 0.045, 0.995 - lift),
                (foot - 0.04, 0.9 - lift),
            )
            parts.append(Part(leg, 1))
        for side in (-1, 1):
            angle = side * 2.3 if raised else side * (0.25 + 0.3 * swing * math.sin(phase) * side)
            x, y = side * wide * 0.95, top + 0.06
            reach = 0.29
            parts.append(
                Part(
                    _oval(
                        x + 0.5 * reach * math.sin(angle),
                        y + 0.5 * reach * math.cos(angle),
                        0.035,
                        reach * 0.55,
                        turn=-angle,
                    ),
                    0,
                )
            )
            parts.append(
                Part(_oval(x + reach * math.sin(angle), y + reach * math.cos(angle), 0.03, 0.03), 2)
            )
        hem = 0.85 if robe else hip + 0.06
        flare = wide * (1.5 if robe else 0.95)
        parts.append(
            Part(
                _curve(
                    (0, top),
                    (wide, top + 0.05),
                    (wide * 0.8, 0.4),
                    (flare, hem),
                    (-flare, hem),
                    (-wide * 0.8, 0.4),
                    (-wide, top + 0.05),
                ),
                0,
            )
        )
        tilt = 0.02 * math.sin(phase)
        parts.append(Part(_oval(tilt, head + bob + 0.01, head * 0.85, head), 2))
        parts.append(
            Part(
                _curve(
                    (tilt - head * 0.9, head),
                    (tilt, bob - 0.005),
                    (tilt + head * 0.9, head),
                    (tilt + head * 0.4, head * 0.5),
                    (tilt - head * 0.4, head * 0.5),
                ),
                3,
            )
        )
        if bun:
            parts.append(Part(_oval(tilt, bob, head * 0.4, head * 0.35), 3))
        return parts

    return Actor(
        "person", pose, materials, measure(pose), (0.0, 1.0), rng.uniform(5, 9), (0.1, -0.1)
    )


def car(rng: np.random.Generator) -> Actor:
    """One flowing outline on solid wheels, with a single band of glass."""
    paint, trim, glass = _palette(rng, 3)
    materials = (
        _cloth(rng, paint, paint * 0.85),
        _cloth(rng, trim * 0.35, trim * 0.5),
        _cloth(rng, glass * 0.3 + 150, glass),
        _cloth(rng, trim, paint),
    )
    tall, nose = rng.uniform(0.3, 0.42), rng.uniform(0.28, 0.4)
    back, wheel = rng.uniform(-0.46, -0.25), rng.uniform(0.07, 0.1)
    facing = 1.0 if rng.random() < 0.5 else -1.0
    front = rng.random() < 0.25

    def pose(phase: float) -> list[Part]:
        roof, belt = 1 - tall, 1 - tall * 0.58
        if front:
            parts = [
                Part(_oval(-0.2, 0.95, 0.05, 0.07), 1),
                Part(_oval(0.2, 0.95, 0.05, 0.07), 1),
                Part(_oval(0, 0.72, 0.3, 0.24), 0),
                Part(_oval(0, 0.6, 0.2, 0.09), 2),
                Part(_oval(-0.2, 0.8, 0.045, 0.045), 3),
                Part(_oval(0.2, 0.8, 0.045, 0.045), 3),
            ]
        else:
            parts = [
                Part(
                    _curve(
                        (-0.5, 0.9),
                        (-0.49, belt + 0.02),
                        (back, belt - 0.02),
                        (back + 0.12, roof),
                        (0.1, roof),
                        (nose - 0.05, belt),
                        (0.48, belt + 0.05),
                        (0.5, 0.9),
                    ),
                    0,
                ),
                Part(
                    _curve(
                        (back + 0.05, belt),
                        (back + 0.15, roof + 0.03),
                        (0.08, roof + 0.03),
                        (nose - 0.12, belt),
                    ),
                    2,
                ),
                Part(_oval(0, 0.86, 0.47, 0.02), 3),
            ]
            for x in (-0.3, 0.3):
                parts.append(Part(_oval(x, 1 - wheel, wheel, wheel), 1))
                dot = (x + wheel * 0.4 * math.cos(phase), 1 - wheel + wheel * 0.4 * math.sin(phase))
                parts.append(Part(_oval(*dot, wheel * 0.25, wheel * 0.25), 3))
        mirror = np.array([facing, 1], np.float32)
        return [Part(part.points * mirror, part.material) for part in parts]

    return Actor(
        "car", pose, materials, measure(pose), (0.0, 1.0), rng.uniform(8, 12), (0.0, -0.15)
    )


def dog(rng: np.random.Generator) -> Actor:
    """A dog of stacked ovals with a curled tail and a big head."""
    hue = rng.uniform(0.02, 0.13)
    fur = _hue_color(hue, rng.uniform(0.05, 0.7), rng.uniform(0.15, 1.0))
    materials = (
        _cloth(rng, fur, fur * rng.uniform(0.5, 0.95)),
        _cloth(rng, fur * 0.75, fur * 0.7),
        _cloth(rng, fur * 0.1, fur * 0.15),
        _cloth(rng, *_palette(rng, 2)),
    )
    fat, leg = rng.uniform(0.11, 0.18), rng.uniform(0.2, 0.34)
    head, coat = rng.uniform(0.09, 0.14), rng.random() < 0.3
    facing = 1.0 if rng.random() < 0.5 else -1.0
    gait = rng.uniform(0.02, 0.12)

    def pose(phase: float) -> list[Part]:
        back = 1 - leg - fat
        parts = []
        for number, x in enumerate((-0.22, 0.2, -0.28, 0.26)):
            way = gait * math.sin(phase + number * math.pi / 2)
            parts.append(
                Part(
                    _oval(x + way * 0.5, 0.97 - leg / 2, 0.038, leg / 2 + 0.03, turn=-way),
                    1 if number < 2 else 0,
                )
            )
        wag = 0.03 * math.sin(2 * phase)
        parts.append(Part(_oval(-0.38, back - 0.1 + wag, 0.035, 0.12, turn=-0.5), 0))
        parts.append(Part(_oval(0, back, 0.36, fat), 0))
        if coat:
            parts.append(Part(_oval(-0.02, back - 0.01, 0.2, fat * 1.02), 3))
        nod = 0.012 * math.sin(phase)
        x, y = 0.4, back - fat * 0.8 - head * 0.4 + nod
        parts.append(Part(_oval(0.31, back - fat * 0.4, 0.09, fat, turn=0.5), 0))
        parts.append(Part(_oval(x + head * 0.9, y + head * 0.3, head * 0.7, head * 0.42), 0))
        parts.append(Part(_oval(x, y, head, head), 0))
        parts.append(
            Part(_oval(x - head * 0.5, y + head * 0.4, head * 0.35, head * 0.85, turn=0.2), 1)
        )
        parts.append(Part(_oval(x + head * 1.5, y + head * 0.2, 0.02, 0.02), 2))
        parts.append(Part(_oval(x + head * 0.4, y - head * 0.2, 0.014, 0.014), 2))
        mirror = np.array([facing, 1], np.float32)
        return [Part(part.points * mirror, part.material) for part in parts]

    return Actor("dog", pose, materials, measure(pose), (0.0, 1.0), rng.uniform(6, 10), (0.0, -0.1))


def ball(rng: np.random.Generator) -> Actor:
    """A ball with seams, halves or rings."""
    first, second = _palette(rng, 2)
    materials = (_cloth(rng, first, first * 0.85), _cloth(rng, second, second * 0.8))
    kind = int(rng.integers(0, 3))
    angles = np.linspace(0, 2 * math.pi, 36, endpoint=False)

    def disk(radius: float) -> Floats:
        return np.stack([radius * np.cos(angles), 0.5 + radius * np.sin(angles)], 1).astype(
            np.float32
        )

    def pose(phase: float) -> list[Part]:
        parts = [Part(disk(0.5), 0)]
        if kind == 0:
            for turn in (phase, phase + math.pi / 2):
                parts.append(Part(_oval(0, 0.5, 0.49, 0.025, turn=turn), 1))
        elif kind == 1:
            half = phase + np.linspace(0, math.pi, 18)
            line = np.stack([0.5 * np.cos(half), 0.5 + 0.5 * np.sin(half)], 1)
            parts.append(Part(line.astype(np.float32), 1))
        else:
            parts += [Part(disk(0.34), 1), Part(disk(0.17), 0)]
        return parts

    extent = (-0.52, -0.02, 0.52, 1.02)
    return Actor("ball", pose, materials, extent, (0.0, 1.0), 2.0, (0.15, -0.2))


def thing(rng: np.random.Generator) -> Actor:
    """A cone, a barrel or a column."""
    colors = _palette(rng, 2)
    materials = (_cloth(rng, colors[0], colors[1]), _cloth(rng, colors[1], colors[0]))
    kind, wide = int(rng.integers(0, 3)), rng.uniform(0.06, 0.16)

    def pose(phase: float) -> list[Part]:
        if kind == 0:
            cone = np.array([(-0.02, 0.4), (0.02, 0.4), (0.2, 1), (-0.2, 1)], np.float32)
            return [
                Part(cone, 0),
                Part(np.array([(-0.1, 0.7), (0.1, 0.7), (0.13, 0.8), (-0.13, 0.8)], np.float32), 1),
            ]
        if kind == 1:
            return [
                Part(
                    _curve(
                        (-0.15, 0.5), (0.15, 0.5), (0.2, 0.75), (0.15, 1), (-0.15, 1), (-0.2, 0.75)
                    ),
                    0,
                )
            ]
        return [
            Part(np.array([(-wide, 0), (wide, 0), (wide, 1), (-wide, 1)], np.float32), 0),
            Part(
                np.array(
                    [(-wide * 1.4, 0), (wide * 1.4, 0), (wide * 1.4, 0.05), (-wide * 1.4, 0.05)],
                    np.float32,
                ),
                1,
            ),
        ]

    return Actor("", pose, materials, measure(pose), (0.0, 1.0), 1.0)


def background(rng: np.random.Generator, *, size: tuple[int, int], level: float) -> Bytes:
    """A set in this style; see `server.training.figures.background`."""
    height, width = size
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    first, second, third = _palette(rng, 3)
    if rng.random() >= level:
        center = rng.uniform(0, 1, 2) * [height, width]
        radius = np.hypot(ys - center[0], xs - center[1])[..., None] / max(height, width)
        return np.asarray((first * (1 - radius) + second * radius).clip(0, 255), np.uint8)
    kind = int(rng.integers(0, 4))
    if kind == 0:
        near, owner = _cells(rng, height, width, int(rng.integers(12, 60)))
        picture = first * owner[..., None] + second * (1 - owner[..., None])
        picture = picture * (0.7 + 0.4 * near[..., None])
    elif kind == 1:
        mix = _pink_noise(rng, height, width)[..., None]
        picture = first * mix + second * (1 - mix)
    elif kind == 2:
        horizon = height * rng.uniform(0.35, 0.6)
        depth = np.maximum(ys - horizon, 1) / height
        squares = (np.floor((xs / width - 0.5) * 3 / depth) + np.floor(2.0 / depth)) % 2
        floor = first * squares[..., None] + second * (1 - squares[..., None])
        fade = np.exp(-0.05 / depth)[..., None]
        sky = third * (0.5 + 0.5 * (ys / height))[..., None]
        picture = np.where((ys > horizon)[..., None], floor * fade + third * (1 - fade), sky)
    else:
        picture = np.repeat((first * 0.5 + second * (ys / height)[..., None] * 0.5), 1, axis=0)
        for x in rng.uniform(0, width, int(rng.integers(4, 14))):
            trunk = np.abs(xs - x - 4 * np.sin(ys / height * 5 + x)) < width * rng.uniform(
                0.005, 0.03
            )
            picture[trunk] = third * rng.uniform(0.3, 1.0)
    picture = picture + (_pink_noise(rng, height, width)[..., None] - 0.5) * rng.uniform(10, 60)
    blurred = cv2.GaussianBlur(np.asarray(picture, np.float32), (0, 0), height * 0.004)
    return np.asarray(blurred.clip(0, 255), np.uint8)


def _pink_noise(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """Noise with the 1/f spectrum of photographs, 0..1."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / frequency ** rng.uniform(
        0.9, 1.5
    )
    field = np.fft.irfft2(spectrum, (height, width))
    return np.asarray((field - field.min()) / (np.ptp(field) + 1e-9), np.float32)


_ACTORS: dict[str, Callable[[np.random.Generator], Actor]] = {
    "person": person,
    "car": car,
    "dog": dog,
    "ball": ball,
}

HELD_OUT_STYLE = Style("held-out", _ACTORS, thing, background)
"""The style kept out of training."""
