"""Uploaded contents, found by their sha256, apart for every user.

``STATE/uploads/USER/ab/abcd…`` holds a content, ``….part`` what has arrived of one. A content gets
its name only after its bytes were hashed here and begin like a picture format that is taken, so
a name never lies. What one user has says nothing to another.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from server.errors import InputError, ResourceError
from server.jobs.errors import BusyError, LimitError, NotFoundError, StateError

_HEX = re.compile(r"^[0-9a-f]{64}$")
_CHUNK = 1 << 20
_TO_DISK_BYTES = 8 << 20
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
        if path.exists():
            os.utime(path)
            return None
        try:
            return _part(path).stat().st_size
        except FileNotFoundError:
            return 0

    def require(self, user: str, contents: Iterable[str]) -> None:
        """Make sure that contents are there.

        Raises:
            StateError: some are missing; how many is said.
        """
        wanted = list(contents)
        missing = [sha256 for sha256 in wanted if self.received(user, sha256) is not None]
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
            if path.exists():
                yield Arrival(path, size_bytes, present=True)
                return
            already = self.received(user, sha256) or 0
            if offset != already:
                raise StateError(
                    f"{sha256[:12]}… has {already} bytes here, the upload starts at {offset}. Ask "
                    "FindMissing where to go on."
                )
            self._reserve(user, size_bytes - already)
            arrival = Arrival(path, size_bytes, present=False)
            try:
                yield arrival
            finally:
                arrival.close()
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

    def __init__(self, path: Path, size_bytes: int, *, present: bool) -> None:
        """Made by ``Uploads.receive``."""
        self._path = path
        self._size_bytes = size_bytes
        self._digest = hashlib.sha256()
        self._file = None
        self._guard = threading.Lock()
        self.complete = present
        self.received_bytes = 0
        self.stored_bytes = size_bytes if present else 0
        self._sent_to_disk = 0
        if present:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Unbuffered: what was received is on the server even if that is killed.
            self._file = _part(path).open("a+b", buffering=0)
            self._file.seek(0)
            while chunk := self._file.read(_CHUNK):
                self._digest.update(chunk)
                self.stored_bytes += len(chunk)
        except OSError as error:
            raise _full(error) from error

    def write(self, chunks: Iterable[bytes]) -> None:
        """Add the next bytes.

        Raises:
            InputError: more than was announced, or not what was announced.
            ResourceError: the disk is full.
        """
        with self._guard:
            for data in chunks:
                self._write(data)

    def close(self) -> None:
        """Keep what has arrived; a write in another thread ends first."""
        with self._guard:
            self._close()

    def _write(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self._file is None:
            return  # it was there already: what comes is not needed
        if self.stored_bytes + len(data) > self._size_bytes:
            self._refuse(f"more than the {self._size_bytes} bytes announced")
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _full(error) from error
        self._digest.update(data)
        self.stored_bytes += len(data)
        if self.stored_bytes == self._size_bytes:
            self._complete()
        elif self.stored_bytes - self._sent_to_disk >= _TO_DISK_BYTES:
            self._send_to_disk(self._file.fileno())

    def _send_to_disk(self, handle: int) -> None:
        """Have the disk begin with what has arrived, so that syncing the whole is short."""
        length = self.stored_bytes - self._sent_to_disk
        os.posix_fadvise(handle, self._sent_to_disk, length, os.POSIX_FADV_DONTNEED)
        self._sent_to_disk = self.stored_bytes

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _complete(self) -> None:
        if self._digest.hexdigest() != self._path.name:
            self._refuse("bytes of another sha256")
        if self._file is None:
            return
        try:
            os.fsync(self._file.fileno())
            head = os.pread(self._file.fileno(), 16, 0)
            if not any(head.startswith(magic) for kinds in _MAGIC.values() for magic in kinds):
                self._refuse("something that is no picture of a known format")
            self._close()
            _part(self._path).replace(self._path)
        except OSError as error:
            raise _full(error) from error
        self.complete = True

    def _refuse(self, found: str) -> None:
        self._close()
        _part(self._path).unlink(missing_ok=True)
        self.stored_bytes = 0
        raise InputError(
            f"Expected the content {self._path.name[:12]}…, found {found}. It was thrown away; "
            "send it again from the start."
        )


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _full(error: OSError) -> ResourceError:
    return ResourceError(
        f"The upload cannot be written ({error.strerror}). What arrived is kept: free some "
        "space on the server's state folder, then upload again."
    )
