"""Jobs handed to workers: the part of every executor that does not ask where workers run.

A *keeper* (a thread of the server) stands beside every worker. It is given a job, tells its worker
to run it, writes what the worker says into the store, publishes finished files, and keeps the lease
while the worker shows signs of life. The worker can die, stop, hang or lie: all that counts is what
the keeper wrote down under its lease.

One thread hands out: waiting jobs first, one per device; a device that finds none helps with the
first stages of a running shot (see ``share``).
"""

from __future__ import annotations

import contextlib
import grp
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from server.errors import ResourceError, ServerError
from server.executors.engine import Defaults
from server.executors.interactive import Interactive
from server.executors.prepare import Order
from server.executors.process import Listener, Message, Worker
from server.executors.share import Chunk, Share, part_name
from server.jobs import errors as job_errors
from server.jobs.errors import BusyError, LeaseLostError
from server.jobs.folders import Attempt, JobFolder, describe_file, frame_file, result_files
from server.jobs.outputs import OutputFolder
from server.jobs.request import JobRequest
from server.jobs.roots import Root, Roots
from server.jobs.store import Failure, Job, Lease, Store, WorkerRow

_log = logging.getLogger("segmatte.executor")
INTERACTIVE = "interactive"
"""Name of the worker for previews and clicks."""
_LOOK_SECONDS = 1.0
"""Other processes write to the store, too: look at it this often."""
_PAUSE_SECONDS = 0.01
"""Between two looks, however much is going on."""
_REPORT_SECONDS = 0.25
"""Progress of a stage is written down this often, its beginning and end always: each time is a
synced transaction. Finished mattes are written down one by one."""
_IDLE_SECONDS = 0.25
"""A worker without work for this long is shown as idle."""
_OURS = ("poke", "share", "silence")
"""Messages that no worker has said."""
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
    answer_seconds: float = 120.0
    """A preview or click is answered within this time, loading of models included."""
    hang_seconds: float = 1800.0
    """A worker that lives but gets nothing done for this long is ended."""

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


