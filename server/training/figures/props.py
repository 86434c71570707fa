"""Balls, and things that stand in the way."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from server.training.figures.actor import Actor, Part, measure
from server.training.figures.materials import random_color, random_light, texture
from server.training.figures.outlines import ellipse, polygon, rectangle, regular, taper

_CENTER = np.array([0.0, 0.5])
"""Of a ball."""


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
    pattern = (_panels, _stripes, _band, _plain)[int(rng.integers(0, 4))]

    def pose(phase: float) -> list[Part]:
        shine = Part(ellipse((-0.16, 0.33), 0.08, 0.06, angle=-0.6), 2)
        return [Part(ellipse(_CENTER, 0.5, 0.5), 0), *pattern(phase), shine]

    return Actor(
        "ball", pose, materials, (-0.52, -0.02, 0.52, 1.02), (0.0, 1.0), 2.0, random_light(rng)
    )


def _panels(phase: float) -> list[Part]:
    angles = [phase + 2 * math.pi * number / 5 for number in range(5)]
    around = [_CENTER + 0.31 * np.array([math.cos(a), math.sin(a)]) for a in angles]
    return [Part(ellipse(spot, 0.11, 0.11), 1) for spot in (*around, _CENTER)]


def _stripes(phase: float) -> list[Part]:
    parts = []
    for start in range(0, 6, 2):
        arc = phase + (start + np.linspace(0, 1, 6)) * math.pi / 3
        rim = _CENTER + 0.5 * np.stack([np.cos(arc), np.sin(arc)], 1)
        parts.append(Part(np.concatenate([_CENTER[None], rim]).astype(np.float32), 1))
    return parts


def _band(phase: float) -> list[Part]:
    along = np.array([math.cos(phase), math.sin(phase)])
    normal = np.array([-along[1], along[0]])
    outline = polygon(
        _CENTER + 0.48 * along + 0.1 * normal,
        _CENTER - 0.48 * along + 0.1 * normal,
        _CENTER - 0.48 * along - 0.1 * normal,
        _CENTER + 0.48 * along - 0.1 * normal,
    )
    return [Part(outline, 1)]


def _plain(phase: float) -> list[Part]:
    return []


def thing(rng: np.random.Generator) -> Actor:
    """Something that stands in the way: a post, a crate, a bush, a lamp, a sign, a fence."""
    kind = rng.choice(["post", "crate", "bush", "sign", "fence"])
    materials = (texture(rng, random_color(rng)), texture(rng, random_color(rng)))
    wide = rng.uniform(0.05, 0.5)
    leaves = rng.uniform(-0.25, 0.25, (24, 3))
    corners = int(rng.integers(3, 5))
    lamp = rng.random() < 0.5

    def bush(phase: float) -> list[Part]:
        sway = 0.01 * math.sin(phase)
        return [
            Part(ellipse((x + sway, 0.75 + y), 0.15, 0.05, angle=6 * turn), number % 2)
            for number, (x, y, turn) in enumerate(leaves)
        ]

    post = [Part(taper(0, 1, top_half=0.03, bottom_half=0.035), 0)]
    bars = [Part(rectangle(x - 0.02, 0.5, x + 0.02, 1), 0) for x in np.linspace(-0.5, 0.5, 6)]
    still = {
        "post": [*post, Part(ellipse((0, 0.03), 0.08, 0.04), 1)] if lamp else post,
        "crate": [
            Part(rectangle(-wide, 0.5, wide, 1), 0),
            Part(rectangle(-wide, 0.7, wide, 0.75), 1),
        ],
        "sign": [
            Part(rectangle(-0.015, 0.2, 0.015, 1), 0),
            Part(regular((0.0, 0.16), 0.16, corners), 1),
        ],
        "fence": [*bars, Part(rectangle(-0.52, 0.6, 0.52, 0.64), 1)],
    }
    pose: Callable[[float], list[Part]] = bush if kind == "bush" else lambda phase: still[kind]
    return Actor("", pose, materials, measure(pose), (0.0, 1.0), 1.0)
