"""Dogs from the side, from long and low to tall and slim."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.training.figures.actor import Actor, Bytes, Part, measure, mirrored, standing
from server.training.figures.materials import darker, random_color, random_light, texture
from server.training.figures.outlines import capsule, ellipse, moved, polygon

_FUR, _SHADE, _DARK, _PATCH, _COLLAR = range(5)
"""Materials."""


def dog(rng: np.random.Generator) -> Actor:
    """A dog from the side, from long and low to tall and slim."""
    materials = _coat(rng)
    figure = _Figure(
        leg=rng.uniform(0.2, 0.36),
        girth=rng.uniform(0.095, 0.15),
        gait=rng.uniform(0.15, 0.7),
        tail_up=rng.uniform(-0.3, 1.3),
        tail_long=rng.uniform(0.08, 0.24),
        ears_up=rng.random() < 0.5,
        snout=rng.uniform(0.08, 0.15),
        head=rng.uniform(0.075, 0.11),
        neck_up=rng.uniform(0.06, 0.22),
        patch=rng.random() < 0.45,
        collar=rng.random() < 0.5,
    )
    facing = 1.0 if rng.random() < 0.5 else -1.0

    def pose(phase: float) -> list[Part]:
        return mirrored(standing(figure.parts(phase)), facing)

    return Actor(
        "dog",
        pose,
        materials,
        measure(pose),
        (0.0, 1.0),
        rng.uniform(6.0, 11.0),
        random_light(rng),
    )


def _coat(rng: np.random.Generator) -> tuple[Bytes, ...]:
    color = np.array([150, 105, 65]) * rng.uniform(0.15, 1.6) + rng.normal(0, 14, 3)
    if rng.random() < 0.25:
        color = np.full(3, rng.uniform(15, 245))
    fur = texture(rng, np.clip(color, 5, 250).astype(np.float32), strength=rng.uniform(0.1, 0.6))
    patch = texture(
        rng, np.clip(color * rng.uniform(0.4, 1.6), 5, 250).astype(np.float32), strength=0.4
    )
    dark = texture(rng, np.full(3, rng.uniform(5, 40), np.float32), strength=0.1)
    collar = texture(rng, random_color(rng))
    return fur, darker(fur, rng.uniform(0.6, 0.9)), dark, patch, collar


@dataclass(frozen=True)
class _Figure:
    """What chance has decided about one dog, facing right; lengths in lengths of the dog."""

    leg: float
    girth: float
    """Half the height of the trunk."""
    gait: float
    """Swing of a leg in radians."""
    tail_up: float
    """Radians above the horizontal."""
    tail_long: float
    ears_up: bool
    snout: float
    head: float
    """Radius."""
    neck_up: float
    patch: bool
    collar: bool

    @property
    def _back(self) -> float:
        """Height of the trunk's middle, as y."""
        return 1 - self.leg - self.girth

    def parts(self, phase: float) -> list[Part]:
        """Tail, legs of the far side, trunk, legs of the near side, head."""
        wag = self.tail_up + 0.25 * math.sin(2 * phase)
        root = np.array([-0.3, self._back - self.girth * 0.4])
        tip = root + self.tail_long * np.array([-math.cos(wag), -math.sin(wag)])
        return [
            Part(capsule(root, tip, 0.03, 0.015), _FUR),
            *self._leg(-0.24, phase, _SHADE),
            *self._leg(0.2, phase + math.pi / 2, _SHADE),
            *self._trunk(),
            *self._leg(-0.27, phase + math.pi, _FUR),
            *self._leg(0.24, phase + 1.5 * math.pi, _FUR),
            *self._neck_and_head(phase),
        ]

    def _leg(self, x: float, phase: float, material: int) -> list[Part]:
        angle = self.gait * math.sin(phase)
        fold = 0.8 * self.gait * max(0.0, math.cos(phase))
        hip = np.array([x, self._back + self.girth * 0.35])
        reach = 1 - hip[1] - 0.02
        knee = hip + reach * 0.52 * np.array([math.sin(angle), math.cos(angle)])
        foot = knee + reach * 0.48 * np.array([math.sin(angle - fold), math.cos(angle - fold)])
        return [
            Part(capsule(hip, knee, 0.055, 0.034), material),
            Part(capsule(knee, foot, 0.03, 0.023), material),
            Part(capsule(foot, moved(foot, 0.03, 0.005), 0.022, 0.018), material),
        ]

    def _trunk(self) -> list[Part]:
        back, girth = self._back, self.girth
        trunk = capsule((-0.25, back), (0.22, back - girth * 0.05), girth * 0.95, girth * 1.05)
        parts = [Part(trunk, _FUR)]
        if self.patch:
            parts.append(Part(ellipse((-0.05, back - girth * 0.2), 0.14, girth * 0.75), _PATCH))
        return parts

    def _neck_and_head(self, phase: float) -> list[Part]:
        back, girth, size = self._back, self.girth, self.head
        nod = 0.015 * math.sin(phase)
        head = np.array([0.4, back - girth * 0.5 - self.neck_up + nod])
        neck = capsule((0.25, back - girth * 0.1), head, girth * 0.75, size * 0.7)
        parts = [Part(neck, _FUR)]
        if self.collar:
            middle = 0.4 * np.array([0.25, back]) + 0.6 * head
            ends = moved(middle, -0.05, -0.03), moved(middle, 0.06, 0.04)
            parts.append(Part(capsule(*ends, 0.014, 0.014), _COLLAR))
        snout = capsule(moved(head, 0.03, 0.02), moved(head, self.snout, 0.035), size * 0.6, 0.032)
        return [
            *parts,
            Part(snout, _FUR),
            Part(ellipse(head, size, size * 0.9), _FUR),
            Part(ellipse(moved(head, self.snout + 0.025, 0.025), 0.017, 0.015), _DARK),
            Part(ellipse(moved(head, 0.035, -0.02), 0.012, 0.012), _DARK),
            self._ear(head),
        ]

    def _ear(self, head: npt.NDArray[np.float64]) -> Part:
        if not self.ears_up:
            return Part(ellipse(moved(head, -0.05, 0.03), 0.032, 0.075, angle=0.2), _SHADE)
        pointed = polygon(
            moved(head, -0.06, -0.03),
            moved(head, -0.03, -self.head - 0.06),
            moved(head, 0.015, -0.05),
        )
        return Part(pointed, _SHADE)
