"""Finished frames become ObjectId files: names, ids and turns for the shot, coverages per frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from objectid import (
    Crop,
    ObjectIdError,
    StorageError,
    Window,
    decode_coverages,
    encode_coverages,
    find_result,
    object_ids,
    read_frame,
    read_sidecar,
    write_frame,
)
from server.deliver.coverage import EdgeSettings, FloatImage, coverages
from server.deliver.names import Likeness, Naming, Reference, name_layers, taking_order
from server.errors import ResourceError, ResultError
from server.frames import Box
from server.track import FULL, CacheFolder, Layer, MaskCache


@dataclass(frozen=True)
class Plan:
    """What is settled for a whole shot before its first frame is delivered."""

    naming: Naming
    ids: Mapping[str, int]
    """Name → object id."""
    turns: Mapping[int, int]
    """Layer → its turn to take coverage where groups overlap."""


class EarlierResult:
    """A result of the same shot whose names and ids are inherited."""

    def __init__(self, folder: Path) -> None:
        """Open a result folder.

        Raises:
            ResultError: it is none, or it is damaged.
        """
        try:
            found = find_result(folder)
            if found.sidecar is None:
                raise ResultError(
                    f"Expected an earlier result in {folder}, found frames without a sidecar "
                    "(NAME.manifest.json). Name a result folder."
                )
            sidecar = read_sidecar(found.sidecar)
        except ObjectIdError as error:
            raise ResultError(f"The earlier result cannot be used: {error}") from error
        self._frames = found.frames
        self.ids = sidecar.ids
        used = sidecar.extra.get("used_numbers", {})
        self.reference = Reference(tuple(sorted(self.ids)), dict(used))

    def has(self, frame: int) -> bool:
        """Whether it covers a frame."""
        return frame in self._frames

    def labels(self, frame: int, *, window: Box, size: tuple[int, int]) -> NDArray[np.uint16]:
        """Which object is strongest where.

        Args:
            frame: the plate's frame number.
            window: the segmented window.
            size: (H, W) of the working image.

        Returns:
            (H, W) 1 + position in ``reference.names``, 0 = none.

        Raises:
            ResultError: the frame cannot be read.
        """
        try:
            deep = read_frame(self._frames[frame]).frame
        except ObjectIdError as error:
            raise ResultError(f"The earlier result cannot be used: {error}") from error
        position = {self.ids[name]: 1 + i for i, name in enumerate(self.reference.names)}
        best = np.zeros((window.height, window.width), np.float32)
        labels = np.zeros(best.shape, np.uint16)
        for number, crop in decode_coverages(deep):
            y0, x0 = crop.y0 - window.y0, crop.x0 - window.x0
            top, left = max(0, y0), max(0, x0)
            bottom = min(window.height, y0 + crop.coverage.shape[0])
            right = min(window.width, x0 + crop.coverage.shape[1])
            if top >= bottom or left >= right or number not in position:
                continue
            at = slice(top, bottom), slice(left, right)
            own = crop.coverage[top - y0 : bottom - y0, left - x0 : right - x0]
            ahead = (own >= 0.5) & (own > best[at])
            best[at][ahead] = own[ahead]
            labels[at][ahead] = position[number]
        rows = ((np.arange(size[0]) + 0.5) * window.height / size[0]).astype(int)
        columns = ((np.arange(size[1]) + 0.5) * window.width / size[1]).astype(int)
        return np.asarray(labels[np.ix_(rows, columns)])


def plan_delivery(
    layers: Sequence[Layer],
    caches: CacheFolder,
    frames: Sequence[int],
    *,
    window: Box,
    size: tuple[int, int],
    earlier: EarlierResult | None = None,
) -> Plan:
    """Names, ids and turns of a shot, from its finished forward pass.

    The backward pass is not waited for: it brings no new layer after its first frame, so delivery
    can run behind it.

    Args:
        layers: all of the shot.
        caches: of the forward pass.
        frames: the plate's frame numbers.
        window: the segmented window.
        size: (H, W) of the working image.
        earlier: a result whose names and ids are inherited.
    """
    likeness = Likeness(len(layers), len(earlier.ids)) if earlier else None

    def read() -> Iterator[MaskCache]:
        for frame in frames:
            cache = caches.read(frame)
            if earlier is not None and likeness is not None and earlier.has(frame):
                labels = earlier.labels(frame, window=window, size=size)
                likeness.add(cache, layers, labels)
            yield cache

    turns = taking_order(read(), layers)
    naming = name_layers(
        layers,
        reference=earlier.reference if earlier else None,
        similarity=likeness.mean() if likeness else None,
    )
    ids = object_ids(naming.names.values(), reference=earlier.ids if earlier else None)
    return Plan(naming, ids, turns)


@dataclass
class LayerRecord:
    """What the delivered frames say of one layer."""

    frames: list[int] = field(default_factory=list)
    probability: float = 0.0
    """Sum over its pixels, 0..1 each."""
    pixels: int = 0

    @property
    def mean_probability(self) -> float:
        """0..1, over all its pixels in all frames."""
        return self.probability / self.pixels if self.pixels else 0.0


class Delivery:
    """Writes a shot's frames and remembers what was in them."""

    def __init__(
        self,
        plan: Plan,
        *,
        path_of: Callable[[int], Path],
        display: Box,
        window: Box,
        pixel_aspect: float,
        edges: EdgeSettings,
        locked: Callable[[int], Mapping[int, FloatImage]],
        attributes: Mapping[str, str],
    ) -> None:
        """Prepare a delivery.

        Args:
            plan: names, ids and turns.
            path_of: frame number → file.
            display: the plate's display window.
            window: the segmented window.
            pixel_aspect: the plate's.
            edges: ramp width.
            locked: frame number → layer → (H, W) coverage an artist gave for it.
            attributes: texts for every file's header.
        """
        self.plan = plan
        self.records: dict[int, LayerRecord] = defaultdict(LayerRecord)
        self._path_of = path_of
        self._display = Window(display.x0, display.y0, display.x1, display.y1)
        self._window = window
        self._pixel_aspect = pixel_aspect
        self._edges = edges
        self._locked = locked
        self._attributes = dict(attributes)

    def write(self, frame: int, cache: MaskCache, *, again: bool = False) -> int:
        """Deliver one frame; one that is there already is only taken note of.

        Args:
            frame: the plate's frame number.
            cache: its finished cache.
            again: write it even if it is there.

        Returns:
            Pixels in which more than one whole pixel was claimed, and divided up.

        Raises:
            ResourceError: the disk is full or cannot be written.
        """
        self._note(frame, cache)
        path = self._path_of(frame)
        if path.exists() and not again:
            return 0
        names, ids = self.plan.naming.names, self.plan.ids
        found = coverages(
            cache,
            plate_size=(self._window.height, self._window.width),
            settings=self._edges,
            rank=self.plan.turns,
            locked=self._locked(frame),
        )
        named = [one for one in found if one.layer in names and one.pixels.size]
        crops = [
            Crop(one.y + self._window.y0, one.x + self._window.x0, one.pixels) for one in named
        ]
        encoded = encode_coverages(
            crops,
            ids=[ids[names[one.layer]] for one in named],
            display_window=self._display,
            pixel_aspect=self._pixel_aspect,
        )
        try:
            write_frame(path, encoded.frame, manifest=ids, attributes=self._attributes)
        except StorageError as error:
            raise ResourceError(
                f"{error} Free some space or choose another output folder, then repeat the "
                "command with --resume."
            ) from error
        return encoded.normalised_pixels

    def _note(self, frame: int, cache: MaskCache) -> None:
        for group in range(cache.groups):
            plane = cache.layer[group].ravel()
            pixels = np.bincount(plane)
            sums = np.bincount(plane, weights=cache.probability[group].ravel())
            for layer in np.flatnonzero(pixels[1:]) + 1:
                record = self.records[int(layer)]
                record.frames.append(frame)
                record.pixels += int(pixels[layer])
                record.probability += float(sums[layer]) / FULL
