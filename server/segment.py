"""Stage 2: one clean mask per object and frame, from the boxes of stage 1.

A segmenter (see ``Segmenter``) answers every box with a mask; the clean-up then removes what a
detector typically gets wrong: the same object twice, a box around several objects, the hand of a
person beside the person. Each category is cleaned apart, so that adding one to a prompt changes
nothing in the others; only a mask that two categories claim as a whole is settled between them.
Whatever is removed is reported with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from server.detect import Detection
from server.errors import SettingsError
from server.frames import ModelImage

BoolImage = NDArray[np.bool_]

HALF = 32768
"""Least uint16 probability that counts as inside a mask: 0.5 of 65535, rounded up."""


@dataclass(frozen=True)
class SegmentPrompt:
    """What is asked of a segmenter for one object: a box, points, or both, in working pixels."""

    box: tuple[float, float, float, float] | None = None
    """x0 y0 x1 y1."""
    points: tuple[tuple[float, float, bool], ...] = ()
    """(x, y, positive) each."""

    def __post_init__(self) -> None:
        if self.box is None and not self.points:
            raise ValueError("a segment prompt needs a box or at least one point")


class Features(Protocol):
    """An encoded frame; only the model that made it can read it."""

    @property
    def size_bytes(self) -> int:
        """Memory it holds."""
        ...


class Segmenter(Protocol):
    """What stage 2 needs from a model."""

    name: str
    calls: Counter[str]

    def encode(self, image: ModelImage) -> Features:
        """Features of one frame, shared by stages 2 and 3."""
        ...

    def segment(
        self, features: Features, prompts: Sequence[SegmentPrompt], *, size: tuple[int, int]
    ) -> NDArray[np.uint16]:
        """Probability that a pixel belongs to the prompted object.

        Args:
            features: of the frame.
            prompts: K of them, answered independently.
            size: (H, W) of the working image the prompts are given in.

        Returns:
            (K, H, W) uint16, 65535 = 1.0.
        """
        ...


@dataclass(frozen=True)
class Mask:
    """One object in one frame, as stage 2 sees it."""

    category: str
    score: float
    """The detection's, 0..1."""
    box: tuple[float, float, float, float]
    """The detection's, in working pixels."""
    pixels: BoolImage = field(repr=False)
    """(H, W) at working size."""

    @property
    def area(self) -> int:
        """Working pixels inside."""
        return int(np.count_nonzero(self.pixels))


@dataclass(frozen=True)
class Rejection:
    """A candidate that did not become, or stay, an object of its own, and why."""

    frame: int
    """The plate's frame number."""
    category: str
    box: tuple[float, float, float, float]
    """In working pixels."""
    score: float
    reason: str
    """A sentence part for people, beginning with one of the words listed in ``REASONS``."""


REASONS = (
    "tiny",  # under the least size
    "duplicate",  # the same object found twice in one category
    "group",  # a mask around several objects
    "merged",  # a part, added to the whole
    "renamed",  # the same object found under two categories
    "several",  # overlaps more than one tracked layer
    "ambiguous",  # overlaps one tracked layer, too little to be it, too much to be new
    "hidden",  # nothing left beside the layers already there
    "taken",  # belongs to an artist's object
)


@dataclass(frozen=True)
class Segmentation:
    """Stage 2 of one frame."""

    masks: tuple[Mask, ...]
    rejections: tuple[Rejection, ...]


