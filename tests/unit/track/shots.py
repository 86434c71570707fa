"""A drawn-by-formula shot, a small stateful tracker for it, and the plain schedule to compare with.

The tracker is no network, but like one its answers depend on everything a schedule can get wrong:
the frame, the age of the window, what it answered before, and the objects beside it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np

from server.segment import Mask, Segmentation
from server.track import FULL, MaskCache, build_prompt, layers_left_out, prompt_from_labels

SIZE = (48, 96)
EPSILON = round(0.1 * FULL)


@dataclass(frozen=True)
class Frame:
    index: int
    size_bytes: int = 0


def stream(order):
    for index in order:
        yield Frame(index)


class Wobbly:
    """Tracks masks that drift to the right; every answer is seeded by its whole history."""

    name = "wobbly"

    def __init__(self, seed=0):
        self.seed = seed
        self.calls = Counter()

    def open_window(self, features, masks, *, reverse):
        assert masks.any(axis=(1, 2)).all()
        return WobblyWindow(self, features.index, masks, reverse)


class WobblyWindow:
    def __init__(self, model, start, masks, reverse):
        self.model, self.start, self.reverse = model, start, reverse
        self.state = masks.astype(np.float32)
        self.dropped = set()
        self.at = start

    def drop(self, index):
        self.dropped.add(index)

    def step(self, features):
        expected = self.at + (-1 if self.reverse else 1)
        assert features.index == expected, (features.index, expected)
        self.at = features.index
        self.model.calls["frames"] += 1
        for row in range(len(self.state)):
            mass = int(self.state[row].sum() * 100)
            rng = np.random.default_rng([self.model.seed, self.at, self.start, row, mass])
            moved = np.roll(self.state[row], -1 if self.reverse else 1, axis=1)
            noise = rng.normal(0, 0.12, SIZE).astype(np.float32)
            self.state[row] = np.clip(0.99 * moved + noise * (moved > 0.3), 0, 1)
        for rows in (slice(0, 2), slice(2, None)):
            answer = np.round(self.state[rows] * FULL).astype(np.uint16)
            for row in range(len(answer)):
                if row + (rows.start or 0) in self.dropped:
                    answer[row] = 0
            if len(answer):
                yield answer


def moving(x, y, w, h, index):
    pixels = np.zeros(SIZE, np.bool_)
    left = max(0, x + index)
    pixels[y : y + h, left : max(0, min(SIZE[1], x + index + w))] = True
    return pixels


class Scene:
    """Stage 2 of a shot: boxes that move right by one pixel a frame while they are there."""

    def __init__(self, objects, *, missed=()):
        # (category, x, y, w, h, first, last)
        self.objects = objects
        self.missed = set(missed)
        self.asked = []

    def __call__(self, index, features):
        assert features.index == index
        self.asked.append(index)
        masks = []
        for number, (category, x, y, w, h, first, last) in enumerate(self.objects):
            if first <= index <= last and (number, index) not in self.missed:
                pixels = moving(x, y, w, h, index)
                if pixels.any():
                    masks.append(Mask(category, 0.9 - 0.01 * number, (x, y, x + w, y + h), pixels))
        return Segmentation(tuple(masks), ())


def plain_tracking(
    model, scene, *, frames, categories, settings, key, size=SIZE, features=Frame, judge=None
):
    """Window after window over caches of all frames in memory: the order the method is told in.

    ``judge(cached, masks)`` sees every prompt decision before it is made.
    """
    count = len(frames)
    caches = [MaskCache.empty(len(categories), size) for _ in frames]
    numbers = itertools.count(1)
    births, prompts = [], [[] for _ in frames]

    def prompt_at(index, masks):
        labels = caches[index].layer.copy()
        for group, category in enumerate(categories):
            own = [m for m in masks if m.category == category]
            if judge is not None:
                judge(labels[group], own)
            answer = build_prompt(
                labels[group],
                own,
                frame=frames[index],
                settings=settings.match,
                number=lambda: next(numbers),
            )
            labels[group] = answer.labels
            births.extend((new.number, group, index) for new in answer.new)
        assert not layers_left_out(labels, most=settings.max_objects)
        prompts[index].append(labels)
        return prompt_from_labels(labels)

    def run(index, prompt, *, reverse):
        if not prompt.layers:
            return
        window = model.open_window(features(index), prompt.masks, reverse=reverse)
        step = -1 if reverse else 1
        for age in range(1, settings.interval + 1):
            at = index + step * age
            if not 0 <= at < count:
                return
            caches[at].merge(
                list(window.step(features(at))),
                layers=prompt.layers,
                groups=prompt.groups,
                margins=[EPSILON] * len(prompt.layers),
            )

    for index in key:
        if index != count - 1:
            run(index, prompt_at(index, scene(index, features(index)).masks), reverse=False)
    for index in reversed(key):
        masks = scene(index, features(index)).masks if index == count - 1 else ()
        prompt = prompt_at(index, masks)
        if index:
            run(index, prompt, reverse=True)
    for index, cache in enumerate(caches):
        for labels in prompts[index]:
            for group in range(len(categories)):
                for layer in np.unique(labels[group][labels[group] > 0]):
                    if not (cache.layer[group] == layer).any():
                        free = (labels[group] == layer) & (cache.layer[group] == 0)
                        cache.layer[group][free] = layer
                        cache.probability[group][free] = 32768
    return caches, births
