"""From the splines of a Roto shape at one frame to the polygons that are sent as a prompt.

No Nuke in here. Splines come as Nuke stores them (pixels of the node's format, origin at the
bottom left, tangents as offsets, transforms not applied); polygons leave as the server wants them
(plate pixels, origin at the top left). The flip of y happens here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CHORD_ERROR = 0.05
"""Greatest distance between a sampled polygon and its spline, in pixels."""
MARGIN = 4.0
"""How far beyond the format an inverted shape reaches, in pixels."""

Point = tuple[float, float]
Matrix = tuple[float, ...]
"""Nine numbers, row by row, applied to (x, y, 1)."""

IDENTITY: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

ADDING = (0, 1, 5, 6, 7, 8, 9)
"""Blend modes that unite: over, max, screen, color-dodge, plus, overlay, soft-light."""
CUTTING = (12,)
"""minus."""
CUTTING_INSIDE = (11, 13, 14)
"""from, difference, exclusion: a cut as long as the shape lies within what is below it."""
BLEND_NAMES = (
    "over", "max", "multiply", "color-burn", "min", "screen", "color-dodge", "plus", "overlay",
    "soft-light", "hard-light", "from", "minus", "difference", "exclusion",
)  # fmt: skip
"""Names of a shape's ``bm`` attribute. What each does to alpha was measured by rendering two
squares in a real Nuke: a white shape blends with what is below it, inside its own outline only;
multiply, color-burn, min and hard-light then change nothing."""


@dataclass(frozen=True)
class Knot:
    """One control point; everything but ``centre`` is an offset."""

    centre: Point
    left: Point = (0.0, 0.0)
    """From the centre."""
    right: Point = (0.0, 0.0)
    feather: Point = (0.0, 0.0)
    """Feather centre, from the centre."""
    feather_left: Point = (0.0, 0.0)
    """From the feather centre."""
    feather_right: Point = (0.0, 0.0)


@dataclass(frozen=True)
class Spline:
    """A closed shape at one frame."""

    name: str
    knots: tuple[Knot, ...]
    is_bspline: bool = False
    """A closed uniform cubic B-spline; else Bezier."""
    matrix: Matrix = IDENTITY
    """Shape and all its layers."""
    opacity: float = 1.0
    inverted: bool = False
    blend: int = 0
    uniform_feather: Point = (0.0, 0.0)
    """Width in x and y, pixels, before the transform."""


@dataclass(frozen=True)
class Outline:
    """One polygon of a prompt: plate pixels, origin top left, y down."""

    points: tuple[Point, ...]
    feather: tuple[Point, ...]
    """Where coverage has fallen to 0: as many as ``points``, or none."""
    operation: str
    """``add`` or ``subtract``."""
    opacity: float

    def as_data(self) -> dict[str, Any]:
        """The form a prompt has on the wire."""
        return {
            "points": [list(point) for point in self.points],
            "feather": [list(point) for point in self.feather],
            "operation": self.operation,
            "opacity": self.opacity,
        }


def multiplied(a: Matrix, b: Matrix) -> Matrix:
    """The matrix that applies ``b`` first, then ``a``."""
    return tuple(
        sum(a[3 * row + k] * b[3 * k + column] for k in range(3))
        for row in range(3)
        for column in range(3)
    )


def from_4x4(values: Sequence[float]) -> Matrix:
    """The part of a 4 × 4 matrix (row by row, translation at 3 and 7) that moves the plane."""
    return tuple(float(values[i]) for i in (0, 1, 3, 4, 5, 7, 12, 13, 15))


def combine(
    splines: Sequence[Spline], *, width: int, height: int
) -> tuple[list[Outline], list[str]]:
    """Polygons of an object, in the order they are combined, and what could not be kept.

    Args:
        splines: the visible shapes, top first as Nuke lists them.
        width: of the format, pixels.
        height: of the format, pixels; y becomes ``height − y``.
    """
    outlines: list[Outline] = []
    notices: list[str] = []
    for spline in reversed(splines):  # bottom first
        mode = BLEND_NAMES[spline.blend] if 0 <= spline.blend < len(BLEND_NAMES) else "?"
        if spline.blend in ADDING:
            operation = "add"
        elif spline.blend in CUTTING or spline.blend in CUTTING_INSIDE:
            operation = "subtract"
            if spline.blend in CUTTING_INSIDE:
                notices.append(
                    f"{spline.name}: blend mode {mode} is sent as a cut; what lies outside of the "
                    "shapes below it is left out."
                )
        else:
            notices.append(f"{spline.name}: left out, blend mode {mode} adds nothing to the matte.")
            continue
        if len(spline.knots) < 2 or spline.opacity <= 0:
            continue
        if operation == "subtract" and not outlines:
            notices.append(f"{spline.name}: left out, there is nothing below it to cut from.")
            continue
        points, feather = sample(spline)
        if spline.inverted:
            points, feather = _inverted(points, feather, width=width, height=height)
        outlines.append(
            Outline(
                tuple((x, height - y) for x, y in points),
                tuple((x, height - y) for x, y in feather),
                operation,
                min(1.0, spline.opacity),
            )
        )
    return outlines, notices


def sample(spline: Spline) -> tuple[list[Point], list[Point]]:
    """The outline and the feather outline as polygons, transforms applied.

    Returns:
        Points of the outline within ``CHORD_ERROR`` of the spline, and as many of the feather
        outline, or none where the shape is hard. A feather that runs inwards comes out as the
        outline, since coverage begins to fall there.
    """
    core = _segments([(k.centre, k.left, k.right) for k in spline.knots], spline.is_bspline)
    outer = _segments(
        [
            (
                _sum(k.centre, k.feather),
                *_feather_tangents(k),
            )
            for k in spline.knots
        ],
        spline.is_bspline,
    )
    is_soft = any(_length(k.feather) > 1e-6 for k in spline.knots)
    points: list[Point] = []
    feather: list[Point] = []
    for inner, soft in zip(core, outer):
        count = _steps(inner, spline.matrix)
        if is_soft:
            count = max(count, _steps(soft, spline.matrix))
        for step in range(count):
            points.append(_at(inner, step / count))
            feather.append(_at(soft, step / count))
    fx, fy = spline.uniform_feather
    if fx or fy:
        feather = [(p[0] + n[0] * fx, p[1] + n[1] * fy) for p, n in zip(feather, _normals(feather))]
        is_soft = True
    points = [_transformed(spline.matrix, p) for p in points]
    if not is_soft:
        return points, []
    feather = [_transformed(spline.matrix, p) for p in feather]
    if abs(area(feather)) < abs(area(points)):
        return feather, points
    return points, feather


def area(points: Sequence[Point]) -> float:
    """Signed area of a polygon; positive when it runs counter-clockwise with y up."""
    return 0.5 * sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, [*points[1:], *points[:1]]))


_Cubic = tuple[Point, Point, Point, Point]


def _segments(knots: Sequence[tuple[Point, Point, Point]], is_bspline: bool) -> list[_Cubic]:
    """Bezier segments of a closed spline: knots are centre, left and right tangent."""
    count = len(knots)
    result = []
    for i in range(count):
        here, after = knots[i], knots[(i + 1) % count]
        if not is_bspline:
            result.append((here[0], _sum(here[0], here[2]), _sum(after[0], after[1]), after[0]))
            continue
        # Uniform cubic B-spline: segment i runs between the control points C1 and C2 of four.
        c0, c1, c2, c3 = (knots[(i + k) % count][0] for k in (-1, 0, 1, 2))
        result.append(
            (
                _mean((c0, 1), (c1, 4), (c2, 1)),
                _mean((c1, 2), (c2, 1)),
                _mean((c1, 1), (c2, 2)),
                _mean((c1, 1), (c2, 4), (c3, 1)),
            )
        )
    return result


def _feather_tangents(knot: Knot) -> tuple[Point, Point]:
    # A feather point nobody touched has no tangents of its own; it then runs beside the outline.
    if _length(knot.feather_left) < 1e-9 and _length(knot.feather_right) < 1e-9:
        return knot.left, knot.right
    return knot.feather_left, knot.feather_right


def _steps(cubic: _Cubic, matrix: Matrix) -> int:
    """Equal steps of t that keep a segment within the chord error after the transform.

    The distance between a curve and its chord over a step h is at most max|P''| h² / 8, and
    max|P''| = 6 max(|P0 − 2 P1 + P2|, |P1 − 2 P2 + P3|) for a cubic. A projective transform bends
    the curve further, so there the steps are checked and doubled.
    """
    placed = [_transformed(matrix, point) for point in cubic]
    if _is_straight(placed):
        return 1
    bend = max(
        math.hypot(
            placed[i][0] - 2 * placed[i + 1][0] + placed[i + 2][0],
            placed[i][1] - 2 * placed[i + 1][1] + placed[i + 2][1],
        )
        for i in (0, 1)
    )
    count = max(1, math.ceil(math.sqrt(6 * bend / (8 * CHORD_ERROR))))
    if matrix[6] == 0 and matrix[7] == 0:
        return count
    while count < 4096 and _worst(cubic, matrix, count) > CHORD_ERROR / 2:
        count *= 2
    return count


def _is_straight(points: Sequence[Point]) -> bool:
    """Whether the inner control points lie on the chord: the curve is then the chord."""
    (ax, ay), (bx, by) = points[0], points[-1]
    dx, dy = bx - ax, by - ay
    length = math.hypot(dx, dy)
    for x, y in points[1:-1]:
        along, across = dx * (x - ax) + dy * (y - ay), dx * (y - ay) - dy * (x - ax)
        if abs(across) > 1e-6 * length or not -1e-6 <= along <= length * length + 1e-6:
            return False
    return True


def _worst(cubic: _Cubic, matrix: Matrix, count: int) -> float:
    """Greatest distance of the curve's points between two samples from their chord."""
    worst = 0.0
    fine = [_transformed(matrix, _at(cubic, i / (4 * count))) for i in range(4 * count + 1)]
    for start in range(0, 4 * count, 4):
        (ax, ay), (bx, by) = fine[start], fine[start + 4]
        length = math.hypot(bx - ax, by - ay)
        for x, y in fine[start + 1 : start + 4]:
            cross = abs((bx - ax) * (y - ay) - (by - ay) * (x - ax))
            worst = max(worst, cross / length if length else math.hypot(x - ax, y - ay))
    return worst


