"""Outlines of a figure's parts: limbs, ellipses and polygons in unit coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from server.training.figures.actor import Floats

Point = Sequence[float] | npt.NDArray[Any]
"""x, y in units."""

_ARC = np.linspace(-math.pi / 2, math.pi / 2, 7)
_CIRCLE = np.linspace(0, 2 * math.pi, 22, endpoint=False)


def capsule(start: Point, end: Point, start_radius: float, end_radius: float) -> Floats:
    """(14, 2) outline of a limb with round ends."""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    far, near = _ARC + angle, _ARC + angle + math.pi
    xs = [end[0] + end_radius * np.cos(far), start[0] + start_radius * np.cos(near)]
    ys = [end[1] + end_radius * np.sin(far), start[1] + start_radius * np.sin(near)]
    return np.stack([np.concatenate(xs), np.concatenate(ys)], 1).astype(np.float32)


def ellipse(center: Point, rx: float, ry: float, *, angle: float = 0.0) -> Floats:
    """(22, 2) outline of an ellipse turned by an angle in radians."""
    x, y = rx * np.cos(_CIRCLE), ry * np.sin(_CIRCLE)
    c, s = math.cos(angle), math.sin(angle)
    points = np.stack([center[0] + c * x - s * y, center[1] + s * x + c * y], 1)
    return points.astype(np.float32)


def polygon(*points: Point) -> Floats:
    """(P, 2) outline through the points."""
    return np.array(points, np.float32)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Floats:
    """(4, 2) outline from the top left clockwise."""
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def taper(top: float, bottom: float, *, top_half: float, bottom_half: float) -> Floats:
    """(4, 2) outline around x = 0 between two lines, half as wide on each as told."""
    return polygon((-top_half, top), (top_half, top), (bottom_half, bottom), (-bottom_half, bottom))


def regular(center: Point, radius: float, corners: int) -> Floats:
    """(corners, 2) outline of a regular polygon that stands on a side."""
    angles = (np.arange(corners) + 0.5) * 2 * math.pi / corners + math.pi / 2
    return np.stack(
        [center[0] + radius * np.cos(angles), center[1] + radius * np.sin(angles)], 1
    ).astype(np.float32)


def moved(point: npt.NDArray[Any], x: float, y: float) -> npt.NDArray[Any]:
    """(2,) point to the right and below another."""
    return np.asarray(point + np.array([x, y]))
