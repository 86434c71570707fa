"""Who waits for which job: wakes watchers when a job changes, and shares what they read.

Two hundred watchers of one job read it once per change, not two hundred times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from server.jobs.store import Store
from server.service import convert


class Hub:
    """Watchers of one server; lives in its event loop."""

    def __init__(self, store: Store) -> None:
        """Hear of every change that this process makes."""
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._views: dict[str, Any] = {}
        store.listen(self._heard)

    def view(self, job_id: str) -> Any:
        """The job's message; shared while it does not change, not to be altered.

        Raises:
            NotFoundError: there is no such job.
        """
        found = self._views.get(job_id)
        if found is None:
            job = self._store.job(job_id)
            position = self._store.queue_position(job)
            found = convert.job(job, self._store.stages(job_id), queue_position=position)
            if job_id in self._waiting:
                self._views[job_id] = found
        return found

    @contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job changed; the caller clears it."""
        event = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]
                self._views.pop(job_id, None)

    def wake(self, job_id: str | None = None) -> None:
        """A job changed; None: any may have, another process wrote."""
        for changed in [job_id] if job_id else list(self._waiting):
            self._views.pop(changed, None)
            for event in self._waiting.get(changed, ()):
                event.set()

    @property
    def watchers(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def _heard(self, job_id: str) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.wake, job_id)
