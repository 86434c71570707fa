"""Whole shots: a style's figures, drawn anew for every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from server.errors import InputError
from server.training import figures
from server.training.figures import CATEGORIES, Actor, Bytes, draw_actor
from server.training.plates.scenes import MARGIN, Role, Scene, Sprite
from server.training.plates.staging import stage
from server.training.plates.truth import DrawnFrame, DrawnObject


@dataclass(frozen=True)
class Style:
    """A way of drawing: what actors, obstacles and backgrounds look like."""

    name: str
    actors: Mapping[str, Callable[[np.random.Generator], Actor]]
    """Maker of an actor for each of `CATEGORIES`."""
    thing: Callable[[np.random.Generator], Actor]
    """Maker of something that stands in the way."""
    background: Callable[..., Bytes]
    """``background(rng, size=(H, W), level=0..1) -> (H, W, 3) uint8``."""


TRAINING_STYLE = Style("training", figures.ACTORS, figures.thing, figures.background)
"""The style the demo models are trained on."""


class DrawnSprite:
    """A sprite drawn anew for every frame: exact size, phase and place."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self.category = actor.category
        self.pace = actor.pace
        self.mean_color = actor.mean_color
        self.reach = actor.reach

    def image(
        self, *, phase: float, unit_pixels: float, squeeze: float, shift: tuple[float, float]
    ) -> tuple[Bytes, tuple[float, float]]:
        """See `Sprite`."""
        return draw_actor(
            self._actor, phase=phase, unit_pixels=unit_pixels, squeeze=squeeze, shift=shift
        )


@dataclass(frozen=True)
class DrawnShot:
    """A shot with its truth; frames are drawn when asked for and not kept."""

    seed: int
    size: tuple[int, int]
    """H, W in pixels."""
    frames: int
    objects: tuple[DrawnObject, ...]
    """In the order of ids, which start at 1."""
    style: str
    scene: Scene = field(repr=False)

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[DrawnFrame]:
        return (self.frame(index) for index in range(self.frames))

    def frame(self, index: int) -> DrawnFrame:
        """The frame at a position from 0; always the same for the same seed.

        Raises:
            InputError: the shot has no such frame.
        """
        if not 0 <= index < self.frames:
            raise InputError(
                f"Expected a frame index from 0 to {self.frames - 1}, found {index}. "
                "Draw a longer shot, or ask for a frame it has."
            )
        return self.scene.draw(float(index))


def draw_shot(
    seed: int,
    *,
    size: tuple[int, int] = (360, 640),
    frames: int = 48,
    level: float = 0.5,
    categories: Sequence[str] = CATEGORIES,
    pixel_aspect: float = 1.0,
    style: Style = TRAINING_STYLE,
) -> DrawnShot:
    """A shot of people, cars, dogs and balls, the same for the same arguments.

    Args:
        seed: 0 or more; chooses everything that is drawn.
        size: H, W in pixels.
        frames: length of the shot.
        level: how hard it is, 0..1. 0: smooth backgrounds, two to four separate objects. 1:
            textures and clutter, up to seven objects, groups, crossings, obstacles, objects
            that enter, leave and come back, and an unsteady camera.
        categories: which of `CATEGORIES` may appear.
        pixel_aspect: width of a pixel by its height, 2.0 for anamorphic plates.
        style: how things are drawn.

    Raises:
        InputError: an argument is out of its range.
    """
    unknown = sorted(set(categories) - set(CATEGORIES))
    if seed < 0 or frames < 1 or not 0 <= level <= 1 or min(size) < 16 or unknown or not categories:
        raise InputError(
            "Expected seed >= 0, frames >= 1, level 0..1, a size of 16 pixels or more and "
            f"categories among {', '.join(CATEGORIES)}; found seed {seed}, frames {frames}, "
            f"level {level}, size {size}, categories {list(categories)}. Change the argument."
        )
    rng = np.random.default_rng([seed, 11])
    height, width = size
    wide = round(width * (1 + 2 * MARGIN))
    set_size = (round(height * (1 + 2 * MARGIN)), round(wide * pixel_aspect))
    backdrop = style.background(rng, size=set_size, level=level)
    if pixel_aspect != 1:
        backdrop = cv2.resize(backdrop, (wide, set_size[0]), interpolation=cv2.INTER_AREA)

    def find(category: str) -> Sprite:
        maker = style.actors[category] if category else style.thing
        return DrawnSprite(maker(rng))

    roles, look = stage(
        rng,
        frames=frames,
        level=level,
        aspect=width * pixel_aspect / height,
        categories=tuple(categories),
        find=find,
        mean_background=backdrop.reshape(-1, 3).mean(0).astype(np.float32),
    )
    look = replace(look, softness=look.softness * max(1.0, height / 360))
    scene = Scene(size, (seed, 13), backdrop, roles, look, squeeze=1 / pixel_aspect)
    return DrawnShot(seed, size, frames, _objects(roles), style.name, scene)


def staged(scene: Scene, *, frames: int) -> DrawnShot:
    """A shot of a scene staged by hand: roles, paths and look chosen one by one.

    Args:
        scene: what is drawn; ids of its roles are 1, 2, … without gaps, 0 for obstacles.
        frames: length of the shot.
    """
    return DrawnShot(scene.seed[0], scene.size, frames, _objects(scene.roles), "staged", scene)


def _objects(roles: Sequence[Role]) -> tuple[DrawnObject, ...]:
    """Objects by id, named like layers: category and a running number inside it."""
    counts: dict[str, int] = {}
    objects = []
    for role in sorted((role for role in roles if role.id), key=lambda role: role.id):
        category = role.sprite.category
        counts[category] = counts.get(category, 0) + 1
        objects.append(DrawnObject(role.id, f"{category}_{counts[category]:02d}", category))
    return tuple(objects)
