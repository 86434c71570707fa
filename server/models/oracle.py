"""The oracle: answers from a shot's truth, with errors of a stated kind and size.

It measures the pipeline's own rules apart from any network: with no errors every loss is the
algorithm's, and each kind of error can be turned up alone. It is no model and is labelled
``oracle`` wherever it appears. All errors are drawn from a seed and from what they concern (frame,
objects, window), never from the order of calls, so a resumed shot gets the same answers.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from server.detect import BoxScores
from server.errors import InputError, SettingsError
from server.frames import ModelImage
from server.segment import Features, SegmentPrompt

if TYPE_CHECKING:
    from server.training.plates import DrawnShot

Labels = NDArray[np.uint8]

# What an error is about: the first number of its seed.
_MISSED, _GROUP, _BOX, _SCORE, _EDGE, _DRIFT, _SWAP = range(7)

_LEAST_PIXELS = 16
_CERTAIN = 0.98


@dataclass(frozen=True)
class ShotTruth:
    """Where every object of a shot is visible."""

    frames: tuple[int, ...]
    """Plate frame numbers, ascending."""
    labels: Labels = field(repr=False)
    """(T, H, W) uint8: 0 = background, else 1 + index of the object."""
    categories: tuple[str, ...]
    """One per object."""

    def __post_init__(self) -> None:
        if self.labels.ndim != 3 or self.labels.dtype != np.uint8:
            raise ValueError(
                f"labels: expected (T, H, W) uint8, got {self.labels.shape} {self.labels.dtype}"
            )
        if len(self.frames) != len(self.labels):
            raise ValueError(f"{len(self.frames)} frame numbers for {len(self.labels)} label maps")
        if len(self.labels) and self.labels.max() > len(self.categories):
            raise ValueError(
                f"labels go up to {self.labels.max()}, but there are {len(self.categories)} objects"
            )

    def save(self, path: Path) -> None:
        """Write the truth beside a plate, for ``ShotTruth.load``."""
        np.savez_compressed(
            path,
            frames=np.array(self.frames, np.int64),
            labels=self.labels,
            categories=np.array(self.categories, np.str_),
        )

    @classmethod
    def of(cls, shot: DrawnShot, *, first: int = 1001) -> ShotTruth:
        """What is visible in a drawn shot, its frames numbered from ``first``."""
        return cls(
            frames=tuple(range(first, first + len(shot))),
            labels=np.stack([frame.labels() for frame in shot]),
            categories=tuple(item.category for item in shot.objects),
        )

    @classmethod
    def load(cls, path: Path) -> ShotTruth:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file cannot be read, or is no truth.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(
                    frames=tuple(int(frame) for frame in stored["frames"]),
                    labels=stored["labels"],
                    categories=tuple(str(category) for category in stored["categories"]),
                )
        except (OSError, KeyError, ValueError, EOFError) as error:
            raise InputError(
                f"{path} is no truth of a drawn shot ({error}). Give the .npz file that was "
                "written with the plate."
            ) from error


@dataclass(frozen=True)
class OracleErrors:
    """How wrong the oracle is; all zero: never."""

    missed: float = 0.0
    """Chance, 0..1, that an object is not detected on a frame."""
    group_boxes: float = 0.0
    """Chance, 0..1, of an extra box around two touching objects of one category, per frame."""
    box_jitter: float = 0.0
    """Standard deviation of each side of a box, as a share of its width or height."""
    score_spread: float = 0.0
    """Mean loss of a detection's score, from 0.98."""
    edge_pixels: float = 0.0
    """Standard deviation of where a segmented mask lies, pixels of a 1024 picture."""
    drift_pixels: float = 0.0
    """How far a tracked mask slides off with every frame of its window, pixels of a 1024
    picture."""
    fade: float = 0.0
    """Probability a tracked mask loses with every frame of its window, never below 0.55."""
    swaps: float = 0.0
    """Chance, 0..1, that a window mixes up two objects when they begin to touch."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            chance = name in ("missed", "group_boxes", "swaps")
            if value < 0 or (chance and value > 1):
                limits = "between 0 and 1" if chance else "0 or more"
                raise SettingsError(f"Oracle error {name!r} must be {limits}, not {value}.")


class OracleDetector:
    """Stage 1 from the truth."""

    def __init__(
        self, truth: ShotTruth, *, errors: OracleErrors = OracleErrors(), seed: int = 0
    ) -> None:
        """Answer for one shot."""
        self._scene = _Scene(truth, errors=errors, seed=seed)
        self.name = "oracle"
        self.weights_sha256 = self._scene.sha256
        self.usual_threshold = 0.3
        self.calls: Counter[str] = Counter()
        self.notes: list[str] = []

    def score(self, images: Sequence[ModelImage], categories: Sequence[str]) -> list[BoxScores]:
        """Boxes of the objects in view, each scored for its own category."""
        self.calls["detector"] += 1
        return [self._score(image, categories) for image in images]

    def _score(self, image: ModelImage, categories: Sequence[str]) -> BoxScores:
        scene, errors = self._scene, self._scene.errors
        position = scene.position(image.frame)
        labels = scene.labels(position, size=image.pixels.shape[:2])
        boxes: list[NDArray[np.float32]] = []
        scores: list[list[float]] = []

        def add(box: NDArray[np.float32], category: str, *key: int) -> None:
            side = np.tile(box[2:] - box[:2], 2)
            shift = scene.random(_BOX, position, *key).normal(0, errors.box_jitter, 4)
            limits = np.tile([labels.shape[1], labels.shape[0]], 2)
            boxes.append(np.clip(box + shift * side, 0, limits).astype(np.float32))
            loss = scene.random(_SCORE, position, *key).exponential(errors.score_spread)
            score = float(np.clip(_CERTAIN - loss, 0.05, 1.0))
            scores.append([score if category == asked else 0.0 for asked in categories])

        visible = scene.visible(labels)
        for item in visible:
            category = scene.truth.categories[item]
            chance = scene.random(_MISSED, position, item).random()
            if category in categories and chance >= errors.missed:
                add(_box(labels == item + 1), category, item)
        for first, second in sorted(scene.touching(position)):
            category = scene.truth.categories[first]
            if category not in categories or category != scene.truth.categories[second]:
                continue
            if {first, second} <= set(visible) and (
                scene.random(_GROUP, position, first, second).random() < errors.group_boxes
            ):
                both = (labels == first + 1) | (labels == second + 1)
                add(_box(both), category, first, second)
        return BoxScores(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32).reshape(-1, len(categories)),
        )


@dataclass(frozen=True)
class OracleFeatures:
    """An encoded frame: which one it is."""

    position: int
    """In the truth."""

    @property
    def size_bytes(self) -> int:
        """A number, nothing more."""
        return 8


class OracleSegmenter:
    """Stages 2 and 3 from the truth."""

    def __init__(
        self,
        truth: ShotTruth,
        *,
        errors: OracleErrors = OracleErrors(),
        seed: int = 0,
        objects_per_batch: int = 16,
    ) -> None:
        """Answer for one shot."""
        self._scene = _Scene(truth, errors=errors, seed=seed)
        self.name = "oracle"
        self.weights_sha256 = self._scene.sha256
        self.calls: Counter[str] = Counter()
        self.notes: list[str] = []
        self.objects_per_batch = objects_per_batch
        self.computing = "cpu"

    def encode(self, image: ModelImage) -> OracleFeatures:
        """Remember which frame it is."""
        self.calls["image_encoder"] += 1
        return OracleFeatures(self._scene.position(image.frame))

    def segment(
        self, features: Features, prompts: Sequence[SegmentPrompt], *, size: tuple[int, int]
    ) -> NDArray[np.uint16]:
        """The object, or the two touching ones, whose box fits the prompt best.

        Returns:
            (K, H, W) uint16.
        """
        position = _own(features).position
        labels = self._scene.labels(position, size=size)
        result = np.zeros((len(prompts), *size), np.uint16)
        if prompts:
            self.calls["mask_decoder"] += 1
        for index, prompt in enumerate(prompts):
            members = self._prompted(position, labels, prompt)
            if members:
                mask = np.isin(labels, [item + 1 for item in members])
                pixels = self._scene.errors.edge_pixels * max(size) / 1024
                random = self._scene.random(_EDGE, position, *sorted(members))
                shift = random.normal(0, pixels, 2) if pixels else np.zeros(2)
                result[index][_shifted(mask, shift)] = round(_CERTAIN * 65535)
        return result

    def open_window(
        self, features: Features, masks: NDArray[np.bool_], *, reverse: bool
    ) -> OracleWindow:
        """Follow the objects the masks (K, H, W) cover."""
        self.calls["mask_decoder"] += 1
        position = _own(features).position
        labels = self._scene.labels(position, size=(masks.shape[1], masks.shape[2]))
        return OracleWindow(
            self._scene,
            [_covered(labels, mask) for mask in masks],
            size=(masks.shape[1], masks.shape[2]),
            start=position,
            reverse=reverse,
            objects_per_batch=self.objects_per_batch,
            calls=self.calls,
        )

    def _prompted(self, position: int, labels: Labels, prompt: SegmentPrompt) -> frozenset[int]:
        for x, y, positive in prompt.points:
            row = min(max(int(y), 0), labels.shape[0] - 1)
            column = min(max(int(x), 0), labels.shape[1] - 1)
            if positive:
                return frozenset({int(labels[row, column]) - 1}) - {-1}
        if prompt.box is None:
            return frozenset()
        visible = self._scene.visible(labels)
        groups = [frozenset({item}) for item in visible]
        groups += [
            frozenset(pair)
            for pair in sorted(self._scene.touching(position))
            if set(pair) <= set(visible)
        ]
        asked = np.array(prompt.box, np.float32)
        fits = [
            _box_iou(asked, _box(np.isin(labels, [item + 1 for item in group]))) for group in groups
        ]
        best = int(np.argmax(fits)) if fits else -1
        return groups[best] if fits and fits[best] > 0 else frozenset()


class OracleWindow:
    """Objects followed through the truth from one prompt frame."""

    def __init__(
        self,
        scene: _Scene,
        members: Sequence[frozenset[int]],
        *,
        size: tuple[int, int],
        start: int,
        reverse: bool,
        objects_per_batch: int,
        calls: Counter[str],
    ) -> None:
        """Use ``OracleSegmenter.open_window``."""
        self._scene = scene
        self._members = list(members)
        self._size = size
        self._start = start
        self._reverse = reverse
        self._objects_per_batch = objects_per_batch
        self._calls = calls
        self._age = 0
        self._before = scene.touching(start)

    def step(self, features: Features) -> Iterator[NDArray[np.uint16]]:
        """Where the objects seem to be on the next frame, (k, H, W) uint16 per batch."""
        self._age += 1
        position = _own(features).position
        self._swap(position)
        labels = self._scene.labels(position, size=self._size)
        for start in range(0, len(self._members), self._objects_per_batch):
            members = self._members[start : start + self._objects_per_batch]
            if any(members):
                self._calls.update(memory_attention=1, mask_decoder=1)
            result = np.zeros((len(members), *self._size), np.uint16)
            for index, items in enumerate(members):
                if items:
                    result[index] = self._follow(labels, items)
            yield result

    def drop(self, index: int) -> None:
        """Answer zeros for one object from now on."""
        self._members[index] = frozenset()

    def _follow(self, labels: Labels, items: frozenset[int]) -> NDArray[np.uint16]:
        errors = self._scene.errors
        mask = np.isin(labels, [item + 1 for item in items])
        distance = errors.drift_pixels * self._age * max(self._size) / 1024
        random = self._scene.random(_DRIFT, self._start, int(self._reverse), *sorted(items))
        angle = random.uniform(0, 2 * np.pi)
        shift = distance * np.array([np.sin(angle), np.cos(angle)])
        probability = max(0.55, _CERTAIN - errors.fade * self._age)
        return _shifted(mask, shift).astype(np.uint16) * np.uint16(round(probability * 65535))

    def _swap(self, position: int) -> None:
        """Mix up objects that begin to touch here, by the stated chance."""
        touching = self._scene.touching(position)
        for first, second in sorted(touching - self._before):
            key = (self._start, int(self._reverse), position, first, second)
            if self._scene.random(_SWAP, *key).random() < self._scene.errors.swaps:
                other = {first: second, second: first}
                self._members = [
                    frozenset(other.get(item, item) for item in items) for items in self._members
                ]
        self._before = touching


class _Scene:
    """The truth at any size, who touches whom, and the dice."""

    def __init__(self, truth: ShotTruth, *, errors: OracleErrors, seed: int) -> None:
        self.truth = truth
        self.errors = errors
        self._seed = seed
        self._positions = {frame: index for index, frame in enumerate(truth.frames)}
        self._touching: dict[int, frozenset[tuple[int, int]]] = {}
        stated = json.dumps([truth.frames, truth.categories, asdict(errors), seed])
        digest = hashlib.sha256(stated.encode())
        digest.update(np.ascontiguousarray(truth.labels).tobytes())
        self.sha256 = digest.hexdigest()

    def position(self, frame: int) -> int:
        if frame not in self._positions:
            raise InputError(
                f"The oracle's truth has no frame {frame}, only {self.truth.frames[0]}-"
                f"{self.truth.frames[-1]}. Use the truth that was written with this plate."
            )
        return self._positions[frame]

    def labels(self, position: int, *, size: Sequence[int]) -> Labels:
        labels = self.truth.labels[position]
        rows = ((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(np.intp)
        columns = ((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(np.intp)
        return np.asarray(labels[rows[:, None], columns[None, :]])

    def visible(self, labels: Labels) -> list[int]:
        """Objects with enough pixels to be found."""
        counts = np.bincount(labels.ravel(), minlength=len(self.truth.categories) + 1)[1:]
        return [int(item) for item in np.flatnonzero(counts >= _LEAST_PIXELS)]

    def touching(self, position: int) -> frozenset[tuple[int, int]]:
        """Pairs (a < b) of objects at most two pixels apart."""
        if position not in self._touching:
            labels = self.truth.labels[position]
            pairs: set[tuple[int, int]] = set()
            for step in (1, 2, 3):
                for a, b in (
                    (labels[:, step:], labels[:, :-step]),
                    (labels[step:], labels[:-step]),
                ):
                    meet = (a != b) & (a > 0) & (b > 0)
                    codes = np.unique(a[meet].astype(np.int64) * 256 + b[meet])
                    pairs |= {(int(code) // 256, int(code) % 256) for code in codes}
            self._touching[position] = frozenset((min(pair) - 1, max(pair) - 1) for pair in pairs)
        return self._touching[position]

    def random(self, *key: int) -> np.random.Generator:
        """Dice for one error alone."""
        return np.random.default_rng([self._seed, *key])


def _own(features: Features) -> OracleFeatures:
    if not isinstance(features, OracleFeatures):
        raise TypeError(f"features: expected the oracle's own, got {type(features).__name__}")
    return features


def _covered(labels: Labels, mask: NDArray[np.bool_]) -> frozenset[int]:
    """Objects of which a mask covers at least half; else the one that fills most of the mask."""
    counts = np.bincount(labels.ravel())
    inside = np.bincount(labels[mask], minlength=len(counts))
    counts[0] = inside[0] = 0
    whole = np.flatnonzero((inside > 0) & (inside * 2 >= counts))
    if len(whole):
        return frozenset(int(number) - 1 for number in whole)
    best = int(inside.argmax())
    return frozenset({best - 1}) if inside[best] * 2 >= mask.sum() else frozenset()


def _box(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _box_iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    inside = float(np.prod(np.clip(high - low, 0, None)))
    areas = float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]))
    return inside / max(areas - inside, 1e-9)


def _shifted(mask: NDArray[np.bool_], shift: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A mask (H, W) moved by (rows, columns), rounded; what leaves the picture is lost."""
    down, right = (round(float(value)) for value in shift)
    height, width = mask.shape
    result = np.zeros_like(mask)
    if abs(down) < height and abs(right) < width:
        result[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = mask[
            max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
        ]
    return result
