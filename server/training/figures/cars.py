"""Cars: a saloon, hatchback, van or lorry from the side, or a car from the front or back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from server.training.figures.actor import Actor, Part, measure, mirrored
from server.training.figures.materials import darker, random_color, random_light, texture
from server.training.figures.outlines import capsule, ellipse, polygon, rectangle, taper

_PAINT, _GLASS, _RUBBER, _METAL, _LAMP, _SECOND, _SHADE = range(7)
"""Materials."""


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
    materials = (paint, glass, rubber, metal, lamp, second, darker(paint, 0.6))
    facing = 1.0 if rng.random() < 0.5 else -1.0
    view = _front(rng) if rng.random() < 0.25 else _side(rng)

    def pose(phase: float) -> list[Part]:
        return mirrored(view.pose(phase), facing)

    return Actor(
        "car",
        pose,
        materials,
        measure(pose),
        (0.0, 1.0),
        rng.uniform(8.0, 14.0),
        random_light(rng),
    )


def _side(rng: np.random.Generator) -> _Side:
    kind = str(rng.choice(["saloon", "hatch", "van", "lorry"], p=[0.35, 0.3, 0.22, 0.13]))
    body = rng.uniform(0.14, 0.19)
    cabins = {"saloon": 0.12, "hatch": 0.13, "van": 0.2, "lorry": 0.17}
    cabin = cabins[kind] * rng.uniform(0.85, 1.2)
    wheel = rng.uniform(0.062, 0.088)
    floor = 1 - wheel * rng.uniform(0.6, 0.9)
    wheels = (-0.5 + rng.uniform(0.15, 0.22), 0.5 - rng.uniform(0.15, 0.22))
    rake = rng.uniform(0.05, 0.13)
    backs = {"saloon": -0.3, "hatch": -0.46, "van": -0.49, "lorry": 0.15}
    fronts = {"saloon": 0.22, "hatch": 0.24, "van": 0.33, "lorry": 0.38}
    return _Side(
        kind=kind,
        body=body,
        floor=floor,
        belt=floor - body,
        roof=floor - body - cabin,
        wheel=wheel,
        wheels=wheels,
        rake=rake,
        back=backs[kind] + rng.uniform(0, 0.05),
        front=fronts[kind] + rng.uniform(0, 0.06),
        spokes=int(rng.integers(3, 7)),
        two_tone=rng.random() < 0.25,
        rack=rng.random() < 0.12,
    )


@dataclass(frozen=True)
class _Side:
    """A car seen from the side, facing right; lengths in lengths of the car."""

    kind: str
    body: float
    """Height of the body below the windows."""
    floor: float
    belt: float
    """y of the windows' lower edge."""
    roof: float
    wheel: float
    """Radius."""
    wheels: tuple[float, float]
    """x of the hubs."""
    rake: float
    """How far the windscreen leans."""
    back: float
    """x of the cabin's ends at the belt."""
    front: float
    spokes: int
    two_tone: bool
    rack: bool

    def pose(self, phase: float) -> list[Part]:
        """See `Actor.pose`."""
        parts = [*self._shell(), *self._windows()]
        for x in self.wheels:
            parts += self._wheel(x, phase)
        return parts

    def _shell(self) -> list[Part]:
        belt, roof, floor, back, front = self.belt, self.roof, self.floor, self.back, self.front
        parts = []
        if self.kind == "lorry":
            parts.append(Part(rectangle(-0.5, belt - 0.2, 0.12, floor), _SECOND))
        cabin = polygon(
            (back, belt + 0.01),
            (back + self.rake * 0.7, roof),
            (front - self.rake, roof),
            (front + 0.02, belt + 0.01),
        )
        body = polygon(
            (-0.5, belt + 0.04),
            (-0.47, belt),
            (front, belt),
            (0.47, belt + 0.04),
            (0.5, belt + 0.09),
            (0.5, floor),
            (-0.5, floor),
        )
        parts += [Part(cabin, _PAINT), Part(body, _PAINT)]
        if self.two_tone:
            parts.append(Part(rectangle(-0.5, floor - self.body * 0.4, 0.5, floor), _SECOND))
        if self.rack:
            ends = (back + self.rake, roof - 0.015), (front - self.rake, roof - 0.015)
            parts.append(Part(capsule(*ends, 0.008, 0.008), _RUBBER))
        return parts

    def _windows(self) -> list[Part]:
        """Glass, the door between it and the lamps."""
        belt, roof, back, front = self.belt, self.roof, self.back, self.front
        middle = (back + front) / 2
        parts = []
        if self.kind != "van" or not self.two_tone:
            rear = polygon(
                (back + 0.03, belt),
                (back + self.rake * 0.7 + 0.015, roof + 0.02),
                (middle - 0.012, roof + 0.02),
                (middle - 0.012, belt),
            )
            parts.append(Part(rear, _GLASS))
        windscreen = polygon(
            (middle + 0.012, belt),
            (middle + 0.012, roof + 0.02),
            (front - self.rake - 0.005, roof + 0.02),
            (front - 0.02, belt),
        )
        door = capsule((middle, belt + 0.02), (middle, self.floor - 0.01), 0.003, 0.003)
        return [
            *parts,
            Part(windscreen, _GLASS),
            Part(door, _SHADE),
            Part(ellipse((0.475, belt + 0.075), 0.02, 0.025), _LAMP),
            Part(ellipse((-0.488, belt + 0.07), 0.012, 0.03), _LAMP),
        ]

    def _wheel(self, x: float, phase: float) -> list[Part]:
        wheel, hub = self.wheel, (x, 1 - self.wheel)
        parts = [
            Part(ellipse(hub, wheel * 1.15, wheel * 1.15), _SHADE),
            Part(ellipse(hub, wheel, wheel), _RUBBER),
            Part(ellipse(hub, wheel * 0.55, wheel * 0.55), _METAL),
        ]
        for spoke in range(self.spokes):
            angle = phase + 2 * math.pi * spoke / self.spokes
            tip = (x + 0.5 * wheel * math.cos(angle), hub[1] + 0.5 * wheel * math.sin(angle))
            parts.append(Part(capsule(hub, tip, 0.006, 0.006), _RUBBER))
        return parts


