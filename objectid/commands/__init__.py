"""What the command line does with ObjectId files; one module per command.

Each has ``HELP``, ``add_arguments`` and ``run``, and imports numpy only when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from objectid.header import FLAG_MULTIPART, FLAG_TILED, read_header
from objectid.manifest import Manifest, header_manifest, read_sidecar
from objectid.sequence import Progress, Report, Result, find_result, parse_frames

_UPDATES_PER_SECOND = 4


def add_source(parser: argparse.ArgumentParser) -> None:
    """The argument that says which ObjectId files are meant."""
    parser.add_argument(
        "source",
        metavar="DIR_OR_FILE",
        type=Path,
        help="a result folder, a folder of ObjectId EXR files, NAME.####.exr, or one file",
    )


def add_frames(parser: argparse.ArgumentParser) -> None:
    """The options that say which frames, and how they are read."""
    parser.add_argument(
        "--range",
        metavar="FRAMES",
        help="frame numbers such as 1001-1048, 1001-1048x2 or 1001,1005 (default: all)",
    )
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """The options that say how files are read."""
    parser.add_argument(
        "--lenient",
        action="store_true",
        help="accept files that another program has cropped or changed",
    )
    parser.add_argument(
        "--processes",
        metavar="N",
        type=int,
        default=0,
        help="frames worked on at a time (default: one per processor, for longer sequences)",
    )


def chosen_result(arguments: argparse.Namespace) -> tuple[Result, dict[int, Path]]:
    """The result that is meant, and the chosen files of it by frame number."""
    result = find_result(arguments.source)
    frames = None if arguments.range is None else parse_frames(arguments.range)
    return result, result.chosen(frames)


def shot_manifest(result: Result, path: Path) -> Manifest:
    """The names of a shot: what a file says, else the sidecar, else none."""
    header = read_header(path)
    found = header_manifest(header)
    if found is None and header.flags & (FLAG_TILED | FLAG_MULTIPART):
        from objectid.frame import read_frame

        found = read_frame(path, lenient=True).manifest
    if (found is None or not found.ids) and result.sidecar is not None:
        found = read_sidecar(result.sidecar).manifest
    return found or Manifest({})


def process_count(wanted: int, frames: int) -> int:
    """How many processes are worth starting."""
    if wanted > 0:
        return wanted
    return 1 if frames < 16 else min(os.cpu_count() or 1, frames // 8, 16)


def warn(text: str) -> None:
    """Tell the user something that does not stop the work."""
    print(f"warning: {text}", file=sys.stderr)


def on_terminal() -> Report:
    """A listener that shows progress as one line on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        return _silent
    last = 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        finished = progress.done == progress.total
        if finished or now - last > 1 / _UPDATES_PER_SECOND:
            last = now
            frame = "" if progress.frame is None else f"  frame {progress.frame}"
            end = "\n" if finished else ""
            text = f"\r{progress.stage}: {progress.done}/{progress.total}{frame}\033[K"
            print(text, end=end, file=sys.stderr, flush=True)

    return show


def _silent(progress: Progress) -> None:
    return None
