"""The mask cache: what tracking knows of each pixel of a frame, and how a window changes it.

Per group the cache holds the layer of each pixel (``M_id``) and that layer's probability (``M_p``);
background is 0 and 0. A window's result enters by the merge rule only, which lets background win a
pixel back and hold it: how sure windows were of background is remembered too. Beside it two
*claims* per pixel remember the two strongest layers seen there; they shape soft edges and give a
pixel back to its second claim, and no decision of the tracking reads them.
"""

from __future__ import annotations

import io
import os
import secrets
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.errors import ResourceError, ResultError
from server.segment import HALF

Plane = NDArray[np.uint16]
FULL = 65535
"""A probability of 1.0."""
CLAIM_FLOOR = 1311
"""Probabilities under 0.02 raise no claim."""
AGREEMENT = 0.6
"""Share of a window's mask that lies in the cached one when both see the same object there."""
_KEEPS = FULL + 1  # a margin that background never has over a layer
_MAGIC = b"segmatte cache 2\n"


@dataclass
class MaskCache:
    """One frame's cache. All planes are (G, H, W) uint16, G = groups; probabilities 65535 = 1.0."""

    layer: Plane
    """``M_id``: number of the layer, 0 = background."""
    probability: Plane
    """``M_p``."""
    claim_layer: Plane
    """(2·G, H, W): strongest layers in planes 0…G−1, second strongest behind them."""
    claim_probability: Plane
    """(2·G, H, W): the greatest probability each of them had there since background last won."""
    background: NDArray[np.uint8]
    """(G, H, W): how sure a window was at best that none of its layers is there, 255 = 1.0."""
    known: set[int]
    """Layers that ``background`` was told against; it says nothing about any other."""

    @classmethod
    def empty(cls, groups: int, size: tuple[int, int]) -> MaskCache:
        """A cache of background only.

        Args:
            groups: G.
            size: (H, W) of the working image.
        """
        one, two = (groups, *size), (2 * groups, *size)
        return cls(
            np.zeros(one, np.uint16),
            np.zeros(one, np.uint16),
            np.zeros(two, np.uint16),
            np.zeros(two, np.uint16),
            np.zeros(one, np.uint8),
            set(),
        )

    @property
    def groups(self) -> int:
        """G."""
        return int(self.layer.shape[0])

    def mask(self, group: int, layer: int) -> NDArray[np.bool_]:
        """Pixels of one layer, (H, W)."""
        return np.asarray(self.layer[group] == layer)

    def merge(
        self,
        answers: Iterable[Plane],
        *,
        layers: Sequence[int],
        groups: Sequence[int],
        margins: Sequence[int],
    ) -> None:
        """Let one window's result for this frame into the cache, object batch by object batch.

        With V_k the window's probability of layer k, k* = argmax V_k inside a group: the pixel
        becomes (k*, V_k*) iff V_k* ≥ 0.5 and M_p + ε ≤ V_k*.

        Background counts like a layer, for windows that see the object where it is: the window
        *agrees* on a layer if ``AGREEMENT`` of its mask {V ≥ 0.5} lies in the cached one. Where
        V_k* < 0.5, a pixel of a layer agreed on becomes background iff M_p + ε ≤ 1 - V_k*, and
        background remembers B = max(B, 1 - V_k*) against the layers agreed on. From then on these
        layers count as absent from a background pixel unless B + ε ≤ V_k. So a layer gives up
        what it took of a neighbour and does not come back for it, but it keeps the place it has
        from a window that lost or swapped it, and a layer never judged there comes in as ever.
        (The paper's background never wins; docs/benchmarks compares.)

        Args:
            answers: (k, H, W) uint16 batches in the order of ``layers``.
            layers: number of each object.
            groups: group of each object.
            margins: ε of each object, in uint16 steps.
        """
        best: dict[int, tuple[Plane, Plane, NDArray[np.int32]]] = {}
        agreed: dict[int, list[int]] = {}
        background_margin = np.full(max(layers, default=0) + 2, _KEEPS, np.int32)
        index = 0
        for batch in answers:
            for answer in batch:
                layer, group, margin = layers[index], groups[index], margins[index]
                index += 1
                box = _box(answer >= CLAIM_FLOOR)
                if box is None:
                    continue
                value = self._beyond_background(group, box, layer, answer[box], margin)
                if self._agrees(group, box, layer, value):
                    background_margin[layer] = margin
                    agreed.setdefault(group, []).append(layer)
                self._raise_claim(group, box, layer, value)
                if group not in best:
                    zeros = np.zeros(self.layer.shape[1:], np.uint16)
                    best[group] = (zeros, np.zeros_like(zeros), np.zeros(zeros.shape, np.int32))
                number, strongest, epsilon = (plane[box] for plane in best[group])
                ahead = value > strongest
                number[ahead] = layer
                strongest[ahead] = value[ahead]
                epsilon[ahead] = margin
        for group, (number, strongest, epsilon) in best.items():
            enters = strongest >= HALF
            enters &= self.probability[group] + epsilon <= strongest
            self.layer[group][enters] = number[enters]
            self.probability[group][enters] = strongest[enters]
            self._give_up(group, strongest, background_margin)
            if group in agreed:
                self._remember_background(group, strongest)
                self.known.update(agreed[group])

    def _beyond_background(
        self, group: int, box: tuple[slice, slice], layer: int, value: Plane, margin: int
    ) -> Plane:
        """A layer's answer, short of a half where background holds the pixel against it."""
        if layer not in self.known:
            return value
        held = self.background[group][box].astype(np.int32) * 257 + margin > value
        held &= (self.layer[group][box] == 0) & (value >= HALF)
        return np.where(held, np.uint16(HALF - 1), value)

    def _remember_background(self, group: int, strongest: Plane) -> None:
        free = (self.layer[group] == 0) & (strongest < HALF)
        sure = ((FULL - strongest) >> 8).astype(np.uint8)
        np.maximum(self.background[group], sure, out=self.background[group], where=free)

    def _agrees(
        self, group: int, box: tuple[slice, slice], layer: int, value: NDArray[np.integer]
    ) -> bool:
        seen = value >= HALF
        size = int(np.count_nonzero(seen))
        shared = int(np.count_nonzero(self.layer[group][box][seen] == layer))
        return size > 0 and shared >= AGREEMENT * size

    def _give_up(self, group: int, strongest: Plane, margin: NDArray[np.int32]) -> None:
        """Make background of pixels where it is ahead of their layer by the layer's margin.

        The layer claims no more there than the window gave any.
        """
        box = _box(self.layer[group] > 0)
        if box is None:
            return
        layer, probability = self.layer[group][box], self.probability[group][box]
        rest = strongest[box]
        # Layers beyond the table, and none, find _KEEPS at its ends.
        lost = probability + margin.take(layer, mode="clip") <= FULL - rest
        lost &= rest < HALF
        if not lost.any():
            return
        own, rest = layer[lost], rest[lost]
        second = self.groups + group
        layers = [self.claim_layer[index][box] for index in (group, second)]
        bests = [self.claim_probability[index][box] for index in (group, second)]
        layer_1, layer_2 = (plane[lost] for plane in layers)
        best_1, best_2 = (plane[lost] for plane in bests)
        best_1 = np.where(layer_1 == own, np.minimum(best_1, rest), best_1)
        best_2 = np.where(layer_2 == own, np.minimum(best_2, rest), best_2)
        first = best_1 >= best_2
        layers[0][lost] = np.where(first, layer_1, layer_2)
        layers[1][lost] = np.where(first, layer_2, layer_1)
        bests[0][lost] = np.where(first, best_1, best_2)
        bests[1][lost] = np.where(first, best_2, best_1)
        layer[lost] = 0
        probability[lost] = 0

    def lock(self, group: int, layer: int, pixels: NDArray[np.bool_]) -> None:
        """Make a layer's mask on this frame exactly ``pixels`` (H, W), beyond any later merge."""
        old = self.mask(group, layer) & ~pixels
        self.layer[group][old] = 0
        self.probability[group][old] = 0
        self.layer[group][pixels] = layer
        self.probability[group][pixels] = FULL
        self.forget(group, layer)
        self.claim(group, layer, np.where(pixels, FULL, 0))

    def forget(self, group: int, layer: int) -> None:
        """Withdraw every claim of one layer."""
        first, second = group, self.groups + group
        leading = self.claim_layer[first] == layer
        for planes in (self.claim_layer, self.claim_probability):
            planes[first][leading] = planes[second][leading]
            planes[second][leading] = 0
        trailing = self.claim_layer[second] == layer
        self.claim_layer[second][trailing] = 0
        self.claim_probability[second][trailing] = 0

    def claim(self, group: int, layer: int, answer: NDArray[np.integer]) -> None:
        """Take note of how sure a layer is of each pixel, (H, W) 0..65535."""
        self._raise_claim(group, (slice(None), slice(None)), layer, answer)

    def _raise_claim(
        self, group: int, box: tuple[slice, slice], layer: int, value: NDArray[np.integer]
    ) -> None:
        second = self.groups + group
        layer_1, layer_2 = self.claim_layer[group][box], self.claim_layer[second][box]
        best_1, best_2 = self.claim_probability[group][box], self.claim_probability[second][box]
        value = np.where(value >= CLAIM_FLOOR, value, 0).astype(np.uint16)
        # Its own earlier claim, if any, leaves the list first; then it enters where it belongs.
        own_1, own_2 = layer_1 == layer, layer_2 == layer
        value = np.maximum(value, np.where(own_1, best_1, np.where(own_2, best_2, 0)))
        rest_layer = np.where(own_1, layer_2, layer_1)
        rest_best = np.where(own_1, best_2, best_1)
        last_layer = np.where(own_1 | own_2, 0, layer_2)
        last_best = np.where(own_1 | own_2, 0, best_2)
        leads = value > rest_best
        layer_1[...] = np.where(leads, layer, rest_layer)
        best_1[...] = np.where(leads, value, rest_best)
        behind = np.where(leads, 0, value)
        follows = behind > last_best
        layer_2[...] = np.where(leads, rest_layer, np.where(follows, layer, last_layer))
        best_2[...] = np.where(leads, rest_best, np.where(follows, behind, last_best))