def _front(rng: np.random.Generator) -> _Front:
    return _Front(
        half=rng.uniform(0.3, 0.38),
        tall=rng.uniform(0.5, 0.68),
        shoulder=rng.uniform(0.42, 0.55),
        roof_half=rng.uniform(0.68, 0.85),
        grille=rng.random() < 0.7,
    )


@dataclass(frozen=True)
class _Front:
    """A car seen from the front or the back."""

    half: float
    """Half its width."""
    tall: float
    shoulder: float
    """Height of the windows' lower edge by that of the car."""
    roof_half: float
    """Width of the roof by that of the car."""
    grille: bool

    def pose(self, phase: float) -> list[Part]:
        """See `Actor.pose`."""
        half, roof = self.half, self.half * self.roof_half
        top, belt = 1 - self.tall, 1 - self.tall * self.shoulder
        middle = (belt + 0.95) / 2
        sway = 0.004 * math.sin(phase)
        cabin = polygon(
            (-half * 0.9, belt + sway),
            (-roof, top + sway),
            (roof, top + sway),
            (half * 0.9, belt + sway),
        )
        body = polygon(
            (-half, belt + 0.03),
            (-half * 0.9, belt),
            (half * 0.9, belt),
            (half, belt + 0.03),
            (half, 0.95),
            (-half, 0.95),
        )
        windscreen = polygon(
            (-half * 0.8, belt),
            (-roof * 0.9, top + 0.04 + sway),
            (roof * 0.9, top + 0.04 + sway),
            (half * 0.8, belt),
        )
        parts = [
            Part(rectangle(-half * 0.95, 0.9, -half * 0.6, 1), _RUBBER),
            Part(rectangle(half * 0.6, 0.9, half * 0.95, 1), _RUBBER),
            Part(cabin, _PAINT),
            Part(body, _PAINT),
            Part(windscreen, _GLASS),
        ]
        for sign in (-1, 1):
            parts.append(Part(ellipse((sign * half * 0.76, middle - 0.02), 0.05, 0.035), _LAMP))
            parts.append(Part(ellipse((sign * half * 1.06, belt), 0.03, 0.025), _SHADE))
        if self.grille:
            grille = taper(middle, middle + 0.07, top_half=half * 0.5, bottom_half=half * 0.45)
            parts.append(Part(grille, _RUBBER))
        return [*parts, Part(rectangle(-0.07, 0.89, 0.07, 0.93), _METAL)]