def _at(cubic: _Cubic, t: float) -> Point:
    a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    return (
        a * cubic[0][0] + b * cubic[1][0] + c * cubic[2][0] + d * cubic[3][0],
        a * cubic[0][1] + b * cubic[1][1] + c * cubic[2][1] + d * cubic[3][1],
    )


def _normals(points: Sequence[Point]) -> list[Point]:
    """How far each corner of a closed polygon moves when its edges move out by one."""
    sign = 1.0 if area(points) > 0 else -1.0
    edges = []
    for a, b in zip(points, [*points[1:], *points[:1]]):
        length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
        edges.append((sign * (b[1] - a[1]) / length, sign * (a[0] - b[0]) / length))
    result = []
    for i in range(len(points)):
        m, n = edges[i - 1], edges[i]
        share = max(0.25, 1 + m[0] * n[0] + m[1] * n[1])  # no spikes on sharp corners
        result.append(((m[0] + n[0]) / share, (m[1] + n[1]) / share))
    return result


def _inverted(
    points: list[Point], feather: list[Point], *, width: int, height: int
) -> tuple[list[Point], list[Point]]:
    """Everything outside: the format with the shape cut out along a slit without width.

    Coverage is 1 from the feather outline outwards and 0 at the outline, the other way round.
    """
    low, right, top = -MARGIN, width + MARGIN, height + MARGIN
    frame = [(low, low), (right, low), (right, top), (low, top), (low, low)]
    full = feather or points
    hole = [*frame, *full, full[0]]
    return hole, [*frame, *points, points[0]] if feather else []


def _transformed(matrix: Matrix, point: Point) -> Point:
    x, y = point
    a, b, c, d, e, f, g, h, i = matrix
    w = g * x + h * y + i
    return (a * x + b * y + c) / w, (d * x + e * y + f) / w


def _sum(a: Point, b: Point) -> Point:
    return a[0] + b[0], a[1] + b[1]


def _mean(*parts: tuple[Point, int]) -> Point:
    total = sum(weight for _, weight in parts)
    return (
        sum(p[0] * weight for p, weight in parts) / total,
        sum(p[1] * weight for p, weight in parts) / total,
    )


def _length(point: Point) -> float:
    return math.hypot(*point)
