"""Stage 3: the forward and the backward pass over a shot, resumable at every key frame.

Forward, each key frame prompts a window with what the cache holds and what stage 2 found there;
backward, the cache alone prompts, except on the very last frame. Every finished frame and every
prompt is a file, so a broken pass goes on from its last key frame: live windows are rebuilt by
replaying their frames from the stored prompts, and give the same bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.errors import ResultError, SettingsError
from server.segment import HALF, BoolImage, Features, Mask, Rejection, Segmentation
from server.track.cache import FULL, CacheFolder, MaskCache, save_atomically
from server.track.lockstep import Lockstep, Tracker, layers_left_out, prompt_from_labels
from server.track.prompt import GroupPrompt, MatchSettings, NewLayer, build_prompt

TAKE_OVER_IOU = 0.5
"""IoU with an artist's mask on its keyframe from which a detected layer becomes the artist's."""


@dataclass(frozen=True)
class TrackSettings:
    """How a shot is tracked; the letters are those of the method's description."""

    step: int = 5
    """s_P: frames from one key frame to the next."""
    interval: int = 20
    """s_T: frames a window reaches beyond its prompt."""
    margin: float = 0.1
    """ε: how much stronger a later window must be to take a pixel."""
    max_objects: int = 50
    """At most this many layers in one window; the largest stay."""
    match: MatchSettings = field(default_factory=MatchSettings)

    def __post_init__(self) -> None:
        if self.step < 1 or self.interval < 1 or self.max_objects < 1:
            raise SettingsError(
                f"step, interval and max_objects must be at least 1, found {self.step}, "
                f"{self.interval}, {self.max_objects}."
            )
        if not 0 <= self.margin < 1:
            raise SettingsError(f"margin must lie in 0..1, not {self.margin}.")


@dataclass(frozen=True)
class ArtistObject:
    """An object an artist asked for by name, as masks on keyframes."""

    name: str
    """``/hero/dress``: its parent is its group."""
    keyframes: Mapping[int, BoolImage] = field(repr=False)
    """0-based index → (H, W) mask at working size."""


@dataclass(frozen=True)
class Layer:
    """One object over the shot."""

    number: int
    """Its number in the caches, from 1."""
    group: int
    category: str
    """Category of a detected layer; the given name of an artist's."""
    artist: bool
    index: int
    """0-based position of the key frame it was born on; its first keyframe if an artist's."""
    score: float
    left: int
    top: int
    taken_by: int = 0
    """Number of the artist's layer that stands for it, if one."""


def key_indices(count: int, step: int, artist: Iterable[int] = ()) -> tuple[int, ...]:
    """Positions of a shot's key frames: every ``step``, the last, and the artist's.

    Args:
        count: frames of the shot.
        step: s_P.
        artist: positions of artists' keyframes.
    """
    return tuple(sorted({*range(0, count, step), count - 1, *artist})) if count else ()


@dataclass(frozen=True)
class _Record:
    """What is kept of a prompt: enough to rebuild its window and to number layers."""

    labels: NDArray[np.uint16]
    new: tuple[tuple[int, NewLayer], ...]
    """(group, layer)."""
    rejections: tuple[Rejection, ...]
    taken: Mapping[int, int]
    """Detected layer → artist's layer, all known so far."""
    owned: tuple[tuple[int, int], ...]
    """(artist's layer, group) pairs, all known so far."""
    left_out: tuple[int, ...]


Stream = Callable[[Sequence[int]], Iterator[Features]]
"""Given positions in the order they will be wanted: their features, one after the other."""
MasksAt = Callable[[int, Features], Segmentation]
"""Stage 2 of one position."""


