"""What the job store takes and gives back, one class for each kind of row."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "cancelled"]
EventKind = Literal["state", "stage", "frame", "log", "warning"]

ENDED: tuple[State, ...] = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class NewJob:
    """What is put into the queue."""

    owner: str
    kind: Literal["shot", "correction"]
    request: str
    """JSON, read by the worker alone."""
    title: Mapping[str, Any]
    """JSON values shown in lists: plate, prompt, objects, range, output folder."""
    request_id: str = ""
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    """Job a correction starts from."""


@dataclass(frozen=True)
class Failure:
    """Why a job failed, for people."""

    kind: str
    message: str
    retryable: bool = False
    frame: int | None = None


@dataclass(frozen=True)
class StageRow:
    """Progress of one stage."""

    name: str
    done: int
    total: int
    unit: str
    rate: float
    """Units per second, 0 = not known."""


@dataclass(frozen=True)
class Job:
    """One job as it stands."""

    id: str
    number: int
    owner: str
    kind: str
    state: State
    priority: int
    request_id: str
    request: str
    title: Mapping[str, Any]
    labels: Mapping[str, str]
    source: str
    created: float
    started: float | None
    finished: float | None
    attempt: int
    fresh: bool
    """The next attempt starts from nothing instead of going on."""
    worker: str
    cancel_requested: bool
    error: Failure | None
    note: str
    stage: str
    message: str
    last_event: int
    warnings: int
    frames_done: int
    frames_total: int

    @property
    def ended(self) -> bool:
        """Whether nothing will change by itself any more."""
        return self.state in ENDED


@dataclass(frozen=True)
class Lease:
    """The right to work on one job: ``attempt`` is the fencing number."""

    job: Job
    attempt: int


@dataclass(frozen=True)
class Event:
    """Something that happened to a job, numbered from 1."""

    number: int
    kind: EventKind
    time: float
    text: str
    frame: int | None


@dataclass(frozen=True)
class ResultFile:
    """A published file of a job."""

    name: str
    size_bytes: int
    sha256: bytes
    frame: int | None


@dataclass(frozen=True)
class WorkerRow:
    """One worker as it last said."""

    name: str
    device: str
    state: str
    job: str
    pid: int


@dataclass(frozen=True)
class User:
    """Somebody who may call."""

    name: str
    is_admin: bool
    groups: tuple[str, ...] = ()


def as_user(row: sqlite3.Row) -> User:
    """A row of the table ``user``."""
    return User(row["name"], bool(row["is_admin"]), tuple(json.loads(row["groups"])))


def as_job(row: sqlite3.Row) -> Job:
    """A row of the table ``job``."""
    return Job(
        id=row["id"],
        number=row["number"],
        owner=row["owner"],
        kind=row["kind"],
        state=row["state"],
        priority=row["priority"],
        request_id=row["request_id"] or "",
        request=row["request"],
        title=json.loads(row["title"]),
        labels=json.loads(row["labels"]),
        source=row["source"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        attempt=row["attempt"],
        fresh=bool(row["fresh"]),
        worker=row["worker"],
        cancel_requested=bool(row["cancel_requested"]),
        error=Failure(**json.loads(row["error"])) if row["error"] else None,
        note=row["note"],
        stage=row["stage"],
        message=row["message"],
        last_event=row["last_event"],
        warnings=row["warnings"],
        frames_done=row["frames_done"],
        frames_total=row["frames_total"],
    )
