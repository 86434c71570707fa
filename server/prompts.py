"""An artist's prompts: named objects given by points, boxes, masks or polygons on keyframes.

Beside the text prompt, the second way to ask for objects. Coordinates are plate pixels, origin at
the top left of the *display window*, y down, so they mean the same whatever window is segmented.
Polygons and masks give a soft coverage that is kept as it is; points and boxes are answered by
the segmenter.

File form (``segmatte run --prompts FILE.json``)::

    {"version": 1, "objects": [
      {"name": "/hero/dress", "keyframes": [
        {"frame": 1001, "polygons": [{"points": [[10, 20], …], "feather": [[8, 18], …],
                                      "operation": "add", "opacity": 1.0}]},
        {"frame": 1040, "mask": {"path": "dress.1040.exr", "channel": "A"}},
        {"frame": 1060, "box": [x0, y0, x1, y1],
                        "points": [{"x": 100, "y": 80, "positive": true}, …]}]}]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from server.errors import PromptError
from server.frames import Box
from server.segment import SegmentPrompt

FloatImage = NDArray[np.float32]
Operation = Literal["add", "subtract", "intersect"]

VERSION = 1
_SUB_ROWS = 8
"""Lines per pixel row on which polygons are filled."""


@dataclass(frozen=True)
class Point:
    """A click: on the object, or on what is not the object."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True)
class Polygon:
    """A closed outline, as sampled from a Roto shape."""

    points: tuple[tuple[float, float], ...]
    """At least three."""
    feather: tuple[tuple[float, float], ...] = ()
    """The outline at which the coverage has fallen to 0; as many points as the outline."""
    operation: Operation = "add"
    """How it combines with the polygons before it."""
    opacity: float = 1.0

    def __post_init__(self) -> None:
        if len(self.points) < 3:
            raise PromptError(
                f"A polygon needs at least 3 points, found {len(self.points)}. "
                "Close the shape or leave it out."
            )
        if self.feather and len(self.feather) != len(self.points):
            raise PromptError(
                f"A feather outline needs as many points as its shape: expected "
                f"{len(self.points)}, found {len(self.feather)}."
            )
        if self.operation not in ("add", "subtract", "intersect"):
            raise PromptError(
                f"A polygon's operation is add, subtract or intersect, not {self.operation!r}."
            )
        if not 0 <= self.opacity <= 1:
            raise PromptError(f"A polygon's opacity lies in 0..1, found {self.opacity}.")


@dataclass(frozen=True)
class MaskFile:
    """A mask made by any tool."""

    path: Path
    channel: str = ""
    """Channel to read; by default the alpha, else the first."""


@dataclass(frozen=True)
class Keyframe:
    """What an artist says of one object on one frame; exactly one kind of prompt."""

    frame: int
    """The plate's frame number."""
    points: tuple[Point, ...] = ()
    box: tuple[float, float, float, float] | None = None
    """x0 y0 x1 y1; together with points if both are given."""
    polygons: tuple[Polygon, ...] = ()
    mask: MaskFile | None = None

    def __post_init__(self) -> None:
        kinds = [bool(self.points or self.box), bool(self.polygons), self.mask is not None]
        if sum(kinds) != 1:
            raise PromptError(
                f"Keyframe {self.frame} needs exactly one kind of prompt (points and box, "
                f"polygons, or a mask), found {sum(kinds)}."
            )
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise PromptError(
                f"The box on keyframe {self.frame} must have x0 < x1 and y0 < y1, found "
                f"{list(self.box)}."
            )

    @property
    def is_soft(self) -> bool:
        """Whether the artist's own coverage is delivered on this frame."""
        return self.mask is not None or bool(self.polygons)


