"""``python -m tests.benchmarks.scaling --json``: what many devices bring, and what carries them.

Model time is simulated: a sleep needs no core, so eight or a hundred devices fit on any machine and
what is measured is everything but the models. The store, the keepers, the handing out and, up to
eight devices, the worker processes are the real ones.

What a machine with few cores, shared with other programs, takes away is told apart: how long the
workers were ready to run and had no core, and how long a disk took to sync.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.executors.chunks import SharingEngine
from server.executors.engine import Defaults
from server.executors.keeper import JobExecutor, Site
from server.executors.local import LocalExecutor
from server.executors.process import WorkerProgram
from server.frames import FrameRange
from server.jobs.request import JobRequest, ShotChoices
from server.jobs.roots import Root
from server.jobs.store import Job, NewJob, Store
from server.progress import Progress
from tests.benchmarks.measure import Part, Size, Table, main
from tests.flat_plates import write_flat_plate

TITLE = "Many devices"
GOAL = 0.85
KEY_FRAME_SECONDS = 1.0
FRAME_SECONDS = 0.2
SHOTS, SHOT_FRAMES = 32, 10
QUEUED, MANY, USERS = 10_000, 100, 50


@dataclass(frozen=True)
class Took:
    """How long several devices needed."""

    devices: int
    seconds: float
    no_core: float
    """Seconds that their workers, added up, were ready to run and waited for a core."""

    def efficiency(self, work: float) -> float:
        """Simulated model time ÷ what the devices had."""
        return work / (self.devices * self.seconds)

    def with_cores(self, work: float) -> float:
        """The same, had every worker had a core."""
        return work / (self.devices * self.seconds - self.no_core)


class SlowKeyFrames(SharingEngine):
    """The real pipeline with the fakes; every key frame takes a simulated while."""

    def __init__(self, device: str) -> None:
        super().__init__("cpu")

    def open_shared(self, work: Any, *, part: str) -> Any:
        """As the pipeline's, slower."""
        shot = super().open_shared(work, part=part)
        do = shot.do

        def slowly(frames: Any, *, report: Any, **more: Any) -> None:
            def rest(progress: Progress) -> None:
                if progress.frame is not None:
                    time.sleep(KEY_FRAME_SECONDS / 2)
                report(progress)

            do(frames, report=rest, **more)

        shot.do = slowly  # type: ignore[method-assign]
        return shot


class SleepingShots:
    """Instead of a pipeline: sleeps, and leaves a small file per frame."""

    def __init__(self, device: str) -> None:
        del device

    def run(self, work: Any, *, report: Any, cancellation: Any, warn: Any) -> str:
        """A whole shot."""
        del warn
        for progress in simulated_shot(work.result, frames=SHOT_FRAMES, seconds=FRAME_SECONDS):
            report(progress)
            cancellation.raise_if_cancelled()
        return ""


def simulated_shot(result: Path, *, frames: int, seconds: float) -> Iterator[Progress]:
    """What a shot reports, with its files."""
    (result / "objectid").mkdir(parents=True, exist_ok=True)
    yield Progress("track backward", 0, frames)
    for done in range(1, frames + 1):
        time.sleep(seconds)
        (result / "objectid" / f"shot.{done:04d}.exr").write_bytes(bytes(1000))
        yield Progress("track backward", done, frames, frame=done)


class Alone(LocalExecutor):
    """One device that shares with itself, so that it does the same as several do."""

    def spare(self) -> int:
        """Never none."""
        return max(1, super().spare())


class Simulated(JobExecutor):
    """Devices that are threads of this process."""

    def __init__(self, store: Store, site: Site, *, devices: int, seconds: float) -> None:
        super().__init__(store, site)
        self.seconds = seconds
        for number in range(devices):
            self.add_keeper(f"simulated#{number}", "simulated")

    def start_worker(self, name: str, device: str, *, listener: Any) -> SimulatedWorker:
        """A thread."""
        del name, device
        return SimulatedWorker(listener, self.seconds)


