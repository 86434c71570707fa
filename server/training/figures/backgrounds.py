"""Sets without actors: walls, streets, landscapes and rooms."""

from __future__ import annotations

import cv2
import numpy as np

from server.training.figures.actor import Bytes, Floats
from server.training.figures.materials import noise_field, random_color, texture


def background(rng: np.random.Generator, *, size: tuple[int, int], level: float) -> Bytes:
    """A set without actors.

    Args:
        rng: source of randomness.
        size: H, W.
        level: 0 gives a smooth wall of colour, 1 streets, rooms and textures with clutter.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    height, width = size
    if rng.random() >= level:
        picture = _wall(rng, height, width, strength=0.35)
        blur = min(height, width) * rng.uniform(0.015, 0.04)
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), blur).clip(0, 255), np.uint8)
    kind = rng.choice(4, p=[0.25, 0.3, 0.25, 0.2])
    if kind == 0:
        picture = _wall(rng, height, width, strength=1.0)
    elif kind == 1:
        picture = _street(rng, height, width)
    elif kind == 2:
        picture = _landscape(rng, height, width)
    else:
        picture = _room(rng, height, width)
    _clutter(rng, picture, int(rng.integers(0, 9)))
    grain = noise_field(rng, height, width, cells=(20, 60, 120), gain=0.9)[..., None] - 0.5
    picture += grain * rng.uniform(5, 35)
    blur = min(height, width) * rng.uniform(0.0015, 0.008)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), blur).clip(0, 255), np.uint8)


def _wall(rng: np.random.Generator, height: int, width: int, *, strength: float) -> Floats:
    tile = texture(rng, random_color(rng), strength=strength, size=160)
    picture = cv2.resize(tile, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    cloud = noise_field(rng, height, width, cells=(2, 4, 9))[..., None]
    return np.asarray(picture * (0.7 + 0.5 * cloud), np.float32)


def _street(rng: np.random.Generator, height: int, width: int) -> Floats:
    horizon = int(height * rng.uniform(0.4, 0.65))
    picture = np.empty((height, width, 3), np.float32)
    picture[:horizon] = _gradient(rng, horizon, width)
    picture[horizon:] = _gradient(rng, height - horizon, width) * 0.8
    x = 0
    while x < width:
        house = int(width * rng.uniform(0.08, 0.3)) + 2
        top = int(horizon * rng.uniform(0.0, 0.7))
        face = texture(rng, random_color(rng), strength=0.4)
        shape = (min(house, width - x), horizon - top)
        picture[top:horizon, x : x + house] = cv2.resize(face, shape)
        step = max(6, int(house * rng.uniform(0.15, 0.35)))
        pane, color = max(2, int(step * 0.5)), random_color(rng)
        for y in range(top + step // 2, horizon - step, int(step * rng.uniform(1, 1.6))):
            for column in range(x + step // 3, min(width, x + house) - pane, step):
                picture[y : y + pane, column : column + pane] = color * rng.uniform(0.6, 1.2)
        x += house
    ground = height - horizon
    for _ in range(int(rng.integers(0, 5))):
        y = horizon + int(ground * rng.uniform(0.05, 0.95))
        thick = max(1, int(0.03 * ground * rng.uniform(0.3, 1.5)))
        picture[y : y + thick] = picture[y : y + thick] * 0.4 + random_color(rng) * 0.6
    return picture


def _landscape(rng: np.random.Generator, height: int, width: int) -> Floats:
    picture = _gradient(rng, height, width)
    for number in range(int(rng.integers(2, 6))):
        line = noise_field(rng, 1, width, cells=(3, 7, 19), gain=0.5)[0]
        top = height * (0.25 + 0.13 * number + 0.2 * line)
        below = np.arange(height, dtype=np.float32)[:, None] > top[None]
        tile = texture(rng, random_color(rng), strength=0.7, size=128)
        cover = cv2.resize(tile, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        leaves = noise_field(rng, height, width, cells=(30, 80), gain=0.9)[..., None]
        picture = np.where(below[..., None], cover * (0.6 + 0.6 * leaves), picture)
    return picture.astype(np.float32)


def _room(rng: np.random.Generator, height: int, width: int) -> Floats:
    picture = _wall(rng, height, width, strength=0.6)
    edge = int(height * rng.uniform(0.55, 0.8))
    boards = texture(rng, random_color(rng), size=128)
    picture[edge:] = cv2.resize(boards, (width, height - edge))
    for _ in range(int(rng.integers(1, 5))):
        w, h = (np.array([width, edge]) * rng.uniform(0.08, 0.4, 2)).astype(int) + 4
        x, y = int(rng.integers(0, max(1, width - w))), int(rng.integers(0, max(1, edge - h)))
        picture[y : y + h, x : x + w] = random_color(rng)
        inner = cv2.resize(texture(rng, random_color(rng)), (max(1, w - 4), max(1, h - 4)))
        picture[y + 2 : y + 2 + inner.shape[0], x + 2 : x + 2 + inner.shape[1]] = inner
    return picture


def _gradient(rng: np.random.Generator, height: int, width: int) -> Floats:
    ramp = np.linspace(0, 1, max(height, 1), dtype=np.float32)[:, None, None]
    sheet = random_color(rng) * (1 - ramp) + random_color(rng) * ramp
    cloud = noise_field(rng, height, width, cells=(2, 5, 11))[..., None]
    return np.asarray(sheet * (0.85 + 0.3 * cloud), np.float32)


def _clutter(rng: np.random.Generator, picture: Floats, count: int) -> None:
    """Paint shapes that are no object over a picture, in place."""
    height, width = picture.shape[:2]
    side = min(height, width)
    for _ in range(count):
        mask = np.zeros((height, width), np.uint8)
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        a, b = (side * rng.uniform(0.03, 0.2, 2)).astype(int) + 1
        kind = rng.integers(0, 4)
        if kind == 0:  # long ones only: a round one would be a ball
            b = max(1, int(a * rng.uniform(0.2, 0.6)))
            cv2.ellipse(mask, (x, y), (int(a), int(b)), float(rng.uniform(0, 180)), 0, 360, 255, -1)
        elif kind == 1:
            cv2.rectangle(mask, (x, y), (x + int(a), y + 2 * int(b)), 255, -1)
        elif kind == 2:
            corners = np.array([x, y]) + rng.integers(-side // 4, side // 4 + 1, (3, 2))
            cv2.fillPoly(mask, [corners.astype(np.int32)], 255)
        else:
            end = (int(rng.integers(0, width)), int(rng.integers(0, height)))
            cv2.line(mask, (x, y), end, 255, max(1, int(side * rng.uniform(0.004, 0.03))))
        left, top, w, h = cv2.boundingRect(mask)
        if not w or not h:
            continue
        patch = cv2.resize(texture(rng, random_color(rng)), (w, h)).astype(np.float32)
        here = mask[top : top + h, left : left + w] > 0
        picture[top : top + h, left : left + w][here] = patch[here]
