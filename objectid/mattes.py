"""Mattes out of frames: the accumulated visible alpha of the samples that match.

A matte is flat, covers the display window, and holds coverage. Its opposite comes in two kinds:
``1 - pick(…)`` is everything else including nothing, ``pick_others`` is all other objects.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from objectid.errors import RequestError
from objectid.frame import DeepFrame, first_samples
from objectid.header import Window
from objectid.ids import LARGEST_ID

Matte = NDArray[np.float32]


def pick(frame: DeepFrame, ids: Collection[int]) -> Matte:
    """The matte of some objects.

    Args:
        frame: the frame to pick from.
        ids: object ids; those without a sample add nothing.

    Returns:
        (H, W) float32 coverage, 0..1, over the display window.
    """
    return _accumulate(frame, _matching(frame.ids, ids))


def pick_others(frame: DeepFrame, ids: Collection[int]) -> Matte:
    """The matte of all objects except some; where there is no object it is 0.

    Args:
        frame: the frame to pick from.
        ids: object ids to leave out.

    Returns:
        (H, W) float32 coverage, 0..1, over the display window.
    """
    return _accumulate(frame, ~_matching(frame.ids, [*ids, 0]))


def ids_at(frame: DeepFrame, *, x: int, y: int) -> list[tuple[int, float]]:
    """The objects in one pixel, the strongest first.

    Args:
        frame: the frame to look into.
        x: column on the plate's pixel grid.
        y: row on the plate's pixel grid, counted from the top.

    Returns:
        Object id and coverage, 0..1; nothing where there is no object.
    """
    window = frame.data_window
    if not (window.x0 <= x < window.x1 and window.y0 <= y < window.y1):
        return []
    flat = frame.counts.ravel()
    place = (y - window.y0) * window.width + x - window.x0
    start = int(flat[:place].sum(dtype=np.int64))
    stop = start + int(flat[place])
    alone = DeepFrame(
        flat[place : place + 1].reshape(1, 1),
        frame.ids[start:stop],
        frame.alpha[start:stop],
        Window(x, y, x + 1, y + 1),
        frame.display_window,
        frame.pixel_aspect,
        frame.alpha_mode,
    )
    sums: dict[int, float] = {}
    for number, share in zip(alone.ids.tolist(), alone.visible().tolist()):
        if number:
            sums[number] = min(1.0, sums.get(number, 0.0) + share)
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))


def _matching(ids: NDArray[np.uint32], wanted: Collection[int]) -> NDArray[np.bool_]:
    """Which samples have one of the ids."""
    numbers = np.array(sorted({n for n in wanted if 0 <= n < 1 << 32}), np.uint32)
    largest = int(ids.max(initial=0))
    if largest > LARGEST_ID:
        return np.isin(ids, numbers)
    table = np.zeros(largest + 1, np.bool_)
    table[numbers[numbers <= largest]] = True
    matching: NDArray[np.bool_] = table[ids]
    return matching


def _accumulate(frame: DeepFrame, matching: NDArray[np.bool_]) -> Matte:
    if matching.shape != frame.ids.shape:
        raise RequestError("Expected one decision per sample.")
    counts = frame.counts.ravel()
    values = frame.visible()
    values *= matching
    # Sums over the samples of each pixel: the first sample of all pixels, then the second …
    at = np.flatnonzero(counts)
    flat = np.zeros(counts.size, np.float32)
    left = counts[at]
    start = first_samples(left)
    flat[at] = values[start]
    for rank in range(1, int(counts.max(initial=0))):
        deeper = left > rank
        at, start, left = at[deeper], start[deeper], left[deeper]
        flat[at] += values[start + rank]
    np.minimum(flat, 1, out=flat)
    return on_display(flat.reshape(frame.counts.shape), frame)


def on_display(pixels: Matte, frame: DeepFrame) -> Matte:
    """An image of the data window as one of the display window, 0 where there are no data."""
    display, data = frame.display_window, frame.data_window
    matte = np.zeros((display.height, display.width), np.float32)
    shared = display.intersection(data)
    if shared is not None:
        matte[
            shared.y0 - display.y0 : shared.y1 - display.y0,
            shared.x0 - display.x0 : shared.x1 - display.x0,
        ] = pixels[
            shared.y0 - data.y0 : shared.y1 - data.y0, shared.x0 - data.x0 : shared.x1 - data.x0
        ]
    return matte
