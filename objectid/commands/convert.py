"""``segmatte convert``: ObjectId files as Cryptomatte, layers, or one sequence per object."""

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
)
from objectid.errors import RequestError
from objectid.filter import compile_filter
from objectid.manifest import Manifest
from objectid.sequence import frame_path, over_frames

if TYPE_CHECKING:
    from objectid.outputs import MatteChannels

HELP = "write Cryptomatte, one layer per object, or one sequence per object"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    add_source(parser)
    parser.add_argument(
        "--to",
        choices=("cryptomatte", "layers", "objects"),
        required=True,
        help="cryptomatte: for the Cryptomatte node; layers: one file per frame with a named layer "
        "per object; objects: one sequence of mattes per object",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="NAME.####.exr",
        type=Path,
        required=True,
        help="the files to write; with 'objects' in a folder per object",
    )
    parser.add_argument(
        "--filter", default="/", help="which objects become layers or sequences (default: all)"
    )
    parser.add_argument(
        "--rgba", action="store_true", help="with 'objects': the matte in R, G, B and A"
    )
    parser.add_argument(
        "--layer", default="CryptoObject", help="name of the Cryptomatte (default: CryptoObject)"
    )
    parser.add_argument(
        "--ranks", type=int, default=6, help="objects per pixel in a Cryptomatte (default: 6)"
    )
    parser.add_argument(
        "--manifest",
        choices=("embedded", "sidecar"),
        default="embedded",
        help="where a Cryptomatte keeps its names (default: embedded)",
    )
    add_frames(parser)


def run(arguments: argparse.Namespace) -> int:
    """Convert.

    Raises:
        ObjectIdError: the source cannot be read, or the output cannot be written.
    """
    result, files = chosen_result(arguments)
    manifest = shot_manifest(result, next(iter(files.values())))
    sources = {path.resolve() for path in files.values()}
    targets = {frame: frame_path(arguments.output, frame) for frame in files}
    if any(target.resolve() in sources for target in targets.values()):
        raise RequestError("The output would replace the source.", path=arguments.output)
    if arguments.to == "cryptomatte":
        work = _cryptomatte(arguments, manifest, targets)
    else:
        work = _mattes(arguments, manifest, targets)
    processes = process_count(arguments.processes, len(files))
    for _ in over_frames(
        work, files, stage=arguments.to, processes=processes, report=on_terminal()
    ):
        pass
    print(f"{len(files)} frames: {next(iter(targets.values()))}")
    return 0


def _cryptomatte(
    arguments: argparse.Namespace, manifest: Manifest, targets: dict[int, Path]
) -> partial[None]:
    from objectid.cryptomatte import write_cryptomatte_sidecar

    sidecar = None
    if arguments.manifest == "sidecar":
        first = next(iter(targets.values()))
        stem = first.name.split(".")[0]
        sidecar = f"{stem}.{arguments.layer}.json"
        write_cryptomatte_sidecar(first.with_name(sidecar), manifest)
    return partial(
        _write_cryptomatte,
        targets=targets,
        layer=arguments.layer,
        ranks=arguments.ranks,
        sidecar=sidecar,
        names=manifest,
        lenient=arguments.lenient,
    )


def _write_cryptomatte(
    frame: int,
    path: Path,
    *,
    targets: dict[int, Path],
    layer: str,
    ranks: int,
    sidecar: str | None,
    names: Manifest,
    lenient: bool,
) -> None:
    from objectid.cryptomatte import write_cryptomatte
    from objectid.frame import read_frame

    file = read_frame(path, names=names, lenient=lenient)
    write_cryptomatte(
        targets[frame],
        file.frame,
        manifest=file.manifest,
        layer=layer,
        ranks=ranks,
        sidecar=sidecar,
        attributes=file.attributes,
    )


def _mattes(
    arguments: argparse.Namespace, manifest: Manifest, targets: dict[int, Path]
) -> partial[None]:
    from objectid.outputs import layer_names

    names = compile_filter(arguments.filter).match(manifest.ids)
    if not names:
        raise RequestError(f"The filter '{arguments.filter}' picks no object.")
    layers = {name: layer for name, layer in layer_names(manifest).items() if name in names}
    if arguments.to == "layers":
        return partial(
            _write_layers, targets=targets, layers=layers, names=manifest, lenient=arguments.lenient
        )
    folders = {
        name: {
            frame: path.parent / layer / f"{layer}.{path.name}" for frame, path in targets.items()
        }
        for name, layer in layers.items()
    }
    channels: MatteChannels = "rgba" if arguments.rgba else "alpha"
    return partial(
        _write_objects,
        folders=folders,
        channels=channels,
        names=manifest,
        lenient=arguments.lenient,
    )


def _write_layers(
    frame: int,
    path: Path,
    *,
    targets: dict[int, Path],
    layers: dict[str, str],
    names: Manifest,
    lenient: bool,
) -> None:
    from objectid.frame import read_frame
    from objectid.outputs import write_layers

    write_layers(targets[frame], read_frame(path, names=names, lenient=lenient), layers=layers)


def _write_objects(
    frame: int,
    path: Path,
    *,
    folders: dict[str, dict[int, Path]],
    channels: MatteChannels,
    names: Manifest,
    lenient: bool,
) -> None:
    from objectid.frame import read_frame
    from objectid.outputs import write_objects

    paths = {name: places[frame] for name, places in folders.items()}
    write_objects(paths, read_frame(path, names=names, lenient=lenient), channels=channels)
