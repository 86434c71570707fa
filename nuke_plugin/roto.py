"""Roto and RotoPaint nodes as prompts: which objects, on which frames, with which outlines.

A top-level layer is one object, its visible shapes combined; a loose shape is one of its own.
Keyframes are where points or visibility are keyed. Transforms and trackers move a shape on every
frame and say nothing about where the artist looked, so they make no keyframes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import nuke.rotopaint as rotopaint

from nuke_plugin import outlines
from nuke_plugin.outlines import Knot, Outline, Spline

MANY_KEYFRAMES = 10
"""More keyframes than this on one object earn a warning: each one is a prompt of its own."""
_POINT_PARTS = (
    "center", "leftTangent", "rightTangent", "featherCenter", "featherLeftTangent",
    "featherRightTangent",
)  # fmt: skip
_TYPE = re.compile(r'\{curvegroup (?:"[^"]*"|\{[^}]*\}|\S+) \d+ (\w+)')


@dataclass(frozen=True)
class RotoObject:
    """One object of a Roto node."""

    name: str
    """In the tree of names: ``/hero/dress``."""
    keyframes: tuple[int, ...]
    """Script frames, ascending."""
    shapes: tuple[tuple[Any, tuple[Any, ...]], ...]
    """Each shape and its layers from the root down, top shape first."""
    notices: tuple[str, ...]
    """What is skipped, as sentences."""


def read(node: Any, *, per_shape: bool = False, frame: int = 1) -> list[RotoObject]:
    """The objects a Roto or RotoPaint node asks for.

    Args:
        node: the node.
        per_shape: one object for each shape instead of for each layer.
        frame: the keyframe of shapes that are not animated.
    """
    root = node["curves"].rootLayer
    found: list[RotoObject] = []
    taken: set[str] = set()
    for element in root:
        shapes: list[tuple[Any, tuple[Any, ...]]] = []
        notices: list[str] = []
        for shape, layers in _shapes(element, (root,), notices):
            shapes.append((shape, layers))
            notices += _unsent(shape, frame)
        groups = [[pair] for pair in shapes] if per_shape else [shapes] if shapes else []
        for group in groups:
            named = [layer.name for layer in group[0][1][1:]] + [group[0][0].name]
            path = named if per_shape else [element.name]
            name = _free("/".join(_level(part) for part in path), taken)
            keyframes = sorted({t for shape, layers in group for t in _key_times(shape, layers)})
            found.append(
                RotoObject(name, tuple(keyframes or [frame]), tuple(group), tuple(notices))
            )
            notices = []
        if notices:
            found.append(RotoObject(f"/{_level(element.name)}", (), (), tuple(notices)))
    return found


def polygons(
    item: RotoObject, frame: int, *, width: int, height: int, view: str = "main"
) -> tuple[list[Outline], list[str]]:
    """The outlines of an object on a frame, and what could not be kept; none when invisible.

    Args:
        item: from ``read``.
        frame: script frame.
        width: of the node's format, pixels.
        height: of the node's format, pixels.
        view: name of the view.
    """
    splines = [
        _spline(shape, layers, frame, view)
        for shape, layers in item.shapes
        if _is_visible(shape, layers, frame, view)
    ]
    return outlines.combine(splines, width=width, height=height)


def _shapes(
    element: Any, layers: tuple[Any, ...], notices: list[str]
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    if isinstance(element, rotopaint.Layer):
        for child in element:
            yield from _shapes(child, (*layers, element), notices)
    elif isinstance(element, rotopaint.Stroke):
        notices.append(f"{element.name}: skipped, paint strokes enclose no area.")
    elif isinstance(element, rotopaint.Shape):
        if element.getFlag(rotopaint.FlagType.eOpenFlag):
            notices.append(f"{element.name}: skipped, an open shape encloses no area. Close it.")
        else:
            yield element, layers


def _unsent(shape: Any, frame: int) -> Iterator[str]:
    """What of a shape's look is not sent, as sentences."""
    attributes, value = shape.getAttributes(), _values(shape, frame, "main")
    if value(attributes.kMotionBlurOnAttribute) > 0.5:
        yield f"{shape.name}: motion blur is not sent; the shape counts as it lies on the frame."
    if value("fo") > 0 and (value("ff") != 1.0 or value("ft") != 0.0):
        yield f"{shape.name}: its feather falls off linearly, other falloffs are not sent."


def _key_times(shape: Any, layers: Sequence[Any]) -> set[int]:
    times: set[float] = set()
    for point in shape:
        for part in _POINT_PARTS:
            times.update(getattr(point, part).getControlPointKeyTimes())
    for element in (shape, *layers):
        curve = element.getAttributes().getCurve("vis", "main")
        times.update(curve.getKey(i).time for i in range(curve.getNumberOfKeys()))
    return {round(time) for time in times}


def _is_visible(shape: Any, layers: Sequence[Any], frame: int, view: str) -> bool:
    if not all(element.getVisible(frame) for element in (shape, *layers)):
        return False
    value = _values(shape, frame, view)
    kind, first, last = int(value("ltt")), value("ltn"), value("ltm")
    # Lifetime: all frames, start to frame, single frame, frame to end, frame range.
    lives = (True, frame <= last, frame == first, frame >= first, first <= frame <= last)
    return lives[kind] if 0 <= kind < len(lives) else True


def _spline(shape: Any, layers: Sequence[Any], frame: int, view: str) -> Spline:
    value = _values(shape, frame, view)
    opacity = value("opc")
    matrix = outlines.IDENTITY
    for element in (*layers, shape):
        # parent × … × shape × point: the outermost layer is applied last.
        own = element.getTransform().evaluate(frame).getMatrix()
        matrix = outlines.multiplied(matrix, outlines.from_4x4([own[i] for i in range(16)]))
    for layer in layers:
        opacity *= _values(layer, frame, view)("opc")
    knots = tuple(
        Knot(*(_place(getattr(point, part), frame) for part in _POINT_PARTS)) for point in shape
    )
    found = _TYPE.search(shape.serialise())
    has_feather = value("fo") > 0
    if not has_feather:
        knots = tuple(Knot(knot.centre, knot.left, knot.right) for knot in knots)
    return Spline(
        name=shape.name,
        knots=knots,
        is_bspline=bool(found and found.group(1) == "bspline"),
        matrix=matrix,
        opacity=opacity,
        inverted=value("inv") > 0.5,
        blend=round(value("bm")),
        uniform_feather=(value("fx"), value("fy")) if has_feather else (0.0, 0.0),
    )


def _values(element: Any, frame: int, view: str) -> Any:
    attributes = element.getAttributes()

    def value(name: str) -> float:
        return float(attributes.getValue(frame, name, view))  # the view's name, not its number

    return value


def _place(point: Any, frame: int) -> tuple[float, float]:
    position = point.getPosition(frame)
    return float(position.x), float(position.y)


def _level(name: str) -> str:
    """A layer's name as levels of an object name."""
    parts = ["".join(c for c in part.strip() if c.isprintable()) for part in name.split("/")]
    return "/".join(part for part in parts if part) or "object"


def _free(path: str, taken: set[str]) -> str:
    name, count = f"/{path}", 2
    while name in taken:
        name = f"/{path}_{count}"
        count += 1
    taken.add(name)
    return name