class JobExecutor(ABC):
    """An executor, but for where its workers run."""

    def __init__(self, store: Store, site: Site) -> None:
        """Nothing is started yet; add keepers.

        Args:
            store: where jobs are.
            site: folders, roots and limits.
        """
        self.store = store
        self.site = site
        self._keepers: list[_Keeper] = []
        self._idle: list[_Keeper] = []
        self._running: dict[str, _Keeper] = {}
        self._shares: list[Share] = []
        self._unsaid: list[tuple[Lease, str]] = []
        self._guard = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._hand_out, name="hand out", daemon=True)
        self._interactive = Interactive(
            self._start_interactive,
            answer_seconds=site.answer_seconds,
            idle_seconds=site.interactive_idle_seconds,
        )

    @abstractmethod
    def start_worker(self, name: str, device: str, *, listener: Listener) -> Worker:
        """Start a worker.

        Args:
            name: of its keeper, or ``INTERACTIVE``.
            device: as models are told.
            listener: hears its messages.

        Raises:
            BusyError: it cannot be started now.
        """

    def is_available(self, name: str) -> bool:
        """Whether a keeper's device can be used now."""
        return True

    def add_keeper(self, name: str, device: str) -> None:
        """One more device."""
        keeper = _Keeper(self, name, device)
        self._keepers.append(keeper)
        if self._thread.is_alive():
            keeper.start()

    @property
    def devices(self) -> tuple[str, ...]:
        """Device of each keeper."""
        return tuple(keeper.device for keeper in self._keepers)

    def start(self) -> None:
        """Begin to take jobs."""
        self.store.listen(self._hear)
        self._thread.start()
        for keeper in self._keepers:
            keeper.start()

    def stop(self) -> None:
        """Take no more, let running frames finish, give their jobs back to the queue."""
        self._stopping.set()
        self._changed.set()
        self._thread.join()
        for keeper in self._keepers:
            keeper.stop()
        for keeper in self._keepers:
            keeper.thread.join()
        self._interactive.stop()
        with contextlib.suppress(ResourceError):
            self._say_unsaid()

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Have a preview or click order answered."""
        return self._interactive.ask(order)

    def tidy(self) -> None:
        """Look after workers; to be called before silent ones are looked for.

        Raises:
            ResourceError: the store cannot be written yet.
        """
        self._interactive.tidy()
        self._say_unsaid()

    # For keepers

    def say_later(self, lease: Lease, reason: str) -> None:
        """The store cannot be written: give the job back, with the reason, once it can."""
        with self._guard:
            self._unsaid.append((lease, reason))

    def is_free(self, keeper: _Keeper, *, job: str = "") -> None:
        """A keeper has nothing to do any more; the last one to come back is the first to go."""
        with self._guard:
            self._running.pop(job, None)
            self._idle.append(keeper)
        self.look()

    def look(self) -> None:
        """There may be something to do for a device that has nothing."""
        self._changed.set()

    def spare(self) -> int:
        """How many devices have nothing to do, and no waiting job to do it."""
        idle = len(self._free_keepers())
        return max(0, idle - self.store.counts().get("queued", 0)) if idle else 0

    @contextlib.contextmanager
    def offered(self, share: Share) -> Iterator[None]:
        """Let idle devices help with a shot meanwhile."""
        with self._guard:
            self._shares.append(share)
        self._changed.set()
        try:
            yield
        finally:
            share.close()
            with self._guard:
                self._shares.remove(share)
            for keeper in self._keepers:
                if keeper.name in share.helpers:
                    keeper.leave()

    def _say_unsaid(self) -> None:
        while self._unsaid:
            lease, reason = self._unsaid[0]
            with contextlib.suppress(LeaseLostError):
                self.store.tell(lease, "warning", reason)
                self.store.release(lease)
            with self._guard:
                self._unsaid.pop(0)

    # Handing out

    def _hear(self, job_id: str) -> None:
        keeper = self._running.get(job_id)
        if keeper is None:
            self._changed.set()
        elif threading.current_thread() is not keeper.thread:
            keeper.poke()

    def _hand_out(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait(_LOOK_SECONDS)
            self._changed.clear()
            try:
                self._hand_out_jobs()
                self._hand_out_chunks()
            except Exception:  # a full disk must not end the care for all jobs
                _log.exception("handing out jobs failed")
                self._stopping.wait(_LOOK_SECONDS)
            self._stopping.wait(_PAUSE_SECONDS)

    def _hand_out_jobs(self) -> None:
        free = self._free_keepers()
        if not free or self._stopping.is_set():
            return
        names = [keeper.name for keeper in free]
        leases = self.store.claim_each(names, max_running=self.site.running_per_user)
        for keeper, lease in zip(free, leases, strict=False):
            self._running[lease.job.id] = keeper
            self._give(keeper, lease)

    def _hand_out_chunks(self) -> None:
        with self._guard:
            shares = list(self._shares)
        for share in shares:
            for keeper in self._free_keepers():
                if chunk := share.take(keeper.name):
                    self._give(keeper, (share, chunk))

    def _free_keepers(self) -> list[_Keeper]:
        """Keepers with nothing to do; only the thread that hands out takes them from the list."""
        with self._guard:
            idle = self._idle[::-1]
        return [keeper for keeper in idle if self.is_available(keeper.name)]

    def _give(self, keeper: _Keeper, order: Lease | tuple[Share, Chunk]) -> None:
        with self._guard:
            self._idle.remove(keeper)
        keeper.give(order)

    def _start_interactive(self, listener: Listener) -> Worker:
        return self.start_worker(INTERACTIVE, next(iter(self.devices), "cpu"), listener=listener)


class _WorkerLostError(Exception):
    """The worker died, fell silent or hung; the message says which."""


class _StopRefusedError(_WorkerLostError):
    """It was asked to stop, did not, and was ended."""


class _Task(Protocol):
    """What a worker is at, from its keeper's side."""

    may_hang: bool
    """Whether a worker that gets nothing done has hung; else it only waits."""
    given_back: bool

    def take(self, message: Message) -> tuple[bool, bool]:
        """Write down one message: whether the task is over, whether it should be stopped."""
        ...


