"""What became of every plate version: one small SQLite file on a local disk.

A version is written down before it is submitted, with everything its request is made of, so that
an ingest killed at any point sends the same request again and the server knows it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from client.errors import CancelledError, ResourceError, ResultError
from client.ingest.folders import SeenPlate

State = Literal["new", "submitted", "placing", "done", "failed", "replaced", "passed by"]
"""``new`` → ``submitted`` → ``placing`` (the result's folder) → ``done``. ``replaced``: a newer
version came first. ``passed by``: was there before the watching began."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS version (
    id INTEGER PRIMARY KEY,
    plate TEXT NOT NULL,
    number INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    state TEXT NOT NULL,
    folder TEXT NOT NULL,
    reference TEXT NOT NULL,
    round INTEGER NOT NULL DEFAULT 0,
    job TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT '',
    changed REAL NOT NULL,
    UNIQUE (plate, number)
);
CREATE TABLE IF NOT EXISTS waiting (
    plate TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    since REAL NOT NULL
);
"""
_LISTEN_SECONDS = 0.5
"""SQLite waits deaf to signals, so it waits in short pieces."""
_LONGEST_PAUSE_SECONDS = 3600.0


@dataclass(frozen=True)
class Version:
    """One version of one plate, and how far it is."""

    id: int
    plate: str
    """Path as the server takes it."""
    number: int
    """1, 2, 3 … for one plate."""
    fingerprint: str
    first: int
    """The plate's first frame number."""
    last: int
    """The plate's last frame number."""
    state: State
    folder: Path
    """Where the result goes."""
    reference: str
    """Job of the version before, whose names are inherited; or empty."""
    round: int
    """How often it was begun anew."""
    job: str
    """Empty: not submitted."""
    tries: int
    """Failures in a row."""
    due: float
    """Not before this time, seconds since the epoch."""
    note: str
    changed: float


class Journal:
    """The memory of one watched folder; use it as a context manager or close it."""

    def __init__(self, path: Path) -> None:
        """Open or begin one.

        Args:
            path: of the file; on a local disk.

        Raises:
            ResultError: it cannot be opened or is damaged.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ResultError(
                f"The journal {path} cannot be used ({error}). Choose another with --journal; "
                "begin it with `segmatte ingest once --pass-by` so that nothing is submitted twice."
            ) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def turn(self, stopping: threading.Event) -> Iterator[None]:
        """Be the only one at work: a hook waits until the watcher, or another hook, is done.

        Args:
            stopping: ends the waiting when set.

        Raises:
            CancelledError: it was ended.
            ResourceError: the lock cannot be made.
        """
        # A lock of SQLite's is let go by the system when its process dies, on every system.
        path = self.path.with_name(self.path.name + ".turn")
        with closing(sqlite3.connect(path, timeout=_LISTEN_SECONDS, isolation_level=None)) as lock:
            while not stopping.is_set():
                try:
                    lock.execute("BEGIN EXCLUSIVE")
                    break
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise ResourceError(f"{path} cannot be used: {error}.") from error
            else:
                raise CancelledError("Stopped while another ingest was at work.")
            yield

    def latest(self, plate: str) -> Version | None:
        """The newest version of a plate."""
        return self._one("WHERE plate=? ORDER BY number DESC LIMIT 1", plate)

    def begin(self, plate: SeenPlate, *, number: int, folder: Path, passed_by: bool) -> Version:
        """Write down a new version, before anything is done about it."""
        done = self._one("WHERE plate=? AND state='done' ORDER BY number DESC LIMIT 1", plate.path)
        added = self._run(
            "INSERT INTO version (plate, number, fingerprint, first, last, state, folder, "
            "reference, changed) VALUES (?,?,?,?,?,?,?,?,?)",
            (
                plate.path,
                number,
                plate.fingerprint,
                plate.pictures[0].frame,
                plate.pictures[-1].frame,
                "passed by" if passed_by else "new",
                str(folder),
                done.job if done else "",
                time.time(),
            ),
        )
        return self.get(added.lastrowid or 0)

    def change(self, version: Version, **values: Any) -> Version:
        """Write down what happened to a version; returns it as it is now."""
        values["changed"] = time.time()
        columns = ", ".join(f"{name}=?" for name in values)
        self._db.execute(f"UPDATE version SET {columns} WHERE id=?", (*values.values(), version.id))
        return self.get(version.id)

    def put_off(self, version: Version, note: str, *, pause_seconds: float) -> Version:
        """Try again later: twice as late after every failure, an hour at most."""
        pause = min(_LONGEST_PAUSE_SECONDS, pause_seconds * 2**version.tries)
        return self.change(version, tries=version.tries + 1, due=time.time() + pause, note=note)

    def get(self, number: int) -> Version:
        """The version with an id."""
        found = self._one("WHERE id=?", number)
        if found is None:
            raise ResultError(f"The journal {self.path} has lost version {number}.")
        return found

    def unfinished(self, *, due: bool = False) -> list[Version]:
        """What has still to be done, first come first.

        Args:
            due: leave out what has to wait.
        """
        # A wait is never longer than an hour, whatever became of the clock.
        limit = _LONGEST_PAUSE_SECONDS
        return [
            version
            for version in self._all("WHERE state IN ('new', 'submitted', 'placing') ORDER BY id")
            if not due or not version.due - limit <= time.time() < version.due
        ]

    def versions(self) -> list[Version]:
        """Everything, by plate and number."""
        return self._all("ORDER BY plate, number")

    def owns(self, folder: Path, *, plate: str) -> bool:
        """Whether a result folder was made, or is being put in place, for this plate."""
        return bool(
            self._all(
                "WHERE folder=? AND plate=? AND state IN ('done', 'placing')", str(folder), plate
            )
        )

    def waiting(self) -> dict[str, tuple[str, float]]:
        """Plate → why it is not submitted, and since when (seconds since the epoch)."""
        rows = self._run("SELECT * FROM waiting ORDER BY plate")
        return {row["plate"]: (row["reason"], row["since"]) for row in rows}

    def set_waiting(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Write down what is not submitted and why; returns what is new about that."""
        before = self.waiting()
        news = {p: r for p, r in reasons.items() if before.get(p, ("",))[0] != r}
        for plate in before.keys() - reasons.keys():
            self._run("DELETE FROM waiting WHERE plate=?", (plate,))
        for plate, reason in news.items():
            row = plate, reason, time.time()
            self._run("INSERT OR REPLACE INTO waiting VALUES (?,?,?)", row)
        return news

    def _run(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise ResourceError(
                f"The journal {self.path} cannot be read or written ({error}). Free some space on "
                "its disk, then repeat."
            ) from error

    def _one(self, where: str, *values: object) -> Version | None:
        found = self._all(where, *values)
        return found[0] if found else None

    def _all(self, where: str, *values: object) -> list[Version]:
        rows = self._run(f"SELECT * FROM version {where}", values)
        return [Version(**{**dict(row), "folder": Path(row["folder"])}) for row in rows]


def journal_of(root: Path) -> Path:
    """Where the journal of a watched folder lies unless the site says so: one file per folder."""
    base = os.environ.get("SEGMATTE_STATE") or Path.home() / ".local" / "state" / "segmatte"
    return Path(base) / f"ingest-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}.sqlite"
