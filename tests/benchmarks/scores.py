"""How well label maps over a shot agree with its drawn truth.

All figures come from one table per frame: the IoU of every true object with every layer. J, F,
edge error, flicker and area are those of the one layer that stands for an object over the whole
shot; IDF1, identity switches and HOTA are those of the tracking literature (Ristani 2016; Bernardin
2008; Luiten 2021) with mask IoU as similarity, and are checked against TrackEval by a test.
Objects smaller than a share of the frame are left out on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Labels = NDArray[np.integer]

LEAST_SHARE = 0.001
"""Smallest part of a frame that counts as an object."""
TOUCH_UP = 0.9
"""IoU under which an artist is taken to mend a matte, or to paint one that is missing."""
F_TOLERANCE = 0.008
"""Distance up to which contours agree, as a share of the diagonal (DAVIS)."""
HOTA_LIMITS = np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True)
class Scores:
    """One shot, or the mean over several."""

    j: float
    """IoU of an object with its layer, mean over the frames it is seen in, then over objects."""
    f: float
    """F of their contours, likewise."""
    idf1: float
    switches: float
    """Times an object changed its layer, per shot."""
    hota: float
    edge: float
    """Mean distance of a found contour from the true one, pixels of a 1024 picture, where an object
    is found at all (IoU >= 0.5)."""
    flicker: float
    """How much more a matte changes from frame to frame than the truth: 1 - IoU with the frame
    before, less that of the truth."""
    touch_up: float
    """Share of objects in frames with IoU under 0.9 or no matte at all."""
    area: float
    """Area of the layers by area of their objects; above 1: too much is taken. 0: none is found."""
    layers: float
    """Layers by objects."""

    def as_row(self) -> tuple[str, ...]:
        """Figures as written in a table."""
        values = asdict(self)
        return tuple(
            f"{values[key]:.3f}" if key != "switches" else f"{values[key]:.1f}" for key in values
        )


COLUMNS = (
    "J",
    "F",
    "IDF1",
    "ID switches",
    "HOTA",
    "edge px",
    "flicker",
    "touch-up",
    "area",
    "layers",
)


def mean(scores: Sequence[Scores]) -> Scores:
    """Mean over shots, each counting the same; edge and area where any object is found at all."""
    found = [one for one in scores if one.area > 0]

    def average(key: str) -> float:
        chosen = found if key in ("edge", "area") else scores
        return float(np.mean([getattr(one, key) for one in chosen])) if chosen else 0.0

    return Scores(**{field.name: average(field.name) for field in fields(Scores)})


@dataclass(frozen=True)
class Frame:
    """Objects and layers that count in one frame."""

    objects: NDArray[np.intp]
    layers: NDArray[np.intp]
    iou: NDArray[np.float64]
    """(G, L)."""


def frame_table(truth: Labels, answer: Labels, *, share: float = LEAST_SHARE) -> Frame:
    """IoU of all objects and layers of a frame.

    Args:
        truth: (H, W) ids, 0 = background.
        answer: (H, W) layers, 0 = background.
        share: smallest part of the frame that counts; a layer lying by half or more on objects too
            small to count does not count either.
    """
    columns = int(answer.max()) + 1
    codes = truth.astype(np.int64) * columns + answer
    joint = np.bincount(codes.ravel(), minlength=(int(truth.max()) + 1) * columns)
    joint = joint.reshape(-1, columns)
    areas, sizes = joint.sum(axis=1), joint.sum(axis=0)
    least = share * truth.size
    objects = np.flatnonzero(areas[1:] >= least) + 1
    small = np.flatnonzero((areas[1:] > 0) & (areas[1:] < least)) + 1
    on_small = joint[small].sum(axis=0)
    layers = np.array(
        [n for n in range(1, columns) if sizes[n] >= least and on_small[n] < 0.5 * sizes[n]],
        np.intp,
    )
    inside = joint[np.ix_(objects, layers)]
    union = areas[objects][:, None] + sizes[layers][None] - inside
    return Frame(objects, layers, inside / union)


def score(
    truth: Sequence[Labels], answer: Sequence[Labels], *, share: float = LEAST_SHARE
) -> Scores:
    """Compare label maps over a shot.

    Args:
        truth: (H, W) ids per frame.
        answer: (H, W) layers per frame.
        share: as ``frame_table`` takes it.
    """
    tables = [frame_table(t, a, share=share) for t, a in zip(truth, answer, strict=True)]
    stands = assignment(tables)
    contours = [_Contours(truth[i], answer[i], table, stands) for i, table in enumerate(tables)]
    seen: dict[int, list[float]] = {}
    found_f: dict[int, list[float]] = {}
    for table, contour in zip(tables, contours, strict=True):
        for row, number in enumerate(table.objects.tolist()):
            column = np.flatnonzero(table.layers == stands.get(number, -1))
            seen.setdefault(number, []).append(
                float(table.iou[row, column[0]]) if len(column) else 0.0
            )
            found_f.setdefault(number, []).append(contour.f.get(number, 0.0))
    if not seen:
        return Scores(1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    every = [value for values in seen.values() for value in values]
    distances = [d for contour in contours for d in contour.distances]
    areas = np.sum([contour.areas for contour in contours], axis=0)
    layers = {int(n) for table in tables for n in table.layers}
    return Scores(
        j=float(np.mean([np.mean(values) for values in seen.values()])),
        f=float(np.mean([np.mean(values) for values in found_f.values()])),
        idf1=idf1(tables),
        switches=float(switches(tables)),
        hota=hota(tables),
        edge=float(np.mean(distances)) if distances else 0.0,
        flicker=_flicker(truth, answer, tables, stands),
        touch_up=float(np.mean([value < TOUCH_UP for value in every])),
        area=float(areas[1] / max(areas[0], 1)),
        layers=len(layers) / len(seen),
    )


def assignment(tables: Sequence[Frame]) -> dict[int, int]:
    """Object → the layer that stands for it over the whole shot.

    Most frames with IoU >= 0.5 first, then the largest sum of IoU.
    """
    objects = sorted({int(n) for table in tables for n in table.objects})
    layers = sorted({int(n) for table in tables for n in table.layers})
    value = np.zeros((len(objects), len(layers)))
    for table in tables:
        rows = np.searchsorted(objects, table.objects)
        columns = np.searchsorted(layers, table.layers)
        value[np.ix_(rows, columns)] += (table.iou >= 0.5) + 1e-4 * table.iou
    chosen = zip(*linear_sum_assignment(-value), strict=True)
    return {objects[row]: layers[column] for row, column in chosen if value[row, column] > 0}


class _Contours:
    """Contours and areas of one frame's objects and the layers that stand for them."""

    def __init__(self, truth: Labels, answer: Labels, table: Frame, stands: dict[int, int]) -> None:
        self.f: dict[int, float] = {}
        self.distances: list[float] = []
        self.areas = np.zeros(2)
        scale = max(truth.shape) / 1024
        tolerance = F_TOLERANCE * float(np.hypot(*truth.shape))
        for row, number in enumerate(table.objects.tolist()):
            column = np.flatnonzero(table.layers == stands.get(number, -1))
            if not len(column):
                continue
            true, found = truth == number, answer == stands[number]
            window = _window(true | found)
            true, found = true[window], found[window]
            to_true, to_found = _distances(true, found)
            hit, recall = (
                float((to_true <= tolerance).mean()),
                float((to_found <= tolerance).mean()),
            )
            self.f[number] = 2 * hit * recall / max(hit + recall, 1e-9)
            if table.iou[row, column[0]] >= 0.5:
                both = np.concatenate([to_true, to_found])
                self.distances.append(float(both.mean()) / scale)
                self.areas += [np.count_nonzero(true), np.count_nonzero(found)]


