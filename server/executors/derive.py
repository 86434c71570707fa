"""Outputs made from a finished result: Cryptomatte, and a sequence of flat mattes per object.

They lie beside the ObjectId files in the attempt's folder and are published like them. Files
appear complete or not at all, so a run that goes on skips those that are there.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from server.errors import InputError, ResourceError, ResultError
from server.progress import Cancellation, Progress, Report

OUTPUTS = ("cryptomatte", "masks")
"""What a job can be asked for, beside what is always made; each is a folder of the result."""


def write_outputs(
    result: Path,
    wanted: Sequence[str],
    *,
    anew: bool,
    report: Report,
    cancellation: Cancellation,
) -> None:
    """Write ``cryptomatte/NAME.####.exr`` and ``masks/OBJECT/OBJECT.NAME.####.exr``.

    Args:
        result: a finished result folder.
        wanted: of ``OUTPUTS``.
        anew: replace what an earlier run made: mattes have changed since.
        report: told about every frame.
        cancellation: asked once per frame.

    Raises:
        ResourceError: the disk is full or cannot be written.
        ResultError: a matte cannot be read.
        InputError: two names cannot both be in a Cryptomatte.
        CancelledError: stopped on request; finished files stay.
    """
    if not wanted:
        return
    from objectid import ObjectIdError, StorageError, find_result, read_sidecar
    from objectid.errors import RequestError
    from objectid.outputs import layer_names

    try:
        if anew:
            for kind in wanted:
                shutil.rmtree(result / kind, ignore_errors=True)
        found = find_result(result)
        layers: dict[str, str] = {}
        if found.sidecar is not None:
            layers = layer_names(read_sidecar(found.sidecar).manifest)
        report(Progress("outputs", 0, len(found.frames)))
        for done, (frame, path) in enumerate(found.frames.items(), start=1):
            cancellation.raise_if_cancelled()
            _write_frame(path, result, wanted, layers)
            report(Progress("outputs", done, len(found.frames), frame=frame))
    except StorageError as error:
        raise ResourceError(f"{error} Free some space, then resume.") from error
    except RequestError as error:
        raise InputError(str(error)) from error
    except ObjectIdError as error:
        raise ResultError(str(error)) from error


def _write_frame(path: Path, result: Path, wanted: Sequence[str], layers: dict[str, str]) -> None:
    from objectid.cryptomatte import write_cryptomatte
    from objectid.frame import read_frame
    from objectid.outputs import write_objects

    cryptomatte = result / "cryptomatte" / path.name
    makes_cryptomatte = "cryptomatte" in wanted and not cryptomatte.exists()
    masks: dict[str, Path] = {}
    if "masks" in wanted:
        places = {n: result / "masks" / o / f"{o}.{path.name}" for n, o in layers.items()}
        masks = {name: place for name, place in places.items() if not place.exists()}
    if not makes_cryptomatte and not masks:
        return
    file = read_frame(path)
    if makes_cryptomatte:
        write_cryptomatte(
            cryptomatte, file.frame, manifest=file.manifest, attributes=file.attributes
        )
    write_objects(masks, file)
