"""What plates lie in a folder, and what each of them lacks to be complete."""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from client.errors import InputError
from client.shots import SUFFIXES

_NUMBERED = re.compile(
    rf"(?P<head>.*?)(?P<frame>(?:(?<=[._ ])-)?\d+)(?P<tail>\.(?:{'|'.join(SUFFIXES)}))", re.I
)
_RESULT = ".manifest.json"
"""A folder with such a file is one of our results, and no place for plates."""


@dataclass(frozen=True, order=True)
class PictureFile:
    """One picture as the folder lists it."""

    frame: int
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class SeenPlate:
    """A numbered sequence as it lay there at one look."""

    folder: Path
    head: str
    """What stands before the frame number: ``sh010_plate_v01.``"""
    digits: int
    """Width the frame numbers are filled up to; 1: not filled up."""
    suffix: str
    """With its dot."""
    pictures: tuple[PictureFile, ...]
    """By frame."""
    sentinel: str = ""
    """A file that is not there yet and has to be."""

    @property
    def path(self) -> str:
        """As a server takes it: ``/plates/sh010_plate_v01.####.exr``."""
        return str(self.folder / f"{self.head}{'#' * self.digits}{self.suffix}")

    @property
    def name(self) -> str:
        """For people and folders: ``sh010_plate_v01``."""
        return self.head.strip("._- ") or self.folder.name

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes with any file: one version of the plate has one fingerprint."""
        rows = (f"{p.frame} {p.size_bytes} {p.modified_ns}\n" for p in self.pictures)
        return hashlib.sha256("".join(rows).encode()).hexdigest()

    @property
    def lacks(self) -> str:
        """What it lacks to be a complete plate; empty: nothing."""
        frames = [picture.frame for picture in self.pictures]
        if len(frames) == 1:
            return "a single picture, not a sequence"
        for one, next_one in itertools.pairwise(frames):
            if next_one == one:
                return f"two files of frame {one}"
            if next_one > one + 2:
                return f"frames {one + 1}-{next_one - 1} are missing"
            if next_one > one + 1:
                return f"frame {one + 1} is missing"
        empty = [picture.frame for picture in self.pictures if not picture.size_bytes]
        if empty:
            return f"frame {empty[0]} is empty"
        return f"waits for {self.sentinel}" if self.sentinel else ""


def find_plates(
    root: Path,
    *,
    match: str = "*",
    sentinel: str = "",
    unreadable: Callable[[str, str], None] = lambda path, reason: None,
) -> Iterator[SeenPlate]:
    """Look once through a folder and all below it.

    Hidden folders, links to folders, and results of this program are passed by. What vanishes
    while looking is not there.

    Args:
        root: the folder.
        match: wildcard for the plate's path below it: ``*/plates/*``. Nothing is looked at outside
            of what stands before its first wildcard.
        sentinel: name of a file that has to stand beside a complete plate; may hold ``{name}``.
        unreadable: hears of folders that cannot be read, and why.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        raise InputError(
            f"The folder {root} cannot be read ({error.strerror}). Mount it, or name another one."
        ) from error

    def passed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            unreadable(str(error.filename), f"cannot be read: {error.strerror}")

    fixed = re.split(r"[*?\[]", match)[0].rpartition("/")[0]
    for folder, folders, files in os.walk(root / fixed, onerror=passed):
        if any(name.endswith(_RESULT) for name in files):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        present = set(files)
        for plate in _plates_of(Path(folder), files):
            if not fnmatch.fnmatchcase(os.path.relpath(plate.path, root), match):
                continue
            wanted = sentinel.replace("{name}", plate.name)
            if wanted and wanted not in present:
                plate = replace(plate, sentinel=wanted)
            yield plate


def _plates_of(folder: Path, files: list[str]) -> Iterator[SeenPlate]:
    groups: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for name in files:
        found = None if name.startswith(".") else _NUMBERED.fullmatch(name)
        if found:
            groups[found["head"], found["tail"]].append((found["frame"], name))
    for (head, tail), members in sorted(groups.items()):
        pictures = []
        for frame, name in members:
            try:
                state = (folder / name).stat()
            except OSError:
                continue
            pictures.append(PictureFile(int(frame), state.st_size, state.st_mtime_ns))
        if pictures:
            widths = {len(frame.lstrip("-")) for frame, _ in members}
            filled = len(widths) == 1 or any(f.lstrip("-").startswith("0") for f, _ in members)
            yield SeenPlate(
                folder=folder,
                head=head,
                digits=min(widths) if filled else 1,
                suffix=tail,
                pictures=tuple(sorted(pictures)),
            )