def _window(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return (
        slice(max(0, rows[0] - 1), rows[-1] + 2),
        slice(max(0, columns[0] - 1), columns[-1] + 2),
    )


def _distances(
    true: NDArray[np.bool_], found: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Distances of the found contour's pixels to the true contour, and the other way."""
    contours = [mask & ~_eroded(mask) for mask in (true, found)]
    maps = [
        cv2.distanceTransform((~contour).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for contour in contours
    ]
    return maps[0][contours[1]], maps[1][contours[0]]


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask without its outermost pixels; the border of the picture is no contour."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return np.asarray(inner, np.bool_)


def _flicker(
    truth: Sequence[Labels],
    answer: Sequence[Labels],
    tables: Sequence[Frame],
    stands: dict[int, int],
) -> float:
    beyond = []
    for index in range(1, len(tables)):
        both = np.intersect1d(tables[index - 1].objects, tables[index].objects)
        for number in both.tolist():
            layer = stands.get(number)
            if layer is None:
                continue
            changes = []
            for maps, label in ((truth, number), (answer, layer)):
                before, now = maps[index - 1] == label, maps[index] == label
                union = np.count_nonzero(before | now)
                changes.append(1 - np.count_nonzero(before & now) / union if union else 1.0)
            beyond.append(changes[1] - changes[0])
    return float(np.mean(beyond)) if beyond else 0.0


def idf1(tables: Sequence[Frame]) -> float:
    """2 x true identities / (objects in frames + layers in frames), at IoU 0.5."""
    objects = sorted({int(n) for table in tables for n in table.objects})
    layers = sorted({int(n) for table in tables for n in table.layers})
    hits = np.zeros((len(objects), len(layers)))
    for table in tables:
        rows = np.searchsorted(objects, table.objects)
        columns = np.searchsorted(layers, table.layers)
        hits[np.ix_(rows, columns)] += table.iou >= 0.5
    rows, columns = linear_sum_assignment(-hits)
    instances = sum(len(table.objects) + len(table.layers) for table in tables)
    return float(2 * hits[rows, columns].sum() / instances) if instances else 1.0


def switches(tables: Sequence[Frame]) -> int:
    """Times an object is matched to another layer than at its last match (CLEAR), at IoU 0.5."""
    last: dict[int, int] = {}
    before: dict[int, int] = {}
    count = 0
    for table in tables:
        keeps = np.array(
            [
                [before.get(n) == layer for layer in table.layers.tolist()]
                for n in table.objects.tolist()
            ],
            np.float64,
        ).reshape(table.iou.shape)
        value = np.where(table.iou >= 0.5 - 1e-9, 1000 * keeps + table.iou, 0)
        rows, columns = linear_sum_assignment(-value)
        before = {}
        for row, column in zip(rows, columns, strict=True):
            if value[row, column] > 0:
                number, layer = int(table.objects[row]), int(table.layers[column])
                count += last.get(number, layer) != layer
                last[number] = before[number] = layer
    return count


def hota(tables: Sequence[Frame]) -> float:
    """Higher order tracking accuracy, mean over the limits of IoU from 0.05 to 0.95.

    HOTA_a = sqrt(DetA_a x AssA_a), with one matching per frame that prefers pairs which agree over
    the whole shot.
    """
    objects = sorted({int(n) for table in tables for n in table.objects})
    layers = sorted({int(n) for table in tables for n in table.layers})
    if not objects or not layers:
        return float(not objects and not layers)
    shape = (len(objects), len(layers))
    agreed, own, theirs = np.zeros(shape), np.zeros(shape[0]), np.zeros(shape[1])
    places = []
    for table in tables:
        rows = np.searchsorted(objects, table.objects)
        columns = np.searchsorted(layers, table.layers)
        places.append((rows, columns))
        sums = table.iou.sum(axis=0)[None] + table.iou.sum(axis=1)[:, None] - table.iou
        agreed[np.ix_(rows, columns)] += np.divide(
            table.iou, sums, out=np.zeros_like(table.iou), where=sums > 1e-12
        )
        own[rows] += 1
        theirs[columns] += 1
    overall = agreed / (own[:, None] + theirs[None] - agreed)
    matched = np.zeros((len(HOTA_LIMITS), *shape))
    for table, (rows, columns) in zip(tables, places, strict=True):
        if not table.iou.size:
            continue
        r, c = linear_sum_assignment(-(overall[np.ix_(rows, columns)] * table.iou))
        for at, limit in enumerate(HOTA_LIMITS):
            good = table.iou[r, c] >= limit - 1e-12
            matched[at, rows[r[good]], columns[c[good]]] += 1
    values = []
    for pairs in matched:
        hits = pairs.sum()
        detection = hits / (own.sum() + theirs.sum() - hits)
        shared = pairs / np.maximum(1, own[:, None] + theirs[None] - pairs)
        values.append(float(np.sqrt(detection * (pairs * shared).sum() / max(1, hits))))
    return float(np.mean(values))
