"""The prompt of a window: the cache's layers, joined by what stage 2 found on that frame.

The cache is the template and keeps all its pixels. A stage-2 mask either belongs to one layer (and
adds the pixels nobody holds), or is new, or is left out with a reason; the prompt itself never
enters the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.errors import SettingsError
from server.segment import BoolImage, Mask, Rejection


@dataclass(frozen=True)
class MatchSettings:
    """When a stage-2 mask belongs to a tracked layer."""

    direct: float = 0.9
    """IoU from which a mask is the layer."""
    overlap: float = 0.1
    """Sim, either way, from which a mask touches a layer."""
    partial: float = 0.6
    """Sim, either way, from which a mask that touches only one layer is part of it."""
    least_area: int = 64
    """Layers of fewer working pixels are not prompted."""

    def __post_init__(self) -> None:
        if not 0 < self.overlap <= self.partial <= 1 or not 0 < self.direct <= 1:
            raise SettingsError(
                "Matching needs 0 < overlap ≤ partial ≤ 1 and 0 < direct ≤ 1, found overlap "
                f"{self.overlap}, partial {self.partial}, direct {self.direct}."
            )


@dataclass(frozen=True)
class NewLayer:
    """A layer born at a key frame."""

    number: int
    score: float
    left: int
    """First column of its mask, in working pixels."""
    top: int


@dataclass(frozen=True)
class GroupPrompt:
    """What one group's layers are prompted with."""

    labels: NDArray[np.uint16]
    """(H, W): number of the layer each pixel prompts, 0 = none."""
    new: tuple[NewLayer, ...]
    rejections: tuple[Rejection, ...]


def build_prompt(
    cached: NDArray[np.uint16],
    masks: Sequence[Mask],
    *,
    frame: int,
    settings: MatchSettings,
    number: Callable[[], int],
    artist: Mapping[int, BoolImage] | None = None,
) -> GroupPrompt:
    """Match one group's stage-2 masks to its cached layers.

    For each mask I by falling score, against cached layers M_j, with
    o_j = max(Sim(I, M_j), Sim(M_j, I)): some IoU ≥ 0.9 is a direct match; o_j ≥ 0.1 for two or
    more drops the mask; exactly one with o_j ≥ 0.6 is a partial match; exactly one below is
    ambiguous and dropped; none makes a new layer.

    Args:
        cached: (H, W) layer numbers of this group.
        masks: stage 2 of this frame and group, by falling score.
        frame: the plate's frame number, for the report.
        settings: thresholds.
        number: gives the next unused layer number.
        artist: number → (H, W) mask of artist's layers that stand for objects of this group:
            a mask that matches one is theirs and prompts nothing here.

    Returns:
        The prompt; layers too small to prompt are absent from it.
    """
    artist = artist or {}
    labels = cached.copy()
    areas = np.bincount(cached.ravel(), minlength=1)
    new: list[NewLayer] = []
    rejections: list[Rejection] = []

    def reject(mask: Mask, reason: str) -> None:
        rejections.append(Rejection(frame, mask.category, mask.box, mask.score, reason))

    for mask in masks:
        inside = np.bincount(cached[mask.pixels], minlength=len(areas))
        candidates = [
            (int(layer), int(inside[layer]), int(areas[layer]))
            for layer in np.flatnonzero(inside)
            if layer
        ]
        candidates += [
            (layer, int(np.count_nonzero(pixels & mask.pixels)), int(np.count_nonzero(pixels)))
            for layer, pixels in artist.items()
        ]
        verdict = _match(mask.area, candidates, settings)
        if isinstance(verdict, str):
            reject(mask, verdict)
        elif verdict in artist:
            reject(mask, "taken: it is an artist's object")
        else:
            free = mask.pixels & (labels == 0)
            if verdict:
                labels[free] = verdict
            elif np.count_nonzero(free) < settings.least_area:
                reject(mask, f"hidden: under {settings.least_area} working pixels are free")
            else:
                layer = number()
                labels[free] = layer
                ys, xs = np.nonzero(mask.pixels)
                new.append(NewLayer(layer, mask.score, int(xs.min()), int(ys.min())))
    small = np.flatnonzero(np.bincount(labels.ravel()) < settings.least_area)
    if len(small):
        labels[np.isin(labels, small)] = 0
    return GroupPrompt(labels, tuple(new), tuple(rejections))


def _match(
    area: int, candidates: Sequence[tuple[int, int, int]], settings: MatchSettings
) -> int | str:
    """Number of the layer a mask belongs to, 0 for a new one, or why it is left out.

    Args:
        area: |I|.
        candidates: (number, |I ∩ M_j|, |M_j|) of layers it may touch.
        settings: thresholds.
    """
    touched = []
    for layer, inside, own in candidates:
        if not inside:
            continue
        if inside >= settings.direct * (area + own - inside):
            return layer
        overlap = max(inside / area, inside / own)
        if overlap >= settings.overlap:
            touched.append((layer, overlap))
    if not touched:
        return 0
    if len(touched) > 1:
        return f"several: touches {len(touched)} tracked objects"
    layer, overlap = touched[0]
    if overlap >= settings.partial:
        return layer
    return "ambiguous: too much of a tracked object to be new, too little to be it"
