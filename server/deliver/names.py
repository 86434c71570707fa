"""Names of a shot's objects, and how a repeated run keeps them.

A detected object is ``/category/category_NN``, numbered in the order its layer was born; an
artist's object has the artist's name. A run that is given an earlier result as reference matches
its layers to the objects of that result and lets them keep name and number; numbers once used in
a shot are never given to anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from server.track import Layer, MaskCache

SURE_IOU = 0.5
"""Mean IoU over common frames from which a layer is the reference's object."""
UNCERTAIN_IOU = 0.3
"""Mean IoU from which an object that was lost may still be the one that is new."""


@dataclass(frozen=True)
class Inheritance:
    """What became of one name."""

    name: str
    fate: Literal["inherited", "lost", "new", "uncertain"]
    iou: float = 0.0
    """Mean IoU with the reference's object over common frames, 0..1."""
    other: str = ""
    """For ``uncertain``: the new object's name that may be meant."""


@dataclass(frozen=True)
class Reference:
    """The objects of an earlier result of the same shot."""

    names: tuple[str, ...]
    used_numbers: Mapping[str, int] = field(default_factory=dict)
    """Category slug → the greatest number ever given."""


@dataclass(frozen=True)
class Naming:
    """Names of all layers of a shot."""

    names: Mapping[int, str]
    """Layer → name; without the layers an artist's object stands for."""
    used_numbers: Mapping[str, int]
    inheritance: tuple[Inheritance, ...] = ()


def slug(category: str) -> str:
    """A category as part of a name: lower case, anything but letters and digits as ``_``."""
    return re.sub(r"\W+", "_", category.lower()).strip("_") or "object"


def name_layers(
    layers: Sequence[Layer],
    *,
    reference: Reference | None = None,
    similarity: NDArray[np.float64] | None = None,
) -> Naming:
    """Name a shot's layers.

    Args:
        layers: all of them.
        reference: an earlier result, if one is to be followed.
        similarity: (layers, names of the reference) mean IoU over common frames.
    """
    born = sorted(layers, key=lambda layer: (layer.index, layer.left, layer.top, layer.number))
    names = {layer.number: layer.category for layer in born if layer.artist}
    used = dict(reference.used_numbers) if reference else {}
    table: list[Inheritance] = []
    if reference is not None and similarity is not None:
        kept = _inherit(layers, reference, similarity)
        names |= {number: name for number, (name, _) in kept.items()}
        table += [Inheritance(name, "inherited", iou) for name, iou in kept.values()]
        table += [
            Inheritance(layer.category, "inherited", float(similarity[row, column]))
            for row, layer in enumerate(layers)
            for column, name in enumerate(reference.names)
            if layer.artist and layer.category == name
        ]
    for layer in born:
        if layer.number in names:
            continue
        part = slug(layer.category)
        used[part] = used.get(part, 0) + 1
        if not layer.taken_by:
            names[layer.number] = f"/{part}/{part}_{used[part]:02d}"
    if reference is not None and similarity is not None:
        table += _losses(layers, names, reference, similarity, {row.name for row in table})
    return Naming(names, used, tuple(sorted(table, key=lambda row: (row.name, row.fate))))


def _inherit(
    layers: Sequence[Layer], reference: Reference, similarity: NDArray[np.float64]
) -> dict[int, tuple[str, float]]:
    """Layer → (name, IoU), one to one inside a category, with the greatest IoU in all."""
    allowed = np.array(
        [
            [
                similarity[row, column]
                if _inside(layer, name) and similarity[row, column] >= SURE_IOU
                else 0.0
                for column, name in enumerate(reference.names)
            ]
            for row, layer in enumerate(layers)
        ]
    ).reshape(len(layers), len(reference.names))
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    return {
        layers[row].number: (reference.names[column], float(allowed[row, column]))
        for row, column in zip(rows, columns, strict=True)
        if allowed[row, column] > 0
    }


def _inside(layer: Layer, name: str) -> bool:
    if layer.artist or layer.taken_by:
        return False
    part = slug(layer.category)
    return bool(re.fullmatch(rf"/{re.escape(part)}/{re.escape(part)}_\d+", name))


