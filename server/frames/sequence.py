"""Which files are a plate: frame ranges, sequence patterns, folders and gaps.

First part of the first stage. Frame numbers are the plate's own from here to the last delivered
file; nothing in this package counts from zero. Patterns are read the way Nuke reads them: every
``#`` and ``@`` is one digit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from server.errors import PlateError

IMAGE_SUFFIXES = frozenset(
    ".exr .sxr .dpx .cin .tif .tiff .png .jpg .jpeg .jp2 .j2k .jxl .tga .bmp .sgi .hdr .webp "
    ".ppm .pgm .pfm .psd".split()
)
"""Files that make a plate when a folder is given."""

MOVIE_SUFFIXES = frozenset((".mov", ".mp4", ".m4v", ".mxf", ".avi", ".mkv", ".webm"))
"""Files that hold a whole plate each."""

_LARGEST_PLAUSIBLE_STEP = 10


@dataclass(frozen=True)
class FrameRange:
    """Frame numbers from first to last, both included."""

    first: int
    last: int
    step: int = 1

    def __post_init__(self) -> None:
        if self.step < 1:
            raise PlateError(f"A frame range needs a step of 1 or more, not {self.step}.")
        if self.last < self.first:
            raise PlateError(
                f"Frame range {self.first}-{self.last} is empty: it ends before it begins. "
                "Write the smaller frame number first."
            )

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1, self.step))

    def __len__(self) -> int:
        return len(range(self.first, self.last + 1, self.step))

    def __contains__(self, frame: object) -> bool:
        return frame in range(self.first, self.last + 1, self.step)

    def __str__(self) -> str:
        if self.first == self.last:
            return str(self.first)
        step = f"x{self.step}" if self.step > 1 else ""
        return f"{self.first}-{self.last}{step}"

    @classmethod
    def parse(cls, text: str) -> FrameRange:
        """Read a range as artists write it: ``1001``, ``1001-1100``, ``1001-1100x2``, ``-10--5``.

        Raises:
            PlateError: the text is no frame range.
        """
        match = re.fullmatch(r"\s*(-?\d+)(?:\s*-\s*(-?\d+)(?:\s*x\s*(\d+))?)?\s*", text)
        if match is None:
            raise PlateError(
                f"Expected a frame range like 1001-1100 or 1001-1100x2, found {text!r}."
            )
        first, last, step = match.groups()
        return cls(int(first), int(first if last is None else last), int(step or 1))


@dataclass(frozen=True)
class StoredFrames:
    """The image files of one plate, as they lie on disk."""

    name: str
    """The plate's name for people: ``plate.####.exr``."""
    files: Mapping[int, Path]
    """Frame number to file, ascending."""
    declared: FrameRange | None = None
    """A range written into the pattern itself, ``plate.1001-1100####.exr``."""


@dataclass(frozen=True)
class ChosenFrames:
    """The frames a job works on and what each is read from."""

    frames: tuple[int, ...]
    """Ascending frame numbers."""
    held: Mapping[int, int]
    """Missing frame to the frame whose picture stands in for it."""
    skipped: tuple[int, ...]
    """Missing frames that were left out."""


def find_frames(path: Path) -> StoredFrames:
    """Find the files of a plate from a pattern, a folder or a single file.

    Args:
        path: ``plate.%04d.exr``, ``plate.####.exr``, ``plate.@@@@.exr``, a folder that holds one
            sequence, or one existing file, which is a plate of one frame.

    Raises:
        PlateError: nothing is there, or a folder holds several plates.
    """
    if path.is_dir():
        return _find_in_folder(path)
    if path.is_file():
        return StoredFrames(name=path.name, files={_frame_of_file(path): path})
    return _find_pattern(path)


def choose_frames(
    *, name: str, available: list[int], frame_range: FrameRange | None, gaps: str, path: Path
) -> ChosenFrames:
    """Settle which frames a job works on, and what happens to those that are missing.

    Args:
        name: the plate's name, for messages.
        available: frame numbers found, ascending.
        frame_range: the frames asked for; ``None`` is everything between first and last found.
        gaps: ``error``, ``hold`` (the frame before stands in) or ``skip``.
        path: the plate, for the error's attribute.

    Raises:
        PlateError: frames are missing and ``gaps`` is ``error``, or none is there at all.
    """
    wanted = frame_range or _implied_range(available)
    present = [frame for frame in available if frame in wanted]
    missing = sorted(set(wanted).difference(present))
    if not present:
        raise PlateError(
            f"No frame of {wanted} exists in plate {name}, which has {format_frames(available)}. "
            "Choose a range inside it."
            + (
                f" One file was named, so only its own frame counts; name the sequence with #### "
                f"({_as_pattern(path)}) to use its other frames."
                if path.is_file() and path.suffix.lower() not in MOVIE_SUFFIXES
                else ""
            ),
            path=path,
            frame=wanted.first,
        )
    if missing and gaps == "error":
        named = f"Frame {missing[0]} is" if len(missing) == 1 else _plural(missing)
        raise PlateError(
            f"{named} missing from plate {name}, which has {format_frames(available)}. Render "
            "what is missing, choose a range without it, or use --gaps hold or --gaps skip.",
            path=path,
            frame=missing[0],
        )
    if gaps == "hold":
        held = {frame: _stand_in(frame, available=available) for frame in missing}
        return ChosenFrames(frames=tuple(wanted), held=held, skipped=())
    return ChosenFrames(frames=tuple(present), held={}, skipped=tuple(missing))


