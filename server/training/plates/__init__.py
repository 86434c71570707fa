"""Drawn plates: shots whose every pixel is known.

`draw_shot` is what demo, tests, benchmarks and the oracle use: a deterministic shot of any size,
drawn frame by frame on demand, with soft coverage, ids and visibility of every object. Training
composes the same scenes from a `SpritePool` of figures drawn beforehand, a few milliseconds each.

`truth` is what is known of a frame, `scenes` draws frames, `staging` casts them, `shots` and `pool`
make whole shots and training's scenes of that.
"""

from server.training.figures import CATEGORIES
from server.training.plates.pool import SpritePool, make_pool
from server.training.plates.scenes import MARGIN, Look, Path2D, Role, Scene
from server.training.plates.shots import (
    TRAINING_STYLE,
    DrawnShot,
    DrawnSprite,
    Style,
    draw_shot,
    staged,
)
from server.training.plates.truth import DrawnFrame, DrawnObject, Truth

__all__ = [
    "CATEGORIES",
    "MARGIN",
    "TRAINING_STYLE",
    "DrawnFrame",
    "DrawnObject",
    "DrawnShot",
    "DrawnSprite",
    "Look",
    "Path2D",
    "Role",
    "Scene",
    "SpritePool",
    "Style",
    "Truth",
    "draw_shot",
    "make_pool",
    "staged",
]
