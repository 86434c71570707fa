"""The usual executor: one worker process per device of this machine, fed from the job store.

A *keeper* (a thread of the server) stands beside every worker process. It claims a job, tells its
process to run it, writes what the process says into the store, publishes finished files, and keeps
the lease while the process shows signs of life. The process can die, stop or lie: all that counts
is what the keeper wrote down under its lease.
"""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import ResourceError, ServerError
from server.executors.engine import Defaults
from server.executors.prepare import Order
from server.executors.process import Message, WorkerProcess, WorkerProgram, describe_exit
from server.jobs import errors as job_errors
from server.jobs.errors import BusyError, LeaseLostError
from server.jobs.folders import Attempt, JobFolder, describe_file, frame_file, result_files
from server.jobs.outputs import OutputFolder
from server.jobs.request import JobRequest
from server.jobs.roots import Root, Roots
from server.jobs.store import Failure, Job, Lease, Store, WorkerRow

_log = logging.getLogger("segmatte.executor")
_STARTING_SECONDS = 120.0
_DELIVERING = ("track backward", "deliver")
"""Stages whose reports mean that a frame's matte is finished."""


@dataclass(frozen=True)
class Site:
    """What the executor needs to know of the site."""

    jobs: Path
    uploads: Path
    roots: tuple[Root, ...]
    closed: tuple[str, ...]
    defaults: Defaults
    running_per_user: int
    groups_of: Callable[[str], tuple[str, ...]]
    """User → groups, at the time of asking."""
    output_mode: int = 0o644
    output_group: str = ""
    stop_seconds: float = 120.0
    interactive_idle_seconds: float = 900.0

    def order(self, request: str, *, owner: str, folder: Path, **more: Any) -> Order:
        """What a worker is told."""
        return Order(
            request=request,
            user=owner,
            groups=self.groups_of(owner),
            roots=self.roots,
            closed=self.closed,
            uploads=str(self.uploads),
            folder=str(folder),
            defaults=self.defaults,
            **more,
        )