@dataclass(frozen=True)
class PromptedObject:
    """One object an artist asks for."""

    name: str
    """Its place in the tree of names: ``/hero/dress``."""
    keyframes: tuple[Keyframe, ...]

    def __post_init__(self) -> None:
        parts = self.name.split("/")
        if len(parts) < 2 or parts[0] or not all(parts[1:]) or "\n" in self.name:
            raise PromptError(
                f"An object's name looks like /hero or /hero/dress, found {self.name!r}."
            )
        frames = [k.frame for k in self.keyframes]
        if not frames:
            raise PromptError(f"{self.name} has no keyframe. Give it at least one.")
        if len(set(frames)) != len(frames):
            raise PromptError(f"{self.name} has two keyframes on one frame. Keep one of them.")


@dataclass(frozen=True)
class ArtistPrompts:
    """All objects an artist asks for, each name once."""

    objects: tuple[PromptedObject, ...] = ()

    def __post_init__(self) -> None:
        names = [item.name for item in self.objects]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise PromptError(f"{doubled[0]} is given twice. Put its keyframes in one object.")


def load_prompts(path: Path) -> ArtistPrompts:
    """Read a prompt file; paths of masks are relative to it.

    Raises:
        PromptError: the file cannot be read or says something unknown; the place is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PromptError(f"The prompt file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise PromptError(f"The prompt file {path} is not UTF-8 text.") from error
    try:
        return parse_prompts(json.loads(text), folder=path.parent)
    except json.JSONDecodeError as error:
        raise PromptError(
            f"The prompt file {path} is not JSON: {error.msg} in line {error.lineno}, "
            f"column {error.colno}."
        ) from error
    except PromptError as error:
        raise PromptError(f"In {path}: {error}") from error


def parse_prompts(data: object, *, folder: Path) -> ArtistPrompts:
    """Prompts from the file form described above.

    Args:
        data: decoded JSON.
        folder: what relative mask paths start from.

    Raises:
        PromptError: something unknown, missing or out of range; the place is named.
    """
    top = _Fields(data, "the file")
    if (version := top.take("version", int)) != VERSION:
        raise PromptError(f"version must be {VERSION}, found {version}. Update this program.")
    objects = [_object(item, f"objects[{i}]", folder) for i, item in top.items("objects")]
    top.end()
    return ArtistPrompts(tuple(objects))


def as_data(prompts: ArtistPrompts) -> dict[str, Any]:
    """The file form of prompts."""

    def keyframe(item: Keyframe) -> dict[str, Any]:
        data: dict[str, Any] = {"frame": item.frame}
        if item.points:
            data["points"] = [{"x": p.x, "y": p.y, "positive": p.positive} for p in item.points]
        if item.box:
            data["box"] = list(item.box)
        if item.polygons:
            data["polygons"] = [
                {
                    "points": [list(p) for p in polygon.points],
                    "feather": [list(p) for p in polygon.feather],
                    "operation": polygon.operation,
                    "opacity": polygon.opacity,
                }
                for polygon in item.polygons
            ]
        if item.mask:
            data["mask"] = {"path": str(item.mask.path), "channel": item.mask.channel}
        return data

    return {
        "version": VERSION,
        "objects": [
            {"name": item.name, "keyframes": [keyframe(k) for k in item.keyframes]}
            for item in prompts.objects
        ],
    }


class _Fields:
    """The members of one JSON object, each taken once; what is left over is an error."""

    def __init__(self, data: object, place: str) -> None:
        if not isinstance(data, dict):
            raise PromptError(f"{place} must be an object {{…}}, found {type(data).__name__}.")
        self._data = dict(data)
        self._place = place

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        if key not in self._data:
            if default is ...:
                raise PromptError(f"{self._place} lacks {key!r}.")
            return default
        value = self._data.pop(key)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join(k.__name__ for k in kinds)
            raise PromptError(f"{self._place}.{key} must be {names}, found {type(value).__name__}.")
        return value

    def items(self, key: str) -> list[tuple[int, object]]:
        return list(enumerate(self.take(key, list, [])))

    def end(self) -> None:
        if self._data:
            known = sorted(self._data)
            raise PromptError(
                f"{self._place} has the unknown key {known[0]!r}. Check its spelling."
            )


def _object(data: object, place: str, folder: Path) -> PromptedObject:
    fields = _Fields(data, place)
    name = fields.take("name", str)
    keyframes = tuple(
        _keyframe(item, f"{place}.keyframes[{i}]", folder) for i, item in fields.items("keyframes")
    )
    fields.end()
    return PromptedObject(name, keyframes)


def _keyframe(data: object, place: str, folder: Path) -> Keyframe:
    fields = _Fields(data, place)
    frame = fields.take("frame", int)
    points = []
    for i, item in fields.items("points"):
        point = _Fields(item, f"{place}.points[{i}]")
        points.append(
            Point(
                float(point.take("x", (int, float))),
                float(point.take("y", (int, float))),
                point.take("positive", bool, True),
            )
        )
        point.end()
    box = fields.take("box", list, None)
    polygons = []
    for i, item in fields.items("polygons"):
        inner = f"{place}.polygons[{i}]"
        polygon = _Fields(item, inner)
        polygons.append(
            Polygon(
                _pairs(polygon.take("points", list), f"{inner}.points"),
                _pairs(polygon.take("feather", list, []), f"{inner}.feather"),
                polygon.take("operation", str, "add"),
                float(polygon.take("opacity", (int, float), 1.0)),
            )
        )
        polygon.end()
    mask = None
    if (data := fields.take("mask", dict, None)) is not None:
        inside = _Fields(data, f"{place}.mask")
        path = (folder / inside.take("path", str)).absolute()
        mask = MaskFile(path, inside.take("channel", str, ""))
        inside.end()
    fields.end()
    corners = None
    if box is not None:
        if len(box) != 4 or not all(_is_number(v) for v in box):
            raise PromptError(f"{place}.box must be four numbers x0 y0 x1 y1, found {box}.")
        corners = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    return Keyframe(frame, tuple(points), corners, tuple(polygons), mask)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)


def _pairs(data: Sequence[Any], place: str) -> tuple[tuple[float, float], ...]:
    for item in data:
        if not isinstance(item, list) or len(item) != 2 or not all(_is_number(v) for v in item):
            raise PromptError(f"{place} must hold [x, y] pairs of numbers, found {item}.")
    return tuple((float(x), float(y)) for x, y in data)


# From plate pixels to coverages and to the segmenter


def segment_prompt(
    keyframe: Keyframe, *, display: Box, window: Box, size: tuple[int, int]
) -> SegmentPrompt:
    """A keyframe of points and box in working pixels.

    Args:
        keyframe: with points, a box, or both.
        display: the plate's display window, which coordinates are relative to.
        window: the segmented window.
        size: (H, W) of the working image.
    """
    scale_x, scale_y = size[1] / window.width, size[0] / window.height
    x0, y0 = display.x0 - window.x0, display.y0 - window.y0

    def place(x: float, y: float) -> tuple[float, float]:
        return (x + x0) * scale_x, (y + y0) * scale_y

    box = None
    if keyframe.box is not None:
        box = (*place(*keyframe.box[:2]), *place(*keyframe.box[2:]))
    points = tuple((*place(p.x, p.y), p.positive) for p in keyframe.points)
    return SegmentPrompt(box=box, points=points)


def polygon_coverage(polygons: Sequence[Polygon], *, display: Box, window: Box) -> FloatImage:
    """Coverage of combined polygons on the segmented window.

    Args:
        polygons: combined in order by their operation.
        display: the plate's display window, which coordinates are relative to.
        window: the segmented window.

    Returns:
        (H, W) float32 0..1, H and W of ``window``.
    """
    offset = np.array([display.x0 - window.x0, display.y0 - window.y0], np.float64)
    total = np.zeros((window.height, window.width), np.float32)
    for polygon in polygons:
        one = _fill(np.asarray(polygon.points) + offset, total.shape)
        if polygon.feather:
            outer = _fill(np.asarray(polygon.feather) + offset, total.shape)
            one = _ramp(one, outer)
        one *= polygon.opacity
        if polygon.operation == "add":
            total = total + one - total * one
        elif polygon.operation == "subtract":
            total *= 1 - one
        else:
            total *= one
    return total


def _fill(points: NDArray[np.float64], shape: tuple[int, ...]) -> FloatImage:
    """Anti-aliased fill (even-odd) of one outline: exact along x, sub-rows along y."""
    height, width = shape
    top = max(0, math.floor(points[:, 1].min()))
    bottom = min(height, math.ceil(points[:, 1].max()))
    result = np.zeros((height, width), np.float32)
    if top >= bottom:
        return result
    rows = top + (np.arange((bottom - top) * _SUB_ROWS) + 0.5) / _SUB_ROWS
    x0, y0 = points.T
    x1, y1 = np.roll(points, -1, axis=0).T
    crosses = (y0 <= rows[:, None]) != (y1 <= rows[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (rows[:, None] - y0) * ((x1 - x0) / (y1 - y0))
    # Sorted crossings of a sub-row open and close spans in turn; the rest is moved out of sight.
    at = np.sort(np.where(crosses, np.clip(at, 0, width), width), axis=1)
    sign = np.where(np.arange(at.shape[1]) % 2 == 0, 1.0, -1.0)
    pixel = np.minimum(at.astype(np.int64), width - 1)
    right = at - pixel  # share of the crossed pixel that lies left of the crossing
    change = np.zeros((len(rows), width + 1))
    index = np.broadcast_to(np.arange(len(rows))[:, None], at.shape)
    np.add.at(change, (index, pixel), sign * (1 - right))
    np.add.at(change, (index, pixel + 1), sign * right)
    spans = np.cumsum(change[:, :width], axis=1)
    result[top:bottom] = spans.reshape(-1, _SUB_ROWS, width).mean(axis=1)
    return np.clip(result, 0, 1)


def _ramp(inner: FloatImage, outer: FloatImage) -> FloatImage:
    """Coverage falling from the inner outline to the outer one, linear in distance."""
    core, reach = inner >= 0.5, (outer >= 0.5) | (inner >= 0.5)
    if not core.any():
        return inner
    to_core = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_rim = cv2.distanceTransform(reach.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ramp = to_rim / np.maximum(to_rim + to_core, 1e-6)
    return np.where(core, np.maximum(inner, ramp), np.where(reach, ramp, 0)).astype(np.float32)


def fit_mask(pixels: FloatImage, *, origin: tuple[int, int], window: Box) -> FloatImage:
    """A mask file's pixels placed on the segmented window; what it does not cover is 0.

    Args:
        pixels: (h, w) any values; not-a-number counts as 0.
        origin: (x, y) of its first pixel on the plate's pixel grid.
        window: the segmented window.

    Returns:
        (H, W) float32 0..1.
    """
    result = np.zeros((window.height, window.width), np.float32)
    h, w = pixels.shape
    x, y = origin[0] - window.x0, origin[1] - window.y0
    x0, y0, x1, y1 = max(0, x), max(0, y), min(window.width, x + w), min(window.height, y + h)
    if x0 < x1 and y0 < y1:
        inside = np.nan_to_num(pixels[y0 - y : y1 - y, x0 - x : x1 - x], nan=0.0, posinf=1.0)
        result[y0:y1, x0:x1] = np.clip(inside, 0, 1)
    return result


def working_mask(coverage: FloatImage, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of the working image a plate coverage covers at least half of."""
    small = cv2.resize(coverage, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(small >= 0.5)


def keyframe_indices(
    prompts: ArtistPrompts, frames: Sequence[int]
) -> Mapping[str, Mapping[int, Keyframe]]:
    """Name → position in the shot → keyframe.

    Raises:
        PromptError: a keyframe lies outside of the shot's frames.
    """
    position = {frame: index for index, frame in enumerate(frames)}
    result: dict[str, dict[int, Keyframe]] = {}
    for item in prompts.objects:
        for keyframe in item.keyframes:
            if keyframe.frame not in position:
                raise PromptError(
                    f"{item.name} has a keyframe on {keyframe.frame}, which is not among the "
                    f"shot's frames {frames[0]}-{frames[-1]}. Move it, or widen --range."
                )
        result[item.name] = {position[k.frame]: k for k in item.keyframes}
    return result