class CacheFolder:
    """Caches of a shot on disk, one file per frame, written under a temporary name and renamed."""

    def __init__(self, folder: Path, *, groups: int, size: tuple[int, int]) -> None:
        self._folder = folder
        self._groups = groups
        self._size = size

    def path(self, frame: int) -> Path:
        """File of one frame."""
        return self._folder / f"{frame}.cache"

    def has(self, frame: int) -> bool:
        """Whether the frame's cache is complete on disk."""
        return self.path(frame).exists()

    def write(self, frame: int, cache: MaskCache) -> None:
        """Put one frame on disk.

        Raises:
            ResourceError: the disk is full or cannot be written.
        """
        planes = np.concatenate(
            [cache.layer, cache.probability, cache.claim_layer, cache.claim_probability]
        )
        box = _box((planes != 0).any(axis=0)) or (slice(0, 0), slice(0, 0))
        crop = np.ascontiguousarray(planes[:, box[0], box[1]])
        body = io.BytesIO()
        np.save(body, np.array([box[0].start, box[1].start], np.int32))
        np.save(body, crop)
        np.save(body, cache.background)
        np.save(body, np.array(sorted(cache.known), np.int32))
        save_atomically(self.path(frame), _MAGIC + zlib.compress(body.getbuffer(), 1))

    def read(self, frame: int) -> MaskCache:
        """Take one frame from disk.

        Raises:
            ResultError: the file is absent or damaged.
        """
        path = self.path(frame)
        try:
            data = path.read_bytes()
            if not data.startswith(_MAGIC):
                raise ValueError("not a mask cache")
            body = io.BytesIO(zlib.decompress(data[len(_MAGIC) :]))
            (y, x), crop, background, known = (np.load(body) for _ in range(4))
            planes = np.zeros((6 * self._groups, *self._size), np.uint16)
            planes[:, y : y + crop.shape[1], x : x + crop.shape[2]] = crop
        except FileNotFoundError:
            raise ResultError(
                f"Expected the tracked frame {path}, found none. Run the stage before this one, "
                "or the whole shot again."
            ) from None
        except (OSError, ValueError, EOFError, zlib.error) as error:
            raise ResultError(
                f"The tracked frame {path} cannot be read ({error}). Delete the work folder and "
                "run the shot again."
            ) from error
        g = self._groups
        layer, probability, claim_layer, claim_probability = np.split(planes, (g, 2 * g, 4 * g))
        return MaskCache(
            layer, probability, claim_layer, claim_probability, background, set(known.tolist())
        )


def save_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is there as a whole or not at all.

    Raises:
        ResourceError: the disk is full or cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ResourceError(
            f"{path} cannot be written ({error.strerror}). Free some space or choose another "
            "output folder, then repeat the command with --resume."
        ) from error


def _box(inside: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Rows and columns that hold any pixel, or None."""
    rows = np.flatnonzero(inside.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(inside.any(axis=0))
    return (
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )
