"""Jobs in one SQLite file: the only memory a server has of them.

Written for being killed at any moment. A job is handed out under a *lease*, which carries the
number of the attempt as fencing number: every later write names it, and a write of an attempt
that has been replaced is refused with ``LeaseLostError``. Files of an attempt become results in
the same transaction that checks the number (``publish``), so a worker that was stopped for an hour
and wakes up can do no harm. Progress is rows of this file, never kept beside it.

Leases run on the machine's steady clock and die with its boot; the wall clock is only shown.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from server.jobs.database import Database
from server.jobs.errors import LeaseLostError, LimitError, NotFoundError, StateError
from server.jobs.records import (
    Event,
    EventKind,
    Failure,
    Job,
    Lease,
    NewJob,
    ResultFile,
    StageRow,
    State,
    User,
    WorkerRow,
    as_job,
    as_user,
)

__all__ = [
    "Clock",
    "Event",
    "Failure",
    "Job",
    "Lease",
    "NewJob",
    "ResultFile",
    "StageRow",
    "Store",
    "User",
    "WorkerRow",
]


class Clock:
    """The two clocks of a store; tests pass their own."""

    def wall(self) -> float:
        """Seconds since 1970, for people; may jump."""
        return time.time()

    def steady(self) -> float:
        """Seconds since boot, the same for all processes, never jumping."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot(self) -> str:
        """Name of this boot: leases of another one are over."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return "unknown"


class Store(Database):
    """All jobs of one server. Safe to use from many threads and processes of one machine."""

    def __init__(
        self,
        path: Path,
        *,
        lease_seconds: float = 60.0,
        max_crashes: int = 3,
        clock: Clock | None = None,
    ) -> None:
        """Open or make the file.

        Args:
            path: on a local disk; network file systems cannot hold it.
            lease_seconds: a worker silent for this long has lost its job.
            max_crashes: a job that lost its worker this often has failed.
            clock: tests pass their own.

        Raises:
            ResourceError: the file cannot be opened or was made by a later version.
        """
        super().__init__(path)
        self.lease_seconds = lease_seconds
        self._max_crashes = max_crashes
        self._clock = clock or Clock()
        self._boot = self._clock.boot()

    # ------------------------------------------------------------------------ callers' side

    def submit(self, new: NewJob, *, max_queued: int | None = None) -> Job:
        """Put a job into the queue; a request id used before gives the job made then.

        Args:
            new: the job.
            max_queued: how many jobs of its owner may wait.

        Raises:
            LimitError: that many wait already.
            StateError: the request id was used for something else.
        """
        job_id = uuid.uuid4().hex[:20]
        with self._write(job_id) as db:
            if new.request_id:
                row = db.execute(
                    "SELECT id, request FROM job WHERE owner=? AND request_id=?",
                    (new.owner, new.request_id),
                ).fetchone()
                if row:
                    if row["request"] != new.request:
                        raise StateError(
                            f"Request id {new.request_id!r} was used for another shot (job "
                            f"{row['id']}). Make a new id for every new shot."
                        )
                    return self._job(db, row["id"])
            if max_queued is not None:
                waiting = db.execute(
                    "SELECT count(*) FROM job WHERE owner=? AND state='queued' AND NOT removed",
                    (new.owner,),
                ).fetchone()[0]
                if waiting >= max_queued:
                    raise LimitError(
                        f"{waiting} jobs of {new.owner} wait already, the limit is {max_queued}. "
                        "Let some finish or cancel them."
                    )
            db.execute(
                "INSERT INTO job (id, owner, kind, state, priority, request_id, request, title, "
                "labels, source, created) VALUES (?,?,?,'queued',?,?,?,?,?,?,?)",
                (
                    job_id,
                    new.owner,
                    new.kind,
                    new.priority,
                    new.request_id or None,
                    new.request,
                    json.dumps(new.title),
                    json.dumps(new.labels),
                    new.source,
                    self._clock.wall(),
                ),
            )
            self._event(db, job_id, "state", "queued")
            return self._job(db, job_id)

    def job(self, job_id: str, *, owner: str | None = None) -> Job:
        """One job.

        Args:
            job_id: its id.
            owner: whose it must be; None: anybody's.

        Raises:
            NotFoundError: there is none, or it is somebody else's.
        """
        return self._job(self._db(), job_id, owner=owner)

    def jobs(
        self,
        *,
        owner: str | None = None,
        states: Sequence[str] = (),
        text: str = "",
        labels: Mapping[str, str] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs, newest first.

        Args:
            owner: whose; None: everybody's.
            states: any of these; none: all.
            text: part of what the title says, in any case.
            labels: all must be equal.
            before: only jobs made before this job number: the next page.
            limit: how many at most.
        """
        where = ["NOT removed"]
        values: list[object] = []
        if owner is not None:
            where.append("owner=?")
            values.append(owner)
        if states:
            where.append(f"state IN ({','.join('?' * len(states))})")
            values.extend(states)
        if text:
            where.append("instr(lower(title), lower(?)) > 0")
            values.append(json.dumps(text)[1:-1])
        for key, value in (labels or {}).items():
            where.append(
                "EXISTS (SELECT 1 FROM json_each(job.labels) AS l WHERE l.key=? AND l.value=?)"
            )
            values.extend([key, value])
        if before is not None:
            where.append("number<?")
            values.append(before)
        rows = self._db().execute(
            f"SELECT * FROM job WHERE {' AND '.join(where)} ORDER BY number DESC LIMIT ?",
            (*values, limit),
        )
        return [as_job(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """State → how many jobs."""
        rows = self._db().execute(
            "SELECT state, count(*) FROM job WHERE NOT removed GROUP BY state"
        )
        return {row[0]: row[1] for row in rows}

    def queue_position(self, job: Job) -> int:
        """1 = next; 0 = not queued. Limits of users are not looked at."""
        if job.state != "queued":
            return 0
        row = self._db().execute(
            "SELECT count(*) FROM job WHERE state='queued' AND NOT removed AND "
            "(priority>? OR (priority=? AND number<=?))",
            (job.priority, job.priority, job.number),
        )
        return int(row.fetchone()[0])

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop: at once if it waits, within a frame if it runs.

        Raises:
            NotFoundError: there is no such job.
        """
        with self._write(job_id) as db:
            job = self._job(db, job_id)
            if job.state == "queued":
                self._end_job(db, job_id, "cancelled")
            elif job.state == "running" and not job.cancel_requested:
                db.execute("UPDATE job SET cancel_requested=1 WHERE id=?", (job_id,))
                self._event(db, job_id, "log", "cancel requested")
            return self._job(db, job_id)

    def requeue(self, job_id: str, *, fresh: bool) -> Job:
        """Queue an ended job again.

        Args:
            job_id: a failed or cancelled job.
            fresh: start from nothing; else go on where it stopped.

        Raises:
            NotFoundError: there is no such job.
            StateError: it is done, waiting or running.
        """
        with self._write(job_id) as db:
            job = self._job(db, job_id)
            if job.state not in ("failed", "cancelled"):
                raise StateError(
                    f"Job {job_id} is {job.state}; only a failed or cancelled job can be "
                    f"{'retried' if fresh else 'resumed'}."
                )
            db.execute(
                "UPDATE job SET state='queued', fresh=?, crashes=0, error=NULL, finished=NULL, "
                "cancel_requested=0, note='' WHERE id=?",
                (int(fresh or job.fresh), job_id),
            )
            if fresh:
                self._forget_progress(db, job_id)
            self._event(db, job_id, "state", "queued")
            return self._job(db, job_id)

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Move a waiting job forward or back.

        Raises:
            NotFoundError: there is no such job.
            StateError: it does not wait.
        """
        with self._write(job_id) as db:
            job = self._job(db, job_id)
            if job.state != "queued":
                raise StateError(
                    f"Job {job_id} is {job.state}; only a queued job has a place to change."
                )
            db.execute("UPDATE job SET priority=? WHERE id=?", (priority, job_id))
            return self._job(db, job_id)

    def remove(self, job_id: str) -> None:
        """Forget a job that is not running; its files are the caller's to remove afterwards.

        Raises:
            NotFoundError: there is no such job.
            StateError: it runs, or a waiting correction still needs it.
        """
        with self._write(job_id) as db:
            job = self._job(db, job_id)
            if job.state == "running":
                raise StateError(f"Job {job_id} is running. Cancel it first.")
            waiting = db.execute(
                "SELECT id FROM job WHERE source=? AND state IN ('queued', 'running') "
                "AND NOT removed",
                (job_id,),
            ).fetchone()
            if waiting:
                raise StateError(
                    f"Job {waiting['id']} still works on the result of {job_id}. Let it finish or "
                    "cancel it first."
                )
            db.execute("UPDATE job SET removed=1, request_id=NULL WHERE id=?", (job_id,))
            for table in ("stage", "file", "event"):
                db.execute(f"DELETE FROM {table} WHERE job=?", (job_id,))

    def removed_ids(self) -> list[str]:
        """Jobs forgotten whose files may still lie somewhere."""
        return [row[0] for row in self._db().execute("SELECT id FROM job WHERE removed")]

    def forget_removed(self, job_id: str) -> None:
        """The files of a removed job are gone: drop its last row."""
        with self._write() as db:
            db.execute("DELETE FROM job WHERE id=? AND removed", (job_id,))

    def events(self, job_id: str, *, after: int = 0, limit: int = 500) -> list[Event]:
        """What happened to a job after event number ``after``, in order."""
        rows = self._db().execute(
            "SELECT * FROM event WHERE job=? AND number>? ORDER BY number LIMIT ?",
            (job_id, after, limit),
        )
        return [
            Event(row["number"], row["kind"], row["time"], row["text"], row["frame"])
            for row in rows
        ]

    def stages(self, job_id: str) -> list[StageRow]:
        """Progress of a job's stages, in order."""
        rows = self._db().execute("SELECT * FROM stage WHERE job=? ORDER BY position", (job_id,))
        return [StageRow(r["name"], r["done"], r["total"], r["unit"], r["rate"]) for r in rows]

    def files(self, job_id: str) -> list[ResultFile]:
        """Published files of a job, by name."""
        rows = self._db().execute("SELECT * FROM file WHERE job=? ORDER BY name", (job_id,))
        return [ResultFile(r["name"], r["size"], bytes(r["sha256"]), r["frame"]) for r in rows]

    def file(self, job_id: str, name: str) -> ResultFile:
        """One published file.

        Raises:
            NotFoundError: the job has none of that name.
        """
        row = (
            self._db()
            .execute("SELECT * FROM file WHERE job=? AND name=?", (job_id, name))
            .fetchone()
        )
        if row is None:
            raise NotFoundError(
                f"Job {job_id} has no file {name!r}. ListResults says which it has."
            )
        return ResultFile(row["name"], row["size"], bytes(row["sha256"]), row["frame"])

    # ------------------------------------------------------------------------- workers' side

    def claim(self, worker: str, *, max_running: int | None = None) -> Lease | None:
        """Take the next job: highest priority, then first come, within each user's limit.

        Args:
            worker: who takes it.
            max_running: how many jobs of one owner may run at a time.
        """
        leases = self.claim_each([worker], max_running=max_running)
        return leases[0] if leases else None

    def claim_each(self, workers: Sequence[str], *, max_running: int | None = None) -> list[Lease]:
        """Take the next job for each of some workers, in their order, as long as there are any.

        Args:
            workers: who take them.
            max_running: how many jobs of one owner may run at a time.
        """
        jobs: list[Job] = []
        with self._write() as db:
            if self._meta("draining") == "1":
                return []
            for worker in workers:
                job = self._claim(db, worker, max_running=max_running)
                if job is None:
                    break
                jobs.append(job)
        self._announce(*(job.id for job in jobs))
        return [Lease(job, job.attempt) for job in jobs]

    def _claim(self, db: sqlite3.Connection, worker: str, *, max_running: int | None) -> Job | None:
        row = db.execute(
            "UPDATE job SET state='running', attempt=attempt+1, worker=:worker, "
            "started=:now, lease_until=:until, lease_boot=:boot, message='' WHERE id=("
            "  SELECT id FROM job WHERE state='queued' AND NOT removed AND ("
            "    :most IS NULL OR owner NOT IN (SELECT owner FROM job"
            "      WHERE state='running' AND NOT removed"
            "      GROUP BY owner HAVING count(*) >= :most))"
            "  ORDER BY priority DESC, number LIMIT 1) RETURNING *",
            {
                "worker": worker,
                "now": self._clock.wall(),
                "until": self._clock.steady() + self.lease_seconds,
                "boot": self._boot,
                "most": max_running,
            },
        ).fetchone()
        if row is None:
            return None
        job = as_job(row)
        # Rates start anew: the time between two attempts is nobody's work.
        db.execute(
            "UPDATE stage SET since=?, since_done=done, rate=0 WHERE job=?",
            (self._clock.steady(), job.id),
        )
        self._event(db, job.id, "state", "running")
        return job

    def begin(self, lease: Lease) -> None:
        """The attempt's folder stands: from now on a next attempt can go on from it."""
        with self._fenced(lease) as db:
            db.execute("UPDATE job SET fresh=0 WHERE id=?", (lease.job.id,))

    def renew(self, lease: Lease) -> bool:
        """Keep the lease for another while.

        Returns:
            Whether somebody asked the job to stop.

        Raises:
            LeaseLostError: the job belongs to another attempt.
        """
        with self._fenced(lease, quiet=True) as db:
            row = db.execute("SELECT cancel_requested FROM job WHERE id=?", (lease.job.id,))
            return bool(row.fetchone()[0])

    def report(
        self,
        lease: Lease,
        *,
        stage: str,
        done: int,
        total: int,
        unit: str = "frame",
        message: str = "",
    ) -> bool:
        """Write down progress; ``done`` never falls.

        Returns:
            Whether somebody asked the job to stop.

        Raises:
            LeaseLostError: the job belongs to another attempt.
        """
        job_id, now = lease.job.id, self._clock.steady()
        with self._fenced(lease) as db:
            row = db.execute(
                "SELECT * FROM stage WHERE job=? AND name=?", (job_id, stage)
            ).fetchone()
            if row is None:
                position = db.execute(
                    "SELECT count(*) FROM stage WHERE job=?", (job_id,)
                ).fetchone()[0]
                db.execute(
                    "INSERT INTO stage (job, name, position, unit, done, total, since, since_done) "
                    "VALUES (?,?,?,?,?,?,?,?)",
                    (job_id, stage, position, unit, done, total, now, done),
                )
            else:
                done = max(done, row["done"])
                passed = now - row["since"]
                gained = done - row["since_done"]
                rate = gained / passed if gained > 0 and passed > 0.2 else row["rate"]
                db.execute(
                    "UPDATE stage SET done=?, total=?, rate=? WHERE job=? AND name=?",
                    (done, max(total, row["total"]), rate, job_id, stage),
                )
            before = db.execute(
                "SELECT stage, cancel_requested FROM job WHERE id=?", (job_id,)
            ).fetchone()
            if before["stage"] != stage:
                self._event(db, job_id, "stage", stage)
                if row is not None:
                    db.execute(
                        "UPDATE stage SET since=?, since_done=done WHERE job=? AND name=?",
                        (now, job_id, stage),
                    )
            db.execute("UPDATE job SET stage=?, message=? WHERE id=?", (stage, message, job_id))
            return bool(before["cancel_requested"])

    def note_frames(self, lease: Lease, total: int) -> None:
        """Write down how many mattes the job will have.

        Raises:
            LeaseLostError: the job belongs to another attempt.
        """
        with self._fenced(lease) as db:
            db.execute(
                "UPDATE job SET frames_total=max(frames_total, ?) WHERE id=?",
                (total, lease.job.id),
            )

    def tell(self, lease: Lease, kind: Literal["log", "warning"], text: str) -> None:
        """Add a line to the job's log.

        Raises:
            LeaseLostError: the job belongs to another attempt.
        """
        with self._fenced(lease) as db:
            self._event(db, lease.job.id, kind, text)

    def publish(
        self, lease: Lease, files: Sequence[ResultFile], *, place: Callable[[], Iterable[Path]]
    ) -> None:
        """Make files of an attempt the job's results.

        Args:
            lease: of the attempt that made them.
            files: what they are.
            place: moves them to where results lie, and says which folders they are in now; called
                while the store is locked and the fencing number has been checked, so nobody else
                can become owner meanwhile. Names in these folders are synced before the rows are.

        Raises:
            LeaseLostError: the job belongs to another attempt; ``place`` was not called.
            ResourceError: the disk is full.
        """
        with self._fenced(lease) as db:
            self._place(db, lease, files, place)

    def finish(
        self,
        lease: Lease,
        files: Sequence[ResultFile],
        *,
        place: Callable[[], Iterable[Path]],
        note: str = "",
    ) -> None:
        """Publish the last files and mark the job done.

        Raises:
            LeaseLostError: the job belongs to another attempt; ``place`` was not called.
        """
        with self._fenced(lease) as db:
            self._place(db, lease, files, place)
            self._end_job(db, lease.job.id, "done", note=note)

    def fail(self, lease: Lease, failure: Failure) -> None:
        """Mark the job failed.

        Raises:
            LeaseLostError: the job belongs to another attempt.
        """
        with self._fenced(lease) as db:
            self._end_job(db, lease.job.id, "failed", failure=failure)

    def stop(self, lease: Lease) -> None:
        """Mark the job cancelled: it has stopped on request.

        Raises:
            LeaseLostError: the job belongs to another attempt.
        """
        with self._fenced(lease) as db:
            self._end_job(db, lease.job.id, "cancelled")

    def release(self, lease: Lease) -> None:
        """Give a job back to the queue because its worker stops; it counts as no crash.

        Raises:
            LeaseLostError: the job belongs to another attempt.
        """
        with self._fenced(lease) as db:
            self._back_to_queue(db, lease.job.id, crashed=False)

    def lost(self, lease: Lease, reason: str) -> None:
        """The worker died: queue the job again, or fail it when that happened too often.

        Raises:
            LeaseLostError: the job belongs to another attempt already.
        """
        with self._fenced(lease) as db:
            self._event(db, lease.job.id, "warning", reason)
            self._back_to_queue(db, lease.job.id, crashed=True, reason=reason)

    def reap(self, *, all_leases: bool = False) -> list[str]:
        """Take back jobs whose workers have been silent for too long.

        Args:
            all_leases: a server that starts owns the store alone: every lease is an earlier one's.

        Returns:
            Ids of the jobs taken back.
        """
        with self._write() as db:
            rows = db.execute(
                "SELECT id FROM job WHERE state='running' AND NOT removed AND "
                "(? OR lease_boot<>? OR lease_until<?)",
                (int(all_leases), self._boot, self._clock.steady()),
            ).fetchall()
            for row in rows:
                if not all_leases:
                    self._event(db, row["id"], "warning", "The worker fell silent.")
                self._back_to_queue(
                    db, row["id"], crashed=not all_leases, reason="The worker fell silent."
                )
        found = [str(row["id"]) for row in rows]
        self._announce(*found)
        return found

    @contextmanager
    def _fenced(self, lease: Lease, *, quiet: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction of the attempt that owns the job; renews its lease."""
        with self._write(*(() if quiet else (lease.job.id,))) as db:
            changed = db.execute(
                "UPDATE job SET lease_until=?, lease_boot=? "
                "WHERE id=? AND attempt=? AND state='running'",
                (
                    self._clock.steady() + self.lease_seconds,
                    self._boot,
                    lease.job.id,
                    lease.attempt,
                ),
            ).rowcount
            if not changed:
                raise LeaseLostError(
                    f"Attempt {lease.attempt} of job {lease.job.id} was replaced. Stop it."
                )
            yield db

    def _place(
        self,
        db: sqlite3.Connection,
        lease: Lease,
        files: Sequence[ResultFile],
        place: Callable[[], Iterable[Path]],
    ) -> None:
        job_id = lease.job.id
        for file in files:
            known = db.execute(
                "SELECT 1 FROM file WHERE job=? AND name=?", (job_id, file.name)
            ).fetchone()
            db.execute(
                "INSERT OR REPLACE INTO file VALUES (?,?,?,?,?,?)",
                (job_id, file.name, file.size_bytes, file.sha256, file.frame, lease.attempt),
            )
            if file.frame is not None and known is None:
                self._event(db, job_id, "frame", file.name, frame=file.frame)
        if any(file.frame is not None for file in files):
            db.execute(
                "UPDATE job SET frames_done=(SELECT count(DISTINCT frame) FROM file WHERE job=?) "
                "WHERE id=?",
                (job_id, job_id),
            )
        self._sync_first(place())

    def _end_job(
        self,
        db: sqlite3.Connection,
        job_id: str,
        state: State,
        *,
        failure: Failure | None = None,
        note: str = "",
    ) -> None:
        error = json.dumps(failure.__dict__) if failure else None
        db.execute(
            "UPDATE job SET state=?, finished=?, error=?, note=?, worker='', cancel_requested=0 "
            "WHERE id=?",
            (state, self._clock.wall(), error, note, job_id),
        )
        self._event(db, job_id, "state", state)

    def _back_to_queue(
        self, db: sqlite3.Connection, job_id: str, *, crashed: bool, reason: str = ""
    ) -> None:
        row = db.execute(
            "SELECT crashes, cancel_requested FROM job WHERE id=?", (job_id,)
        ).fetchone()
        crashes = row["crashes"] + int(crashed)
        db.execute("UPDATE job SET crashes=?, worker='' WHERE id=?", (crashes, job_id))
        if row["cancel_requested"]:
            self._end_job(db, job_id, "cancelled")
        elif crashes >= self._max_crashes:
            failure = Failure(
                "ResourceError",
                f"The worker was lost {crashes} times on this job; last: {reason} Look at memory "
                "and the server's log, then resume it, with fewer objects or a smaller working "
                "size if memory ran out.",
                retryable=True,
            )
            self._end_job(db, job_id, "failed", failure=failure)
        else:
            db.execute("UPDATE job SET state='queued' WHERE id=?", (job_id,))
            self._event(db, job_id, "state", "queued")

    def _forget_progress(self, db: sqlite3.Connection, job_id: str) -> None:
        db.execute("DELETE FROM stage WHERE job=?", (job_id,))
        db.execute("DELETE FROM file WHERE job=?", (job_id,))
        db.execute(
            "UPDATE job SET frames_done=0, frames_total=0, stage='', message='' WHERE id=?",
            (job_id,),
        )

    def _event(
        self,
        db: sqlite3.Connection,
        job_id: str,
        kind: EventKind,
        text: str,
        *,
        frame: int | None = None,
    ) -> None:
        number = db.execute(
            "UPDATE job SET last_event=last_event+1, warnings=warnings+? WHERE id=? "
            "RETURNING last_event",
            (int(kind == "warning"), job_id),
        ).fetchone()[0]
        db.execute(
            "INSERT INTO event VALUES (?,?,?,?,?,?)",
            (job_id, number, kind, self._clock.wall(), text[:4000], frame),
        )

    def _job(self, db: sqlite3.Connection, job_id: str, *, owner: str | None = None) -> Job:
        row = db.execute("SELECT * FROM job WHERE id=? AND NOT removed", (job_id,)).fetchone()
        if row is None or (owner is not None and row["owner"] != owner):
            raise NotFoundError(
                f"There is no job {job_id!r} among yours. `segmatte jobs` lists them."
            )
        return as_job(row)

    # -------------------------------------------------------------------- operators' side

    @property
    def draining(self) -> bool:
        """Whether no job is handed out or taken in."""
        return self._meta("draining") == "1"

    def drain(self, draining: bool) -> None:
        """Stop, or start again, handing out and taking in jobs; running ones go on."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('draining', ?)", (str(int(draining)),))

    def set_worker(self, row: WorkerRow) -> None:
        """Write down what a worker does."""
        with self._write() as db:
            db.execute(
                "INSERT OR REPLACE INTO worker VALUES (?,?,?,?,?,?)",
                (row.name, row.device, row.state, row.job, row.pid, self._clock.wall()),
            )

    def forget_workers(self) -> None:
        """A server starts: whoever is listed worked for an earlier one."""
        with self._write() as db:
            db.execute("DELETE FROM worker")

    def workers(self) -> list[WorkerRow]:
        """All workers, by name."""
        rows = self._db().execute("SELECT * FROM worker ORDER BY name")
        return [WorkerRow(r["name"], r["device"], r["state"], r["job"], r["pid"]) for r in rows]

    def add_user(self, user: User, *, token_hash: bytes) -> None:
        """Add somebody, or replace their token and rights."""
        with self._write() as db:
            db.execute(
                "INSERT OR REPLACE INTO user VALUES (?,?,?,?,?)",
                (
                    user.name,
                    token_hash,
                    int(user.is_admin),
                    json.dumps(user.groups),
                    self._clock.wall(),
                ),
            )

    def remove_user(self, name: str) -> None:
        """Take away somebody's access; their jobs stay.

        Raises:
            NotFoundError: there is nobody of that name.
        """
        with self._write() as db:
            if not db.execute("DELETE FROM user WHERE name=?", (name,)).rowcount:
                raise NotFoundError(f"There is no user {name!r}. `segmatte users list` lists them.")

    def users(self) -> list[User]:
        """Everybody who may call."""
        return [as_user(row) for row in self._db().execute("SELECT * FROM user ORDER BY name")]

    def user_of(self, token_hash: bytes) -> User | None:
        """Whose token this is."""
        row = self._db().execute("SELECT * FROM user WHERE token_hash=?", (token_hash,)).fetchone()
        return as_user(row) if row else None