class SimulatedWorker:
    """Runs shots as ``SleepingShots`` does, without a process."""

    pid = 0
    ended = False

    def __init__(self, listener: Any, seconds: float) -> None:
        self._say = listener
        self._seconds = seconds

    def send(self, order: Any) -> None:
        """Run a shot; all else is ignored."""
        if order["do"] == "run":
            threading.Thread(target=self._run, args=(order["order"],), daemon=True).start()

    def _run(self, order: Any) -> None:
        result = Path(order["folder"]) / "result"
        for progress in simulated_shot(result, frames=SHOT_FRAMES, seconds=self._seconds):
            self._say({"say": "progress", **progress.__dict__})
        self._say({"say": "done", "note": ""})

    def kill(self) -> None:
        """Nothing to end."""

    def end(self) -> None:
        """Nothing to end."""


def site_of(folder: Path, *, running_per_user: int = 1000) -> Site:
    """A site below a folder."""
    for name in ("jobs", "jobs/.scratch", "uploads"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Site(
        jobs=folder / "jobs",
        uploads=folder / "uploads",
        roots=(Root("/"),),
        closed=(),
        defaults=Defaults("fake", "fake", 1 << 26, 10_000),
        running_per_user=running_per_user,
        groups_of=lambda name: (),
    )


@contextmanager
def local(folder: Path, engine: type, devices: int) -> Iterator[tuple[Store, LocalExecutor]]:
    """Worker processes of an engine."""
    store, site = Store(folder / "jobs.sqlite"), site_of(folder)
    program = WorkerProgram(
        engine=f"tests.benchmarks.scaling:{engine.__name__}",
        scratch=folder / "jobs" / ".scratch",
        sandbox=False,
    )
    kind = Alone if devices == 1 else LocalExecutor
    executor = kind(store, site, program=program, devices=("cpu",) * devices)
    executor.start()
    try:
        yield store, executor
    finally:
        executor.stop()
        store.close()


def submit(store: Store, request: str, *, owner: str = "benchmark") -> Job:
    """Queue a shot."""
    return store.submit(NewJob(owner, "shot", request, {}))


def until_ended(store: Store, jobs: Sequence[Job]) -> None:
    """Wait until all have ended well."""
    for job in jobs:
        while not (now := store.job(job.id)).ended:
            time.sleep(0.05)
        if now.state != "done":
            raise RuntimeError(f"job {job.id} ended {now.state}: {now.error or now.note}")


def waits_for_cores(store: Store) -> float:
    """Seconds that the main threads of all workers have waited for a core until now."""
    rows = [Path(f"/proc/{worker.pid}/schedstat") for worker in store.workers() if worker.pid]
    return sum(int(row.read_text().split()[1]) for row in rows if row.exists()) / 1e9


def time_of(store: Store, job: Job, text: str) -> float | None:
    """When an event happened."""
    return next((event.time for event in store.events(job.id) if event.text == text), None)


def one_shot(devices: int, *, key_frames: int) -> Took:
    """Stages 1 and 2 of one shot."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plate = write_flat_plate(folder / "plate", frames=key_frames, size=(36, 64))
        choices = ShotChoices(step=1, interval=1)
        request = JobRequest(plate=str(plate), prompt="person, car", choices=choices).to_json()
        with local(folder, SlowKeyFrames, devices) as (store, _):
            # The first, short one warms up: it starts the processes.
            short = JobRequest(
                plate=str(plate),
                prompt="person, car",
                choices=choices,
                frame_range=FrameRange(1001, 1000 + 4 * devices),
            )
            until_ended(store, [submit(store, short.to_json())])
            waited = waits_for_cores(store)
            job = submit(store, request)
            finished = _end_of_stage_2(store, job)
            waited = waits_for_cores(store) - waited
            until_ended(store, [job])
        begun = time_of(store, job, "running")
        return Took(devices, finished - (begun or 0.0), waited)


def _end_of_stage_2(store: Store, job: Job) -> float:
    """When the masks of all key frames are there, seconds since 1970."""
    while True:
        now = time.time()
        if any(row.name == "segment" and row.done == row.total for row in store.stages(job.id)):
            return now
        time.sleep(0.05)


def many_shots(devices: int) -> Took:
    """Until all queued shots are done."""
    with tempfile.TemporaryDirectory() as name:
        request = JobRequest(plate=_small_plate(Path(name)), prompt="person").to_json()
        with local(Path(name), SleepingShots, devices) as (store, _):
            until_ended(store, [submit(store, request) for _ in range(devices)])
            begun, waited = time.perf_counter(), waits_for_cores(store)
            until_ended(store, [submit(store, request) for _ in range(SHOTS)])
            waited = waits_for_cores(store) - waited
            return Took(devices, time.perf_counter() - begun, waited)


def queue(folder: Path) -> float:
    """Make a store of waiting jobs; returns how many a second could be taken in."""
    store = Store(folder / "jobs.sqlite")
    request = JobRequest(plate=_small_plate(folder), prompt="person").to_json()
    begun = time.perf_counter()
    for _ in range(QUEUED):
        submit(store, request)
    took = time.perf_counter() - begun
    store.close()
    return QUEUED / took


def scheduler(
    queued: Path, frame_seconds: float, *, seconds: float, users: int, limit: int
) -> dict[str, float]:
    """What a hundred devices get out of ten thousand waiting jobs in a while.

    Args:
        queued: folder that ``queue`` filled.
        frame_seconds: simulated model time.
        seconds: how long to watch.
        users: who own the jobs in turn.
        limit: jobs of one user that may run at a time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            closing(sqlite3.connect(queued / "jobs.sqlite")) as source,
            closing(sqlite3.connect(folder / "jobs.sqlite")) as copy,
        ):
            source.backup(copy)
            copy.execute("UPDATE job SET owner='user ' || (number % ?)", (users,))
            copy.commit()
        store, site = Store(folder / "jobs.sqlite"), site_of(folder, running_per_user=limit)
        executor = Simulated(store, site, devices=MANY, seconds=frame_seconds)
        begun, cpu = time.perf_counter(), time.process_time()
        executor.start()
        syncs = []
        while time.perf_counter() < begun + seconds:
            time.sleep(1)
            syncs.append(_sync(folder / "probe"))
        counts, frames = store.counts(), _frames(store)
        took, used = time.perf_counter() - begun, time.process_time() - cpu
        executor.stop()
        store.close()
    devices = min(MANY, users * limit)
    return {
        "devices": devices,
        "jobs_done": counts.get("done", 0),
        "jobs_per_second": counts.get("done", 0) / took,
        "frames_per_second": frames / took,
        "busy": frames * frame_seconds / (devices * took),
        "cores_used": used / took,
        "cpu_ms_per_frame": 1000 * used / max(1, frames),
        "sync_ms": 1000 * sum(syncs) / len(syncs),
    }


