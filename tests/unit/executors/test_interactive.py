"""The worker for previews and clicks, seen by who asks."""

from __future__ import annotations

import pytest

from server.executors.engine import Defaults
from server.executors.keeper import JobExecutor, Site
from server.jobs.errors import BusyError
from server.jobs.store import Store


class ScriptedWorker:
    """Answers at once, or not at all."""

    pid = 0

    def __init__(self, listener, *, hangs):
        self.ended = False
        self._listener = listener
        self._hangs = hangs

    def send(self, order):
        if not self._hangs:
            self._listener({"say": "answer", "id": order["id"], "mask": "…"})

    def kill(self):
        self.ended = True
        self._listener({"say": "exit", "reason": "It was ended.", "last_words": ""})

    def end(self):
        pass


class ScriptedExecutor(JobExecutor):
    """Its first worker hangs in one call, the next ones answer."""

    started = 0

    def start_worker(self, name, device, *, listener):
        self.started += 1
        return ScriptedWorker(listener, hangs=self.started == 1)


def test_a_worker_that_hangs_over_a_click_is_replaced_by_the_next_one(tmp_path):
    store = Store(tmp_path / "jobs.sqlite")
    site = Site(
        jobs=tmp_path,
        uploads=tmp_path,
        roots=(),
        closed=(),
        defaults=Defaults("fake", "fake", 1, 1),
        running_per_user=1,
        groups_of=lambda name: (),
        answer_seconds=0.05,
    )
    executor = ScriptedExecutor(store, site)
    with pytest.raises(BusyError, match="did not answer in time"):
        executor.ask({"do": "prompt"})
    assert executor.ask({"do": "prompt"})["mask"] == "…"
    store.close()
