"""Ways from a shot to label maps: the project's own, variants of its rules, and two public methods.

All take the same detector, segmenter and tracker. A variant is the product's code with one rule
exchanged here, so that no option has to exist for it. The public methods are written from their
published description.
"""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from server.deliver import taking_order
from server.detect import Detector, DetectSettings, detect
from server.pipeline import SegmenterTracker
from server.segment import (
    HALF,
    Features,
    Mask,
    Segmentation,
    SegmentPrompt,
    SegmentSettings,
    clean_up,
)
from server.track import FULL, Lockstep, MaskCache, ShotTracker, TrackSettings, key_indices
from server.track import prompt as prompt_rules
from tests.benchmarks.shots import Shot

Plane = NDArray[np.uint16]
_MATCH = prompt_rules._match  # the rule before any variant takes its place


@dataclass(frozen=True)
class Entry:
    """One window's answers at a frame, about to enter its cache."""

    answers: Sequence[Plane]
    """(k, H, W) batches in the order of ``layers``."""
    layers: Sequence[int]
    groups: Sequence[int]
    margins: Sequence[int]
    age: int
    """Frames since the window's prompt."""


Merge = Callable[[MaskCache, Entry], None]


def by_the_rule(cache: MaskCache, entry: Entry) -> None:
    """The project's own merge rule."""
    cache.merge(entry.answers, layers=entry.layers, groups=entry.groups, margins=entry.margins)


@dataclass(frozen=True)
class Answer:
    """A shot's label maps and what they cost."""

    labels: list[NDArray[np.uint16]] = field(repr=False)
    cost: Counter[str]
    """``detector`` images, ``encodes``, ``object_frames``."""


