"""Windows that advance together, frame by frame, in one pass over the shot.

The result of a window at a frame needs nothing but the window's own memory, and the prompt at a
key frame needs only the finished cache there. So all windows that cover a frame can advance
together, oldest first, with the same result as window after window, one image encoding per frame,
and memory that does not grow with the shot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from server.segment import BoolImage, Features
from server.track.cache import MaskCache


class Window(Protocol):
    """Objects being propagated from one prompt frame, in one direction."""

    def step(self, features: Features) -> Iterator[NDArray[np.uint16]]:
        """Advance to the next frame.

        Args:
            features: of that frame.

        Yields:
            (k, H, W) uint16 probabilities, 65535 = 1.0, in object batches; Σk = K, the order of
            the prompt; zeros for a dropped object.
        """
        ...

    def drop(self, index: int) -> None:
        """Stop propagating the object at ``index`` of the prompt."""
        ...


class Tracker(Protocol):
    """What stage 3 needs from a model."""

    name: str

    def open_window(self, features: Features, masks: BoolImage, *, reverse: bool) -> Window:
        """Prompt the model on a frame; later frames come through ``Window.step``.

        Args:
            features: of the prompt frame.
            masks: (K, H, W), none of them empty.
            reverse: whether the following frames run backward in time.
        """
        ...


@dataclass(frozen=True)
class WindowPrompt:
    """All layers of one window."""

    layers: tuple[int, ...]
    """Numbers, ascending."""
    groups: tuple[int, ...]
    masks: BoolImage
    """(K, H, W)."""


def layers_left_out(
    labels: NDArray[np.uint16], *, most: int, first: frozenset[int] = frozenset()
) -> tuple[int, ...]:
    """Numbers of the layers a window has no room for: all but the largest, ascending.

    Args:
        labels: (G, H, W) layer numbers, 0 = none.
        most: layers of a window.
        first: layers that stay whatever their size.
    """
    sizes = [(layer not in first, -area, layer) for layer, _, area in _areas(labels)]
    return tuple(sorted(layer for _, _, layer in sorted(sizes)[most:]))


def prompt_from_labels(labels: NDArray[np.uint16]) -> WindowPrompt:
    """Take label maps (G, H, W), 0 = none, apart into one mask per layer."""
    found = sorted(_areas(labels))
    masks = np.empty((len(found), *labels.shape[1:]), np.bool_)
    for row, (layer, group, _) in enumerate(found):
        np.equal(labels[group], layer, out=masks[row])
    return WindowPrompt(tuple(f[0] for f in found), tuple(f[1] for f in found), masks)


def _areas(labels: NDArray[np.uint16]) -> list[tuple[int, int, int]]:
    """Layer, group and pixels of every layer."""
    found = []
    for group, plane in enumerate(labels):
        areas = np.bincount(plane.ravel())
        areas[0] = 0
        found += [(layer, group, int(areas[layer])) for layer in np.flatnonzero(areas).tolist()]
    return found


@dataclass
class _Live:
    start: int
    layers: tuple[int, ...]
    groups: tuple[int, ...]
    window: Window


class Lockstep:
    """The live windows of one pass.

    Call for each frame in the pass's order: ``withdraw`` (layers whose artist keyframe this is),
    ``advance``, then ``open`` if the frame is a key frame.
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        interval: int,
        margin: int,
        margins: Mapping[int, int],
        reverse: bool,
    ) -> None:
        """Start a pass without windows.

        Args:
            tracker: the model.
            interval: s_T, frames a window reaches beyond its prompt.
            margin: ε in uint16 steps.
            margins: ε of layers that have their own.
            reverse: whether the pass runs backward in time.
        """
        self._tracker = tracker
        self._interval = interval
        self._margin = margin
        self._margins = margins
        self._reverse = reverse
        self._live: list[_Live] = []

    def withdraw(self, layers: Sequence[int]) -> None:
        """Let no live window carry these layers any further."""
        for live in self._live:
            for index, layer in enumerate(live.layers):
                if layer in layers:
                    live.window.drop(index)

    def advance(self, index: int, features: Features, cache: MaskCache | None) -> None:
        """Bring all windows to a frame, oldest first.

        Args:
            index: 0-based position of the frame.
            features: of the frame.
            cache: takes the results; None while replaying frames that are finished already.
        """
        for live in self._live:
            answers = live.window.step(features)
            if cache is None:
                for _ in answers:
                    pass
            else:
                margins = [self._margins.get(layer, self._margin) for layer in live.layers]
                cache.merge(answers, layers=live.layers, groups=live.groups, margins=margins)
        self._live = [w for w in self._live if abs(index - w.start) < self._interval]

    def open(self, index: int, features: Features, prompt: WindowPrompt) -> None:
        """Open a window at a key frame; a prompt without layers opens none."""
        if prompt.layers:
            window = self._tracker.open_window(features, prompt.masks, reverse=self._reverse)
            self._live.append(_Live(index, prompt.layers, prompt.groups, window))