class _Keeper:
    """Stands beside one worker."""

    def __init__(self, executor: JobExecutor, name: str, device: str) -> None:
        self.name = name
        self.device = device
        self.thread = threading.Thread(target=self._work, name=f"keeper {name}", daemon=True)
        self._executor = executor
        self._store = executor.store
        self._site = executor.site
        self._orders: queue.SimpleQueue[Lease | tuple[Share, Chunk] | None] = queue.SimpleQueue()
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._is_working = False
        self._stopping = threading.Event()
        self._process: Worker | None = None
        self._generation = 0
        self._shown = ("", "", 0)

    # From other threads

    def start(self) -> None:
        """Take orders from now on."""
        self._show("idle")
        self.thread.start()

    def give(self, order: Lease | tuple[Share, Chunk]) -> None:
        self._orders.put(order)

    def stop(self) -> None:
        self._stopping.set()
        self.poke()
        self._orders.put(None)

    def poke(self) -> None:
        """Something changed: perhaps our job was cancelled."""
        self._messages.put({"say": "poke"})

    def _look_at_share(self) -> None:
        self._messages.put({"say": "share"})

    def leave(self) -> None:
        """The shot we helped with needs us no more."""
        if (process := self._process) is not None:
            process.send({"do": "leave"})

    def _hear(self, message: Message, generation: int) -> None:
        if self._is_working and generation == self._generation:
            self._messages.put(message)

    # The keeper's own thread

    def _work(self) -> None:
        self._executor.is_free(self)
        while (order := self._next_order()) is not None:
            self._messages = queue.SimpleQueue()
            self._is_working = True
            try:
                if isinstance(order, Lease):
                    self._carry_out(order)
                else:
                    self._help(*order)
            except LeaseLostError as error:
                _log.warning("%s: %s", self.name, error)
                self._end_process()
            except ResourceError as error:
                _log.error("%s: %s", self.name, error)
                self._end_process()
                if isinstance(order, Lease):
                    self._executor.say_later(order, str(error))
            except Exception:  # the keeper must outlive whatever happens to one job
                _log.exception("%s failed", self.name)
                self._end_process()
                self._stopping.wait(1)
            finally:
                self._is_working = False
                job = order.job.id if isinstance(order, Lease) else ""
                self._executor.is_free(self, job=job)
        self._end_process()
        self._show("stopped")

    def _next_order(self) -> Lease | tuple[Share, Chunk] | None:
        try:
            return self._orders.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            self._show("idle")
            return self._orders.get()

    def _carry_out(self, lease: Lease) -> None:
        run = _Run(self._store, self._site, lease)
        try:
            order = run.prepare()
        except ServerError as error:
            run.fail(error)
            return
        try:
            process = self._ready_process()
            self._show("job", lease.job.id)
            self._share_first_stages(run, order, process)
            if not run.is_over:
                self._tell(process, {"do": "run", "order": order.to_data()}, run)
        except _StopRefusedError:
            run.stopped()
        except _WorkerLostError as error:
            run.lost(str(error))
        except LeaseLostError:
            raise
        except ServerError as error:
            self._end_process()
            run.fail(error)

    def _share_first_stages(self, run: _Run, order: Order, process: Worker) -> None:
        """Do stages 1 and 2 together with the devices that have nothing else to do.

        Without any, the worker does them on its own, stage 2 and 3 over the same image features.
        """
        spare = 0 if run.is_correction else self._executor.spare()
        if not spare:
            return
        share = Share(order, owner=self.name, devices=1 + spare, changed=self._look_at_share)
        with self._executor.offered(share):
            plan = self._tell(process, self._shared_order("plan", order, ""), run)
            if run.is_over or len(plan["frames"]) <= plan["batch"]:
                return
            share.begin(plan["frames"], total=plan["total"], batch=plan["batch"])
            run.share = share
            self._executor.look()
            while not run.is_over:
                chunk = share.take(self.name)
                if chunk is None and not share.is_going_on:
                    break
                if chunk is None:
                    self._follow(process, _Waiting(run, share))
                else:
                    told = self._shared_order("chunk", order, "", **chunk.as_data())
                    self._tell(process, told, run)
                    share.done(self.name, chunk)
                    self._executor.look()
        run.share_is_over()

    def _help(self, share: Share, chunk: Chunk) -> None:
        """Do key frames of another keeper's job."""
        task, reason = _Help(share), ""
        try:
            part = part_name(self.name)
            told = self._shared_order("chunk", share.order_for(self.name), part, **chunk.as_data())
            process = self._ready_process()
            self._show("helping")
            self._tell(process, told, task)
            reason = task.reason
        except (_WorkerLostError, ServerError, OSError) as error:
            reason = str(error)
        finally:
            if task.is_done:
                share.done(self.name, chunk)
            else:
                share.back(self.name, chunk, reason=reason)

    def _shared_order(self, do: str, order: Order, part: str, **more: Any) -> dict[str, Any]:
        return {"do": do, "order": order.to_data(), "part": part, **more}

    def _tell(self, process: Worker, order: Mapping[str, Any], task: _Task) -> Message:
        process.send(order)
        return self._follow(process, task)

    def _follow(self, process: Worker, task: _Task) -> Message:
        """Write down what the worker says until its task has ended.

        Returns:
            The last message.

        Raises:
            _WorkerLostError: the worker is gone before that.
        """
        heard = moved = time.monotonic()
        stop_asked: float | None = None
        while True:
            try:
                wait = min(1.0, self._store.lease_seconds / 4)
                message = self._messages.get(timeout=wait)
            except queue.Empty:
                message = {"say": "silence"}
            say, now = message["say"], time.monotonic()
            if say == "exit":
                self._process = None
                words = message["last_words"]
                raise _WorkerLostError(
                    message["reason"] + (f" Last words: {words}" if words else "")
                )
            if say not in _OURS:
                heard = now
                if say != "beat":
                    moved = now
            if now - heard > self._store.lease_seconds:
                self._end_process(kill=True)
                raise _WorkerLostError("The worker process fell silent.")
            if task.may_hang and now - moved > self._site.hang_seconds:
                self._end_process(kill=True)
                raise _WorkerLostError(
                    f"The worker process hung: nothing was finished in "
                    f"{self._site.hang_seconds:g} s, though it lived."
                )
            ended, cancel = task.take(message)
            if ended:
                return message
            if stop_asked is None and (cancel or self._stopping.is_set()):
                process.send({"do": "cancel"})
                task.given_back = not cancel
                stop_asked = now
            if stop_asked is not None and now - stop_asked > self._site.stop_seconds:
                self._end_process(kill=True)
                raise _StopRefusedError("The worker process did not stop when asked to.")

    def _ready_process(self) -> Worker:
        """The worker, started anew when it has ended.

        Raises:
            _WorkerLostError: it cannot be started now.
        """
        if self._process is None or self._process.ended:
            generation = self._generation = self._generation + 1
            try:
                self._process = self._executor.start_worker(
                    self.name,
                    self.device,
                    listener=lambda message: self._hear(message, generation),
                )
            except BusyError as error:
                raise _WorkerLostError(str(error)) from error
        return self._process

    def _end_process(self, *, kill: bool = False) -> None:
        if self._process is not None:
            if kill:
                self._process.kill()
            self._process.end()
            self._process = None

    def _show(self, state: str, job: str = "") -> None:
        shown = (state, job, self._process.pid if self._process else 0)
        if shown != self._shown:
            with contextlib.suppress(ResourceError):  # for people; work does not depend on it
                self._store.set_worker(WorkerRow(self.name, self.device, *shown))
                self._shown = shown


