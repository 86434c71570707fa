"""Bringing one published file onto disk, whole or not at all.

A download goes on where it broke off, and nobody opens the file before its size and sha256 are
those of the catalogue.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.errors import ModelError, ResourceError
from server.models.catalogue import OfficialFile
from server.progress import Progress, Report, ignore_progress

_CHUNK_BYTES = 1 << 20
_USER_AGENT = "segmatte-models-fetch"
_GIVES_UP = (400, 401, 403, 404, 405, 410, 451)
"""HTTP answers that will not change by asking again."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


@dataclass(frozen=True)
class DownloadSettings:
    """Patience of a download."""

    timeout_seconds: float = 30.0
    """Longest silence of a server before the connection counts as stalled."""
    attempts: int = 6
    """Attempts in a row that may bring no new byte; an attempt that brings some starts anew."""
    pause_seconds: float = 1.0
    """Pause after the first failure, doubled with each further one."""
    sleep: Callable[[float], None] = time.sleep


PATIENT = DownloadSettings()
"""Patience towards real servers."""


class _BrokenOffError(Exception):
    """An attempt ended early; what it brought is kept."""


class _UselessSourceError(Exception):
    """A source cannot deliver this file."""


def download(
    file: OfficialFile,
    *,
    sources: Sequence[str],
    partial: Path,
    settings: DownloadSettings = PATIENT,
    report: Report = ignore_progress,
) -> None:
    """Fetch a file to ``partial`` and prove that it is the published one.

    Args:
        file: what is expected.
        sources: URLs, tried in order; a later one goes on where an earlier one ended.
        partial: where the bytes go; bytes already there are kept and completed.
        settings: patience.
        report: told about every chunk, in bytes.

    Raises:
        ModelError: no source delivers the file, or what came is not the published file.
        ResourceError: the disk is full.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    had_bytes = partial.is_file() and partial.stat().st_size > 0
    problems = _fill(file, sources=sources, partial=partial, settings=settings, report=report)
    if problems is None and had_bytes and sha256_of(partial) != file.sha256:
        # The beginning was left by an earlier run and may be of another file: once from scratch.
        partial.unlink()
        problems = _fill(file, sources=sources, partial=partial, settings=settings, report=report)
    if problems is not None:
        done = partial.stat().st_size if partial.is_file() else 0
        raise ModelError(
            f"{file.name} could not be fetched ({done} of {file.size_bytes} bytes are here and "
            f"kept): {problems}. Run the same command again to go on, or bring the file by other "
            "means and use --from FILE."
        )
    try:
        check_file(file, path=partial)
    except ModelError:
        partial.unlink()
        raise


def check_file(file: OfficialFile, *, path: Path) -> None:
    """Prove that a file is the published one, without interpreting it.

    Raises:
        ModelError: its size or sha256 differs.
    """
    size = path.stat().st_size
    if size != file.size_bytes:
        raise ModelError(
            f"Expected {file.name} with {file.size_bytes} bytes, found {size} bytes in {path}. "
            "It is incomplete or another file; nothing was opened. Fetch it again."
        )
    found = sha256_of(path)
    if found != file.sha256:
        raise ModelError(
            f"Expected {file.name} with sha256 {file.sha256}, found {found} in {path}. It was "
            "damaged on the way or is not the published file; nothing was opened. Fetch it again, "
            "from another source if this repeats."
        )


def _fill(
    file: OfficialFile,
    *,
    sources: Sequence[str],
    partial: Path,
    settings: DownloadSettings,
    report: Report,
) -> str | None:
    """Complete ``partial``; words about what went wrong if no source could."""
    problems = []
    for source in sources:
        barren = 0
        while True:
            before = partial.stat().st_size if partial.is_file() else 0
            if before == file.size_bytes:
                _tell(report, file, before)
                return None
            try:
                _attempt(file, source=source, partial=partial, settings=settings, report=report)
                continue
            except _UselessSourceError as error:
                problems.append(f"{source}: {error}")
                break
            except _BrokenOffError as error:
                after = partial.stat().st_size if partial.is_file() else 0
                barren = 0 if after > before else barren + 1
                if barren >= settings.attempts:
                    problems.append(f"{source}: {error}, {barren} times without a new byte")
                    break
                settings.sleep(settings.pause_seconds * 2.0 ** min(barren, 5))
    return "; ".join(problems)


def _attempt(
    file: OfficialFile,
    *,
    source: str,
    partial: Path,
    settings: DownloadSettings,
    report: Report,
) -> None:
    """One connection: append what comes until the file is whole or the connection ends."""
    have = partial.stat().st_size if partial.is_file() else 0
    if have > file.size_bytes:
        partial.unlink()
        have = 0
    request = urllib.request.Request(source, headers={"User-Agent": _USER_AGENT})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=settings.timeout_seconds) as answer:
            have = _accepted_offset(answer, file=file, have=have)
            with partial.open("r+b" if have else "wb") as out:
                out.seek(have)
                out.truncate()
                _tell(report, file, have)
                while have < file.size_bytes:
                    chunk = answer.read1(min(_CHUNK_BYTES, file.size_bytes - have))
                    if not chunk:
                        raise _BrokenOffError(f"the connection ended after {have} bytes")
                    out.write(chunk)
                    have += len(chunk)
                    _tell(report, file, have)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the server has no byte there: what lies here is not its file
            partial.unlink(missing_ok=True)
            raise _BrokenOffError("the server does not know the part that is here") from error
        if error.code in _GIVES_UP:
            raise _UselessSourceError(f"HTTP {error.code} {error.reason}") from error
        raise _BrokenOffError(f"HTTP {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise _BrokenOffError(
            f"the server was silent for {settings.timeout_seconds:g} seconds"
        ) from error
    except urllib.error.URLError as error:
        raise _BrokenOffError(f"no connection ({error.reason})") from error
    except http.client.HTTPException as error:
        raise _BrokenOffError(f"the connection broke ({error!r})") from error
    except ValueError as error:
        raise _UselessSourceError(f"no usable address ({error})") from error
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise _BrokenOffError(f"the connection broke ({error!r})") from error
        raise ResourceError(
            f"Cannot write {partial}: {error.strerror}. Free some space or set SEGMATTE_MODELS to "
            "another folder, then run the same command again to go on."
        ) from error


def _accepted_offset(answer: http.client.HTTPResponse, *, file: OfficialFile, have: int) -> int:
    """Where the bytes of this answer belong; a server that ignores ranges starts over.

    Raises:
        _UselessSourceError: the server's file has another size.
    """
    total: int | None = None
    if answer.status == 206:
        offset, _, size = (
            answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        )
        if offset.partition("-")[0] != str(have):
            raise _UselessSourceError(f"answers another range than asked for ({offset or 'none'})")
        total = int(size) if size.isdigit() else None
    else:
        have = 0
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    if total is not None and total != file.size_bytes:
        raise _UselessSourceError(
            f"has a file of {total} bytes, expected {file.size_bytes}; it is not {file.name}"
        )
    return have


def copy_file(file: OfficialFile, *, source: Path, partial: Path) -> None:
    """Copy a local file to ``partial`` and prove that it is the published one.

    Raises:
        ModelError: the file is missing or is not the published one.
        ResourceError: the disk is full.
    """
    if not source.is_file():
        raise ModelError(
            f"Expected {file.name} at {source}, found no such file. Name the file itself, or the "
            "folder that holds it."
        )
    check_file(file, path=source)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, partial)
    except OSError as error:
        raise ResourceError(
            f"Cannot write {partial}: {error.strerror or error}. Free some space or set "
            "SEGMATTE_MODELS to another folder."
        ) from error
    check_file(file, path=partial)


def sha256_of(path: Path) -> str:
    """The sha256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _tell(report: Report, file: OfficialFile, done: int) -> None:
    report(
        Progress(stage="fetch", done=done, total=file.size_bytes, unit="byte", message=file.name)
    )