def _sync(path: Path) -> float:
    """Seconds that this disk needs to make a small file last, now."""
    begun = time.perf_counter()
    with path.open("wb") as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - begun


def _frames(store: Store) -> int:
    return sum(job.frames_done for job in store.jobs(states=["running", "done"], limit=QUEUED))


def _small_plate(folder: Path) -> str:
    return str(write_flat_plate(folder / "plate", frames=1, size=(36, 64)))


def run(size: Size) -> Part:
    """Measure all of it."""
    quick = size == "quick"
    counts = (1, 2) if quick else (1, 2, 4, 8)
    key_frames = 16 if quick else 128
    seconds = 5.0 if quick else 40.0
    shared = {n: one_shot(n, key_frames=key_frames) for n in counts}
    queued = {n: many_shots(n) for n in counts}
    work = key_frames * KEY_FRAME_SECONDS
    shots_work = SHOTS * SHOT_FRAMES * FRAME_SECONDS
    rows = tuple((n, *_cells(shared[n], work), *_cells(queued[n], shots_work)) for n in counts)
    with tempfile.TemporaryDirectory() as name:
        taken_in = queue(Path(name))
        loads = {
            "models take no time": scheduler(Path(name), 0, seconds=seconds, users=USERS, limit=4),
            "1 s a frame": scheduler(Path(name), 1, seconds=seconds, users=USERS, limit=4),
            "one user, 4 at a time": scheduler(Path(name), 0.1, seconds=seconds, users=1, limit=4),
        }
    last = counts[-1]
    reached = [shared[last].efficiency(work), queued[last].efficiency(shots_work)]
    cores = [shared[last].with_cores(work), queued[last].with_cores(shots_work)]
    busy = loads["1 s a frame"]
    return Part(
        title=TITLE,
        summary=(
            f"Efficiency on {last} devices, goal {GOAL:.0%}: {_judged(reached[0])} on stages 1 and "
            f"2 of one shot, {_judged(reached[1])} on {SHOTS} queued shots. Without the time that "
            "workers waited for one of this machine's cores, which other programs had: "
            f"{_judged(cores[0])} and {_judged(cores[1])}.",
            f"{QUEUED} queued jobs on {MANY} simulated devices: "
            f"{loads['models take no time']['jobs_per_second']:.0f} jobs of {SHOT_FRAMES} frames "
            "a second if models took no time; at one second a frame devices are busy "
            f"{busy['busy']:.0%} of the time, for {busy['cpu_ms_per_frame']:.1f} CPU "
            f"milliseconds a frame, while a sync of the disk took {busy['sync_ms']:.0f} ms.",
            "Model time is simulated, by sleeping; no GPU and no second machine took part.",
        ),
        tables=(
            Table(
                "Devices",
                (
                    *("devices", "one shot, s", "efficiency", "with cores"),
                    *(f"{SHOTS} shots, s", "efficiency", "with cores"),
                ),
                rows,
                (
                    f"One shot: stages 1 and 2 of {key_frames} key frames, "
                    f"{KEY_FRAME_SECONDS} s each, in whole detector batches, the last ones stage "
                    "by stage. Queued: "
                    f"{SHOT_FRAMES} frames of {FRAME_SECONDS} s each. Efficiency is simulated "
                    "model time ÷ (devices × seconds), so one device shows the overhead alone. "
                    "With cores: the same, less the time that the main threads of the workers were "
                    "ready to run and had no core, which other programs on the machine had.",
                ),
            ),
            Table(
                f"{QUEUED} queued jobs",
                (
                    *("load", "devices", "jobs / s", "frames / s", "busy"),
                    *("cores used", "CPU ms / frame", "a sync, ms"),
                ),
                tuple(
                    (
                        name,
                        load["devices"],
                        round(load["jobs_per_second"], 1),
                        round(load["frames_per_second"], 1),
                        f"{load['busy']:.0%}" if load["busy"] else "–",
                        round(load["cores_used"], 2),
                        round(load["cpu_ms_per_frame"], 1),
                        round(load["sync_ms"], 1),
                    )
                    for name, load in loads.items()
                ),
                (
                    "Each frame is hashed and published, and counts once it is synced; writers "
                    "that meet share a sync. Threads of one process stand for the devices, so they "
                    "share its core. A sync: of a small file on the same disk, meanwhile.",
                ),
            ),
        ),
        values={
            "one_shot_seconds": {n: took.seconds for n, took in shared.items()},
            "queued_shots_seconds": {n: took.seconds for n, took in queued.items()},
            "jobs_queued_per_second": taken_in,
            "scheduler": loads,
        },
    )


def _judged(efficiency: float) -> str:
    return f"{efficiency:.0%} ({'met' if efficiency >= GOAL else 'missed'})"


def _cells(took: Took, work: float) -> tuple[str | float, ...]:
    return (
        round(took.seconds, 2),
        f"{took.efficiency(work):.0%}",
        f"{took.with_cores(work):.0%}",
    )


if __name__ == "__main__":
    main(run, __doc__)
