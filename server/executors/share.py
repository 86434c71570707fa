"""Stages 1 and 2 of one shot, spread over devices: who does which key frames.

A key frame's result depends on nothing but the plate, so any worker can do any of them, twice or
in any order: each is a file, written whole, with the same bytes whoever made it. Nothing of this
is kept; what a killed server or worker leaves behind is the files, and the next attempt goes on
from them. Stage 3 is a chain of frames and stays on one device.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from server.executors.prepare import Order

_MOST_FRAMES = 16
"""Of one chunk: a job that comes in waits no longer than this for a helping device."""
_MOST_TRIES = 2
"""A chunk that lost this many workers is left to the job itself, whose crashes are counted."""


@dataclass(frozen=True)
class Chunk:
    """Key frames for one worker."""

    frames: tuple[int, ...]
    boxes_only: bool = False
    """Masks are left to whoever is free then."""
    tries: int = 0

    def as_data(self) -> dict[str, Any]:
        """JSON values, as a worker is told."""
        return {"frames": self.frames, "boxes_only": self.boxes_only}


class Share:
    """The key frames of one running job that still have to be done. Safe to use from all threads.

    Until it is known which they are, every helper is asked once to get ready, with a chunk of none.
    Chunks start large, so that a plate is read ahead, and shrink towards the end, so that no device
    waits long for the last one. A detector takes whole batches, the same as on one device. So the
    last batches, one per device, are done stage by stage: masks are made frame by frame, by
    whoever is free.
    """

    def __init__(
        self,
        order: Order,
        *,
        owner: str,
        devices: int,
        changed: Callable[[], None],
    ) -> None:
        """Have helpers get ready.

        Args:
            order: of the job's attempt.
            owner: worker of the attempt.
            devices: how many may take part.
            changed: called, in any thread, when the owner has something to look at.
        """
        self.total = 0
        self.helpers: set[str] = set()
        """Workers that have had a chunk, beside the owner."""
        self.remarks: list[str] = []
        """What went wrong with helpers, for the job's log."""
        self._order = order
        self._owner = owner
        self._left: list[int] = []
        self._detected: list[int] = []
        """Frames whose boxes are there, and whose masks nobody is at."""
        self._returned: list[Chunk] = []
        self._batch = 0
        self._devices = devices
        self._changed = changed
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._refused: set[str] = set()
        self._open = True
        self._missing: dict[str, set[int]] = {"detect": set(), "segment": set()}

    def begin(self, frames: Sequence[int], *, total: int, batch: int) -> None:
        """Offer the key frames.

        Args:
            frames: key frames not done yet.
            total: key frames of the shot.
            batch: frames a detector takes at once; chunks are multiples of it.
        """
        with self._lock:
            self.total, self._batch, self._left = total, batch, list(frames)
            self._missing = {stage: set(frames) for stage in self._missing}

    @property
    def is_open(self) -> bool:
        """Whether the attempt still wants it done."""
        return self._open

    @property
    def is_going_on(self) -> bool:
        """Whether there are chunks to take, or another worker is at one."""
        with self._lock:
            return self._has_chunks or self._is_helped

    @property
    def must_wait(self) -> bool:
        """Whether there is no chunk to take until another worker has done its own."""
        with self._lock:
            return self._is_helped and not self._has_chunks

    @property
    def _has_chunks(self) -> bool:
        return bool(self._left or self._detected or self._returned)

    @property
    def _is_helped(self) -> bool:
        return bool(self._busy - {self._owner})

    def take(self, worker: str) -> Chunk | None:
        """Key frames for a worker, or None if there are none for it."""
        with self._lock:
            if not self._open or worker in self._refused:
                return None
            chunk = self._next() if self._batch else self._get_ready(worker)
            if chunk is None:
                return None
            if chunk.frames:
                self._busy.add(worker)
            if worker != self._owner:
                self.helpers.add(worker)
            return chunk

    def _get_ready(self, worker: str) -> Chunk | None:
        return None if worker in self.helpers else Chunk(())

    def _next(self) -> Chunk | None:
        if self._returned:
            return self._returned.pop()
        if self._left:
            boxes_only = len(self._left) <= self._devices * self._batch
            fair = min(_fair(self._left, self._devices), _MOST_FRAMES)
            frames = _cut(self._left, max(1, fair // self._batch) * self._batch)
            return Chunk(frames, boxes_only)
        if self._detected:
            return Chunk(_cut(self._detected, _fair(self._detected, self._devices)))
        return None

    def note(self, stage: str, frame: int) -> None:
        """A stage of one key frame is on disk."""
        with self._lock:
            self._missing[stage].discard(frame)
        self._changed()

    def done(self, worker: str, chunk: Chunk) -> None:
        """A worker has finished its chunk."""
        with self._lock:
            self._busy.discard(worker)
            self._missing["detect"].difference_update(chunk.frames)
            if chunk.boxes_only:
                self._detected += chunk.frames
            else:
                self._missing["segment"].difference_update(chunk.frames)
        self._changed()

    def back(self, worker: str, chunk: Chunk, *, reason: str = "") -> None:
        """A worker did not finish its chunk.

        Args:
            worker: gets no more of this job if there is a reason.
            chunk: given to others.
            reason: what went wrong; empty: it was only asked to stop.
        """
        with self._lock:
            self._busy.discard(worker)
            if reason:
                self._refused.add(worker)
                self.remarks.append(f"{worker} left stages 1 and 2 to others: {reason}")
            tries = chunk.tries + bool(reason)
            if chunk.frames and tries < _MOST_TRIES:
                self._returned.append(replace(chunk, tries=tries))
        self._changed()

    def close(self) -> None:
        """The attempt wants no more of it: helpers stop after their frame."""
        self._open = False

    def progress(self) -> tuple[str, int]:
        """The stage the key frames are in together, and how many have passed it."""
        with self._lock:
            stage = "detect" if self._missing["detect"] else "segment"
            return stage, self.total - len(self._missing[stage])

    def order_for(self, helper: str) -> Order:
        """What a helper is told: a folder of its own for links, the attempt's for results.

        Raises:
            OSError: the attempt's folder is gone or full.
        """
        folder = Path(self._order.folder) / "helpers" / part_name(helper)
        folder.mkdir(parents=True, exist_ok=True)
        result = folder / "result"
        if not result.is_symlink():
            result.symlink_to(Path("..", "..", "result"))
        return replace(self._order, folder=str(folder))


def _fair(left: Sequence[int], devices: int) -> int:
    """Frames of a chunk, half of what a device will still have to do."""
    return -(-len(left) // (2 * devices))


def _cut(left: list[int], count: int) -> tuple[int, ...]:
    first = tuple(left[:count])
    del left[:count]
    return first


def part_name(worker: str) -> str:
    """A worker's name as it stands in paths, without characters that mean something there."""
    return re.sub(r"[^\w.-]", "-", worker)
