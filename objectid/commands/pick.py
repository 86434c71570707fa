"""``segmatte pick``: mattes of chosen objects as flat EXR files."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from objectid.commands import (
    add_frames,
    add_source,
    chosen_result,
    on_terminal,
    process_count,
    shot_manifest,
    warn,
)
from objectid.errors import RequestError
from objectid.filter import Filter, compile_filter
from objectid.manifest import Manifest
from objectid.sequence import frame_path, over_frames

if TYPE_CHECKING:
    from objectid.outputs import Kind, MatteChannels

HELP = "write the matte of the objects that a filter picks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    add_source(parser)
    parser.add_argument(
        "filter",
        metavar="FILTER",
        help="which objects: 'person*, -person_03', '/hero', '**_01', '<123>'; a filter that is "
        "one '-name' goes behind '--'",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="MATTE.####.exr",
        type=Path,
        required=True,
        help="the files to write; #### is the frame number",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--invert", action="store_true", help="everything but these objects: 1 - matte"
    )
    kind.add_argument("--others", action="store_true", help="all other objects, without background")
    parser.add_argument(
        "--rgba",
        action="store_true",
        help="the matte in R, G, B and A (default: half float in A only, Nuke's rgba.alpha)",
    )
    add_frames(parser)


def run(arguments: argparse.Namespace) -> int:
    """Pick and write.

    Raises:
        ObjectIdError: the source cannot be read, the filter finds nothing, or the disk is full.
    """
    result, files = chosen_result(arguments)
    wanted = compile_filter(arguments.filter)
    manifest = shot_manifest(result, next(iter(files.values())))
    ids = manifest.ids
    for term in wanted.unmatched(ids):
        warn(f"no object for {term.text!r}. 'inspect' lists the names.")
    if not wanted.select(ids):
        raise RequestError(f"The filter '{wanted.text}' picks nothing from {len(ids)} objects.")
    targets = _targets(arguments.output, files)
    kind: Kind = "inverse" if arguments.invert else "others" if arguments.others else "pick"
    work = partial(
        _pick_frame,
        targets=targets,
        wanted=wanted,
        names=manifest,
        kind=kind,
        channels="rgba" if arguments.rgba else "alpha",
        lenient=arguments.lenient,
    )
    processes = process_count(arguments.processes, len(files))
    empty = 0
    for _, share in over_frames(
        work, files, stage="pick", processes=processes, report=on_terminal()
    ):
        empty += share == 0
    print(f"{len(files)} mattes: {next(iter(targets.values()))}")
    if empty:
        print(f"{empty} of them are empty: none of the objects is in the frame.")
    return 0


def _targets(output: Path, files: dict[int, Path]) -> dict[int, Path]:
    alone = len(files) == 1 and not any(sign in output.name for sign in "#@%")
    targets = {frame: output if alone else frame_path(output, frame) for frame in files}
    sources = {path.resolve() for path in files.values()}
    for target in targets.values():
        if target.resolve() in sources:
            raise RequestError("This is a file that is being read; choose another.", path=target)
    return targets


def _pick_frame(
    frame: int,
    path: Path,
    *,
    targets: dict[int, Path],
    wanted: Filter,
    names: Manifest,
    kind: Kind,
    channels: MatteChannels,
    lenient: bool,
) -> float:
    from objectid.frame import read_frame
    from objectid.outputs import matte_of, write_matte

    file = read_frame(path, names=names, lenient=lenient)
    matte = matte_of(file, wanted, kind=kind)
    texts = {**file.attributes, "objectid/filter": wanted.text}
    write_matte(targets[frame], matte, frame=file.frame, channels=channels, attributes=texts)
    return float(matte.mean())
