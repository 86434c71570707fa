"""People: walking, running, standing, waving or crouching, of any build and clothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from server.training.figures.actor import Actor, Bytes, Part, measure, standing
from server.training.figures.materials import (
    darker,
    random_color,
    random_light,
    skin_color,
    texture,
)
from server.training.figures.outlines import capsule, ellipse, moved, polygon, taper

_TOP, _TROUSERS, _SKIN, _HAIR, _SHOES, _EXTRA = 0, 2, 4, 6, 7, 8
"""Materials; the one after cloth and skin is the same in shade, for limbs on the far side."""

_Place = npt.NDArray[np.float64]


def person(rng: np.random.Generator) -> Actor:
    """A walking, running, standing, waving or crouching person of any build and clothing."""
    figure = _figure(rng)
    materials = _clothes(rng)
    return Actor(
        "person",
        figure.pose,
        materials,
        measure(figure.pose),
        (0.0, 1.0),
        rng.uniform(5.0, 9.0),
        random_light(rng),
    )


def _figure(rng: np.random.Generator) -> _Figure:
    child = rng.random() < 0.2
    return _Figure(
        head=rng.uniform(0.16, 0.21) if child else rng.uniform(0.115, 0.15),
        wide=rng.uniform(0.7, 1.5),
        turn=rng.uniform(0.0, 1.0),
        hip=rng.uniform(0.47, 0.54),
        stride=rng.uniform(0.0, 0.3) if rng.random() < 0.25 else rng.uniform(0.3, 0.85),
        bend=rng.uniform(0.3, 1.2),
        crouch=rng.uniform(0.5, 1.0) if rng.random() < 0.08 else 0.0,
        arms=str(
            rng.choice(["hang", "swing", "wave", "raised", "carry"], p=[0.25, 0.4, 0.13, 0.1, 0.12])
        ),
        rest=rng.uniform(0.02, 0.35, 2),
        elbow=rng.uniform(0.0, 1.3, 2),
        sleeves=rng.random() < 0.65,
        legs_bare=rng.random() < 0.25,
        bottom=str(rng.choice(["trousers", "skirt", "coat"], p=[0.66, 0.19, 0.15])),
        hair_long=rng.random() < 0.3,
        hat=str(rng.choice(["", "cap", "brim"], p=[0.72, 0.14, 0.14])),
        pack=rng.random() < 0.15,
        bag=rng.random() < 0.15,
        lean=float(rng.normal(0, 0.05)),
        stripe=rng.random() < 0.25,
        facing=1.0 if rng.random() < 0.5 else -1.0,
    )


def _clothes(rng: np.random.Generator) -> tuple[Bytes, ...]:
    top, trousers = texture(rng, random_color(rng)), texture(rng, random_color(rng))
    if rng.random() < 0.2:
        trousers = top
    skin = texture(rng, skin_color(rng), strength=0.15)
    hair = texture(rng, np.clip(random_color(rng) * 0.5, 0, 255).astype(np.float32), strength=0.3)
    shoes, extra = texture(rng, random_color(rng) * 0.6), texture(rng, random_color(rng))
    far = rng.uniform(0.65, 0.95)
    return (
        top,
        darker(top, far),
        trousers,
        darker(trousers, far),
        skin,
        darker(skin, far),
        hair,
        shoes,
        extra,
    )


@dataclass(frozen=True)
class _Figure:
    """What chance has decided about one person; lengths in heights, angles in radians.

    Side 0 of a limb is the far one, side 1 the near one.
    """

    head: float
    """Height of the head."""
    wide: float
    """Build, by that of an average person."""
    turn: float
    """0 faces the viewer, 1 is seen from the side."""
    hip: float
    stride: float
    bend: float
    """How far knees fold in a stride."""
    crouch: float
    arms: str
    rest: npt.NDArray[np.float64]
    """(2,) how far each arm is held off the body."""
    elbow: npt.NDArray[np.float64]
    """(2,) how far each elbow is bent."""
    sleeves: bool
    legs_bare: bool
    bottom: str
    hair_long: bool
    hat: str
    pack: bool
    bag: bool
    lean: float
    stripe: bool
    facing: float
    """1 to the right, -1 to the left."""

    def pose(self, phase: float) -> list[Part]:
        """See `Actor.pose`."""
        near_arm = self._arm(1, phase)
        parts = [*self._leg(0, phase), *self._arm(0, phase)]
        if self.pack:
            back = moved(self._shoulder, -self.facing * (0.05 + 0.09 * self.turn), 0.13)
            parts.append(Part(ellipse(back, 0.1, 0.13), _EXTRA))
        parts += [*self._leg(1, phase), *self._body(phase), *self._face(), *near_arm]
        if self.bag:
            hand = near_arm[-1].points.mean(0)
            outline = polygon(
                moved(hand, -0.05, 0.02),
                moved(hand, 0.05, 0.02),
                moved(hand, 0.06, 0.13),
                moved(hand, -0.06, 0.13),
            )
            parts.append(Part(outline, _EXTRA))
        return standing(parts)

    @property
    def _shoulder(self) -> npt.NDArray[Any]:
        """Middle between the shoulders."""
        return moved(np.array([self.lean, self.head + 0.012]), 0.0, 0.04)

    @property
    def _broad(self) -> float:
        """Half the way from shoulder to shoulder, as seen."""
        return 0.115 * self.wide * (1 - 0.45 * self.turn)

    def _leg(self, side: int, phase: float) -> list[Part]:
        sign, wide, facing = (1 if side else -1), self.wide, self.facing
        angle = facing * self.stride * math.sin(phase + side * math.pi) + facing * self.crouch
        fold = (
            facing * self.bend * self.stride * max(0.0, math.cos(phase + side * math.pi))
            + 1.9 * facing * self.crouch
        )
        reach = 1 - self.hip - 0.02
        lateral = 0.055 * wide * (1 - 0.6 * self.turn)
        turn = 1.0 if self.crouch else self.turn
        start = moved(np.array([0.0, self.hip]), sign * lateral, 0)
        knee = _toward(start, angle, reach * 0.5, turn=turn, splay=sign * 0.03)
        foot = _toward(knee, angle - fold, reach * 0.48, turn=turn, splay=0.0)
        toe = moved(foot, 0.055 * facing * max(self.turn, 0.25), 0.012)
        shade = 1 - side
        bare = self.legs_bare or self.bottom == "skirt"
        return [
            Part(capsule(start, knee, 0.055 * wide, 0.042 * wide), _TROUSERS + shade),
            Part(
                capsule(knee, foot, 0.04 * wide, 0.028 * wide),
                (_SKIN if bare else _TROUSERS) + shade,
            ),
            Part(capsule(foot, toe, 0.027, 0.02), _SHOES),
        ]

    def _arm(self, side: int, phase: float) -> list[Part]:
        """Upper arm, forearm and, last, the hand."""
        sign, wide = (1 if side else -1), self.wide
        swing, splay, lower = self._gesture(side, phase)
        start = moved(self._shoulder, sign * self._broad, 0.005)
        elbow = _toward(start, swing, 0.165, turn=self.turn, splay=splay)
        if abs(splay) > 1.2:
            wrist = elbow + 0.15 * np.array([math.sin(splay + lower), math.cos(splay + lower)])
        else:
            angle = swing + self.facing * lower
            wrist = _toward(elbow, angle, 0.15, turn=max(self.turn, 0.5), splay=splay * 0.5)
        shade = 1 - side
        return [
            Part(capsule(start, elbow, 0.038 * wide, 0.032 * wide), _TOP + shade),
            Part(
                capsule(elbow, wrist, 0.03 * wide, 0.022 * wide),
                (_TOP if self.sleeves else _SKIN) + shade,
            ),
            Part(ellipse(wrist, 0.024, 0.027), _SKIN + shade),
        ]

    def _gesture(self, side: int, phase: float) -> tuple[float, float, float]:
        """Angles of an arm: its swing, how far it is held off the body, and the elbow's."""
        sign = 1 if side else -1
        swing = self.facing * 0.8 * self.stride * math.sin(phase + (1 - side) * math.pi)
        splay, lower = sign * self.rest[side], self.elbow[side] * 0.6
        if self.arms == "hang":
            return 0.1 * math.sin(phase), splay, 0.1
        if self.arms == "wave" and side:
            return 0.0, sign * 2.2, 0.6 * math.sin(phase)
        if self.arms == "raised":
            return 0.0, sign * (2.4 + 0.25 * math.sin(phase)), 0.3
        if self.arms == "carry":
            return self.facing * 0.5, splay, 1.4
        return swing, splay, lower

    def _body(self, phase: float) -> list[Part]:
        """Skirt or coat, trunk and its stripe."""
        shoulder, broad, hip = self._shoulder, self._broad, self.hip
        waist = 0.095 * self.wide * (1 - 0.25 * self.turn)
        parts = []
        if self.bottom != "trousers":
            skirt = self.bottom == "skirt"
            hem = hip + (0.2 if skirt else 0.27)
            flare = waist * 1.4 + 0.25 * self.stride * abs(math.sin(phase)) * self.turn * 0.5
            outline = taper(hip - 0.05, hem, top_half=waist, bottom_half=flare)
            parts.append(Part(outline, _TROUSERS if skirt else _TOP))
        trunk = polygon(
            moved(shoulder, -broad, -0.015),
            moved(shoulder, -0.03, -0.035),
            moved(shoulder, 0.03, -0.035),
            moved(shoulder, broad, -0.015),
            (waist, hip + 0.03),
            (-waist, hip + 0.03),
        )
        parts.append(Part(trunk, _TOP))
        if self.stripe:
            outline = polygon(
                moved(shoulder, -broad * 0.95, 0.06),
                moved(shoulder, broad * 0.95, 0.06),
                moved(shoulder, broad * 0.9, 0.12),
                moved(shoulder, -broad * 0.9, 0.12),
            )
            parts.append(Part(outline, _EXTRA))
        return parts

    def _face(self) -> list[Part]:
        """Neck, head, hair and hat."""
        head, turn, facing = self.head, self.turn, self.facing
        middle = np.array([self.lean * 1.3 + facing * 0.012 * turn, head * 0.5])
        radius = head * 0.37
        parts = [Part(capsule(self._shoulder, middle, 0.032 * self.wide, 0.03), _SKIN)]
        if self.hair_long:
            behind = moved(middle, -facing * 0.02 * turn, head * 0.25)
            parts.append(Part(ellipse(behind, radius * 1.2, head * 0.62), _HAIR))
        crown = moved(middle, -facing * radius * 0.35 * turn, -head * 0.22)
        parts.append(Part(ellipse(middle, radius, head * 0.48), _SKIN))
        parts.append(Part(ellipse(crown, radius * 1.05, head * 0.3), _HAIR))
        if self.hat == "cap":
            peak = capsule(
                moved(middle, 0, -head * 0.16),
                moved(middle, facing * radius * 1.7, -head * 0.14),
                0.012,
                0.01,
            )
            cap = ellipse(moved(middle, 0, -head * 0.3), radius * 1.1, head * 0.24)
            parts += [Part(cap, _EXTRA), Part(peak, _EXTRA)]
        elif self.hat == "brim":
            brim = ellipse(moved(middle, 0, -head * 0.2), radius * 1.9, head * 0.1)
            dome = ellipse(moved(middle, 0, -head * 0.36), radius * 1.0, head * 0.26)
            parts += [Part(brim, _EXTRA), Part(dome, _EXTRA)]
        return parts


def _toward(start: _Place, angle: float, length: float, *, turn: float, splay: float) -> _Place:
    """End of a limb that swings by `angle` in depth or across, as seen by a viewer."""
    across = math.sin(angle) * turn + math.sin(splay) * (1 - 0.5 * turn)
    return start + length * np.array([across, math.cos(angle) * math.cos(splay)])