class ShotTracker:
    """Both passes over one shot, with their files.

    ``folder`` holds ``forward/``, ``backward/`` (finished frames) and ``prompts/``.
    """

    def __init__(
        self,
        tracker: Tracker | None,
        *,
        frames: Sequence[int],
        size: tuple[int, int],
        categories: Sequence[str],
        artist_objects: Sequence[ArtistObject] = (),
        settings: TrackSettings,
        folder: Path,
    ) -> None:
        """Open a shot.

        Args:
            tracker: the model; None for a shot that is only read.
            frames: the plate's frame numbers, in order.
            size: (H, W) of the working image.
            categories: of the text prompt; one group each.
            artist_objects: one group per parent name.
            settings: how to track.
            folder: where finished frames and prompts go, and are found again.
        """
        self.frames = tuple(frames)
        self.size = size
        self.settings = settings
        self.groups = (*categories, *_parents(artist_objects))
        self.key = key_indices(
            len(self.frames), settings.step, [k for a in artist_objects for k in a.keyframes]
        )
        self._tracker = tracker
        self._categories = tuple(categories)
        self._artist = {
            number: (self.groups.index(_parent(item.name), len(categories)), item)
            for number, item in enumerate(artist_objects, 1)
        }
        self._folder = folder
        count = max(1, len(self.groups))
        self.forward_caches = CacheFolder(folder / "forward", groups=count, size=size)
        self.caches = CacheFolder(folder / "backward", groups=count, size=size)
        self._taken: dict[int, int] = {}
        self._owned: set[tuple[int, int]] = set()
        self._layers: list[Layer] = []
        self._rejections: dict[str, tuple[Rejection, ...]] = {}
        self._left_out: dict[int, tuple[int, ...]] = {}
        self._untracked: dict[int, tuple[int, ...]] = {}
        self._forget_all()

    def _forget_all(self) -> None:
        self._layers = [
            Layer(number, group, item.name, True, min(item.keyframes), 1.0, 0, 0)
            for number, (group, item) in self._artist.items()
        ]
        self._taken, self._owned = {}, set()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers born so far, by number; complete once the backward pass has begun."""
        return tuple(
            Layer(**{**asdict(layer), "taken_by": self._taken.get(layer.number, 0)})
            for layer in self._layers
        )

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """Stage-2 masks that matched no layer and made none, by frame."""
        found = [r for part in self._rejections.values() for r in part]
        return tuple(sorted(found, key=lambda r: (r.frame, -r.score)))

    @property
    def left_out(self) -> Mapping[int, tuple[int, ...]]:
        """Frame → layers not prompted there because a window was full."""
        return self._left_out

    @property
    def untracked(self) -> Mapping[int, tuple[int, ...]]:
        """Frame → layers whose mask there is their prompt, for want of a tracked one."""
        return self._untracked

    def forward(self, stream: Stream, masks_at: MasksAt) -> Iterator[int]:
        """Track from the first to the last frame.

        Args:
            stream: features in the order asked for.
            masks_at: stage 2 of a key frame.

        Yields:
            The position of each frame once it is on disk.
        """
        last = len(self.frames) - 1
        lockstep = self._lockstep(reverse=False)
        done = self._finished(range(len(self.frames)), self.forward_caches, "forward")
        order = self._with_replay(done, list(range(done, len(self.frames))), reverse=False)
        for index, features in zip(order, stream(order), strict=True):
            lockstep.withdraw(self._keyed(index))
            if index < done:
                self._replay(lockstep, index, features, "forward")
                continue
            cache = MaskCache.empty(max(1, len(self.groups)), self.size)
            lockstep.advance(index, features, cache)
            self._lock(index, cache)
            if index in self.key and index != last:
                masks = masks_at(index, features).masks
                record = self._prompt(index, cache, masks)
                lockstep.withdraw(tuple(self._taken))
                self._keep("forward", index, record)
                self._open(lockstep, index, features, record)
            self.forward_caches.write(self.frames[index], cache)
            yield index

    def backward(self, stream: Stream, masks_at: MasksAt) -> Iterator[tuple[int, MaskCache]]:
        """Track from the last to the first frame over the finished forward pass.

        Args:
            stream: features in the order asked for.
            masks_at: stage 2; asked for the very last frame only.

        Yields:
            The position and the finished cache of each frame once it is on disk; on a resumed
            pass also those finished before.
        """
        count = len(self.frames)
        lockstep = self._lockstep(reverse=True)
        backward = range(count)[::-1]
        done = self._finished(backward, self.caches, "backward")
        for index in backward[:done]:
            yield index, self._read_final(index)
        order = self._with_replay(done, list(backward[done:]), reverse=True)
        for index, features in zip(order, stream(order), strict=True):
            lockstep.withdraw(self._keyed(index))
            if index > count - 1 - done:
                self._replay(lockstep, index, features, "backward")
                continue
            cache = self._read_forward(index)
            lockstep.advance(index, features, cache)
            record = None
            if index in self.key:
                masks = masks_at(index, features).masks if index == count - 1 else ()
                record = self._prompt(index, cache, masks)
                self._keep("backward", index, record)
                if index:
                    self._open(lockstep, index, features, record)
            self._fill_untracked(index, cache, record)
            self.caches.write(self.frames[index], cache)
            yield index, cache

    def restore(self) -> None:
        """Learn the layers and reports of a shot whose passes are finished already.

        Raises:
            ResultError: they are not finished, or a file is damaged.
        """
        for frame in self.frames:
            if not self.caches.has(frame):
                raise ResultError(
                    f"Tracking is not finished: expected frame {frame} in {self._folder}, found "
                    "none. Run the track stage again."
                )
        positions = range(len(self.frames))
        self._finished(positions, self.forward_caches, "forward")
        self._finished(positions[::-1], self.caches, "backward")
        for index in positions:
            self._read_final(index)

    def _lockstep(self, *, reverse: bool) -> Lockstep:
        if self._tracker is None:
            raise ValueError("a shot opened without a tracker can only be restored")
        return Lockstep(
            self._tracker,
            interval=self.settings.interval,
            margin=round(self.settings.margin * FULL),
            margins=dict.fromkeys(self._artist, 0),
            reverse=reverse,
        )

    # Artists' keyframes

    def _keyed(self, index: int) -> tuple[int, ...]:
        return tuple(n for n, (_, item) in self._artist.items() if index in item.keyframes)

    def _lock(self, index: int, cache: MaskCache) -> None:
        for number in self._keyed(index):
            group, item = self._artist[number]
            cache.lock(group, number, item.keyframes[index])

    def _take_over(self, index: int, cache: MaskCache, masks: Sequence[Mask]) -> None:
        """Detected layers and masks that are an artist's object on its keyframe become its."""
        for number in self._keyed(index):
            pixels = self._artist[number][1].keyframes[index]
            for group, category in enumerate(self._categories):
                inside = np.bincount(cache.layer[group][pixels], minlength=1)
                areas = np.bincount(cache.layer[group].ravel(), minlength=len(inside))
                union = areas + np.count_nonzero(pixels)
                union[: len(inside)] -= inside
                for layer in np.flatnonzero(inside[1:] >= TAKE_OVER_IOU * union[1 : len(inside)]):
                    if inside[layer + 1]:
                        self._taken[int(layer) + 1] = number
                        self._owned.add((number, group))
                for mask in masks:
                    if mask.category == category and _iou(mask.pixels, pixels) >= TAKE_OVER_IOU:
                        self._owned.add((number, group))

    # Prompts

    def _prompt(self, index: int, cache: MaskCache, masks: Sequence[Mask]) -> _Record:
        self._take_over(index, cache, masks)
        frame = self.frames[index]
        labels = cache.layer.copy()
        new: list[tuple[int, NewLayer]] = []
        rejections: list[Rejection] = []
        next_number = len(self._layers) + 1

        def number() -> int:
            nonlocal next_number
            next_number += 1
            return next_number - 1

        for group, name in enumerate(self.groups):
            cached = labels[group]
            cached[np.isin(cached, list(self._taken))] = 0
            detected = group < len(self._categories)
            answer: GroupPrompt = build_prompt(
                cached,
                [m for m in masks if m.category == name] if detected else [],
                frame=frame,
                settings=self.settings.match,
                number=number,
                artist={
                    artist: cache.mask(self._artist[artist][0], artist)
                    for artist, owned in sorted(self._owned)
                    if owned == group
                },
            )
            labels[group] = answer.labels
            new += [(group, layer) for layer in answer.new]
            rejections += answer.rejections
        left_out = layers_left_out(
            labels, most=self.settings.max_objects, first=frozenset(self._artist)
        )
        if left_out:
            labels[np.isin(labels, left_out)] = 0
        return _Record(
            labels,
            tuple(new),
            tuple(rejections),
            dict(self._taken),
            tuple(sorted(self._owned)),
            left_out,
        )

    def _open(self, lockstep: Lockstep, index: int, features: Features, record: _Record) -> None:
        lockstep.open(index, features, prompt_from_labels(record.labels))

    def _fill_untracked(self, index: int, cache: MaskCache, record: _Record | None) -> None:
        """Give a prompted layer without any pixel here the free pixels of its prompt, at 0.5."""
        prompts = [record] if record else []
        if self._has_record("forward", index):
            prompts.insert(0, self._load("forward", index))
        filled: list[int] = []
        for prompt in prompts:
            for group, labels in enumerate(prompt.labels):
                for layer in np.unique(labels[labels > 0]).tolist():
                    if layer in self._taken or (cache.layer[group] == layer).any():
                        continue
                    free = (labels == layer) & (cache.layer[group] == 0)
                    if free.any():
                        cache.layer[group][free] = layer
                        cache.probability[group][free] = HALF
                        filled.append(layer)
        if filled:
            self._untracked[self.frames[index]] = tuple(sorted(filled))

    # Files

    def _read_forward(self, index: int) -> MaskCache:
        cache = self.forward_caches.read(self.frames[index])
        for layer in self._taken:
            for group in range(len(self._categories)):
                ghost = cache.mask(group, layer)
                if ghost.any():
                    cache.layer[group][ghost] = 0
                    cache.probability[group][ghost] = 0
                cache.forget(group, layer)
        return cache

    def _read_final(self, index: int) -> MaskCache:
        cache = self.caches.read(self.frames[index])
        at_half = (cache.probability == HALF) & (cache.layer > 0)
        if at_half.any():
            untracked = []
            for group, layers in enumerate(cache.layer):
                for layer in np.unique(layers[at_half[group]]).tolist():
                    if (cache.probability[group][layers == layer] == HALF).all():
                        untracked.append(layer)
            if untracked:
                self._untracked[self.frames[index]] = tuple(sorted(untracked))
        return cache

    def _record_path(self, direction: str, index: int) -> Path:
        return self._folder / "prompts" / f"{direction}.{self.frames[index]}.npz"

    def _has_record(self, direction: str, index: int) -> bool:
        return self._record_path(direction, index).exists()

    def _keep(self, direction: str, index: int, record: _Record) -> None:
        self._learn(direction, index, record)
        text = json.dumps(
            {
                "new": [[group, asdict(layer)] for group, layer in record.new],
                "rejections": [asdict(r) for r in record.rejections],
                "taken": list(record.taken.items()),
                "owned": record.owned,
                "left_out": record.left_out,
            }
        )
        body = io.BytesIO()
        np.savez_compressed(
            body, labels=record.labels, record=np.frombuffer(text.encode(), np.uint8)
        )
        save_atomically(self._record_path(direction, index), body.getvalue())

    def _load(self, direction: str, index: int) -> _Record:
        path = self._record_path(direction, index)
        try:
            with np.load(path) as stored:
                labels = stored["labels"]
                text = json.loads(stored["record"].tobytes())
        except (OSError, ValueError, KeyError) as error:
            raise ResultError(
                f"The stored prompt {path} cannot be read ({error}). Delete the work folder and "
                "run the shot again."
            ) from error
        return _Record(
            labels=labels,
            new=tuple((group, NewLayer(**layer)) for group, layer in text["new"]),
            rejections=tuple(
                Rejection(**{**r, "box": tuple(r["box"])}) for r in text["rejections"]
            ),
            taken={int(a): int(b) for a, b in text["taken"]},
            owned=tuple((int(a), int(b)) for a, b in text["owned"]),
            left_out=tuple(text["left_out"]),
        )

    def _learn(self, direction: str, index: int, record: _Record) -> None:
        for group, layer in record.new:
            self._layers.append(
                Layer(
                    layer.number,
                    group,
                    self.groups[group],
                    False,
                    index,
                    layer.score,
                    layer.left,
                    layer.top,
                )
            )
        self._taken.update(record.taken)
        self._owned.update(record.owned)
        self._rejections[f"{direction}.{index}"] = record.rejections
        if record.left_out:
            self._left_out[self.frames[index]] = record.left_out

    def _finished(self, order: range, caches: CacheFolder, direction: str) -> int:
        """How many frames, in pass order, are finished up to a key frame that can be resumed.

        Learns the layers and reports of the finished part on the way.
        """
        if direction == "forward":
            self._forget_all()
        done = 0
        pending: list[tuple[int, _Record]] = []
        for position, index in enumerate(order):
            if not caches.has(self.frames[index]):
                break
            if position == len(order) - 1 and direction == "forward":
                done = len(order)
            elif index in self.key:
                if not self._has_record(direction, index):
                    break
                pending.append((index, self._load(direction, index)))
                done = position + 1
        for index, record in pending:
            self._learn(direction, index, record)
        return done

    def _with_replay(self, done: int, rest: list[int], *, reverse: bool) -> list[int]:
        """The positions still to do, preceded by those whose windows must be rebuilt."""
        if not done or not rest:
            return rest
        direction = "backward" if reverse else "forward"
        sign = -1 if reverse else 1
        last_done = rest[0] - sign
        starts = [
            index
            for index in self.key
            if 0 <= (last_done - index) * sign < self.settings.interval
            and self._has_record(direction, index)
        ]
        if not starts:
            return rest
        first = max(starts) if reverse else min(starts)
        return [*range(first, rest[0], sign), *rest]

    def _replay(self, lockstep: Lockstep, index: int, features: Features, direction: str) -> None:
        lockstep.advance(index, features, None)
        if self._has_record(direction, index):
            record = self._load(direction, index)
            lockstep.withdraw(tuple(record.taken))
            self._open(lockstep, index, features, record)


def _parent(name: str) -> str:
    return name.rsplit("/", 1)[0] or "/"


def _parents(artist_objects: Sequence[ArtistObject]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_parent(item.name) for item in artist_objects))


def _iou(a: BoolImage, b: BoolImage) -> float:
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0
