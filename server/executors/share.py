"""Stages 1 and 2 of one shot, spread over devices: who does which key frames.

A key frame's result depends on nothing but the plate, so any worker can do any of them, twice or
in any order: each is a file, written whole, with the same bytes whoever made it. Nothing of this
is kept; what a killed server or worker leaves behind is the files, and the next attempt goes on
from them. Stage 3 is a chain of frames and stays on one device.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from server.executors.prepare import Order

_MOST_FRAMES = 16
"""Of one chunk: a job that comes in waits no longer than this for a helping device."""
_MOST_TRIES = 2
"""A chunk that lost this many workers is left to the job itself, whose crashes are counted."""


@dataclass(frozen=True)
class Chunk:
    """Key frames for one worker."""

    frames: tuple[int, ...]
    tries: int = 0


class Share:
    """The key frames of one running job that still have to be done. Safe to use from all threads.

    Chunks start large, so that a plate is read ahead, and shrink towards the end, so that no device
    waits long for the last one.
    """

    def __init__(
        self,
        order: Order,
        *,
        owner: str,
        frames: Sequence[int],
        total: int,
        batch: int,
        devices: int,
        changed: Callable[[], None],
    ) -> None:
        """Offer the key frames.

        Args:
            order: of the job's attempt.
            owner: worker of the attempt.
            frames: key frames not done yet.
            total: key frames of the shot.
            batch: frames a detector takes at once; chunks are multiples of it.
            devices: how many may take part.
            changed: called, in any thread, when the owner has something to look at.
        """
        self.total = total
        self.helpers: set[str] = set()
        """Workers that have had a chunk, beside the owner."""
        self.remarks: list[str] = []
        """What went wrong with helpers, for the job's log."""
        self._order = order
        self._owner = owner
        self._left = list(frames)
        self._returned: list[Chunk] = []
        self._batch = batch
        self._devices = devices
        self._changed = changed
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._refused: set[str] = set()
        self._open = True
        self._done = Counter(detect=total - len(frames), segment=total - len(frames))

    @property
    def is_open(self) -> bool:
        """Whether the attempt still wants it done."""
        return self._open

    @property
    def is_helped(self) -> bool:
        """Whether another worker is at a chunk now."""
        with self._lock:
            return bool(self._busy - {self._owner})

    def take(self, worker: str) -> Chunk | None:
        """Key frames for a worker, or None if there are none for it."""
        with self._lock:
            if not self._open or worker in self._refused:
                return None
            if self._returned:
                chunk = self._returned.pop()
            elif self._left:
                fair = -(-len(self._left) // (2 * self._devices))
                batches = max(1, min(fair, _MOST_FRAMES) // self._batch)
                size = batches * self._batch
                chunk = Chunk(tuple(self._left[:size]))
                del self._left[:size]
            else:
                return None
            self._busy.add(worker)
            if worker != self._owner:
                self.helpers.add(worker)
            return chunk

    def note(self, stage: str) -> None:
        """A stage of one key frame is on disk."""
        with self._lock:
            self._done[stage] = min(self._done[stage] + 1, self.total)
        self._changed()

    def done(self, worker: str) -> None:
        """A worker has finished its chunk."""
        with self._lock:
            self._busy.discard(worker)
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
            if tries < _MOST_TRIES:
                self._returned.append(replace(chunk, tries=tries))
        self._changed()

    def close(self) -> None:
        """The attempt wants no more of it: helpers stop after their frame."""
        self._open = False

    def progress(self) -> tuple[str, int]:
        """The stage the key frames are in together, and how many have passed it."""
        with self._lock:
            stage = "detect" if self._done["detect"] < self.total else "segment"
            return stage, self._done[stage]

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


def part_name(worker: str) -> str:
    """A worker's name as it stands in paths, without characters that mean something there."""
    return re.sub(r"[^\w.-]", "-", worker)
