"""Drawn plates: shots whose every pixel is known.

`draw_shot` is what demo, tests, benchmarks and the oracle use: a deterministic shot of any size,
drawn frame by frame on demand, with soft coverage, ids and visibility of every object. Training
composes the same scenes from a `SpritePool` of figures drawn beforehand, a few milliseconds each.
The decision to know: a frame is composited back to front in display-referred sRGB, and every
object's coverage is what is left of its alpha after all nearer layers, so coverages add up to
at most 1 and the truth is exact also under motion blur.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from server.errors import InputError
from server.training import figures
from server.training.figures import CATEGORIES, Actor, Bytes, Floats, draw_actor

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


# ---------------------------------------------------------------- styles and sprites


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


class Sprite(Protocol):
    """Something that can be drawn at a phase and a size."""

    @property
    def category(self) -> str:
        """One of `CATEGORIES`, or empty for an obstacle."""

    @property
    def pace(self) -> float:
        """See `server.training.figures.Actor`."""

    @property
    def mean_color(self) -> Floats:
        """(3,) float32 0..255."""

    @property
    def reach(self) -> float:
        """Largest distance, in units, from the anchor sideways."""

    def image(
        self, *, phase: float, unit_pixels: float, squeeze: float, shift: tuple[float, float]
    ) -> tuple[Bytes, tuple[float, float]]:
        """See `server.training.figures.draw_actor`."""


class DrawnSprite:
    """A sprite drawn anew for every frame: exact size, phase and place."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self.category = actor.category
        self.pace = actor.pace
        self.mean_color = actor.mean_color
        self.reach = max(abs(actor.extent[0]), abs(actor.extent[2]))

    def image(
        self, *, phase: float, unit_pixels: float, squeeze: float, shift: tuple[float, float]
    ) -> tuple[Bytes, tuple[float, float]]:
        """See `Sprite`."""
        return draw_actor(
            self._actor, phase=phase, unit_pixels=unit_pixels, squeeze=squeeze, shift=shift
        )


