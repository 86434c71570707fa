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


def prompt_from_labels(
    labels: NDArray[np.uint16], *, most: int, first: frozenset[int] = frozenset()
) -> tuple[WindowPrompt, tuple[int, ...]]:
    """Take apart label maps into one mask per layer.

    Args:
        labels: (G, H, W) layer numbers, 0 = none.
        most: at most this many layers; the largest stay.
        first: layers that stay whatever their size.

    Returns:
        The prompt, and the numbers of the layers left out.
    """
    sizes: list[tuple[bool, int, int, int]] = []
    for group, plane in enumerate(labels):
        areas = np.bincount(plane.ravel())
        areas[0] = 0
        for layer in np.flatnonzero(areas).tolist():
            sizes.append((layer in first, int(areas[layer]), layer, group))
    sizes.sort(key=lambda s: (not s[0], -s[1], s[2]))
    chosen = sorted((layer, group) for _, _, layer, group in sizes[:most])
    masks = np.empty((len(chosen), *labels.shape[1:]), np.bool_)
    for row, (layer, group) in enumerate(chosen):
        np.equal(labels[group], layer, out=masks[row])
    prompt = WindowPrompt(tuple(c[0] for c in chosen), tuple(c[1] for c in chosen), masks)
    return prompt, tuple(sorted(s[2] for s in sizes[most:]))


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
