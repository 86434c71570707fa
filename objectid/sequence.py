"""Files on disk: sequences by frame number, result folders, and files that appear complete.

Frame numbers are the plate's own and stand before the suffix: ``shot010.1001.exr``. In a pattern
every ``#`` or ``@`` is one digit, ``%04d`` is read as well.
"""

from __future__ import annotations

import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from objectid.errors import RequestError, StorageError

_Outcome = TypeVar("_Outcome")
_PLACE = re.compile(r"(#+|@+|%0?(\d*)d)(?!.*(#|@|%0?\d*d))")
_NUMBERED = re.compile(r"(.*?)((?:(?<=[._])-)?\d+)(\.[^.]+)")
_RANGE = re.compile(r"(-?\d+)(?:-(-?\d+))?(?:x(\d+))?")


@dataclass(frozen=True)
class Progress:
    """One report of work over frames; the first has ``done == 0``, the last ``done == total``."""

    stage: str
    done: int
    total: int
    unit: str = "frame"
    frame: int | None = None
    """The frame number just finished."""
    message: str = ""


Report = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Take a report and do nothing: the default listener."""


@dataclass(frozen=True)
class Result:
    """The ObjectId files of one shot: a sequence and, if there is one, its sidecar."""

    name: str
    """Name of the shot: file names without frame number and suffix."""
    frames: Mapping[int, Path]
    """Frame number → file, ascending; a file without a number is frame 0."""
    sidecar: Path | None
    folder: Path
    """The result folder, or the folder the files are in."""

    def chosen(self, frames: Iterable[int] | None) -> dict[int, Path]:
        """The files of some frames; of all without an argument.

        Raises:
            RequestError: a frame has no file.
        """
        if frames is None:
            return dict(self.frames)
        wanted = list(frames)
        missing = [frame for frame in wanted if frame not in self.frames]
        if missing:
            known = list(self.frames)
            raise RequestError(
                f"Frame {missing[0]} has no file. There are frames {known[0]}-{known[-1]}.",
                path=self.folder,
            )
        return {frame: self.frames[frame] for frame in wanted}


def find_result(path: Path) -> Result:
    """The ObjectId files that a path means.

    Args:
        path: a result folder (``objectid/NAME.####.exr`` in it), a folder of EXR files, a
            pattern ``NAME.####.exr``, or one file.

    Raises:
        RequestError: nothing is there, or several sequences are.
    """
    path = Path(path)
    if path.is_dir():
        inner = path / "objectid"
        folder = inner if inner.is_dir() else path
        sequences = _sequences(folder)
        if not sequences:
            raise RequestError("No EXR file in this folder.", path=folder)
        if len(sequences) > 1:
            names = ", ".join(sorted(name or "(no name)" for name in sequences)[:5])
            raise RequestError(
                f"Expected one sequence, found several: {names}. Name one as 'NAME.####.exr'.",
                path=folder,
            )
        ((name, frames),) = sequences.items()
        return Result(name, frames, _sidecar(name, path, folder), path)
    if path.is_file():
        name, frame = _split(path.name)
        found = {0 if frame is None else frame: path}
        return Result(name, found, _sidecar(name, path.parent, path.parent.parent), path.parent)
    place = _PLACE.search(path.name)
    if place is None:
        raise RequestError("There is no such file or folder.", path=path)
    head, tail = path.name[: place.start()], path.name[place.end() :]
    pattern = re.compile(re.escape(head) + r"(-?\d+)" + re.escape(tail))
    numbered = {
        int(match.group(1)): file
        for file in _listing(path.parent)
        for match in [pattern.fullmatch(file.name)]
        if match
    }
    if not numbered:
        raise RequestError("No file matches this pattern.", path=path)
    name = head.rstrip("._-")
    sidecar = _sidecar(name, path.parent, path.parent.parent)
    return Result(name, dict(sorted(numbered.items())), sidecar, path.parent)


def frame_path(pattern: Path, frame: int) -> Path:
    """The file of a frame.

    Args:
        pattern: a path with ``####``, ``@@@@`` or ``%04d`` in its last part; without any of
            these, ``.####`` is put before the suffix.
        frame: the plate's frame number.
    """
    name = pattern.name
    if _PLACE.search(name) is None:
        name = f"{pattern.stem}.####{pattern.suffix}"
    place = _PLACE.search(name)
    if place is None:
        raise RequestError("Has no '####' for the frame number.", path=pattern)
    sign = place.group(1)
    digits = int(place.group(2) or 1) if sign[0] == "%" else len(sign)
    number = f"{frame:0{digits + (frame < 0)}d}"
    return pattern.with_name(name[: place.start()] + number + name[place.end() :])


def parse_frames(text: str) -> list[int]:
    """Frame numbers from a text such as ``1001-1048,1060,1100-1200x10``.

    Raises:
        RequestError: the text is not of that form.
    """
    frames: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise RequestError(f"{part!r} is no frame range. Write '1001-1048' or '1001-1048x2'.")
        first = int(match.group(1))
        last = first if match.group(2) is None else int(match.group(2))
        step = int(match.group(3) or 1)
        if last < first or step < 1 or last - first > 10_000_000:
            raise RequestError(f"Frame range {part!r} is empty, turned round or absurd.")
        frames += range(first, last + 1, step)
    return list(dict.fromkeys(frames))


def over_frames(
    work: Callable[[int, Path], _Outcome],
    files: Mapping[int, Path],
    *,
    stage: str,
    processes: int = 1,
    report: Report = ignore_progress,
) -> Iterator[tuple[int, _Outcome]]:
    """Work on frame after frame, in several processes if wanted; outcomes come in order.

    Leaving the loop early stops the work; a few frames may have been begun by then.

    Args:
        work: called with frame number and file; for several processes a function of a module, or
            a ``functools.partial`` of one.
        files: frame number → file.
        stage: what a progress report calls this.
        processes: 1 works in this process; more need a program that can be imported.
        report: told about every frame.

    Yields:
        Frame number and what ``work`` returned.
    """
    total = len(files)
    report(Progress(stage, 0, total))
    outcomes = _one_by_one(work, files) if processes <= 1 else _spread(work, files, processes)
    try:
        for done, (frame, outcome) in enumerate(outcomes, start=1):
            report(Progress(stage, done, total, frame=frame))
            yield frame, outcome
    finally:
        outcomes.close()


def _one_by_one(
    work: Callable[[int, Path], _Outcome], files: Mapping[int, Path]
) -> Generator[tuple[int, _Outcome], None, None]:
    for frame, path in files.items():
        yield frame, work(frame, path)


def _spread(
    work: Callable[[int, Path], _Outcome], files: Mapping[int, Path], processes: int
) -> Generator[tuple[int, _Outcome], None, None]:
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing import get_context

    # Fresh processes: a forked one would inherit the locks of whatever threads run here.
    pool = ProcessPoolExecutor(min(processes, max(len(files), 1)), get_context("spawn"))
    waiting: deque[tuple[int, Future[_Outcome]]] = deque()
    left = iter(files.items())
    try:
        for frame, path in islice(left, 2 * processes):
            waiting.append((frame, pool.submit(work, frame, path)))
        while waiting:
            frame, future = waiting.popleft()
            outcome = future.result()
            for later, path in islice(left, 1):
                waiting.append((later, pool.submit(work, later, path)))
            yield frame, outcome
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def write_atomically(path: Path, parts: Iterable[bytes]) -> None:
    """A file that is either complete under its name or not there.

    The bytes go to a temporary name beside it, to the disk, and only then under the final name.

    Args:
        path: the final name; its folder is made if it is missing.
        parts: the content, piece by piece.

    Raises:
        StorageError: the disk is full, the rights are missing, the share is gone.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"Cannot be written: {error.strerror or error}.", path=path) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _listing(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    except OSError as error:
        raise StorageError(f"Cannot be listed: {error.strerror or error}.", path=folder) from error


def _sequences(folder: Path) -> dict[str, dict[int, Path]]:
    found: dict[str, dict[int, Path]] = {}
    for file in _listing(folder):
        if file.suffix.lower() == ".exr" and file.is_file():
            name, frame = _split(file.name)
            found.setdefault(name, {})[0 if frame is None else frame] = file
    return {name: dict(sorted(frames.items())) for name, frames in found.items()}


def _split(file_name: str) -> tuple[str, int | None]:
    match = _NUMBERED.fullmatch(file_name)
    if match is None:
        return file_name.rsplit(".", 1)[0], None
    return match.group(1).rstrip("._-"), int(match.group(2))


def _sidecar(name: str, *folders: Path) -> Path | None:
    for folder in folders:
        candidate = folder / f"{name}.manifest.json"
        if candidate.is_file():
            return candidate
    return None
