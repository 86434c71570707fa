"""Uploaded contents, found by their sha256, apart for every user.

``STATE/uploads/USER/ab/abcd…`` holds a content, ``….part`` what has arrived of one. A content gets
its name only after its bytes were hashed here, begin like a picture format that is taken, and are
on disk, so a name never lies. What one user has says nothing to another.

An upload is answered once its bytes are checked, a job that needs them is taken in once they are
on disk (``require``): disks take many contents at once far faster than one after the other. Checked
bytes survive a kill of the server, bytes of a job a power cut.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from urllib.parse import quote

from server.errors import InputError, ResourceError
from server.jobs.database import sync_folder
from server.jobs.errors import BusyError, LimitError, NotFoundError, StateError

_HEX = re.compile(r"^[0-9a-f]{64}$")
_CHUNK = 1 << 20
_TO_DISK_BYTES = 8 << 20
_SYNCED_AT_ONCE = 8
_MAGIC = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpg": (b"\xff\xd8\xff",),
    "jpeg": (b"\xff\xd8\xff",),
    "exr": (b"\x76\x2f\x31\x01",),
    "dpx": (b"SDPX", b"XPDS"),
    "tif": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}


class Uploads:
    """All uploads of one server."""

    def __init__(self, folder: Path, *, max_content_bytes: int, max_user_bytes: int) -> None:
        """Keep uploads in a folder.

        Args:
            folder: made when needed.
            max_content_bytes: of one content.
            max_user_bytes: of everything one user has here.
        """
        self._folder = folder
        self._max_content_bytes = max_content_bytes
        self._max_user_bytes = max_user_bytes
        self._guard = threading.Lock()
        self._arriving: set[Path] = set()
        self._used: dict[str, int] = {}
        self._hashing = ThreadPoolExecutor(thread_name_prefix="hash")
        self._to_disk = ThreadPoolExecutor(_SYNCED_AT_ONCE, thread_name_prefix="to disk")
        self._on_the_way: dict[Path, Future[None]] = {}
        """Checked contents that are not yet on disk, or could not be written there."""

    def close(self) -> None:
        """Wait until everything checked is on disk."""
        self._to_disk.shutdown()
        self._hashing.shutdown()

    def path(self, user: str, sha256: str) -> Path:
        """Where a content lies, there or not.

        Raises:
            InputError: that is no sha256.
        """
        if not _HEX.match(sha256):
            raise InputError(f"Expected a sha256 of 32 bytes, found {sha256[:80]!r}.")
        return self._of_user(user) / sha256[:2] / sha256

    def received(self, user: str, sha256: str) -> int | None:
        """Bytes that have arrived of a content; None: all of it is there."""
        path = self.path(user, sha256)
        waiting = self._on_the_way.get(path)
        is_on_the_way = waiting is not None and not (waiting.done() and waiting.exception())
        if is_on_the_way or _used_now(path):
            return None
        try:
            return _part(path).stat().st_size
        except FileNotFoundError:
            return None if path.exists() else 0  # it may have got its name meanwhile

    def require(self, user: str, contents: Iterable[str]) -> None:
        """Make sure that contents are there, on disk.

        Raises:
            StateError: some are missing; how many is said.
            ResourceError: one cannot be written.
        """
        wanted = list(contents)
        missing = [sha256 for sha256 in wanted if not self._is_on_disk(user, sha256)]
        if missing:
            raise StateError(
                f"{len(missing)} of {len(wanted)} uploaded files are missing, the first is "
                f"{missing[0][:12]}…. Ask FindMissing, upload them, then submit again."
            )

    @contextmanager
    def receive(self, user: str, sha256: str, *, size_bytes: int, offset: int) -> Iterator[Arrival]:
        """Take in one content; what has arrived stays when this ends early.

        Args:
            user: whose it is.
            sha256: hex, of the whole content.
            size_bytes: of the whole content.
            offset: where the data goes on.

        Raises:
            LimitError: it is too large, or the user has too much here.
            StateError: that is not where the earlier part ended.
            BusyError: it is arriving on another stream.
        """
        path = self.path(user, sha256)
        if not 0 < size_bytes <= self._max_content_bytes:
            raise LimitError(
                f"A file of {size_bytes} bytes cannot be uploaded; allowed are 1 to "
                f"{self._max_content_bytes}."
            )
        with self._guard:
            if path in self._arriving:
                raise BusyError(f"{sha256[:12]}… is arriving already. Wait for that to end.")
            self._arriving.add(path)
        try:
            already = self.received(user, sha256)
            if already is None:
                yield Arrival(path, size_bytes, already=None, hashing=self._hashing)
                return
            if offset != already:
                raise StateError(
                    f"{sha256[:12]}… has {already} bytes here, the upload starts at {offset}. Ask "
                    "FindMissing where to go on."
                )
            self._reserve(user, size_bytes - already)
            arrival = Arrival(path, size_bytes, already=already, hashing=self._hashing)
            try:
                yield arrival
            finally:
                arrival.close()
                if arrival.complete:
                    self._send_to_disk(path)
                self._reserve(user, arrival.stored_bytes - size_bytes)
        finally:
            with self._guard:
                self._arriving.discard(path)

    def open(self, user: str, sha256: str, *, suffix: str) -> int:
        """A handle for reading a content, checked to begin like its format.

        Raises:
            NotFoundError: it is not there (any more).
            InputError: it is another format than its name says.
        """
        path = self.path(user, sha256)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise NotFoundError(
                f"The upload {sha256[:12]}… is not there any more. Upload it again and retry."
            ) from error
        head = os.pread(handle, 16, 0)
        if not head.startswith(_MAGIC[suffix]):
            os.close(handle)
            raise InputError(
                f"The upload {sha256[:12]}… is called .{suffix} but is none. Send the file under "
                "its own format."
            )
        return handle

    def clean(self, *, older_than_seconds: float, keep: set[tuple[str, str]]) -> int:
        """Remove contents nobody used for a while.

        Args:
            older_than_seconds: since the last use.
            keep: (user, sha256) needed by jobs.

        Returns:
            Bytes freed.
        """
        kept = {self.path(user, sha256) for user, sha256 in keep}
        limit, freed = time.time() - older_than_seconds, 0
        for path in self._folder.glob("*/??/*"):
            status = path.stat()
            if path in kept or status.st_mtime > limit or path in self._arriving:
                continue
            path.unlink(missing_ok=True)
            freed += status.st_size
        with self._guard:
            self._used.clear()
        return freed

    def used_bytes(self, user: str) -> int:
        """Bytes a user has here."""
        with self._guard:
            return self._count(user)

    def _is_on_disk(self, user: str, sha256: str) -> bool:
        path = self.path(user, sha256)
        self._wait_for_disk(path)
        if not path.exists():
            self._recover(user, sha256)
            self._wait_for_disk(path)
        return _used_now(path)

    def _wait_for_disk(self, path: Path) -> None:
        if (waiting := self._on_the_way.get(path)) is not None:
            try:
                waiting.result()
            finally:
                self._forget(path)

    def _recover(self, user: str, sha256: str) -> None:
        """Keep a content that was whole, but not yet on disk, when an earlier server ended."""
        part = _part(self.path(user, sha256))
        if part.exists() and _hash_file(part) == sha256:
            size = part.stat().st_size
            with self.receive(user, sha256, size_bytes=size, offset=size) as arrival:
                arrival.write(())

    def _send_to_disk(self, path: Path) -> None:
        """Have a checked content synced and named by another thread."""
        with self._guard:
            self._on_the_way[path] = self._to_disk.submit(self._name, path)

    def _name(self, path: Path) -> None:
        try:
            with _part(path).open("rb") as file:
                os.fsync(file.fileno())
            _part(path).replace(path)
            sync_folder(path.parent)
        except OSError as error:
            raise _full(error) from error
        self._forget(path)

    def _forget(self, path: Path) -> None:
        with self._guard:
            self._on_the_way.pop(path, None)

    def _reserve(self, user: str, size_bytes: int) -> None:
        with self._guard:
            used = self._count(user) + size_bytes
            if size_bytes > 0 and used > self._max_user_bytes:
                raise LimitError(
                    f"Uploads of {user} would take {used} bytes, the limit is "
                    f"{self._max_user_bytes}. Old ones go by themselves after a while; delete "
                    "jobs or ask the operator for more."
                )
            self._used[user] = used

    def _count(self, user: str) -> int:
        if user not in self._used:
            files = self._of_user(user).glob("??/*")
            self._used[user] = sum(path.stat().st_size for path in files)
        return self._used[user]

    def _of_user(self, user: str) -> Path:
        return self._folder / quote(user, safe="@").replace(".", "%2E")


class Arrival:
    """One content on its way in."""

    def __init__(
        self, path: Path, size_bytes: int, *, already: int | None, hashing: ThreadPoolExecutor
    ) -> None:
        """Made by ``Uploads.receive``.

        Args:
            path: name of the whole content.
            size_bytes: of the whole content.
            already: bytes that arrived earlier; None: all is here, what comes is not needed.
            hashing: hashes while this thread writes.
        """
        self._path = path
        self._size_bytes = size_bytes
        self._hashing = hashing
        self._digest = hashlib.sha256()
        self._hashed_bytes = 0
        self._sent_to_disk = already or 0
        self._guard = threading.Lock()
        self._file: FileIO | None = None
        self.complete = already is None
        self.received_bytes = 0
        self.stored_bytes = size_bytes if already is None else already
        if self.complete:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Unbuffered: what was received is on the server even if that is killed.
            self._file = _part(path).open("a+b", buffering=0)
        except OSError as error:
            raise _full(error) from error

    def write(self, chunks: Sequence[bytes]) -> None:
        """Add the next bytes; none are fine, too, where all have arrived earlier.

        Raises:
            InputError: more than was announced, or not what was announced.
            ResourceError: the disk is full.
        """
        with self._guard:
            self.received_bytes += sum(map(len, chunks))
            if self._file is not None:
                self._write(self._file, chunks)

    def close(self) -> None:
        """Keep what has arrived; a write in another thread ends first."""
        with self._guard:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _write(self, file: FileIO, chunks: Sequence[bytes]) -> None:
        if self.stored_bytes + sum(map(len, chunks)) > self._size_bytes:
            self._refuse(f"more than the {self._size_bytes} bytes announced")
        self._hash_earlier(file)
        hashed = self._hashing.submit(self._hash, chunks)
        try:
            for data in chunks:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                self.stored_bytes += len(data)
        except OSError as error:
            raise _full(error) from error
        finally:
            hashed.result()
        if self.stored_bytes == self._size_bytes:
            self._complete(file)
        elif self.stored_bytes - self._sent_to_disk >= _TO_DISK_BYTES:
            self._begin_to_sync(file.fileno())

    def _hash(self, chunks: Iterable[bytes]) -> None:
        for data in chunks:
            self._digest.update(data)
            self._hashed_bytes += len(data)

    def _hash_earlier(self, file: FileIO) -> None:
        """What has arrived on an earlier stream, before the first bytes of this one."""
        if self._hashed_bytes < self.stored_bytes:
            file.seek(0)
            self._hash(iter(lambda: file.read(_CHUNK), b""))

    def _begin_to_sync(self, handle: int) -> None:
        """Have the disk begin with what has arrived, so that syncing the whole is short."""
        length = self.stored_bytes - self._sent_to_disk
        os.posix_fadvise(handle, self._sent_to_disk, length, os.POSIX_FADV_DONTNEED)
        self._sent_to_disk = self.stored_bytes

    def _complete(self, file: FileIO) -> None:
        if self._digest.hexdigest() != self._path.name:
            self._refuse("bytes of another sha256")
        head = os.pread(file.fileno(), 16, 0)
        if not any(head.startswith(magic) for kinds in _MAGIC.values() for magic in kinds):
            self._refuse("something that is no picture of a known format")
        file.close()
        self._file = None
        self.complete = True

    def _refuse(self, found: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        _part(self._path).unlink(missing_ok=True)
        self.stored_bytes = 0
        raise InputError(
            f"Expected the content {self._path.name[:12]}…, found {found}. It was thrown away; "
            "send it again from the start."
        )


def _used_now(path: Path) -> bool:
    """Whether a content has its name; then retention counts from now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _full(error: OSError) -> ResourceError:
    return ResourceError(
        f"The upload cannot be written ({error.strerror}). What arrived is kept: free some "
        "space on the server's state folder, then upload again."
    )
