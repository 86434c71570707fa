"""What a job names, opened under its owner's rights and linked into the attempt's folder.

Runs in the worker process, once per attempt. Every file of the plate is opened through ``Roots``
and stays open; ``plate/NAME`` links to ``/proc/self/fd/N``. From then on the pipeline reads what
was granted, whatever happens to folders and links on the way, and a plate deleted in the middle of
a job is still read to its end.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from server.errors import InputError, PlateError
from server.executors.engine import Defaults, Work
from server.frames.sequence import MOVIE_SUFFIXES, find_frames
from server.jobs.request import JobRequest, UploadedPlate
from server.jobs.roots import Root, Roots
from server.jobs.uploads import Uploads
from server.pipeline.folder import shot_name

MOVIES_TAKEN = frozenset((".mov", ".mp4", ".m4v"))
"""Containers read, from storage only: more formats are more code to attack."""


@dataclass(frozen=True)
class Order:
    """Everything a worker process is told about one job; crosses as JSON."""

    request: str
    """As the store keeps it."""
    user: str
    groups: tuple[str, ...]
    roots: tuple[Root, ...]
    closed: tuple[str, ...]
    """Folders of the server never opened for a client."""
    uploads: str
    folder: str
    """The attempt's; becomes the working folder."""
    defaults: Defaults
    reference: str = ""
    frame: int | None = None
    """Only this frame is wanted, for previews and clicks."""
    image_size: int = 0
    """Longest side of a preview's picture; 0: the model image's."""

    def to_data(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Order:
        """Back from JSON values."""
        values = dict(data)
        values["roots"] = tuple(
            Root(
                path=root["path"],
                access=root["access"],
                users=tuple(root["users"]),
                groups=tuple(root["groups"]),
                aliases=tuple(root["aliases"]),
            )
            for root in data["roots"]
        )
        values["defaults"] = Defaults(**data["defaults"])
        for name in ("groups", "closed"):
            values[name] = tuple(data[name])
        return cls(**values)


@contextlib.contextmanager
def prepared(order: Order) -> Iterator[Work]:
    """Open and link what a job names; the working folder is the attempt's meanwhile.

    Raises:
        PlateError: the plate is not there or is no plate.
        PermissionError_: it lies outside of what the owner may read.
        InputError: an upload is gone or is not what it was called.
    """
    request = JobRequest.from_json(order.request, masks=Path("prompts"))
    handles = _Handles(Path(order.folder))
    roots = Roots(
        order.roots,
        user=order.user,
        groups=order.groups,
        closed=[Path(path) for path in order.closed],
    )
    uploads = Uploads(Path(order.uploads), max_content_bytes=1, max_user_bytes=1)
    try:
        os.chdir(order.folder)
        if isinstance(request.plate, UploadedPlate):
            known_as = request.plate.name
            plate = _link_upload(request.plate, order, uploads, handles)
        else:
            known_as = str(roots.local_path(request.plate))
            plate = _link_plate(roots, request.plate, handles, frame=order.frame)
        request = replace(request, options=replace(request.options, known_as=known_as))
        for mask in request.masks:
            if mask.sha256:
                suffix = PurePosixPath(mask.name).suffix[1:]
                handle = uploads.open(order.user, mask.sha256, suffix=suffix)
            else:
                handle = roots.open_handle(roots.local_path(mask.path))
            handles.link(handle, f"prompts/{mask.name}")
        if request.options.ocio_config:
            handle = roots.open_handle(roots.local_path(request.options.ocio_config))
            name = f"prompts/{PurePosixPath(request.options.ocio_config).name}"
            handles.link(handle, name)
            options = replace(request.options, ocio_config=name)
            request = replace(request, options=options)
        yield Work(
            request=request,
            plate=plate,
            result=Path("result"),
            defaults=order.defaults,
            reference=Path(order.reference) if order.reference else None,
            image_size=order.image_size,
        )
    finally:
        os.chdir("/")
        handles.close()


class _Handles:
    """Open files and the links to them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[int] = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))

    def link(self, handle: int, name: str) -> None:
        self._open.append(handle)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(f"/proc/self/fd/{handle}")

    def close(self) -> None:
        for handle in self._open:
            os.close(handle)
        self._open.clear()


def _link_upload(plate: UploadedPlate, order: Order, uploads: Uploads, handles: _Handles) -> str:
    stem = shot_name(PurePosixPath(plate.name.replace("\\", "/")).name)
    suffix = plate.frames[0].suffix
    for frame in plate.frames:
        if order.frame is None or frame.frame == order.frame:
            number = f"{'-' if frame.frame < 0 else ''}{abs(frame.frame):04d}"
            handle = uploads.open(order.user, frame.sha256, suffix=suffix)
            handles.link(handle, f"plate/{stem}.{number}.{suffix}")
    return f"plate/{stem}.####.{suffix}"


def _link_plate(roots: Roots, text: str, handles: _Handles, *, frame: int | None) -> str:
    """Open a plate by its path: a pattern, a folder, a picture or a movie.

    Returns:
        The linked plate's path, of the same form.
    """
    path = roots.local_path(text)
    names, form = find_plate(roots, path)
    wanted = [n for f, n in names.items() if frame is None or form == "movie" or f == frame]
    if not wanted:
        raise PlateError(
            f"Frame {frame} of {path} is not there; the plate has {min(names)}-{max(names)}.",
            frame=frame,
        )
    folder = path if form == "folder" else path.parent
    for name in wanted:
        handles.link(roots.open_handle(folder / name), f"plate/{name}")
    return "plate" if form == "folder" else f"plate/{path.name}"


def find_plate(roots: Roots, path: PurePosixPath) -> tuple[dict[int, str], str]:
    """Which files a path means, without opening any of them.

    Args:
        roots: of who asks.
        path: as ``Roots.local_path`` gives it.

    Returns:
        Frame number → file name, and the path's form: ``folder``, ``files`` or ``movie``.

    Raises:
        PlateError: there is no plate, or it is in a container that is not taken.
        PermissionError_: it lies outside of the roots.
    """
    suffix = path.suffix.lower()
    if suffix in MOVIE_SUFFIXES:
        if suffix not in MOVIES_TAKEN:
            raise PlateError(
                f"This server reads the movie containers {', '.join(sorted(MOVIES_TAKEN))}, not "
                f"{suffix}. Convert it, or give an image sequence."
            )
        with roots.open(path):
            return {0: path.name}, "movie"
    try:
        opened = roots.open(path, folder=True)
        with opened as handle:
            stored = find_frames(Path(f"/proc/self/fd/{handle}"))
            return {n: file.name for n, file in stored.files.items()}, "folder"
    except PlateError as error:
        if error.path is None or str(error.path).startswith("/proc/"):
            raise PlateError(_without_handle(str(error), path), path=Path(path)) from error
    with roots.open(path.parent, folder=True) as handle:
        place = f"/proc/self/fd/{handle}"
        try:
            stored = find_frames(Path(place) / path.name)
        except PlateError as error:
            raise PlateError(
                str(error).replace(place, str(path.parent)), path=Path(path)
            ) from error
        return {n: file.name for n, file in stored.files.items()}, "files"


def _without_handle(message: str, path: PurePosixPath) -> str:
    words = [str(path) if w.startswith("/proc/self/fd/") else w for w in message.split(" ")]
    return " ".join(words)


def frame_range_of(names: Mapping[int, str]) -> tuple[int, int]:
    """First and last frame.

    Raises:
        InputError: there is none.
    """
    if not names:
        raise InputError("The plate has no frames.")
    return min(names), max(names)


def readable_roots(roots: Sequence[Root]) -> list[str]:
    """All folders workers read plates from, for the sandbox."""
    return sorted({root.path for root in roots if root.access == "read"})