@dataclass(frozen=True)
class SegmentSettings:
    """The clean-up's thresholds; the letters are those of the method's description."""

    least_area: int = 16
    """Masks of fewer working pixels go."""
    duplicate_iou: float = 0.9
    """Masks of this IoU or more are one object found twice."""
    overlap: float = 0.1
    """Sim from which two masks count as overlapping."""
    enclosure: float = 0.6
    """Sim from which a mask counts as lying inside another."""
    enclosed_share: float = 0.5
    """Share of a mask that two or more enclosed ones must cover together to prove it a group."""
    clean_up: Literal["category", "paper"] = "category"
    """``category``: as described above. ``paper``: the publication's literal reading, all
    categories together, all decisions at once, no enclosure test; for comparison."""

    def __post_init__(self) -> None:
        for name in ("duplicate_iou", "overlap", "enclosure", "enclosed_share"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise SettingsError(f"{name} must lie in 0..1, not {value}.")
        if self.clean_up not in ("category", "paper"):
            raise SettingsError(f"clean_up must be category or paper, not {self.clean_up!r}.")


def segment(
    segmenter: Segmenter,
    features: Features,
    detections: Sequence[Detection],
    *,
    frame: int,
    model_size: tuple[int, int],
    size: tuple[int, int],
    settings: SegmentSettings,
) -> Segmentation:
    """Masks of one frame's detections, cleaned up.

    Args:
        segmenter: the model.
        features: of the frame.
        detections: in pixels of the model image.
        frame: the plate's frame number, for the report.
        model_size: (H, W) of the model image.
        size: (H, W) of the working image.
        settings: thresholds.

    Returns:
        Masks by falling score, and every candidate that was removed.
    """
    if not detections:
        return Segmentation((), ())
    scale = np.array([size[1] / model_size[1], size[0] / model_size[0]] * 2)
    boxes = [tuple(float(v) for v in np.asarray(d.box) * scale) for d in detections]
    prompts = [SegmentPrompt(box=box) for box in boxes]  # type: ignore[arg-type]
    answers = segmenter.segment(features, prompts, size=size)
    masks = [
        Mask(detection.category, detection.score, box, answer >= HALF)  # type: ignore[arg-type]
        for detection, box, answer in zip(detections, boxes, answers, strict=True)
    ]
    return clean_up(masks, frame=frame, settings=settings)


def clean_up(masks: Sequence[Mask], *, frame: int, settings: SegmentSettings) -> Segmentation:
    """Remove what is no object of its own.

    Args:
        masks: of one frame, any categories, any order.
        frame: the plate's frame number, for the report.
        settings: thresholds.

    Returns:
        The masks that stay, by falling score, and every candidate that was removed.
    """
    ordered = sorted(masks, key=lambda m: (-m.score, m.box))
    if settings.clean_up == "paper":
        pool = _Pool(ordered, frame, settings)
        pool.remove_tiny_and_duplicates()
        pool.remove_groups_at_once()
        pool.merge_parts_at_once()
        return Segmentation(tuple(pool.masks), tuple(pool.rejections))
    kept: list[Mask] = []
    rejections: list[Rejection] = []
    for category in dict.fromkeys(mask.category for mask in ordered):
        pool = _Pool([m for m in ordered if m.category == category], frame, settings)
        pool.remove_tiny_and_duplicates()
        pool.remove_groups()
        pool.merge_parts()
        kept += pool.masks
        rejections += pool.rejections
    kept.sort(key=lambda m: (-m.score, m.box))
    pool = _Pool(kept, frame, settings)
    pool.settle_between_categories()
    return Segmentation(tuple(pool.masks), tuple(rejections + pool.rejections))


class _Pool:
    """Masks under decision, with their pairwise overlaps.

    ``sim[a, b]`` = Sim(A, B) = |A ∩ B| / |A|: the share of A that B covers.
    """

    def __init__(self, masks: Sequence[Mask], frame: int, settings: SegmentSettings) -> None:
        self.masks = list(masks)
        self.rejections: list[Rejection] = []
        self._frame = frame
        self._settings = settings
        self._measure()

    def _measure(self) -> None:
        count = len(self.masks)
        bounds = [_bounds(mask.pixels) for mask in self.masks]
        self._inside = np.zeros((count, count), np.int64)
        for a in range(count):
            self._inside[a, a] = self.masks[a].area
            for b in range(a):
                shared = _shared(bounds[a], bounds[b])
                if shared is not None:
                    both = self.masks[a].pixels[shared] & self.masks[b].pixels[shared]
                    self._inside[a, b] = self._inside[b, a] = np.count_nonzero(both)

    @property
    def _areas(self) -> NDArray[np.int64]:
        return np.asarray(self._inside.diagonal(), np.int64)

    def _sim(self) -> NDArray[np.float64]:
        sim = self._inside / np.maximum(self._areas, 1)[:, None]
        np.fill_diagonal(sim, 0)
        return sim

    def _iou(self, a: int, b: int) -> float:
        union = self._areas[a] + self._areas[b] - self._inside[a, b]
        return float(self._inside[a, b] / union) if union else 0.0

    def _reject(self, indices: Sequence[int], reasons: Sequence[str]) -> None:
        for index, reason in zip(indices, reasons, strict=True):
            mask = self.masks[index]
            self.rejections.append(
                Rejection(self._frame, mask.category, mask.box, mask.score, reason)
            )
        stay = [i for i in range(len(self.masks)) if i not in set(indices)]
        self.masks = [self.masks[i] for i in stay]
        self._inside = self._inside[np.ix_(stay, stay)]

    def remove_tiny_and_duplicates(self) -> None:
        least = self._settings.least_area
        tiny = [i for i, area in enumerate(self._areas) if area < least]
        self._reject(tiny, [f"tiny: under {least} working pixels"] * len(tiny))
        self._remove_doubles("duplicate: the better box of the same object stays")

    def settle_between_categories(self) -> None:
        self._remove_doubles("renamed: the same object scores higher as {category}")

    def _remove_doubles(self, reason: str) -> None:
        doubles: dict[int, str] = {}
        for index in range(len(self.masks)):
            for better in range(index):
                if better not in doubles and (
                    self._iou(index, better) >= self._settings.duplicate_iou
                ):
                    doubles[index] = reason.format(category=self.masks[better].category)
                    break
        self._reject(list(doubles), list(doubles.values()))

    def remove_groups(self) -> None:
        """One at a time, worst first, so that the objects inside a group survive it."""
        while (worst := self._worst_group()) is not None:
            index, others = worst
            self._reject([index], [f"group: lies over {others} objects"])

    def _worst_group(self) -> tuple[int, int] | None:
        settings, sim, areas = self._settings, self._sim(), self._areas
        overlaps = sim >= settings.overlap  # [a, b]: b covers a noteworthy share of a
        encloses = sim.T >= settings.enclosure  # [a, b]: b lies inside a
        related = (overlaps | encloses).sum(axis=1)
        found = [
            index
            for index in range(len(self.masks))
            if overlaps[index].sum() >= 2 or self._is_filled(index, encloses[index])
        ]
        if not found:
            return None
        worst = max(found, key=lambda i: (related[i], areas[i], -self.masks[i].score))
        return worst, int(related[worst])

    def _is_filled(self, index: int, enclosed: NDArray[np.bool_]) -> bool:
        """Whether two or more enclosed masks cover enough of one to prove it a group."""
        inner = np.flatnonzero(enclosed)
        if len(inner) < 2:
            return False
        union = np.zeros_like(self.masks[index].pixels)
        for other in inner:
            union |= self.masks[other].pixels
        covered = np.count_nonzero(union & self.masks[index].pixels)
        return bool(covered >= self._settings.enclosed_share * self._areas[index])

    def merge_parts(self) -> None:
        """Smallest first, overlaps renewed after each."""
        while True:
            inside = self._sim() >= self._settings.enclosure
            parts = np.flatnonzero(inside.sum(axis=1) == 1)
            if not len(parts):
                return
            part = min(parts.tolist(), key=lambda i: (self._areas[i], self.masks[i].score))
            self._merge(part, int(inside[part].argmax()))

    def _merge(self, part: int, whole: int) -> None:
        kept = self.masks[whole]
        self.masks[whole] = replace(kept, pixels=kept.pixels | self.masks[part].pixels)
        self._reject([part], [f"merged: into the {kept.category} it lies in"])
        self._measure()

    def remove_groups_at_once(self) -> None:
        counts = (self._sim() >= self._settings.overlap).sum(axis=1)
        groups = np.flatnonzero(counts >= 2).tolist()
        self._reject(groups, [f"group: lies over {counts[i]} objects" for i in groups])

    def merge_parts_at_once(self) -> None:
        inside = self._sim() >= self._settings.enclosure
        parts = np.flatnonzero(inside.sum(axis=1) == 1).tolist()
        target = {part: int(inside[part].argmax()) for part in parts}
        reasons = []
        for part in parts:
            kept = self.masks[target[part]]
            self.masks[target[part]] = replace(kept, pixels=kept.pixels | self.masks[part].pixels)
            reasons.append(f"merged: into the {kept.category} it lies in")
        # Two masks that lie in each other are one object: the better one carries it on.
        gone = [p for p in parts if not (target.get(target[p]) == p and p < target[p])]
        self._reject(gone, [reasons[parts.index(p)] for p in gone])


def _bounds(pixels: BoolImage) -> tuple[int, int, int, int]:
    """Rows and columns that hold the mask, as (y0, y1, x0, x1), ends exclusive."""
    rows = np.flatnonzero(pixels.any(axis=1))
    columns = np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0)
    return (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def _shared(
    a: tuple[int, int, int, int], b: tuple[int, int, int, int]
) -> tuple[slice, slice] | None:
    y0, y1, x0, x1 = max(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), min(a[3], b[3])
    return (slice(y0, y1), slice(x0, x1)) if y0 < y1 and x0 < x1 else None
