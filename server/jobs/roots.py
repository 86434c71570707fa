"""Opening files and folders below granted roots, and nowhere else.

A path from a client is text until the process that needs the file has opened it. It is walked
from the root's own handle, one name at a time, never letting the kernel follow a link: links are
read and walked by the same rules, so one that leads out of the root is refused, and swapping a
folder for a link between check and use finds no gap, because there is no check apart from the use.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from server.errors import PlateError
from server.jobs.errors import PermissionError_

_MAX_LINKS = 20
_DRIVE = re.compile(r"^([A-Za-z]:[/\\]|[/\\]{2}[^/\\])")


@dataclass(frozen=True)
class Root:
    """A folder that some users may read plates from, or have results written to."""

    path: str
    """Absolute, on this machine."""
    access: Literal["read", "write"] = "read"
    users: tuple[str, ...] = ("*",)
    """Names, or ``*`` for everybody."""
    groups: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    """The same folder as other systems call it: ``P:/shows``, ``//filer/shows``."""

    def is_for(self, user: str, groups: Sequence[str]) -> bool:
        """Whether a user may use it."""
        return "*" in self.users or user in self.users or bool(set(groups) & set(self.groups))


class Roots:
    """The roots of one user for one kind of access."""

    def __init__(
        self,
        roots: Sequence[Root],
        *,
        user: str,
        groups: Sequence[str] = (),
        access: Literal["read", "write"] = "read",
        closed: Sequence[Path] = (),
    ) -> None:
        """Choose what applies.

        Args:
            roots: of the whole site.
            user: who asks.
            groups: of the user.
            access: what for.
            closed: folders never opened, even inside a root: the server's own state.
        """
        self.roots = tuple(
            root for root in roots if root.access == access and root.is_for(user, groups)
        )
        self._access = access
        self._closed = [_identity(path) for path in closed if path.exists()]

    def local_path(self, text: str) -> PurePosixPath:
        """A client's path as this machine calls it.

        Args:
            text: absolute, in this system's form or in one that an alias maps.

        Raises:
            PlateError: it is no absolute path, or has forms that could mean something else.
            PermissionError_: it lies in none of the user's roots.
        """
        if not text or "\0" in text or len(text) > 4096:
            raise PlateError("Expected a path, found none or one that cannot be one.")
        mapped = self._map(text)
        if mapped is None:
            if _DRIVE.match(text) or "\\" in text:
                raise PermissionError_(
                    f"{text} is a path of another system and no root is mapped to it. Ask for an "
                    "alias of the folder in the server's roots."
                )
            mapped = text
        path = PurePosixPath(mapped)
        if not path.is_absolute() or mapped.startswith("//"):
            raise PlateError(f"Expected an absolute path, found {text!r}. Give the full path.")
        if ".." in path.parts:
            raise PlateError(f"A path may not contain '..', found {text!r}. Write it out.")
        self._root_of(path)
        return path

    @contextmanager
    def open(self, path: PurePosixPath | str, *, folder: bool = False) -> Iterator[int]:
        """A handle of a file or folder, for reading; closed at the end.

        Args:
            path: as ``local_path`` gives it.
            folder: it must be a folder; else a regular file.

        Raises:
            PlateError: it is not there, or is something else.
            PermissionError_: it lies outside of the user's roots, or a link leads out.
        """
        handle = self.open_handle(path, folder=folder)
        try:
            yield handle
        finally:
            os.close(handle)

    def open_handle(self, path: PurePosixPath | str, *, folder: bool = False) -> int:
        """The same, and the caller closes it."""
        path = PurePosixPath(path)
        root = self._root_of(path)
        flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECTORY if folder else os.O_NONBLOCK)
        try:
            handle = self._walk(root, path, flags)
        except OSError as error:
            reason = "is not there" if error.errno == errno.ENOENT else f"{error.strerror}"
            raise PlateError(
                f"{path} cannot be opened: {reason}. Check the path and the rights of the server.",
                path=Path(path),
            ) from error
        if not folder and not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise PlateError(f"Expected a file, {path} is none.", path=Path(path))
        return handle

    def _map(self, text: str) -> str | None:
        forward = text.replace("\\", "/")
        for root in self.roots:
            for alias in root.aliases:
                prefix = alias.replace("\\", "/").rstrip("/")
                rest = forward[len(prefix) :]
                if forward.lower().startswith(prefix.lower()) and rest[:1] in ("", "/"):
                    return root.path.rstrip("/") + rest
        return None

    def _root_of(self, path: PurePosixPath) -> Root:
        found = [root for root in self.roots if path.is_relative_to(root.path)]
        if not found:
            granted = ", ".join(root.path for root in self.roots) or "none"
            raise PermissionError_(
                f"{path} lies in none of your folders for {self._access} access. They are: "
                f"{granted}."
            )
        return max(found, key=lambda root: len(root.path))

    def _walk(self, root: Root, path: PurePosixPath, flags: int) -> int:
        """Open from the root's handle, name by name."""
        stack = [os.open(root.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        names = list(path.relative_to(root.path).parts)[::-1]
        links = 0
        try:
            while names:
                name = names.pop()
                if name == "..":
                    if len(stack) == 1:
                        raise _leads_out(path)
                    os.close(stack.pop())
                    continue
                handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack[-1])
                target = _link_target(handle)
                if target is not None:
                    os.close(handle)
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    parts = PurePosixPath(target)
                    if parts.is_absolute():
                        if not parts.is_relative_to(root.path):
                            raise _leads_out(path)
                        while len(stack) > 1:
                            os.close(stack.pop())
                        parts = parts.relative_to(root.path)
                    names.extend(parts.parts[::-1])
                    continue
                stack.append(handle)
                if _identity_of(handle) in self._closed:
                    raise _leads_out(path)
            # The handle names one file for good; opening it again through /proc cannot be led
            # anywhere else.
            return os.open(f"/proc/self/fd/{stack[-1]}", flags)
        finally:
            for handle in stack:
                os.close(handle)


def _leads_out(path: PurePosixPath) -> PermissionError_:
    return PermissionError_(
        f"{path} leads out of your folders, through a link or into the server's own files. Give "
        "a path that stays inside."
    )


def _link_target(handle: int) -> str | None:
    """What a handle opened with O_PATH | O_NOFOLLOW points to, if it is a link itself."""
    if not stat.S_ISLNK(os.fstat(handle).st_mode):
        return None
    return os.readlink("", dir_fd=handle)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _identity_of(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino
