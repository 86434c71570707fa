"""One SQLite file: whole transactions, who shares a commit, and who hears of them.

Built for being killed at any moment: write-ahead log, synced at every commit, so what was said to
be written is there after a power cut. A disk syncs some fifty times a second, a hundred workers
have more to say: threads that write at the same time share a commit. Each still runs alone, fails
alone, and goes on only when its words are on disk.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import ResourceError

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    request_id TEXT,
    request TEXT NOT NULL,
    title TEXT NOT NULL,
    labels TEXT NOT NULL,
    source TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    attempt INTEGER NOT NULL DEFAULT 0,
    fresh INTEGER NOT NULL DEFAULT 1,
    crashes INTEGER NOT NULL DEFAULT 0,
    lease_until REAL NOT NULL DEFAULT 0,
    lease_boot TEXT NOT NULL DEFAULT '',
    worker TEXT NOT NULL DEFAULT '',
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    note TEXT NOT NULL DEFAULT '',
    stage TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    last_event INTEGER NOT NULL DEFAULT 0,
    warnings INTEGER NOT NULL DEFAULT 0,
    frames_done INTEGER NOT NULL DEFAULT 0,
    frames_total INTEGER NOT NULL DEFAULT 0,
    removed INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS job_request ON job (owner, request_id)
    WHERE request_id IS NOT NULL;
DROP INDEX IF EXISTS job_queue;
CREATE INDEX IF NOT EXISTS job_line ON job (state, priority DESC, number, owner) WHERE NOT removed;
CREATE INDEX IF NOT EXISTS job_removed ON job (number) WHERE removed;
CREATE INDEX IF NOT EXISTS job_owner ON job (owner, number);
CREATE TABLE IF NOT EXISTS stage (
    job TEXT NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL, unit TEXT NOT NULL,
    done INTEGER NOT NULL, total INTEGER NOT NULL,
    since REAL NOT NULL, since_done INTEGER NOT NULL, rate REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (job, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (
    job TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL,
    frame INTEGER, attempt INTEGER NOT NULL,
    PRIMARY KEY (job, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    job TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, time REAL NOT NULL,
    text TEXT NOT NULL, frame INTEGER,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS worker (
    name TEXT PRIMARY KEY, device TEXT NOT NULL, state TEXT NOT NULL, job TEXT NOT NULL,
    pid INTEGER NOT NULL, updated REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS user (
    name TEXT PRIMARY KEY, token_hash BLOB NOT NULL UNIQUE, is_admin INTEGER NOT NULL,
    groups TEXT NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;
"""


class _Commit:
    """What several threads write with one commit."""

    def __init__(self) -> None:
        self.folders: set[Path] = set()
        """Names in them reach the disk first: no row tells of a file that is not there."""
        self.is_over = False
        self.error: BaseException | None = None


class Database:
    """The file behind the job store. Safe to use from many threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            ResourceError: it cannot be opened or was made by a later version.
        """
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._listeners: list[Callable[[str], None]] = []
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._committing = threading.Lock()
        self._writer = self._connect()
        self._commit: _Commit | None = None
        with self._write() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
        found = self._meta("schema")
        if found != str(SCHEMA_VERSION):
            raise ResourceError(
                f"The job store {path} has schema {found}, this program expects {SCHEMA_VERSION}. "
                "Start the version that made it, or another state folder."
            )

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._guard:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    def listen(self, listener: Callable[[str], None]) -> None:
        """Have a function called, in the writing thread, with the id of each job changed here."""
        self._listeners.append(listener)

    def check(self) -> str:
        """``ok``, or what is damaged, from the first lines of SQLite's own check."""
        rows = self._db().execute("PRAGMA quick_check(5)").fetchall()
        return "; ".join(str(row[0]) for row in rows)

    def _db(self) -> sqlite3.Connection:
        """This thread's connection for reading."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._connect()
        return found

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self.path, timeout=20, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            self.path.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise ResourceError(
                f"The job store {self.path} cannot be opened: {error}. It needs a local disk that "
                "can be written."
            ) from error
        with self._guard:
            self._connections.append(connection)
        return connection

    @contextmanager
    def _write(self, *jobs: str) -> Iterator[sqlite3.Connection]:
        """One transaction; listeners hear of the named jobs once it is on disk.

        Raises:
            ResourceError: the disk is full or cannot be written.
        """
        db, commit = self._writer, None
        try:
            with self._writing:
                commit = self._commit = self._commit or self._begin()
                db.execute("SAVEPOINT one")
                try:
                    yield db
                except BaseException as error:
                    if db.in_transaction:
                        db.execute("ROLLBACK TO one")
                    else:  # SQLite has undone all of it, which it does when the disk is full
                        self._end(commit, error)
                    raise
                finally:
                    if db.in_transaction:
                        db.execute("RELEASE one")
        except sqlite3.OperationalError as error:
            raise self._unwritable(error) from error
        finally:
            if commit is not None:
                self._see_to(commit)
        self._announce(*jobs)

    def _begin(self) -> _Commit:
        self._writer.execute("BEGIN IMMEDIATE")
        return _Commit()

    def _see_to(self, commit: _Commit) -> None:
        """Wait until it is on disk.

        The first of its threads to come here writes it; it waits for its turn among those who
        still join, and all who come while the disk syncs share the next one.
        """
        with self._committing:
            if not commit.is_over:
                with self._writing:
                    if not commit.is_over:
                        self._end(commit)
        if commit.error is not None:
            raise self._unwritable(commit.error) from commit.error

    def _end(self, commit: _Commit, error: BaseException | None = None) -> None:
        """Write it, or let all of its threads know why it is lost."""
        self._commit = None
        try:
            if error is None:
                for folder in commit.folders:
                    sync_folder(folder)
                self._writer.execute("COMMIT")
        except (sqlite3.Error, OSError) as failure:
            error = failure
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        commit.error = error
        commit.is_over = True

    def _sync_first(self, folders: Iterable[Path]) -> None:
        """Within a transaction: names in these folders reach the disk before its rows do."""
        if self._commit is not None:
            self._commit.folders.update(folders)

    def _announce(self, *jobs: str) -> None:
        """Have listeners hear that jobs have changed."""
        for job in jobs:
            for listener in self._listeners:
                listener(job)

    def _unwritable(self, error: BaseException) -> ResourceError:
        return ResourceError(
            f"The job store {self.path} cannot be written: {error}. Free some disk space."
        )

    def _meta(self, key: str, default: str = "") -> str:
        row = self._db().execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return str(row[0]) if row else default


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
