"""What keepers write down, also when it cannot be written at once."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from server.errors import ResourceError
from server.executors.engine import Defaults
from server.executors.keeper import JobExecutor, Site
from server.jobs.request import JobRequest
from server.jobs.store import NewJob, Store


class FillableStore(Store):
    """A store whose disk can be full."""

    full = False

    @contextmanager
    def _write(self, *jobs):
        if self.full:
            raise ResourceError("The job store cannot be written: disk is full.")
        with super()._write(*jobs) as db:
            yield db


class FillingWorker:
    """The disk is full as soon as its work begins."""

    pid = 1
    ended = False

    def __init__(self, store, listener, gave_up):
        self._store = store
        self._listener = listener
        self.end = gave_up.set

    def send(self, order):
        if order["do"] == "run":
            self._store.full = True
            self._listener(
                {"say": "progress", "stage": "detect", "done": 0, "total": 1, "unit": "frame",
                 "frame": None, "message": ""}
            )  # fmt: skip

    def kill(self):
        pass


class FillingExecutor(JobExecutor):
    """Its workers fill the disk."""

    def __init__(self, store, site):
        super().__init__(store, site)
        self.gave_up = threading.Event()

    def start_worker(self, name, device, *, listener):
        return FillingWorker(self.store, listener, self.gave_up)


@pytest.fixture
def executor(tmp_path):
    store = FillableStore(tmp_path / "jobs.sqlite", lease_seconds=0.2)
    site = Site(
        jobs=tmp_path,
        uploads=tmp_path,
        roots=(),
        closed=(),
        defaults=Defaults("fake", "fake", 1, 1),
        running_per_user=1,
        groups_of=lambda name: (),
    )
    executor = FillingExecutor(store, site)
    executor.add_keeper("cpu#0", "cpu")
    yield executor
    store.full = False
    store.close()


def test_a_device_is_shown_as_idle_from_the_start(executor):
    executor.start()
    shown = executor.store.workers()
    executor.stop()
    assert [(row.name, row.state) for row in shown] == [("cpu#0", "idle")]


def test_when_the_store_is_full_the_jobs_log_says_so_and_not_that_its_worker_fell_silent(executor):
    store = executor.store
    request = JobRequest(plate="/plate.####.png", prompt="person").to_json()
    job = store.submit(NewJob("someone", "shot", request, {}))
    executor.start()
    assert executor.gave_up.wait(30)
    executor.stop()
    with pytest.raises(ResourceError, match="disk is full"):
        executor.tidy()
    threading.Event().wait(store.lease_seconds)
    store.full = False
    executor.tidy()
    assert store.reap() == []
    assert store.job(job.id).state == "queued"
    warnings = [event.text for event in store.events(job.id) if event.kind == "warning"]
    assert warnings == ["The job store cannot be written: disk is full."]