class LocalExecutor:
    """Worker processes on this machine."""

    def __init__(
        self, store: Store, site: Site, *, program: WorkerProgram, devices: tuple[str, ...]
    ) -> None:
        """Nothing is started yet.

        Args:
            store: where jobs are.
            site: folders, roots and limits.
            program: how workers are started.
            devices: one worker each.
        """
        self.devices = devices
        self._keepers = [
            _Keeper(store, site, program, device, name=f"{device}#{number}")
            for number, device in enumerate(devices)
        ]
        self._interactive = _Interactive(site, program, devices[0])
        self._store = store

    def start(self) -> None:
        """Begin to take jobs."""
        self._store.listen(self._hear)
        for keeper in self._keepers:
            keeper.thread.start()

    def stop(self) -> None:
        """Take no more, let running frames finish, give their jobs back to the queue."""
        for keeper in self._keepers:
            keeper.stop()
        for keeper in self._keepers:
            keeper.thread.join()
        self._interactive.stop()

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Have a preview or click order answered."""
        return self._interactive.ask(order)

    def tidy(self) -> None:
        """End the interactive worker when nobody has used it for a while."""
        self._interactive.tidy()

    def _hear(self, job_id: str) -> None:
        for keeper in self._keepers:
            keeper.poke(job_id)


class _Keeper:
    """Takes jobs for one device, one after the other."""

    def __init__(
        self, store: Store, site: Site, program: WorkerProgram, device: str, *, name: str
    ) -> None:
        self.name = name
        self.thread = threading.Thread(target=self._work, name=f"keeper {name}", daemon=True)
        self._store = store
        self._site = site
        self._program = program
        self._device = device
        self._messages: queue.Queue[Message] = queue.Queue()
        self._stopping = threading.Event()
        self._process: WorkerProcess | None = None
        self._lease: Lease | None = None

    def stop(self) -> None:
        self._stopping.set()
        self._messages.put({"say": "poke"})

    def poke(self, job_id: str) -> None:
        """Something changed: perhaps there is work, or ours was cancelled."""
        if threading.current_thread() is self.thread:
            return  # our own words
        lease = self._lease
        if lease is None or lease.job.id == job_id:
            self._messages.put({"say": "poke"})

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                lease = self._store.claim(self.name, max_running=self._site.running_per_user)
                if lease is None:
                    self._show("idle")
                    self._wait_for_work()
                    continue
                self._lease = lease
                self._show("job", lease.job.id)
                self._carry_out(lease)
            except LeaseLostError as error:
                _log.warning("%s: %s", self.name, error)
                self._end_process()
            except Exception:  # the keeper must outlive whatever happens to one job
                _log.exception("%s failed", self.name)
                self._end_process()
                time.sleep(1)
            finally:
                self._lease = None
        self._end_process()
        self._show("stopped")

    def _wait_for_work(self) -> None:
        """Until something changes; look again now and then, for changes of other processes."""
        with contextlib.suppress(queue.Empty):
            while (message := self._messages.get(timeout=1.0))["say"] != "poke":
                if message["say"] == "exit":
                    self._process = None

    def _carry_out(self, lease: Lease) -> None:
        run = _Run(self._store, self._site, lease)
        try:
            order = run.prepare()
        except ServerError as error:
            run.fail(error)
            return
        process = self._ready_process()
        process.send({"do": "run", "order": order.to_data()})
        self._follow(run, process)

    def _follow(self, run: _Run, process: WorkerProcess) -> None:
        """Write down what the process says, until the job has ended one way or another."""
        heard = self._now()
        stop_asked: float | None = None
        while True:
            try:
                message = self._messages.get(timeout=min(1.0, self._store.lease_seconds / 4))
            except queue.Empty:
                message = {"say": "silence"}
            say = message["say"]
            if say == "exit":
                self._process = None
                words = f" Last words: {process.last_words}" if process.last_words else ""
                run.lost(describe_exit(message["code"]) + words)
                return
            if say not in ("poke", "silence"):
                heard = self._now()
            if self._now() - heard > self._store.lease_seconds:
                self._end_process(kill=True)
                run.lost("The worker process fell silent.")
                return
            try:
                ended, cancel = run.take(message)
            except ServerError as error:
                if isinstance(error, LeaseLostError):
                    raise
                self._end_process()
                run.fail(error)
                return
            if ended:
                return
            if stop_asked is None and (cancel or self._stopping.is_set()):
                process.send({"do": "cancel"})
                run.given_back = not cancel
                stop_asked = self._now()
            if stop_asked is not None and self._now() - stop_asked > self._site.stop_seconds:
                self._end_process(kill=True)
                run.stopped()
                return

    def _ready_process(self) -> WorkerProcess:
        if self._process is None:
            self._messages = queue.Queue()
            self._show("starting")
            messages = self._messages
            self._process = WorkerProcess(
                self._program, self._device, name=self.name, listener=messages.put
            )
            if self._lease:
                self._show("job", self._lease.job.id)
        return self._process

    def _end_process(self, *, kill: bool = False) -> None:
        if self._process is not None:
            if kill:
                self._process.kill()
            self._process.end()
            self._process = None

    def _show(self, state: str, job: str = "") -> None:
        pid = self._process.pid if self._process else 0
        self._store.set_worker(WorkerRow(self.name, self._device, state, job, pid))

    def _now(self) -> float:
        return time.monotonic()


class _Run:
    """One attempt at one job: its folder, and its words written into the store."""

    def __init__(self, store: Store, site: Site, lease: Lease) -> None:
        self._store = store
        self._site = site
        self._lease = lease
        self._folder = JobFolder(site.jobs, lease.job.id)
        self._attempt: Attempt = self._folder.attempt(lease.attempt)
        self._published = {file.name for file in store.files(lease.job.id)}
        self.given_back = False
        """The worker is stopping: the job goes back to the queue instead of being cancelled."""

    def prepare(self) -> Order:
        """Make the attempt's folder.

        Raises:
            ServerError: the disk is full, or a job it builds on is gone.
        """
        job = self._lease.job
        request = JobRequest.from_json(job.request)
        source = self._folder.last_attempt(before=self._lease.attempt)
        if job.fresh:
            self._folder.clear_results()
            source = None
        if request.is_correction:  # short: always from the finished shot
            source = self._source_of_correction(job)
        self._attempt = self._folder.start(self._lease.attempt, source=source)
        self._store.begin(self._lease)
        reference = ""
        if request.reference_job:
            reference = str(self._earlier(request.reference_job).result)
        return self._site.order(
            job.request, owner=job.owner, folder=self._attempt.folder, reference=reference
        )

    def take(self, message: Message) -> tuple[bool, bool]:
        """Write down one message of the worker.

        Returns:
            Whether the job has ended, and whether somebody asked it to stop.
        """
        say, cancel = message["say"], False
        if say == "progress":
            cancel = self._progress(message)
        elif say == "warning":
            self._store.tell(self._lease, "warning", message["text"])
        elif say == "done":
            self._finish(message["note"])
            return True, False
        elif say == "error":
            if message["kind"] == "CancelledError":
                self.stopped()
            else:
                self._store.fail(
                    self._lease,
                    Failure(
                        message["kind"],
                        message["message"],
                        bool(message["retryable"]),
                        message["frame"],
                    ),
                )
            return True, False
        elif say != "silence":
            cancel = self._store.renew(self._lease)
        return False, cancel

    def stopped(self) -> None:
        """It stopped because it was asked to."""
        if self.given_back:
            self._store.release(self._lease)
        else:
            self._store.stop(self._lease)

    def lost(self, reason: str) -> None:
        self._store.lost(self._lease, reason)

    def fail(self, error: ServerError) -> None:
        kind = type(error).__name__.rstrip("_")
        self._store.fail(self._lease, Failure(kind, str(error), isinstance(error, ResourceError)))

    def _progress(self, message: Message) -> bool:
        stage, total = message["stage"], message["total"]
        if stage.startswith("track"):
            self._store.note_frames(self._lease, total)
        if message["frame"] is not None and stage in _DELIVERING:
            self._publish_frame(message["frame"])
        return self._store.report(
            self._lease,
            stage=stage,
            done=message["done"],
            total=total,
            unit=message["unit"],
            message=message["message"],
        )

    def _publish_frame(self, frame: int) -> None:
        name = frame_file(self._attempt, frame)
        if name is None or name in self._published:
            return
        files = [describe_file(self._attempt, name)]
        self._store.publish(
            self._lease, files, place=lambda: self._folder.place(self._attempt, files)
        )
        self._published.add(name)

    def _finish(self, note: str) -> None:
        files = [describe_file(self._attempt, name) for name in result_files(self._attempt)]
        request = JobRequest.from_json(self._lease.job.request)
        if request.output_folder:
            self._write_out(request, [file.name for file in files])
        self._store.finish(
            self._lease,
            files,
            place=lambda: self._folder.place(self._attempt, files),
            note=note,
        )

    def _write_out(self, request: JobRequest, names: list[str]) -> None:
        """Also write the result where the user asked for it."""
        owner = self._lease.job.owner
        roots = Roots(
            self._site.roots,
            user=owner,
            groups=self._site.groups_of(owner),
            access="write",
            closed=[Path(path) for path in self._site.closed],
        )
        group = grp.getgrnam(self._site.output_group).gr_gid if self._site.output_group else None
        with OutputFolder(
            roots, request.output_folder, mode=self._site.output_mode, group=group
        ) as output:
            for name in names:
                output.write(name, self._attempt.result / name)

    def _source_of_correction(self, job: Job) -> Attempt:
        attempt = self._earlier(job.source).last_attempt()
        if attempt is None:
            raise job_errors.NotFoundError(
                f"The work files of job {job.source} are gone, so it cannot be corrected. Run the "
                "shot again."
            )
        return attempt

    def _earlier(self, job_id: str) -> JobFolder:
        """Files of a finished job; whose it is was checked when this one was submitted."""
        if self._store.job(job_id).state != "done":
            raise job_errors.StateError(f"Job {job_id} is not done, so nothing can follow it.")
        return JobFolder(self._site.jobs, job_id)


class _Interactive:
    """The worker for previews and clicks: started when first asked, ended when idle."""

    def __init__(self, site: Site, program: WorkerProgram, device: str) -> None:
        self._site = site
        self._program = program
        self._device = device
        self._guard = threading.Lock()
        self._process: WorkerProcess | None = None
        self._waiting: dict[int, queue.Queue[Message]] = {}
        self._next = 0
        self._used = time.monotonic()

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        answers: queue.Queue[Message] = queue.Queue()
        with self._guard:
            self._next += 1
            number = self._next
            self._waiting[number] = answers
            self._used = time.monotonic()
            if self._process is None:
                generation = number
                self._process = WorkerProcess(
                    self._program,
                    self._device,
                    name="interactive",
                    listener=lambda message: self._hear(message, generation),
                )
                self._generation = generation
            self._process.send({**order, "id": number})
        try:
            message = answers.get(timeout=_STARTING_SECONDS)
        except queue.Empty:
            raise BusyError(
                "The server did not answer in time. It may be loading models: try again."
            ) from None
        finally:
            self._waiting.pop(number, None)
        if message["say"] == "exit":
            raise BusyError(f"{describe_exit(message['code'])} Try again; sessions are lost.")
        if message["say"] == "error":
            raise raised(message)
        return message

    def stop(self) -> None:
        with self._guard:
            process, self._process = self._process, None
        if process is not None:
            process.end()

    def tidy(self) -> None:
        idle = time.monotonic() - self._used
        if not self._waiting and idle > self._site.interactive_idle_seconds:
            self.stop()

    def _hear(self, message: Message, generation: int) -> None:
        if message["say"] == "exit":
            with self._guard:
                if self._process is not None and self._generation == generation:
                    self._process = None
                waiting = list(self._waiting.values())
            for answers in waiting:
                answers.put(message)
        elif (number := message.get("id")) in self._waiting:
            self._waiting[number].put(message)


def raised(message: Mapping[str, Any]) -> ServerError:
    """The error a worker reported, to be raised again here."""
    from server import errors

    name = message["kind"]
    kind = getattr(errors, name, None) or getattr(job_errors, name, None)
    kind = kind or getattr(job_errors, f"{name}_", None) or ServerError
    error: ServerError = kind(message["message"])
    return error


def find_devices() -> tuple[str, ...]:
    """Every GPU of this machine, else the CPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([item for item in visible.split(",") if item.strip() not in ("", "-1")])
    else:
        try:
            count = len([p for p in Path("/proc/driver/nvidia/gpus").iterdir() if p.is_dir()])
        except OSError:
            count = 0
    return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)