class _Run:
    """One attempt at one job: its folder, and its words written into the store."""

    def __init__(self, store: Store, site: Site, lease: Lease) -> None:
        self._store = store
        self._site = site
        self._lease = lease
        self._folder = JobFolder(site.jobs, lease.job.id)
        self._attempt: Attempt = self._folder.attempt(lease.attempt)
        self._published = {file.name for file in store.files(lease.job.id)}
        self._renewed = time.monotonic()
        self._shared_all = False
        self._frames = 0
        self._reported = ("", 0.0)
        self.may_hang = True
        self.given_back = False
        """The worker is stopping: the job goes back to the queue instead of being cancelled."""
        self.is_over = False
        """The job has ended, one way or another."""
        self.share: Share | None = None
        """Key frames that several devices are at."""

    @property
    def is_correction(self) -> bool:
        """Whether it follows a finished shot instead of starting one."""
        return self._lease.job.kind == "correction"

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
            Whether the worker has done what it was told, and whether somebody asked it to stop.
        """
        say, cancel = message["say"], False
        if say == "progress":
            cancel = self._progress(message)
        elif say == "key frame" and self.share is not None:
            self.share.note(message["stage"], message["frame"])
            cancel = self._report_share(self.share)
        elif say in ("planned", "shared"):
            return True, False
        elif say == "warning":
            self._store.tell(self._lease, "warning", message["text"])
        elif say == "done":
            self._finish(message["note"])
            self.is_over = True
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
            self.is_over = True
            return True, False
        elif say == "share" and self.share is not None:
            cancel = self._report_share(self.share)
        elif say == "poke" or (say == "beat" and (self._is_lease_used or self._is_disturbed())):
            cancel = self._store.renew(self._lease)
            self._renewed = time.monotonic()
        return False, cancel

    @property
    def _is_lease_used(self) -> bool:
        return time.monotonic() - self._renewed > self._store.lease_seconds / 4

    def _is_disturbed(self) -> bool:
        """Whether somebody else, perhaps another process, has changed the job; only reads."""
        job = self._store.job(self._lease.job.id)
        return job.cancel_requested or (job.state, job.attempt) != ("running", self._lease.attempt)

    def share_is_over(self) -> None:
        """The rest of the shot is this worker's alone."""
        if self.share is not None and not self.is_over:
            self._report_share(self.share)
            self._shared_all = self.share.progress() == ("segment", self.share.total)
        self.share = None

    def _report_share(self, share: Share) -> bool:
        while share.remarks:
            self._store.tell(self._lease, "log", share.remarks.pop(0))
        stage, done = share.progress()
        if stage == "segment" and self._reported[0] != "segment":  # every key frame has its boxes
            self._report("detect", share.total, share.total)
        return self._report(stage, done, share.total)

    def _report(self, stage: str, done: int, total: int, **more: str) -> bool:
        """Write down progress, but not all too often; whether the job should stop."""
        now = time.monotonic()
        is_between = stage == self._reported[0] and done < total
        if is_between and now - self._reported[1] < _REPORT_SECONDS:
            return False  # a request to stop comes as a poke, too
        self._reported = (stage, now)
        self._renewed = now
        return self._store.report(self._lease, stage=stage, done=done, total=total, **more)

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
        if stage == "detect" and self._shared_all:
            return self._store.renew(self._lease)  # told already
        if stage.startswith("track") and total > self._frames:
            self._frames = total
            self._store.note_frames(self._lease, total)
        if message["frame"] is not None and stage in _DELIVERING:
            self._publish_frame(message["frame"])
        return self._report(
            stage, message["done"], total, unit=message["unit"], message=message["message"]
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


class _Waiting:
    """Our worker has nothing left to do of a shot that others still help with."""

    def __init__(self, run: _Run, share: Share) -> None:
        self._run = run
        self._share = share
        self.may_hang = False
        self.given_back = False

    def take(self, message: Message) -> tuple[bool, bool]:
        _, cancel = self._run.take(message)
        if cancel:
            self._share.close()
        return not self._share.must_wait or cancel, False


class _Help:
    """Key frames of another keeper's job."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self.may_hang = True
        self.given_back = False
        self.is_done = False
        self.reason = ""
        """Why the worker did not finish them; empty: it did, or was only asked to stop."""

    def take(self, message: Message) -> tuple[bool, bool]:
        say = message["say"]
        if say == "key frame":
            self._share.note(message["stage"], message["frame"])
        elif say == "shared":
            self.is_done = True
            return True, False
        elif say == "error":
            self.reason = "" if message["kind"] == "CancelledError" else message["message"]
            return True, False
        return False, not self._share.is_open
