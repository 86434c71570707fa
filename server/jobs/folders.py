"""Where files of jobs lie, and how an attempt's files become results.

::

    STATE/jobs/JOB/attempts/3/plate/     links to the plate's opened files
    STATE/jobs/JOB/attempts/3/prompts/   the same for artists' masks
    STATE/jobs/JOB/attempts/3/result/    what the pipeline writes: mattes, work/, …
    STATE/jobs/JOB/result/               published: what clients download

An attempt writes only below its own number. The next attempt starts from hard links to the files
of the one before, so a replaced worker that still writes somewhere can touch neither the running
attempt nor the results. Publishing makes a second name for a finished file, in the transaction
that has checked the attempt's number.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.errors import ResourceError, ResultError
from server.jobs.store import ResultFile

_CHUNK = 1 << 20
_FRAME = re.compile(r"^objectid/.*?\.(-?\d+)\.exr$")
_EXTRA_FRAME = re.compile(r"^(?:cryptomatte|masks)/.*\.(-?\d+)\.(?:exr|png)$")


@dataclass(frozen=True)
class Attempt:
    """Folders of one attempt."""

    folder: Path

    @property
    def plate(self) -> Path:
        """Links to the plate's opened files."""
        return self.folder / "plate"

    @property
    def prompts(self) -> Path:
        """Links to artists' masks."""
        return self.folder / "prompts"

    @property
    def result(self) -> Path:
        """What the pipeline writes."""
        return self.folder / "result"


class JobFolder:
    """Files of one job."""

    def __init__(self, jobs: Path, job_id: str) -> None:
        """Name the folder; nothing is made.

        Args:
            jobs: folder of all jobs.
            job_id: made by the store.
        """
        self.path = jobs / job_id
        self.result = self.path / "result"

    def attempt(self, number: int) -> Attempt:
        """Folders of an attempt."""
        return Attempt(self.path / "attempts" / str(number))

    def last_attempt(self, *, before: int | None = None) -> Attempt | None:
        """The newest attempt that left something, older than ``before`` if given."""
        found = self._attempts()
        numbers = [n for n in found if before is None or n < before]
        return self.attempt(max(numbers)) if numbers else None

    def start(self, number: int, *, source: Attempt | None) -> Attempt:
        """Make an attempt's folders, and forget those older than the one it goes on from.

        Args:
            number: fencing number of the attempt.
            source: whose files to go on from; None: start from nothing.

        Raises:
            ResourceError: the disk is full or cannot be written.
        """
        attempt = self.attempt(number)
        try:
            shutil.rmtree(attempt.folder, ignore_errors=True)
            for folder in (attempt.plate, attempt.prompts):
                folder.mkdir(parents=True)
            if source is not None and source.result.exists():
                link_tree(source.result, attempt.result)
            self.result.mkdir(exist_ok=True)
            for other in self._attempts():
                if other < number:
                    shutil.rmtree(self.attempt(other).folder, ignore_errors=True)
        except OSError as error:
            raise ResourceError(
                f"{attempt.folder} cannot be written ({error.strerror}). Free some space on the "
                "server's state folder."
            ) from error
        return attempt

    def clear_results(self) -> None:
        """Remove what was published: the job is done again from the start."""
        shutil.rmtree(self.result, ignore_errors=True)

    def place(self, attempt: Attempt, files: Sequence[ResultFile]) -> set[Path]:
        """Give files of an attempt their place among the results.

        Returns:
            Folders to sync, so that the names survive a power cut.

        Raises:
            ResourceError: the disk is full or cannot be written.
        """
        folders = {self.result}
        try:
            for file in files:
                target = self.result / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(f".{target.name}.part")
                partial.unlink(missing_ok=True)
                _link_or_copy(attempt.result / file.name, partial)
                partial.replace(target)
                # Renaming one name of a file to another of the same file does nothing at all.
                partial.unlink(missing_ok=True)
                folders.add(target.parent)
            return folders
        except OSError as error:
            raise ResourceError(
                f"A result cannot be published ({error.strerror}: {error.filename}). Free some "
                "space on the server's state folder."
            ) from error

    def remove(self) -> None:
        """Remove everything of the job."""
        shutil.rmtree(self.path, ignore_errors=True)

    def size_bytes(self) -> int:
        """Bytes on disk; a file with two names counts once."""
        seen: dict[int, int] = {}
        for folder, _, names in os.walk(self.path):
            for name in names:
                try:
                    status = os.lstat(os.path.join(folder, name))
                except OSError:
                    continue
                seen[status.st_ino] = status.st_blocks * 512
        return sum(seen.values())

    def _attempts(self) -> list[int]:
        try:
            return [int(p.name) for p in (self.path / "attempts").iterdir() if p.name.isdigit()]
        except FileNotFoundError:
            return []


def result_files(attempt: Attempt) -> Iterator[str]:
    """Names of an attempt's finished files that are results, not work, in a stable order."""
    for folder, folders, names in os.walk(attempt.result):
        place = Path(folder).relative_to(attempt.result)
        folders[:] = sorted(f for f in folders if not (place == Path() and f == "work"))
        for name in sorted(names):
            if not name.startswith("."):
                yield (place / name).as_posix()


def describe_file(attempt: Attempt, name: str) -> ResultFile:
    """Size, hash and frame of one file of an attempt.

    Raises:
        ResultError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with (attempt.result / name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise ResultError(f"The result {name} cannot be read: {error.strerror}.") from error
    match = _FRAME.match(name)
    return ResultFile(name, size, digest.digest(), int(match.group(1)) if match else None)


def belongs_to_frame(name: str) -> int | None:
    """Frame number a result's name carries, for mattes and the sequences derived from them."""
    match = _FRAME.match(name) or _EXTRA_FRAME.match(name)
    return int(match.group(1)) if match else None


def frame_file(attempt: Attempt, frame: int) -> str | None:
    """Name of the delivered matte of a frame, if it is there."""
    number = f"{'-' if frame < 0 else ''}{abs(frame):04d}"
    for path in (attempt.result / "objectid").glob(f"*.{number}.exr"):
        if not path.name.startswith("."):
            return f"objectid/{path.name}"
    return None


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder by hard links, leaving out unfinished files.

    Everything in it was written under another name and renamed, so no file is changed in place
    and the two trees stay independent.
    """
    for folder, _, names in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not name.startswith("."):
                _link_or_copy(Path(folder) / name, place / name)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # no hard links there: other device, or a file system without them
        with source.open("rb") as reading, target.open("wb") as writing:
            shutil.copyfileobj(reading, writing, _CHUNK)
            writing.flush()
            os.fsync(writing.fileno())
