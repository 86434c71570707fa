"""What a drawn plate is made of: people, cars, dogs, balls, things in the way, and backgrounds.

Leaf of the plate generator (`server.training.plates` stages these into shots). `actor` says what a
figure is and draws it, `outlines` and `materials` are what figures are made of; `people`, `cars`,
`dogs` and `props` make them, `backgrounds` the sets behind them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from server.training.figures.actor import (
    CATEGORIES,
    Actor,
    Bytes,
    Floats,
    Part,
    draw_actor,
    measure,
)
from server.training.figures.backgrounds import background
from server.training.figures.cars import car
from server.training.figures.dogs import dog
from server.training.figures.materials import TEXTURE_PIXELS
from server.training.figures.people import person
from server.training.figures.props import ball, thing

__all__ = [
    "ACTORS",
    "CATEGORIES",
    "TEXTURE_PIXELS",
    "Actor",
    "Bytes",
    "Floats",
    "Part",
    "background",
    "ball",
    "car",
    "dog",
    "draw_actor",
    "measure",
    "person",
    "thing",
]

ACTORS: dict[str, Callable[[np.random.Generator], Actor]] = {
    "person": person,
    "car": car,
    "dog": dog,
    "ball": ball,
}
"""Maker of an actor for each of `CATEGORIES`."""