@dataclass(frozen=True)
class Method:
    """The project's own method, or a variant of it."""

    name: str
    detect: DetectSettings = field(default_factory=DetectSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    track: TrackSettings = field(default_factory=TrackSettings)
    clean: bool = True
    reprompt: Literal["key frames", "first frame"] = "key frames"
    """Where stage 2 joins the prompt; the cache prompts at every key frame all the same."""
    backward: bool = True
    merge: Merge = by_the_rule
    ambiguous: Literal["dropped", "new layer"] = "dropped"
    drop_seen_once: bool = False
    """Drop layers that stage 2 confirmed at a single key frame."""

    def run(self, shot: Shot, detector: Detector, segmenter: SegmenterTracker) -> Answer:
        """Both passes over a shot, without delivery."""
        cost: Counter[str] = Counter()
        count = len(shot)
        encoded = _encoder(shot, segmenter, cost)

        @functools.cache
        def stage_2(index: int) -> Segmentation:
            cost["detector"] += 1
            masks = _masks(shot, index, detector, segmenter, encoded(index), self.detect)
            if not self.clean:
                return Segmentation(tuple(masks), ())
            return clean_up(masks, frame=shot.truth.frames[index], settings=self.segment)

        def masks_at(index: int, features: Features) -> Segmentation:
            if self.reprompt == "first frame" and index:
                return Segmentation((), ())
            return stage_2(index)

        def stream(order: Sequence[int]) -> Iterator[Features]:
            return map(encoded, order)

        with ExitStack() as stack:
            if self.ambiguous == "new layer":
                stack.enter_context(mock.patch("server.track.prompt._match", _match_or_new))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            tracker = _Tracker(
                _Counting(segmenter, cost),
                frames=shot.truth.frames,
                size=shot.size,
                categories=shot.categories,
                settings=self.track,
                folder=folder,
            )
            tracker.rule = self.merge
            for _ in tracker.forward(stream, masks_at):
                pass
            caches = [tracker.forward_caches.read(frame) for frame in shot.truth.frames]
            turns = taking_order(caches, tracker.layers)
            if self.backward:
                found = dict(tracker.backward(stream, masks_at))
                labels = [_flat(found[index], turns) for index in range(count)]
            else:
                labels = [_flat(cache, turns) for cache in caches]
                if tracker._has_record("forward", 0):  # no window reaches the first frame
                    labels[0] = tracker._load("forward", 0).labels.max(axis=0)
        if self.drop_seen_once:
            labels = _confirmed(labels, key_indices(count, self.track.step), stage_2)
        return Answer(labels, cost)


class _Tracker(ShotTracker):
    """Passes whose windows enter the cache by another rule."""

    rule: Merge

    def _lockstep(self, *, reverse: bool) -> Lockstep:
        lockstep = super()._lockstep(reverse=reverse)
        if self.rule is not by_the_rule:
            lockstep.__class__ = _Lockstep
            lockstep.rule = self.rule  # type: ignore[attr-defined]
        return lockstep


class _Lockstep(Lockstep):
    rule: Merge

    def advance(self, index: int, features: Features, cache: MaskCache | None) -> None:
        for live in self._live:
            answers = [*live.window.step(features)]
            if cache is not None:
                margins = [self._margin] * len(live.layers)
                age = abs(index - live.start)
                self.rule(cache, Entry(answers, live.layers, live.groups, margins, age))
        self._live = [w for w in self._live if abs(index - w.start) < self._interval]


def background_never_wins(cache: MaskCache, entry: Entry) -> None:
    """The paper's rule: what a layer has once, only another layer can take."""
    layer, probability = cache.layer.copy(), cache.probability.copy()
    background_remembers_nothing(cache, entry)
    given_up = (cache.layer == 0) & (layer > 0)
    cache.layer[given_up] = layer[given_up]
    cache.probability[given_up] = probability[given_up]


def background_remembers_nothing(cache: MaskCache, entry: Entry) -> None:
    """Background wins pixels back, but any later window can take them again."""
    by_the_rule(cache, entry)
    cache.known.clear()


def background_always_may_win(cache: MaskCache, entry: Entry) -> None:
    """A window takes pixels back from its layers even where it lost or swapped them."""
    by_the_rule(cache, entry)
    planes = [plane for batch in entry.answers for plane in batch]
    for group in set(entry.groups):
        own = [i for i, g in enumerate(entry.groups) if g == group]
        strongest = np.max([planes[i] for i in own], axis=0).astype(np.int32)
        tracked = np.isin(cache.layer[group], [entry.layers[i] for i in own])
        free = tracked & (strongest < HALF)
        free &= cache.probability[group] + entry.margins[own[0]] <= FULL - strongest
        cache.layer[group][free] = 0
        cache.probability[group][free] = 0


def young_counts_more(cache: MaskCache, entry: Entry) -> None:
    """A window's probabilities above 0.5 lose half their excess over twenty frames."""
    weight = max(0.0, 1 - entry.age / 40)

    def weighted(batch: Plane) -> Plane:
        excess = np.maximum(batch.astype(np.float32) - HALF, 0)
        lost = (excess * (1 - weight)).astype(np.uint16)
        return np.where(batch >= HALF, batch - lost, batch).astype(np.uint16)

    by_the_rule(cache, replace(entry, answers=[weighted(batch) for batch in entry.answers]))


def _match_or_new(
    area: int, candidates: Sequence[tuple[int, int, int]], settings: object
) -> int | str:
    verdict = _MATCH(area, candidates, settings)
    return 0 if isinstance(verdict, str) and verdict.startswith("ambiguous") else verdict


def _confirmed(
    labels: list[NDArray[np.uint16]], key: Sequence[int], stage_2: Callable[[int], Segmentation]
) -> list[NDArray[np.uint16]]:
    """Label maps without layers that stage 2 covers (IoU >= 0.5) at one key frame only."""
    seen: Counter[int] = Counter()
    for index in key:
        plane = labels[index]
        areas = np.bincount(plane.ravel())
        for mask in stage_2(index).masks:
            inside = np.bincount(plane[mask.pixels], minlength=len(areas))
            union = areas + mask.area - inside
            inside[0] = 0
            seen.update(np.flatnonzero(inside >= 0.5 * union)[:1].tolist() if inside.any() else [])
    every = {int(n) for plane in labels for n in np.unique(plane) if n}
    gone = [n for n in every if seen[n] <= 1]
    return [np.where(np.isin(plane, gone), 0, plane).astype(np.uint16) for plane in labels]


def continuous_id(
    shot: Shot, detector: Detector, segmenter: SegmenterTracker, *, step: int = 20
) -> Answer:
    """Windows side by side, joined by IoU, and a way back for what is new.

    As the public continuous-id demos do: every ``step`` frames detect and segment anew; a mask with
    IoU above 0.8 with one tracked to this frame takes its id, any other gets a new one; the masks
    found replace the tracked ones and are propagated to the next such frame. Afterwards objects
    that were new at a frame after the first are tracked back from there for at most two steps and
    drawn over what is there. Masks of a frame are drawn in the order of their ids.
    """
    cost: Counter[str] = Counter()
    encoded = _encoder(shot, segmenter, cost)
    counting = _Counting(segmenter, cost)
    count = len(shot)
    labels = [np.zeros(shot.size, np.uint16) for _ in range(count)]
    tracked: dict[int, NDArray[np.bool_]] = {}
    born: dict[int, list[int]] = {}
    ids = 0
    for start in range(0, count, step):
        cost["detector"] += 1
        cost["stills"] += 1
        found = _masks(shot, start, detector, segmenter, encoded(start), DetectSettings())
        current: dict[int, NDArray[np.bool_]] = {}
        for mask in found:
            if not mask.area:
                continue
            known = [n for n, other in tracked.items() if _iou(mask.pixels, other) > 0.8]
            if not known:
                ids += 1
                born.setdefault(start, []).append(ids)
            current[known[0] if known else ids] = mask.pixels
        if not current:
            continue
        numbers = sorted(current)
        window = counting.open_window(
            encoded(start), np.array([current[n] for n in numbers]), reverse=False
        )
        labels[start] = _draw(
            np.zeros(shot.size, np.uint16), numbers, (current[n] for n in numbers)
        )
        tracked = {}
        for index in range(start + 1, min(count, start + step + 1)):
            masks = [plane >= HALF for batch in window.step(encoded(index)) for plane in batch]
            tracked = dict(zip(numbers, masks, strict=True))
            labels[index] = _draw(np.zeros(shot.size, np.uint16), numbers, masks)
    for start, numbers in born.items():
        numbers = [n for n in numbers if (labels[start] == n).any()]
        if not start or not numbers:
            continue
        window = counting.open_window(
            encoded(start), np.array([labels[start] == n for n in numbers]), reverse=True
        )
        for index in range(start - 1, max(-1, start - 2 * step - 1), -1):
            for number, plane in zip(
                numbers, (p for batch in window.step(encoded(index)) for p in batch), strict=True
            ):
                if (plane >= HALF).any():
                    labels[index][labels[index] == number] = 0
                    labels[index][plane >= HALF] = number
    return Answer(labels, cost)


def first_frame(shot: Shot, detector: Detector, segmenter: SegmenterTracker) -> Answer:
    """Prompt what the first frame shows and propagate to the end; the strongest mask wins."""
    cost: Counter[str] = Counter(detector=1)
    encoded = _encoder(shot, segmenter, cost)
    found = clean_up(
        _masks(shot, 0, detector, segmenter, encoded(0), DetectSettings()),
        frame=shot.truth.frames[0],
        settings=SegmentSettings(),
    ).masks
    labels = [np.zeros(shot.size, np.uint16) for _ in shot.truth.frames]
    if not found:
        return Answer(labels, cost)
    window = _Counting(segmenter, cost).open_window(
        encoded(0), np.array([mask.pixels for mask in found]), reverse=False
    )
    labels[0] = _draw(labels[0], range(len(found), 0, -1), (m.pixels for m in found[::-1]))
    for index in range(1, len(shot)):
        planes = np.concatenate([*window.step(encoded(index))])
        best = planes.argmax(axis=0)
        labels[index] = np.where(planes.max(axis=0) >= HALF, best + 1, 0).astype(np.uint16)
    return Answer(labels, cost)


class _Counting:
    """A tracker that counts objects carried by a frame."""

    def __init__(self, tracker: SegmenterTracker, cost: Counter[str]) -> None:
        self.name = tracker.name
        self._tracker = tracker
        self._cost = cost

    def open_window(
        self, features: Features, masks: NDArray[np.bool_], *, reverse: bool
    ) -> _CountingWindow:
        return _CountingWindow(
            self._tracker.open_window(features, masks, reverse=reverse), len(masks), self._cost
        )


class _CountingWindow:
    def __init__(self, window: object, objects: int, cost: Counter[str]) -> None:
        self._window, self._objects, self._cost = window, objects, cost

    def step(self, features: Features) -> Iterator[Plane]:
        self._cost["object_frames"] += self._objects
        self._cost["window_frames"] += 1
        return self._window.step(features)  # type: ignore[attr-defined, no-any-return]

    def drop(self, index: int) -> None:
        self._window.drop(index)  # type: ignore[attr-defined]


def _encoder(
    shot: Shot, segmenter: SegmenterTracker, cost: Counter[str]
) -> Callable[[int], Features]:
    @functools.cache
    def encoded(index: int) -> Features:
        cost["encodes"] += 1
        return segmenter.encode(shot.images[index])

    return encoded


def _masks(
    shot: Shot,
    index: int,
    detector: Detector,
    segmenter: SegmenterTracker,
    features: Features,
    settings: DetectSettings,
) -> list[Mask]:
    """Stage 2 of one frame before any clean-up, by falling score."""
    found = detect(detector, [shot.images[index]], shot.categories, settings=settings)[0]
    if not found:
        return []
    prompts = [SegmentPrompt(box=one.box) for one in found]
    answers = segmenter.segment(features, prompts, size=shot.size)
    return [
        Mask(one.category, one.score, one.box, answer >= HALF)
        for one, answer in zip(found, answers, strict=True)
    ]


def _flat(cache: MaskCache, turns: Mapping[int, int]) -> NDArray[np.uint16]:
    """One label map of all groups; where they overlap the layer whose turn delivery takes first."""
    turn = np.full(int(cache.layer.max()) + 1, np.iinfo(np.int32).max)
    for layer in np.unique(cache.layer[cache.layer > 0]).tolist():
        turn[layer] = turns.get(layer, layer)
    best = turn[cache.layer].argmin(axis=0)[None]
    return np.take_along_axis(cache.layer, best, axis=0)[0]


def _draw(
    plane: NDArray[np.uint16], numbers: Iterable[int], masks: Iterable[NDArray[np.bool_]]
) -> NDArray[np.uint16]:
    for number, mask in zip(numbers, masks, strict=True):
        plane[mask] = number
    return plane


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0
