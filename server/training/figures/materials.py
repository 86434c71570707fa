"""Colours, and tiles of cloth, paint and fur that figures and backgrounds are covered with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from server.training.figures.actor import Bytes, Floats

TEXTURE_PIXELS = 96
"""Side of a material's tile; it covers 0.75 of a unit and repeats mirrored."""


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
    shares = [share for share, _ in _PATTERNS]
    pattern = _PATTERNS[int(rng.choice(len(shares), p=shares))][1]
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    mix = pattern(rng, ys, xs)[..., None]
    tile = color * (1 - mix) + other * mix + rng.normal(0, 4 * strength, (size, size, 1))
    return np.clip(tile, 0, 255).astype(np.uint8)


# Patterns: how much of the other colour a pixel has, (n, n) 0..1, from its row and column.


def _soft(rng: np.random.Generator, ys: Floats, xs: Floats) -> Floats:
    return np.asarray(noise_field(rng, len(ys), len(ys), cells=(2, 5)) * 0.35)


def _mottled(rng: np.random.Generator, ys: Floats, xs: Floats) -> Floats:
    return noise_field(rng, len(ys), len(ys), cells=(4, 9, 19, 40))


def _striped(rng: np.random.Generator, ys: Floats, xs: Floats) -> Floats:
    angle = rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)])
    wave = (xs * math.cos(angle) + ys * math.sin(angle)) * rng.uniform(0.15, 0.9)
    mix = 0.5 + 0.5 * np.sin(wave)
    if rng.random() < 0.5:
        mix = (mix > rng.uniform(0.3, 0.8)).astype(np.float32)
    return np.asarray(mix)


def _checked(rng: np.random.Generator, ys: Floats, xs: Floats) -> Floats:
    cell = int(rng.integers(5, 20))
    return np.asarray(((xs // cell) + (ys // cell)) % 2, np.float32)


def _dotted(rng: np.random.Generator, ys: Floats, xs: Floats) -> Floats:
    cell = int(rng.integers(8, 20))
    away = np.hypot(xs % cell - cell / 2, ys % cell - cell / 2)
    return np.asarray(away < cell * rng.uniform(0.2, 0.4), np.float32)


def _faded(rng: np.random.Generator, ys: Floats, xs: Floats) -> Floats:
    return np.asarray(np.clip((ys / len(ys)) ** rng.uniform(0.5, 2), 0, 1))


def _patched(rng: np.random.Generator, ys: Floats, xs: Floats) -> Floats:
    cell, size = int(rng.integers(4, 14)), len(ys)
    grid = rng.random((size // cell + 1, size // cell + 1)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_NEAREST))


_PATTERNS: tuple[tuple[float, Callable[[np.random.Generator, Floats, Floats], Floats]], ...] = (
    (0.3, _soft),
    (0.17, _mottled),
    (0.15, _striped),
    (0.1, _checked),
    (0.1, _dotted),
    (0.1, _faded),
    (0.08, _patched),
)
"""Share of tiles and pattern."""


def darker(tile: Bytes, factor: float) -> Bytes:
    """A tile in shade."""
    return (tile.astype(np.float32) * factor).astype(np.uint8)


def random_light(rng: np.random.Generator) -> tuple[float, float]:
    """`Actor.light` of a figure: none, or a slope across it."""
    if rng.random() < 0.3:
        return (0.0, 0.0)
    return float(rng.normal(0, 0.15)), float(rng.normal(-0.05, 0.1))