@dataclass(frozen=True)
class PooledSprite:
    """A sprite from drawings made beforehand; whole pixels and nearest phase only."""

    category: str
    pace: float
    mean_color: Floats
    reach: float
    anchor: tuple[float, float]
    unit_pixels: float
    drawings: Bytes = field(repr=False)
    """(F, h, w, 4) uint8 premultiplied."""

    def image(
        self, *, phase: float, unit_pixels: float, squeeze: float, shift: tuple[float, float]
    ) -> tuple[Bytes, tuple[float, float]]:
        """See `Sprite`; `shift` is left out."""
        count, height, width = self.drawings.shape[:3]
        number = round(phase / (2 * math.pi) * count) % count
        scale = unit_pixels / self.unit_pixels
        w, h = max(2, round(width * scale * squeeze)), max(2, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = cv2.resize(self.drawings[number], (w, h), interpolation=method)
        return picture, (self.anchor[0] * w / width, self.anchor[1] * h / height)


# ---------------------------------------------------------------- the truth of a frame


@dataclass(frozen=True)
class DrawnObject:
    """One object of a shot."""

    id: int
    """1, 2, …: its value in label maps."""
    name: str
    category: str


@dataclass(frozen=True)
class Truth:
    """What is known about one object in one frame."""

    id: int
    top: int
    left: int
    coverage: Floats = field(repr=False)
    """(h, w) float32 0..1 at (top, left): the share of each pixel the object is seen in."""
    visibility: float
    """Seen part of the object's whole area, 0..1: what neither others nor the border hide."""


@dataclass(frozen=True)
class DrawnFrame:
    """One frame with its truth."""

    index: int
    pixels: Bytes = field(repr=False)
    """(H, W, 3) uint8, display-referred sRGB."""
    truths: tuple[Truth, ...]
    """One for each object, in the order of ids."""

    def linear(self) -> Floats:
        """(H, W, 3) float32 scene-linear picture with sRGB primaries."""
        value = self.pixels.astype(np.float32) / 255
        return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(
            np.float32
        )

    def coverage(self, object_id: int) -> Floats:
        """(H, W) float32 0..1: the soft matte of an object."""
        full = np.zeros(self.pixels.shape[:2], np.float32)
        truth = self.truths[object_id - 1]
        h, w = truth.coverage.shape
        full[truth.top : truth.top + h, truth.left : truth.left + w] = truth.coverage
        return full

    def labels(self) -> Bytes:
        """(H, W) uint8 ids: the strongest object where all together cover half or more, else 0."""
        shape = self.pixels.shape[:2]
        best, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        labels = np.zeros(shape, np.uint8)
        for truth in self.truths:
            h, w = truth.coverage.shape
            window = np.s_[truth.top : truth.top + h, truth.left : truth.left + w]
            total[window] += truth.coverage
            stronger = truth.coverage > best[window]
            labels[window][stronger] = truth.id
            best[window][stronger] = truth.coverage[stronger]
        labels[total < 0.5] = 0
        return labels

    def mask(self, object_id: int) -> npt.NDArray[np.bool_]:
        """(H, W) bool: where the label map shows the object."""
        return np.asarray(self.labels() == object_id)

    def boxes(self) -> dict[int, tuple[float, float, float, float]]:
        """Box x0 y0 x1 y1 (ends exclusive) of every object's part of the label map, by id."""
        labels = self.labels()
        found = {}
        for truth in self.truths:
            h, w = truth.coverage.shape
            here = labels[truth.top : truth.top + h, truth.left : truth.left + w] == truth.id
            columns, rows = np.flatnonzero(here.any(0)), np.flatnonzero(here.any(1))
            if len(columns):
                found[truth.id] = (
                    float(truth.left + columns[0]),
                    float(truth.top + rows[0]),
                    float(truth.left + columns[-1] + 1),
                    float(truth.top + rows[-1] + 1),
                )
        return found


# ---------------------------------------------------------------- scenes


@dataclass(frozen=True)
class Path2D:
    """Where an anchor is over time; lengths in frame widths and heights, time in frames."""

    x: float
    y: float
    vx: float = 0.0
    vy: float = 0.0
    sway: float = 0.0
    """Half the way of a to and fro along x; large ones leave the frame and come back."""
    sway_period: float = 60.0
    bounce: float = 0.0
    """Height of a bounce."""
    bounce_period: float = 16.0
    zoom: float = 0.0
    """Growth of the size per frame, as an exponent."""
    start: float = 0.0
    """Time offset of sway and bounce."""

    def at(self, time: float) -> tuple[float, float, float]:
        """x, y and the factor of size at a time."""
        turn = 2 * math.pi * (time + self.start) / self.sway_period
        hop = abs(math.sin(math.pi * (time + self.start) / self.bounce_period))
        x = self.x + self.vx * time + self.sway * math.sin(turn)
        y = self.y + self.vy * time - self.bounce * hop
        return x, y, math.exp(max(-1.2, min(1.2, self.zoom * time)))


@dataclass(frozen=True)
class Role:
    """A sprite with its size and path; id 0 for obstacles."""

    id: int
    sprite: Sprite
    path: Path2D
    unit: float
    """Height of one unit in frame heights, before zoom."""
    phase: float
    flip: bool = False
    channels: tuple[int, int, int] = (0, 1, 2)
    """Order of the colour channels: one sprite, six colour schemes."""
    shadow: float = 0.0
    """Darkness of the contact shadow, 0..1."""


@dataclass(frozen=True)
class Look:
    """Camera, light and film of a shot."""

    pan: tuple[float, float] = (0.0, 0.0)
    """Way of the picture per frame, in frame widths and heights."""
    shake: float = 0.0
    """Amplitude of an unsteady hand, in frame heights."""
    shutter: float = 0.0
    """Open share of a frame's time: length of motion blur."""
    softness: float = 0.0
    """Sigma of the lens blur in pixels."""
    gain: float = 1.0
    gain_change: float = 0.0
    """Amplitude of a slow change of exposure."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    grain: float = 0.0
    """Standard deviation of the grain, 0..255."""
    channels: tuple[int, int, int] = (0, 1, 2)


MARGIN = 0.2
"""A background reaches this share of the frame beyond every border, for the camera to move."""

_GRAIN = np.random.default_rng(20).standard_normal((512, 512, 3)).astype(np.float32)


@dataclass(frozen=True)
class Scene:
    """A staged shot: draws any of its frames, in any order, always the same."""

    size: tuple[int, int]
    seed: tuple[int, ...]
    background: Bytes = field(repr=False)
    """(H', W', 3) uint8: the set with `MARGIN` around the frame."""
    roles: tuple[Role, ...]
    """Back to front."""
    look: Look
    squeeze: float = 1.0
    """Horizontal by vertical pixels of one length: 0.5 when a pixel is twice as wide as high."""

    def draw(self, time: float) -> DrawnFrame:
        """The frame at a time in frames; whole times are the frames of the shot."""
        height, width = self.size
        camera = self._camera(time)
        before = self._camera(time - 1)
        canvas = self._backdrop(camera, (camera[0] - before[0], camera[1] - before[1]))
        layers: list[tuple[int, int, int, Floats, float]] = []
        for role in self.roles:
            layer = self._place(role, time, camera, before)
            if layer is None:
                continue
            picture, left, top, ground = layer
            alpha_area = float(picture[..., 3].sum()) / 255
            if role.shadow and ground is not None:
                self._shade(canvas, role.shadow, ground)
            x0, y0 = max(0, left), max(0, top)
            x1, y1 = min(width, left + picture.shape[1]), min(height, top + picture.shape[0])
            if x0 >= x1 or y0 >= y1:
                continue
            crop = picture[y0 - top : y1 - top, x0 - left : x1 - left]
            alpha = crop[..., 3] * np.float32(1 / 255)
            canvas[y0:y1, x0:x1] *= 1 - alpha[..., None]
            canvas[y0:y1, x0:x1] += crop[..., :3]
            for _, other_left, other_top, coverage, _ in layers:
                h, w = coverage.shape
                a0, b0 = max(x0, other_left), max(y0, other_top)
                a1, b1 = min(x1, other_left + w), min(y1, other_top + h)
                if a0 < a1 and b0 < b1:
                    part = coverage[
                        b0 - other_top : b1 - other_top, a0 - other_left : a1 - other_left
                    ]
                    part *= 1 - alpha[b0 - y0 : b1 - y0, a0 - x0 : a1 - x0]
            if role.id:
                layers.append((role.id, x0, y0, alpha.copy(), alpha_area))
        seen = {
            number: Truth(number, top, left, coverage, float(coverage.sum()) / max(area, 1e-6))
            for number, left, top, coverage, area in layers
        }
        nothing = np.zeros((0, 0), np.float32)
        truths = tuple(
            seen.get(number, Truth(number, 0, 0, nothing, 0.0))
            for number in sorted(role.id for role in self.roles if role.id)
        )
        return DrawnFrame(round(time), self._film(canvas, time), truths)

    def _camera(self, time: float) -> tuple[float, float]:
        """Way of the picture, x and y in frame widths and heights, within the margin."""
        shake = self.look.shake
        x = self.look.pan[0] * time + shake * (math.sin(0.37 * time) + 0.6 * math.sin(1.13 * time))
        y = self.look.pan[1] * time + shake * (
            math.sin(0.45 * time + 1) + 0.6 * math.cos(0.97 * time)
        )
        bound = MARGIN * 0.95
        return bound * math.tanh(x / bound), bound * math.tanh(y / bound)

    def _backdrop(self, camera: tuple[float, float], way: tuple[float, float]) -> Floats:
        height, width = self.size
        x = self.background.shape[1] / 2 - width / 2 - camera[0] * width
        y = self.background.shape[0] / 2 - height / 2 - camera[1] * height
        matrix = np.array([[1, 0, -x], [0, 1, -y]], np.float32)
        picture = cv2.warpAffine(
            self.background,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        blurred = _motion_blur(
            picture, way[0] * width * self.look.shutter, way[1] * height * self.look.shutter
        )
        return blurred.astype(np.float32)

    def _place(
        self, role: Role, time: float, camera: tuple[float, float], before: tuple[float, float]
    ) -> tuple[Floats, int, int, tuple[float, float, float, float] | None] | None:
        """Picture of a role with its left and top, and where its shadow lies; None when outside."""
        height, width = self.size
        x, y, zoom = role.path.at(time)
        x_old, y_old, _ = role.path.at(time - 1)
        unit = role.unit * height * zoom
        px, py = (x + camera[0]) * width, (y + camera[1]) * height
        wide = (role.sprite.reach + 0.1) * unit * self.squeeze
        if (
            unit < 3
            or px + wide < 0
            or px - wide > width
            or py < -0.3 * unit
            or py - 1.6 * unit > height
        ):
            return None
        way = (x - x_old) * width / max(unit * self.squeeze, 1e-6), (y - y_old) * height / unit
        pace = max(math.hypot(*way), 0.02)
        phase = role.phase + role.sprite.pace * pace * time
        shift = (px - math.floor(px), py - math.floor(py))
        picture, anchor = role.sprite.image(
            phase=phase, unit_pixels=unit, squeeze=self.squeeze, shift=shift
        )
        if role.flip:
            picture = picture[:, ::-1]
            anchor = (picture.shape[1] - anchor[0], anchor[1])
        if role.channels != (0, 1, 2):
            picture = picture[..., [*role.channels, 3]]
        left, top = round(math.floor(px) - anchor[0]), round(math.floor(py) - anchor[1])
        blur_x = (x + camera[0] - x_old - before[0]) * width * self.look.shutter
        blur_y = (y + camera[1] - y_old - before[1]) * height * self.look.shutter
        pad = math.ceil(max(abs(blur_x), abs(blur_y)) / 2)
        if pad >= 1:
            picture = cv2.copyMakeBorder(picture, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
            picture = _motion_blur(picture, blur_x, blur_y)
            left, top = left - pad, top - pad
        ground = (px, py, 0.3 * unit * self.squeeze, 0.05 * unit) if not role.path.bounce else None
        return picture.astype(np.float32), left, top, ground

    def _shade(
        self, canvas: Floats, dark: float, ground: tuple[float, float, float, float]
    ) -> None:
        """Darken the ground under an actor, in place."""
        height, width = self.size
        x, y, rx, ry = ground
        x0, x1 = max(0, int(x - rx)), min(width, int(x + rx) + 1)
        y0, y1 = max(0, int(y - ry)), min(height, int(y + ry) + 1)
        if x0 >= x1 or y0 >= y1:
            return
        across = ((np.arange(x0, x1, dtype=np.float32) - x) / max(rx, 1)) ** 2
        down = ((np.arange(y0, y1, dtype=np.float32) - y) / max(ry, 1)) ** 2
        fall = np.clip(1 - across[None] - down[:, None], 0, 1)
        canvas[y0:y1, x0:x1] *= 1 - dark * fall[..., None]

    def _film(self, canvas: Floats, time: float) -> Bytes:
        height, width = self.size
        look = self.look
        if look.softness > 0.15:
            canvas = cv2.GaussianBlur(canvas, (0, 0), look.softness)
        gain = look.gain * (1 + look.gain_change * math.sin(0.21 * time + self.seed[0] % 7))
        canvas = canvas * (np.array(look.tint, np.float32) * np.float32(gain))
        if look.grain:
            rng = np.random.default_rng([*self.seed, 7, round(time * 16) + 4096])
            dy, dx = rng.integers(0, 512, 2)
            rows = (np.arange(height) + dy) % 512
            columns = (np.arange(width) + dx) % 512
            canvas += _GRAIN[rows[:, None], columns[None]] * np.float32(look.grain)
        pixels: Bytes = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
        if look.channels != (0, 1, 2):
            pixels = np.ascontiguousarray(pixels[..., look.channels])
        return pixels


def _motion_blur(picture: Bytes, way_x: float, way_y: float) -> Bytes:
    """A picture smeared along a way in pixels; untouched below 1.5 pixels."""
    length = math.hypot(way_x, way_y)
    if length < 1.5:
        return picture
    side = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((side, side), np.float32)
    middle = (side - 1) / 2
    ends = (np.array([[-way_x, -way_y], [way_x, way_y]]) / 2 + middle) * 16
    first, last = np.round(ends).astype(int).tolist()
    cv2.line(kernel, first, last, 1.0, 1, cv2.LINE_AA, 4)
    total = float(kernel.sum())
    if total <= 0:
        return picture
    return np.asarray(cv2.filter2D(picture, -1, kernel / total, borderType=cv2.BORDER_REPLICATE))


# ---------------------------------------------------------------- staging


UNIT_RANGE = {"person": (0.28, 0.8), "car": (0.3, 0.75), "dog": (0.2, 0.5), "ball": (0.1, 0.24)}
"""Size of one unit in frame heights, smallest and largest."""

CATEGORY_SHARE = {"person": 0.45, "car": 0.2, "dog": 0.17, "ball": 0.18}


def _stage(
    rng: np.random.Generator,
    *,
    frames: int,
    level: float,
    aspect: float,
    categories: Sequence[str],
    mean_background: Floats,
    find: Callable[[str], Sprite],
) -> tuple[tuple[Role, ...], Look]:
    """Cast and camera of a shot.

    Args:
        rng: source of randomness.
        frames: length the paths are planned for.
        level: 0 few, well separated, contrasting objects that walk; 1 groups, crossings,
            obstacles, entering, leaving, returning, approaching, unsteady and fast cameras.
        aspect: width by height of the picture as seen.
        categories: what may appear.
        mean_background: (3,) mean colour of the set.
        find: gives a new sprite of a category ("" for an obstacle).
    """
    count = int(rng.integers(2, 5)) if rng.random() >= level else int(rng.integers(2, 8))
    share = np.array([CATEGORY_SHARE[category] for category in categories])
    slots = rng.permutation(count)
    roles: list[tuple[float, Role]] = []
    leader: Path2D | None = None
    fast = 0.004 + 0.006 * level
    for number in range(count):
        category = str(rng.choice(categories, p=share / share.sum()))
        sprite = find(category)
        for _ in range(6):
            contrast = float(np.abs(sprite.mean_color - mean_background).max())
            if contrast > 45 - 25 * level:
                break
            sprite = find(category)
        low, high = UNIT_RANGE[category]
        if level < 0.3:
            high = low + (high - low) * 0.85
        unit = float(np.exp(rng.uniform(math.log(low), math.log(high))))
        reach = (sprite.reach + 0.05) * unit / aspect
        moving = "walk"
        if rng.random() < 0.12 + 0.63 * level:
            moving = str(
                rng.choice(
                    ["cross", "enter", "leave", "return", "group", "still"],
                    p=[0.28, 0.18, 0.14, 0.16, 0.16, 0.08],
                )
            )
        x = (slots[number] + rng.uniform(0.25, 0.75)) / count
        y = float(np.clip(0.5 + 0.5 * unit + rng.normal(0, 0.08), unit * 0.8, 1.1))
        speed = float(abs(rng.normal(0, fast)) + 0.002) * (1.6 if category == "car" else 1.0)
        way = 1.0 if rng.random() < 0.5 else -1.0
        path = Path2D(x, y, vx=way * speed, vy=float(rng.normal(0, 0.0012)))
        if moving == "still":
            path = replace(path, vx=0.0, vy=0.0, sway=0.004)
        elif moving == "cross":
            meet = frames * rng.uniform(0.25, 0.75)
            speed = max(speed, float(rng.uniform(0.004, 0.012)))
            path = replace(
                path, x=float(rng.uniform(0.3, 0.7)) - way * speed * meet, vx=way * speed
            )
        elif moving in ("enter", "leave"):
            moment = frames * rng.uniform(0.15, 0.7)
            speed = max(speed, float(rng.uniform(0.006, 0.016)))
            edge = -reach if (way > 0) == (moving == "enter") else 1 + reach
            path = replace(path, x=edge - way * speed * moment, vx=way * speed)
        elif moving == "return":
            period = frames * rng.uniform(0.9, 1.8) + 12
            side = 0.0 if rng.random() < 0.5 else 1.0
            path = replace(
                path,
                x=side,
                vx=0.0,
                sway=reach + float(rng.uniform(0.1, 0.35)),
                sway_period=float(period),
                start=float(rng.uniform(0, period)),
            )
        elif moving == "group" and leader is not None:
            path = replace(
                leader,
                x=leader.x + float(rng.normal(0, 0.06)),
                y=float(np.clip(leader.y + rng.normal(0, 0.03), 0.2, 1.1)),
            )
        if category == "ball":
            path = replace(
                path,
                bounce=float(rng.uniform(0, 0.3)) * (rng.random() < 0.6),
                bounce_period=float(rng.uniform(10, 26)),
                start=float(rng.uniform(0, 30)),
            )
        if rng.random() < 0.3 + 0.3 * level:
            path = replace(path, zoom=float(rng.normal(0, 0.004 + 0.006 * level)))
        if moving != "group":
            leader = path
        scheme = (0, 1, 2) if rng.random() < 0.6 else tuple(int(c) for c in rng.permutation(3))
        role = Role(
            number + 1,
            sprite,
            path,
            unit,
            float(rng.uniform(0, 2 * math.pi)),
            channels=(scheme[0], scheme[1], scheme[2]),
            shadow=float(rng.uniform(0.15, 0.6)) * (rng.random() < 0.5),
        )
        # A mirrored sprite would walk backwards as often as not, which is welcome.
        role = replace(role, flip=bool(rng.random() < 0.5))
        roles.append((y + float(rng.normal(0, 0.05)), role))
    for _ in range(int(rng.integers(0, 3)) if rng.random() < level else 0):
        unit = float(rng.uniform(0.2, 0.9))
        path = Path2D(
            float(rng.uniform(0, 1)),
            float(rng.uniform(0.6, 1.1)),
            vx=float(rng.normal(0, 0.002)) * (rng.random() < 0.3),
        )
        role = Role(0, find(""), path, unit, 0.0, shadow=0.3 * (rng.random() < 0.5))
        roles.append((path.y + float(rng.normal(0, 0.1)), role))
    roles.sort(key=lambda pair: pair[0])
    steady = rng.random() < 0.4
    tint = np.exp(rng.normal(0, 0.06, 3))
    look = Look(
        pan=(0.0, 0.0) if steady else (float(rng.normal(0, 0.0025)), float(rng.normal(0, 0.0008))),
        shake=0.0 if steady else float(rng.uniform(0, 0.004 + 0.006 * level)),
        shutter=float(rng.uniform(0, 0.6)) if rng.random() < 0.6 else 0.0,
        softness=float(rng.uniform(0, 0.8)),
        gain=float(rng.uniform(0.75, 1.2)),
        gain_change=float(rng.uniform(0, 0.25)) * (rng.random() < 0.4),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        grain=float(rng.uniform(0, 3 + 4 * level)),
    )
    return tuple(role for _, role in roles), look


# ---------------------------------------------------------------- public: whole shots


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

    roles, look = _stage(
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


# ---------------------------------------------------------------- public: material for training


POOL_UNIT_PIXELS = {"person": 150.0, "car": 130.0, "dog": 110.0, "ball": 56.0, "": 130.0}
_POOL_PHASES = {"person": 12, "car": 3, "dog": 10, "ball": 6, "": 1}
_POOL_SHARE = {"person": 0.5, "car": 0.17, "dog": 0.13, "ball": 0.12, "": 0.08}
_POOL_BACKGROUND = 384


def make_pool(
    folder: Path, *, sprites: int, backgrounds: int, seed: int, style: Style = TRAINING_STYLE
) -> None:
    """Draw a library of figures and sets that training composes its scenes from.

    Args:
        folder: made if missing; ``sprites.npz`` and ``pixels.npy``, ``backgrounds.npy`` in it.
        sprites: number of figures, all categories together.
        backgrounds: number of sets; the even ones are smooth.
        seed: the same seed draws the same pool.
        style: how things are drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(_POOL_SHARE)
    shares = np.array([_POOL_SHARE[name] for name in names])
    chunks: list[Bytes] = []
    rows: list[tuple[float, ...]] = []
    start = 0
    for number in range(sprites):
        rng = np.random.default_rng([seed, 0, number])
        name = names[int(rng.choice(len(names), p=shares))]
        actor = style.actors[name](rng) if name else style.thing(rng)
        unit = POOL_UNIT_PIXELS[name]
        count = _POOL_PHASES[name]
        images = []
        for phase in range(count):
            picture, anchor = draw_actor(actor, phase=2 * math.pi * phase / count, unit_pixels=unit)
            images.append(picture)
        drawings = np.stack(images)
        reach = max(abs(actor.extent[0]), abs(actor.extent[2]))
        rows.append(
            (
                names.index(name),
                start,
                *drawings.shape[:3],
                *anchor,
                actor.pace,
                reach,
                unit,
                *actor.mean_color.tolist(),
            )
        )
        chunks.append(drawings.reshape(-1))
        start += drawings.size
    sets = np.stack(
        [
            style.background(
                np.random.default_rng([seed, 1, number]),
                size=(_POOL_BACKGROUND, _POOL_BACKGROUND),
                level=float(number % 2),
            )
            for number in range(backgrounds)
        ]
    )
    np.save(folder / "pixels.npy", np.concatenate(chunks))
    np.save(folder / "backgrounds.npy", sets)
    np.savez(folder / "sprites.npz", table=np.array(rows, np.float64), names=np.array(names))


class SpritePool:
    """A library made by `make_pool`, mapped into memory and shared between processes."""

    def __init__(self, folder: Path) -> None:
        """Open a pool.

        Raises:
            InputError: the folder holds no pool.
        """
        try:
            with np.load(folder / "sprites.npz") as index:
                table, names = index["table"], [str(name) for name in index["names"]]
            pixels = np.load(folder / "pixels.npy", mmap_mode="r")
            self._backgrounds = np.load(folder / "backgrounds.npy", mmap_mode="r")
        except OSError as error:
            raise InputError(
                f"Expected a sprite pool in {folder}, found none ({error}). "
                "Draw one with `python -m server.training plates --pool`."
            ) from error
        self._sprites: dict[str, list[PooledSprite]] = {name: [] for name in names}
        for row in table:
            start, *shape = (int(value) for value in row[1:5])
            drawings = pixels[start : start + math.prod(shape) * 4].reshape(*shape, 4)
            sprite = PooledSprite(
                category=names[int(row[0])],
                pace=float(row[7]),
                reach=float(row[8]),
                mean_color=row[10:13].astype(np.float32),
                anchor=(float(row[5]), float(row[6])),
                unit_pixels=float(row[9]),
                drawings=drawings,
            )
            self._sprites[sprite.category].append(sprite)

    def scene(
        self,
        seed: Sequence[int],
        *,
        size: tuple[int, int],
        level: float,
        frames: int = 48,
        aspect: float = 1.0,
    ) -> Scene:
        """A new scene of sprites from the pool.

        Args:
            seed: numbers that choose everything.
            size: H, W in pixels.
            level: share of hard material, see `draw_shot`.
            frames: length the paths are planned for.
            aspect: width by height of the picture as seen; the pixels are squeezed to `size`.
        """
        rng = np.random.default_rng(list(seed))
        height, width = size
        hard = int(rng.random() < level)
        number = int(rng.integers(0, len(self._backgrounds) // 2)) * 2 + hard
        side = self._backgrounds.shape[1]
        part = int(rng.uniform(0.55, 1.0) * side)
        y, x = rng.integers(0, side - part + 1, 2)
        shape = (round(width * (1 + 2 * MARGIN)), round(height * (1 + 2 * MARGIN)))
        backdrop = self._backgrounds[number, y : y + part, x : x + part]
        backdrop = cv2.resize(np.ascontiguousarray(backdrop), shape, interpolation=cv2.INTER_AREA)
        if rng.random() < 0.5:
            backdrop = np.ascontiguousarray(backdrop[:, ::-1])

        def find(category: str) -> Sprite:
            shelf = self._sprites[category]
            return shelf[int(rng.integers(0, len(shelf)))]

        roles, look = _stage(
            rng,
            frames=frames,
            level=float(hard),
            aspect=aspect,
            categories=CATEGORIES,
            find=find,
            mean_background=backdrop.reshape(-1, 3)[::17].mean(0).astype(np.float32),
        )
        order = rng.permutation(3)
        look = replace(look, channels=(int(order[0]), int(order[1]), int(order[2])))
        squeeze = width / height / aspect
        return Scene(size, tuple(int(value) for value in seed), backdrop, roles, look, squeeze)
