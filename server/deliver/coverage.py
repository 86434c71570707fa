"""Soft edges: from the layer map of a frame to the share of each plate pixel an object covers.

The 0.5 contour is that of the layer map, placed between pixels by the claims of the two layers
that meet there; the ramp has a stated width; neighbours' ramps are complementary. Everything is
computed in crops around one object.

Method: the margin of a layer against its strongest rival (or 0.5, against background) says where
between two working pixels the contour runs, which gives the signed distance of the pixels beside
it. Interpolated to the plate, distance / |gradient| gives the covered share of each pixel; shares
are divided by their sum, so they add up to one; a Gaussian, which keeps that sum, widens the ramp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from server.errors import SettingsError
from server.track import FULL, MaskCache

FloatImage = NDArray[np.float32]

_SIGMAS_10_90 = 2.563
"""10–90 % width of a Gaussian-blurred step, in standard deviations."""
_PIXEL_VARIANCE = 1 / 12
"""Variance of the box that a pixel averages over."""
_TIE = 0.001
"""Margin up to which claims say nothing about where a contour runs."""
_LEAST_MARGIN = 0.05
"""Least margin of a contour pixel: two layers can be equally sure of the same pixels."""
_REFERENCE_WIDTH = 2048


@dataclass(frozen=True)
class EdgeSettings:
    """How edges are delivered."""

    width: float = 2.0
    """10–90 % width of the ramp in pixels of a plate 2048 wide; scales with the plate."""

    def __post_init__(self) -> None:
        if not 0 < self.width <= 64:
            raise SettingsError(f"Edge width must lie in 0..64 pixels, not {self.width}.")

    def sigma(self, plate_width: int) -> float:
        """Standard deviation of the Gaussian that widens a pixel-sharp edge, in plate pixels."""
        whole = self.width * plate_width / _REFERENCE_WIDTH / _SIGMAS_10_90
        return math.sqrt(max(0.0, whole**2 - _PIXEL_VARIANCE))


@dataclass(frozen=True)
class Coverage:
    """One object in one frame."""

    layer: int
    x: int
    """First column, relative to the segmented window of the plate."""
    y: int
    pixels: FloatImage = field(repr=False)
    """(h, w) share covered, 0..1."""


def coverages(
    cache: MaskCache,
    *,
    plate_size: tuple[int, int],
    settings: EdgeSettings,
    rank: Mapping[int, int],
    locked: Mapping[int, FloatImage] | None = None,
) -> list[Coverage]:
    """Coverages of all objects of one frame; they add up to at most 1 in every pixel.

    Args:
        cache: the finished frame.
        plate_size: (H, W) of the segmented window, in plate pixels.
        settings: edge width.
        rank: layer → its turn to take coverage where groups overlap, lowest first.
        locked: layer → (H, W) coverage given by the artist for this frame, taken as it is.
    """
    locked = locked or {}
    made = [
        coverage
        for group in range(cache.groups)
        for coverage in _group(cache, group, plate_size, settings)
        if coverage.layer not in locked
    ]
    made += [_crop(layer, pixels) for layer, pixels in locked.items()]
    if cache.groups == 1 and not locked:
        return sorted(made, key=lambda c: c.layer)
    made.sort(key=lambda c: (c.layer not in locked, rank.get(c.layer, c.layer)))
    left = np.ones(plate_size, np.float32)
    shared = []
    for coverage in made:
        h, w = coverage.pixels.shape
        room = left[coverage.y : coverage.y + h, coverage.x : coverage.x + w]
        pixels = np.minimum(coverage.pixels, room)
        room -= pixels
        shared.append(Coverage(coverage.layer, coverage.x, coverage.y, pixels))
    return sorted(shared, key=lambda c: c.layer)


def _crop(layer: int, pixels: FloatImage) -> Coverage:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return Coverage(layer, 0, 0, np.zeros((0, 0), np.float32))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return Coverage(layer, int(x0), int(y0), np.clip(pixels[y0:y1, x0:x1], 0, 1))


@dataclass(frozen=True)
class _Grid:
    """The working image and the plate's window it is stretched to."""

    working: tuple[int, int]
    plate: tuple[int, int]

    def plate_box(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Plate pixels that hold a working box (y0, y1, x0, x1)."""
        scale_y, scale_x = (p / w for p, w in zip(self.plate, self.working, strict=True))
        return (
            math.floor(box[0] * scale_y),
            min(self.plate[0], math.ceil(box[1] * scale_y)),
            math.floor(box[2] * scale_x),
            min(self.plate[1], math.ceil(box[3] * scale_x)),
        )

    def stretch(
        self, image: FloatImage, box: tuple[int, int, int, int], target: tuple[int, int, int, int]
    ) -> FloatImage:
        """Interpolate an image known in a working box to a plate box."""
        ratio_y, ratio_x = (w / p for p, w in zip(self.plate, self.working, strict=True))
        # Pixel centres: x_working = (x_plate + 0.5) · ratio − 0.5.
        offset_y = (target[0] + 0.5) * ratio_y - 0.5 - box[0]
        offset_x = (target[2] + 0.5) * ratio_x - 0.5 - box[2]
        matrix = np.array([[ratio_x, 0, offset_x], [0, ratio_y, offset_y]], np.float64)
        stretched = cv2.warpAffine(
            image,
            matrix,
            (target[3] - target[2], target[1] - target[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(stretched, np.float32)


def _group(
    cache: MaskCache, group: int, plate_size: tuple[int, int], settings: EdgeSettings
) -> list[Coverage]:
    layer_map = cache.layer[group]
    layers = [int(v) for v in np.unique(layer_map) if v]
    if not layers:
        return []
    grid = _Grid((layer_map.shape[0], layer_map.shape[1]), plate_size)
    sigma = settings.sigma(plate_size[1])
    reach = math.ceil(3 * sigma + 2)  # plate pixels a ramp can stray from the contour
    pad = 1 + math.ceil(reach * max(w / p for w, p in zip(grid.working, grid.plate, strict=True)))
    claims = _Claims(cache, group)
    boxes = {layer: _padded(layer_map == layer, pad) for layer in layers}
    everything = _union(list(boxes.values()))
    outer = grid.plate_box(everything)
    background = claims.background_distance(layer_map, everything)
    total = _share(grid.stretch(background, everything, outer))
    shares = []
    for layer in layers:
        target = grid.plate_box(boxes[layer])
        distance = claims.distance(layer, layer_map, boxes[layer])
        share = _share(grid.stretch(distance, boxes[layer], target))
        total[_within(target, outer)] += share
        shares.append((layer, target, share))
    np.maximum(total, 1e-6, out=total)
    found = []
    for layer, target, share in shares:
        share /= total[_within(target, outer)]
        found.append(Coverage(layer, target[2], target[0], _widened(share, sigma)))
    return found


class _Claims:
    """Probabilities of one group's layers, read from the claims or, without any, the cache."""

    def __init__(self, cache: MaskCache, group: int) -> None:
        second = cache.groups + group
        self._layers = cache.claim_layer[group], cache.claim_layer[second]
        self._best = cache.claim_probability[group], cache.claim_probability[second]
        self._current = cache.probability[group]

    def distance(
        self, layer: int, layer_map: NDArray[np.uint16], box: tuple[int, int, int, int]
    ) -> FloatImage:
        """Signed distance to a layer's contour, in working pixels, positive exactly inside it."""
        at = (slice(box[0], box[1]), slice(box[2], box[3]))
        inside = layer_map[at] == layer
        leads, follows = self._layers[0][at] == layer, self._layers[1][at] == layer
        first, second = (best[at].astype(np.float32) / FULL for best in self._best)
        own = np.where(leads, first, np.where(follows, second, 0))
        own = np.where(inside, np.maximum(own, self._current[at].astype(np.float32) / FULL), own)
        rival = np.where(leads, second, first)
        return _distance(own - np.maximum(rival, 0.5), inside)

    def background_distance(
        self, layer_map: NDArray[np.uint16], box: tuple[int, int, int, int]
    ) -> FloatImage:
        """Signed distance to the background's contour, positive exactly inside it."""
        at = (slice(box[0], box[1]), slice(box[2], box[3]))
        strongest = np.maximum(self._best[0][at], self._current[at]).astype(np.float32) / FULL
        return _distance(0.5 - strongest, layer_map[at] == 0)


def _distance(margin: NDArray[np.floating], inside: NDArray[np.bool_]) -> FloatImage:
    """Signed distance to the contour of a mask in working pixels, exact beside it, ±2 far away.

    Two neighbours on either side with margins m and n put the contour at m / (m + n) between
    them; where the claims contradict the mask it lies midway. The intercepts dx, dy of a straight
    contour give its distance, 1/d² = 1/dx² + 1/dy².

    Args:
        margin: (h, w) how far the layer is ahead; says nothing where it contradicts the mask.
        inside: (h, w) the mask.
    """
    sure = np.where(inside, margin, -margin).astype(np.float32)
    agrees, size = sure > _TIE, np.maximum(sure, _LEAST_MARGIN)
    steepness = np.zeros_like(size)  # 1/d²
    for axis in (0, 1):
        nearest = np.zeros_like(size)  # 1/dx
        ahead = _slices(size.ndim, axis, 1, None), _slices(size.ndim, axis, None, -1)
        for here, there in (ahead, ahead[::-1]):
            crossing = inside[here] != inside[there]
            ratio = np.where(agrees[here] & agrees[there], size[there] / size[here], 1)
            inverse = np.where(crossing, 1 + ratio, 0)
            np.maximum(nearest[here], inverse, out=nearest[here])
        steepness += nearest**2
    at_contour = steepness > 0
    distance = np.full_like(size, 2)
    distance[at_contour] = 1 / np.sqrt(steepness[at_contour])
    # The next ring: one working pixel further, seen at an average angle.
    ring = cv2.erode(np.where(at_contour, distance, 2), np.ones((3, 3), np.uint8)) + 0.85
    distance = np.where(at_contour, distance, np.minimum(ring, 2))
    return np.where(inside, distance, -distance).astype(np.float32)


def _slices(dimensions: int, axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    return tuple(slice(start, stop) if d == axis else slice(None) for d in range(dimensions))


def _share(distance: FloatImage) -> FloatImage:
    """Covered share of each plate pixel, from a distance to the contour in any unit."""
    slope_x = cv2.Sobel(distance, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    slope_y = cv2.Sobel(distance, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    # Not cv2.magnitude: its last bit depends on where in memory the arrays lie.
    steepness = np.sqrt(slope_x * slope_x + slope_y * slope_y)
    share = distance / np.maximum(steepness, 1e-6) + 0.5
    return np.asarray(np.clip(share, 0, 1), np.float32)


def _widened(share: FloatImage, sigma: float) -> FloatImage:
    """Blur by a Gaussian of the given standard deviation in pixels."""
    variance = sigma**2
    if variance > 0.5:
        blurred = cv2.GaussianBlur(share, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    else:  # a Gaussian sampled so coarsely would lose its width; three taps keep the variance
        taps = np.array([variance / 2, 1 - variance, variance / 2], np.float32)
        blurred = cv2.sepFilter2D(share, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.clip(blurred, 0, 1), np.float32)


def _padded(inside: NDArray[np.bool_], pad: int) -> tuple[int, int, int, int]:
    """(y0, y1, x0, x1) around a mask, ``pad`` wider on each side, cut by the image."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return (
        max(0, int(rows[0]) - pad),
        min(inside.shape[0], int(rows[-1]) + 1 + pad),
        max(0, int(columns[0]) - pad),
        min(inside.shape[1], int(columns[-1]) + 1 + pad),
    )


def _union(boxes: Sequence[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    return (
        min(b[0] for b in boxes),
        max(b[1] for b in boxes),
        min(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )


def _within(
    box: tuple[int, int, int, int], outer: tuple[int, int, int, int]
) -> tuple[slice, slice]:
    return (
        slice(box[0] - outer[0], box[1] - outer[0]),
        slice(box[2] - outer[2], box[3] - outer[2]),
    )
