"""Folders and plates below the read roots, for a file browser."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Any

from protos import segmatte_pb2 as wire
from server.frames.sequence import IMAGE_SUFFIXES, MOVIE_SUFFIXES
from server.jobs.roots import Roots

_LISTED = 2000


def list_folder(roots: Roots, text: str) -> Any:
    """Folders and plates of one folder.

    Args:
        roots: of who asks.
        text: the folder, in any form that ``Roots`` maps.

    Returns:
        Folder.

    Raises:
        ServerError: it is not there, or lies outside of the roots.
    """
    import fileseq

    path = roots.local_path(text)
    answer = wire.Folder(path=str(path))
    files: list[str] = []
    with roots.open(path, folder=True) as handle:
        place = f"/proc/self/fd/{handle}"
        with os.scandir(place) as entries:
            for count, entry in enumerate(entries):
                if count >= 100 * _LISTED:
                    answer.truncated = True
                    break
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    answer.folders.append(entry.name)
                elif PurePosixPath(entry.name).suffix.lower() in IMAGE_SUFFIXES | MOVIE_SUFFIXES:
                    files.append(entry.name)
    answer.folders.sort()
    if len(answer.folders) > _LISTED:
        del answer.folders[_LISTED:]
        answer.truncated = True
    for found in sorted(
        fileseq.findSequencesInList(files, pad_style=fileseq.PAD_STYLE_HASH1), key=str
    ):
        frames = found.frameSet()
        name = f"{found.basename()}{found.padding()}{found.extension()}"
        if not frames:
            movie = PurePosixPath(str(found)).suffix.lower() in MOVIE_SUFFIXES
            answer.plates.add(
                path=str(path / str(found)),
                name=str(found),
                first_frame=0 if movie else 1,
                last_frame=0 if movie else 1,
                frame_count=0 if movie else 1,
            )
            continue
        answer.plates.add(
            path=str(path / name),
            name=name,
            first_frame=int(frames.start()),
            last_frame=int(frames.end()),
            frame_count=len(frames),
        )
    return answer