def _losses(
    layers: Sequence[Layer],
    names: Mapping[int, str],
    reference: Reference,
    similarity: NDArray[np.float64],
    inherited: set[str],
) -> list[Inheritance]:
    current = set(names.values())
    fresh = [
        (row, names[layer.number])
        for row, layer in enumerate(layers)
        if layer.number in names and names[layer.number] not in inherited
    ]
    table = []
    for column, name in enumerate(reference.names):
        if name in current:
            continue
        likely = max(((similarity[row, column], other) for row, other in fresh), default=(0.0, ""))
        if likely[0] >= UNCERTAIN_IOU:
            table.append(Inheritance(name, "uncertain", float(likely[0]), likely[1]))
        else:
            table.append(Inheritance(name, "lost", float(likely[0])))
    table += [Inheritance(name, "new") for _, name in fresh if name not in reference.names]
    return table


class Likeness:
    """Mean IoU of layers with a reference's objects, gathered frame by frame."""

    def __init__(self, layers: int, objects: int) -> None:
        self._sum = np.zeros((layers, objects))
        self._frames = np.zeros((layers, objects), np.int64)

    def add(self, cache: MaskCache, layers: Sequence[Layer], reference: NDArray[np.uint16]) -> None:
        """Take in a frame that both have.

        Args:
            cache: the shot's.
            layers: rows.
            reference: (H, W) at working size, 1 + column of the object, 0 = none.
        """
        objects = self._sum.shape[1]
        own = np.bincount(reference.ravel(), minlength=objects + 1)[1:]
        for row, layer in enumerate(layers):
            pixels = cache.mask(layer.group, layer.number)
            area = np.count_nonzero(pixels)
            inside = np.bincount(reference[pixels], minlength=objects + 1)[1:]
            present = (own > 0) | (area > 0)
            union = np.maximum(area + own - inside, 1)
            self._sum[row][present] += (inside / union)[present]
            self._frames[row][present] += 1

    def mean(self) -> NDArray[np.float64]:
        """(layers, objects) over the frames in which either of the two is seen."""
        return np.asarray(self._sum / np.maximum(self._frames, 1))


def taking_order(
    caches: Iterable[MaskCache], layers: Sequence[Layer], *, part: float = 0.6
) -> dict[int, int]:
    """Layer → its turn to take coverage where groups overlap, lowest first.

    A layer lying inside one of another group (mean Sim ≥ ``part`` over the frames it is seen in)
    is a part of it and comes first; otherwise the higher mean probability, then prompt order.

    Args:
        caches: frames of the shot.
        layers: all its layers.
        part: Sim from which a layer is a part.
    """
    count = max((layer.number for layer in layers), default=0) + 1
    inside = np.zeros((count, count))
    seen = np.zeros(count)
    probability, pixels = np.zeros(count), np.zeros(count)
    for cache in caches:
        areas = np.zeros(count)
        for group in range(cache.groups):
            plane = cache.layer[group].ravel()
            areas += np.bincount(plane, minlength=count)[:count]
            weights = cache.probability[group].ravel()
            probability += np.bincount(plane, weights=weights, minlength=count)[:count]
        areas[0] = 0
        pixels += areas
        seen += areas > 0
        for a in range(cache.groups):
            for b in range(a):
                both = (cache.layer[a] > 0) & (cache.layer[b] > 0)
                code = cache.layer[a][both].astype(np.int64) * count + cache.layer[b][both]
                pairs = np.bincount(code, minlength=count * count).reshape(count, count)
                inside += pairs / np.maximum(areas, 1)[:, None]
                inside += pairs.T / np.maximum(areas, 1)[:, None]
    sim = inside / np.maximum(seen, 1)[:, None]
    confidence = probability / np.maximum(pixels, 1)
    depth = {layer.number: int(np.count_nonzero(sim[layer.number] >= part)) for layer in layers}
    ordered = sorted(
        layers, key=lambda x: (-depth[x.number], -confidence[x.number], x.group, x.number)
    )
    return {layer.number: turn for turn, layer in enumerate(ordered)}
