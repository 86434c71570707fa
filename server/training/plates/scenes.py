"""Scenes: sprites on their paths in front of a set, drawn at any time.

The decision to know: a frame is composited back to front in display-referred sRGB, and every
object's coverage is what is left of its alpha after all nearer layers, so coverages add up to
at most 1 and the truth is exact also under motion blur.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from server.training.figures import Bytes, Floats
from server.training.plates.truth import DrawnFrame, Truth


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
        layers: list[_Layer] = []
        for role in self.roles:
            placed = self._place(role, time, camera, before)
            if placed is None:
                continue
            picture, left, top, ground = placed
            area = float(picture[..., 3].sum()) / 255
            if role.shadow and ground is not None:
                self._shade(canvas, role.shadow, ground)
            x0, y0 = max(0, left), max(0, top)
            x1, y1 = min(width, left + picture.shape[1]), min(height, top + picture.shape[0])
            if x0 >= x1 or y0 >= y1:
                continue
            crop = picture[y0 - top : y1 - top, x0 - left : x1 - left]
            nearer = _Layer(role.id, x0, y0, crop[..., 3] * np.float32(1 / 255), area)
            canvas[y0:y1, x0:x1] *= 1 - nearer.coverage[..., None]
            canvas[y0:y1, x0:x1] += crop[..., :3]
            for layer in layers:
                layer.hide(nearer)
            if role.id:
                layers.append(nearer)
        seen = {layer.id: layer.truth() for layer in layers}
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


@dataclass(frozen=True)
class _Layer:
    """What is seen of one role while nearer ones are put over it."""

    id: int
    left: int
    top: int
    coverage: Floats
    """(h, w) float32 0..1, changed in place."""
    area: float
    """Of the whole role, in pixels."""

    def hide(self, nearer: _Layer) -> None:
        """Take away what a nearer layer covers."""
        (h, w), (nearer_h, nearer_w) = self.coverage.shape, nearer.coverage.shape
        x0, y0 = max(self.left, nearer.left), max(self.top, nearer.top)
        x1 = min(self.left + w, nearer.left + nearer_w)
        y1 = min(self.top + h, nearer.top + nearer_h)
        if x0 < x1 and y0 < y1:
            part = self._window(x0, y0, x1, y1)
            part *= 1 - nearer._window(x0, y0, x1, y1)

    def truth(self) -> Truth:
        """What is left."""
        visibility = float(self.coverage.sum()) / max(self.area, 1e-6)
        return Truth(self.id, self.top, self.left, self.coverage, visibility)

    def _window(self, x0: int, y0: int, x1: int, y1: int) -> Floats:
        """Part of the coverage, in pixels of the frame."""
        return self.coverage[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]


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