def format_frames(frames: list[int] | tuple[int, ...]) -> str:
    """Write frame numbers briefly: ``1001-1003, 1007``."""
    runs: list[FrameRange] = []
    for frame in frames:
        if runs and runs[-1].last == frame - 1:
            runs[-1] = FrameRange(runs[-1].first, frame)
        else:
            runs.append(FrameRange(frame, frame))
    shown = [str(run) for run in runs[:12]]
    if len(runs) > 12:
        shown.append(f"… ({len(frames)} frames in {len(runs)} runs)")
    return ", ".join(shown)


def _plural(missing: list[int]) -> str:
    return f"Frames {format_frames(missing)} ({len(missing)} in all) are"


def _implied_range(available: list[int]) -> FrameRange:
    """First to last; a sequence rendered on every second or third frame has no gaps."""
    strides = {b - a for a, b in pairwise(available)}
    regular = len(strides) == 1 and len(available) > 2 and max(strides) <= _LARGEST_PLAUSIBLE_STEP
    return FrameRange(available[0], available[-1], strides.pop() if regular else 1)


def _stand_in(frame: int, *, available: list[int]) -> int:
    earlier = [other for other in available if other < frame]
    return earlier[-1] if earlier else available[0]


def _find_pattern(path: Path) -> StoredFrames:
    fileseq = _fileseq()
    try:
        pattern = fileseq.FileSequence(str(path), pad_style=fileseq.PAD_STYLE_HASH1)
    except fileseq.FileSeqException as error:
        raise _nothing_there(path) from error
    if not pattern.padding():
        raise _nothing_there(path)
    # A lone `#` stands for any number of digits; `####` over files with five is still meant.
    for strict in (False, True) if pattern.zfill() <= 1 else (True, False):
        try:
            found = fileseq.findSequenceOnDisk(
                str(path), strictPadding=strict, pad_style=fileseq.PAD_STYLE_HASH1
            )
        except fileseq.FileSeqException:
            continue
        declared = str(pattern.frameSet() or "")
        return StoredFrames(
            name=f"{pattern.basename()}{pattern.padding()}{pattern.extension()}",
            files=_files(found),
            declared=FrameRange.parse(declared) if "-" in declared[1:] else None,
        )
    raise _nothing_there(path)


def _find_in_folder(folder: Path) -> StoredFrames:
    fileseq = _fileseq()
    sequences = []
    for found in fileseq.findSequencesOnDisk(str(folder), pad_style=fileseq.PAD_STYLE_HASH1):
        suffix = found.extension().lower()
        if suffix in MOVIE_SUFFIXES or suffix not in IMAGE_SUFFIXES:
            continue
        sequences.append(_read_dash_as_separator(found))
    if not sequences:
        raise PlateError(
            f"Expected image files in folder {folder}, found none. Name the folder of one plate, "
            "or the plate itself, like plate.####.exr.",
            path=folder,
        )
    if len(sequences) > 1:
        names = ", ".join(sorted(_label(found) for found in sequences))
        raise PlateError(
            f"Expected one plate in folder {folder}, found {len(sequences)}: {names}. "
            "Name one of them.",
            path=folder,
        )
    found = sequences[0]
    if not found.frameSet():
        file = Path(str(found))
        return StoredFrames(name=file.name, files={_frame_of_file(file): file})
    return StoredFrames(name=_label(found), files=_files(found))


def _read_dash_as_separator(found: Any) -> Any:
    """Frames of ``plate-0001.exr`` are positive: a dash right behind a word separates."""
    fileseq = _fileseq()
    frames = found.frameSet()
    if not frames or frames.end() >= 0 or not found.basename()[-1:].isalnum():
        return found
    width = max(1, found.zfill() - 1)
    return fileseq.findSequenceOnDisk(
        f"{found.dirname()}{found.basename()}-{'#' * width}{found.extension()}",
        pad_style=fileseq.PAD_STYLE_HASH1,
    )


def _files(found: Any) -> dict[int, Path]:
    frames = found.frameSet()
    if not frames:
        path = Path(str(found))
        return {_frame_of_file(path): path}
    return {int(frame): Path(found.frame(int(frame))) for frame in sorted(map(int, frames))}


def _label(found: Any) -> str:
    return f"{found.basename()}{found.padding()}{found.extension()}"


def _frame_of_file(path: Path) -> int:
    """The number before the suffix, or 1: ``plate.1001.exr`` is frame 1001."""
    match = re.search(r"(?:(?<=[._ ])-)?\d+$", path.stem)
    return int(match.group()) if match else 1


def _as_pattern(path: Path) -> str:
    return re.sub(r"\d+(?=\.[^.]+$)", lambda digits: "#" * len(digits.group()), path.name)


def _nothing_there(path: Path) -> PlateError:
    folder = path.parent
    if not folder.is_dir():
        return PlateError(
            f"Expected a plate at {path}, but folder {folder} does not exist or cannot be read. "
            "Check the path.",
            path=path,
        )
    found = sorted(
        _label(sequence)
        for sequence in _fileseq().findSequencesOnDisk(
            str(folder), pad_style=_fileseq().PAD_STYLE_HASH1
        )
        if sequence.extension().lower() in IMAGE_SUFFIXES | MOVIE_SUFFIXES
    )
    there = f"The folder has {', '.join(found[:8])}." if found else "The folder has no images."
    return PlateError(
        f"Expected a plate at {path}, found no such file or sequence. {there} "
        "Name a sequence like plate.####.exr or plate.%04d.exr.",
        path=path,
    )


def _fileseq() -> Any:
    try:
        import fileseq
    except ImportError as error:
        raise PlateError(
            "Reading plates needs the package fileseq: install segmatte[server]."
        ) from error
    return fileseq
