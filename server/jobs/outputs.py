"""Results written on the server's side, into a folder the user may have results in.

Off unless the site grants write roots. Every folder is entered through its own handle without
following links, every file is given its name by a hard link, which fails where something is: a
file that is not ours is never replaced, whatever is swapped in meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path, PurePosixPath
from types import TracebackType

from server.errors import ResourceError, ResultError
from server.jobs.roots import Roots

_CHUNK = 1 << 20


class OutputFolder:
    """An open folder for one job's results."""

    def __init__(
        self, roots: Roots, folder: str, *, mode: int = 0o644, group: int | None = None
    ) -> None:
        """Open the folder, making what is missing of it.

        Args:
            roots: write roots of the user.
            folder: as the client gave it.
            mode: of files; folders are made accessible likewise.
            group: id of the group files get.

        Raises:
            PermissionError_: it lies outside of the roots, or a link leads out.
            PlateError: the path cannot be a path.
            ResourceError: a folder cannot be made.
        """
        self._path = roots.local_path(folder)
        self._mode = mode
        self._folder_mode = mode | (mode & 0o444) >> 2
        self._group = group
        missing: list[str] = []
        place = self._path
        while True:
            try:
                self._handle = roots.open_handle(place, folder=True)
                break
            except Exception as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                missing.append(place.name)
                place = place.parent
        for name in reversed(missing):
            self._handle = self._enter(self._handle, name)

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)

    def write(self, name: str, source: Path) -> None:
        """Copy a file in; the same bytes under the same name are fine, others are not touched.

        Args:
            name: relative, ``/`` between parts.
            source: the file.

        Raises:
            ResultError: there is another file of that name.
            ResourceError: the disk is full or the folder cannot be written.
        """
        *folders, last = PurePosixPath(name).parts
        handle = os.dup(self._handle)
        for folder in folders:
            handle = self._enter(handle, folder)
        try:
            self._copy(handle, last, source)
        finally:
            os.close(handle)

    def _enter(self, parent: int, name: str) -> int:
        """A handle of a folder, made if missing; the parent's is closed."""
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, self._folder_mode, dir_fd=parent)
                self._own(name, parent, self._folder_mode)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, dir_fd=parent)
        except OSError as error:
            raise self._failed(name, error) from error
        finally:
            os.close(parent)

    def _copy(self, folder: int, name: str, source: Path) -> None:
        partial = f".{name}.{os.getpid()}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=folder)
        try:
            with (
                source.open("rb") as reading,
                os.fdopen(os.open(partial, flags, 0o600, dir_fd=folder), "wb") as writing,
            ):
                shutil.copyfileobj(reading, writing, _CHUNK)
                writing.flush()
                os.fsync(writing.fileno())
            self._own(partial, folder, self._mode)
            os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            os.fsync(folder)
        except FileExistsError:
            if not _same(folder, name, source):
                raise ResultError(
                    f"{self._path} has a file {name} that is not this job's. Nothing was replaced: "
                    "choose a new folder or version."
                ) from None
        except OSError as error:
            raise self._failed(name, error) from error
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial, dir_fd=folder)

    def _own(self, name: str, folder: int, mode: int) -> None:
        os.chmod(name, mode, dir_fd=folder)
        if self._group is not None:
            os.chown(name, -1, self._group, dir_fd=folder, follow_symlinks=False)

    def _failed(self, name: str, error: OSError) -> ResourceError | ResultError:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return ResultError(
                f"{self._path} has a link or file where the folder {name} should be. Choose "
                "another folder."
            )
        return ResourceError(f"{name} cannot be written to {self._path}: {error.strerror}.")


def _same(folder: int, name: str, source: Path) -> bool:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    with os.fdopen(handle, "rb") as present, source.open("rb") as ours:
        while chunk := ours.read(_CHUNK):
            if present.read(len(chunk)) != chunk:
                return False
        return not present.read(1)
