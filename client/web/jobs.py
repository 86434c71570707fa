"""Jobs: submitted, corrected, followed, and their results looked at."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import threading
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import quote

import numpy as np
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from client.errors import ClientError, NotFoundError, ResultError
from client.library import CHUNK_BYTES, safe_target
from client.web import messages
from client.web.access import SignedIn
from objectid.errors import ObjectIdError
from objectid.frame import FrameFile, decode_coverages, read_frame
from objectid.ids import object_colour
from objectid.manifest import read_sidecar
from protos import segmatte_pb2 as wire

_SHOWN_TYPES = {".png": "image/png", ".webm": "video/webm"}
"""What a browser may show; everything else is saved."""
_PULSE_SECONDS = 15.0
_MOST_MATTE_PIXELS = 2048


def submit(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Put a shot into the queue.

    Args:
        visit: who asks.
        data: ``plate``, ``options``, ``range`` ([first, last]), ``text``, ``objects``,
            ``settings``, ``reference_job``, ``priority``, ``labels``, ``request_id``.
    """
    request = wire.SubmitShotRequest(
        request_id=messages.value(data, "request_id", str, ""),
        plate=messages.plate(visit, messages.value(data, "plate", dict, {})),
        range=messages.frame_range(data),
        options=messages.options(messages.value(data, "options", dict, {})),
        prompts=messages.prompts(data),
        settings=messages.settings(messages.value(data, "settings", dict, {})),
        reference_job_id=messages.value(data, "reference_job", str, ""),
        priority=messages.value(data, "priority", int, 0),
        labels=messages.labels(data),
    )
    return messages.job_data(visit.client.submit(request))


def correct(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Re-track ``object`` of a finished job from ``keyframe``, as a job of its own."""
    request = wire.CorrectShotRequest(
        request_id=messages.value(data, "request_id", str, ""),
        job_id=data["job"],
        object=messages.value(data, "object", str, ""),
        keyframe=messages.keyframe(messages.value(data, "keyframe", dict, {})),
        labels=messages.labels(data),
    )
    return messages.job_data(visit.client.correct(request))


def listing(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Jobs, newest first; ``states`` (comma-separated), ``text``, ``limit``.

    They are the caller's own; with ``everybody`` all that the caller may see.
    """
    names = [name for name in messages.value(data, "states", str, "").split(",") if name]
    found = visit.client.jobs(
        states=messages.states(names),
        owner="" if data.get("everybody") else visit.user,
        text=messages.value(data, "text", str, ""),
        limit=max(1, min(500, messages.value(data, "limit", int, 100))),
    )
    return {"jobs": [messages.job_data(job) for job in found]}


def one(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """One job as it stands."""
    return messages.job_data(visit.client.job(data["job"]))


def cancel(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Ask a job to stop; finished frames are kept."""
    return messages.job_data(visit.client.cancel(data["job"]))


def resume(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Go on with a cancelled or failed job."""
    return messages.job_data(visit.client.resume(data["job"]))


def retry(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Do a cancelled or failed job again from the start."""
    return messages.job_data(visit.client.retry(data["job"]))


def delete(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Forget a job and its files on the server."""
    visit.client.delete(data["job"])
    return {}


async def events(request: Request) -> Response:
    """A job's updates as server-sent events until it ends; goes on after ``Last-Event-ID``."""
    visit, job_id = request.scope["visit"], request.path_params["job"]
    await run_in_threadpool(visit.client.job, job_id)
    after = request.headers.get("last-event-id") or request.query_params.get("after", "0")
    start = int(after) if after.isdecimal() else 0
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _event_lines(visit, job_id, start), media_type="text/event-stream", headers=headers
    )


async def _event_lines(visit: SignedIn, job_id: str, after: int) -> AsyncIterator[str]:
    loop, stopping = asyncio.get_running_loop(), threading.Event()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def say(line: str | None) -> None:
        if not stopping.is_set():
            loop.call_soon_threadsafe(lines.put_nowait, line)

    def named(event: str, data: dict[str, Any]) -> str:
        return f"event: {event}\ndata: {json.dumps(data)}\n\n"

    def watch() -> None:
        try:
            for update in visit.client.watch(
                job_id,
                after_event=after,
                stopping=stopping,
                away=lambda reason: say(named("away", {"message": reason})),
            ):
                data = messages.update_data(update)
                say(f"id: {data['job']['last_event']}\ndata: {json.dumps(data)}\n\n")
            say(named("end", {}))
        except ClientError as error:
            say(named("away", {"message": str(error)}))
        say(None)

    threading.Thread(target=watch, daemon=True, name=f"watch {job_id}").start()
    try:
        while True:
            try:
                line = await asyncio.wait_for(lines.get(), _PULSE_SECONDS)
            except asyncio.TimeoutError:
                line = ": still here\n\n"
            if line is None:
                return
            yield line
    finally:
        stopping.set()


# ----------------------------------------------------------------------------------- results


def results(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Names and sizes of the finished files, and the frames whose mattes are there."""
    found = visit.client.results(data["job"])
    return {
        "complete": found.complete,
        "files": [
            {"name": f.name, "size": f.size_bytes, "frame": f.frame if f.has_frame else None}
            for f in found.files
        ],
        "frames": sorted(f.frame for f in found.files if _is_matte(f)),
    }


def file(visit: SignedIn, data: dict[str, Any]) -> Response:
    """One result file: pictures and videos to show, others to save."""
    found = visit.client.results(data["job"])
    wanted = next((f for f in found.files if f.name == data["name"]), None)
    if wanted is None:
        raise NotFoundError(f"The job has no file {data['name']!r}.")
    path = _loaded(visit, data["job"], wanted)
    name = PurePosixPath(wanted.name).name
    shown = _SHOWN_TYPES.get(PurePosixPath(name).suffix)
    return FileResponse(
        path,
        media_type=shown or "application/octet-stream",
        filename=name,
        content_disposition_type="inline" if shown else "attachment",
        background=None if shown else BackgroundTask(path.unlink, missing_ok=True),
    )


def archive(visit: SignedIn, data: dict[str, Any]) -> Response:
    """All finished files as a ZIP archive, sent while it is made.

    Raises:
        NotFoundError: nothing is finished yet.
    """
    job = visit.client.job(data["job"])
    found = visit.client.results(job.id).files
    if not found:
        raise NotFoundError("No file of this job is finished yet. Wait for its first frame.")
    name = f"{PureWindowsPath(job.plate).name.split('.')[0] or 'shot'}_{job.id[:8]}.zip"
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
    pieces = _zipped(visit, job.id, found)
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


def _zipped(visit: SignedIn, job_id: str, found: Sequence[Any]) -> Iterator[bytes]:
    """Pieces of an archive; each file is checked before a byte of it goes out."""
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w") as archive:
        for item in found:
            safe_target(visit.scratch, item.name)
            path = _loaded(visit, job_id, item)
            try:
                # A date of its own would make two archives of one result differ.
                entry = zipfile.ZipInfo(item.name)
                with path.open("rb") as reading, archive.open(entry, "w", force_zip64=True) as out:
                    while data := reading.read(CHUNK_BYTES):
                        out.write(data)
                        yield pieces.taken()
            finally:
                if path.suffix not in _SHOWN_TYPES:
                    path.unlink(missing_ok=True)
    yield pieces.taken()


class _Pieces(io.RawIOBase):
    """What ``zipfile`` writes, to be taken piece by piece; it cannot go back."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data


def objects(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Names, ids, colours and frames of a finished job's objects.

    Raises:
        NotFoundError: the job has not come that far.
    """
    found = visit.client.results(data["job"])
    sidecar = next((f for f in found.files if f.name.endswith(".manifest.json")), None)
    if sidecar is None:
        raise NotFoundError("The objects are known once the job is done.")
    path = _loaded(visit, data["job"], sidecar)
    try:
        content = read_sidecar(path)
    except ObjectIdError as error:
        raise ResultError(f"The list of objects cannot be read: {error}") from error
    finally:
        path.unlink(missing_ok=True)
    return {
        "objects": [
            {
                "name": o.name,
                "id": o.id,
                "colour": _display_colour(o.name),
                "category": o.category,
                "score": o.score,
                "frames": [list(run) for run in o.frames],
            }
            for o in content.objects
        ]
    }


def mattes(visit: SignedIn, data: dict[str, Any]) -> Response:
    """All mattes of a frame in one answer, for drawing.

    Returns:
        A number of 4 bytes (little-endian), that many bytes of JSON (``width``, ``height``,
        ``plate``, ``pixel_aspect``, ``objects``: id, name, colour), then height × width numbers of
        2 bytes: 1 + position in ``objects`` of what covers most of the pixel, 0 = nothing; then
        height × width bytes: its coverage × 255. Packed by gzip.
    """
    frame = messages.value(data, "frame", int, 0)
    found = visit.client.results(data["job"], first=frame)
    wanted = next((f for f in found.files if _is_matte(f) and f.frame == frame), None)
    if wanted is None:
        raise NotFoundError(f"Frame {frame} has no mattes yet.")
    path = _loaded(visit, data["job"], wanted)
    try:
        body = _drawing(read_frame(path))
    except ObjectIdError as error:
        raise ResultError(f"The mattes of frame {frame} cannot be read: {error}") from error
    finally:
        path.unlink(missing_ok=True)
    headers = {"Content-Encoding": "gzip"}
    return Response(gzip.compress(body, 1), media_type="application/octet-stream", headers=headers)


def _drawing(found: FrameFile) -> bytes:
    display = found.frame.display_window
    step = -(-max(display.width, display.height) // _MOST_MATTE_PIXELS)
    shape = (-(-display.height // step), -(-display.width // step))
    position, coverage = np.zeros(shape, np.uint16), np.zeros(shape, np.float32)
    names = {number: name for name, number in found.manifest.ids.items()}
    listed = []
    for number, crop in decode_coverages(found.frame):
        listed.append(number)
        top, left = crop.y0 - display.y0, crop.x0 - display.x0
        y, x = max(0, -(-top // step)), max(0, -(-left // step))
        # Every step-th pixel of the plate's grid that lies in the crop and the display window.
        part = crop.coverage[y * step - top :: step, x * step - left :: step]
        part = part[: shape[0] - y, : shape[1] - x]
        area = slice(y, y + part.shape[0]), slice(x, x + part.shape[1])
        more = part > coverage[area]
        position[area][more] = len(listed)
        coverage[area][more] = part[more]
    head = json.dumps(
        {
            "width": shape[1],
            "height": shape[0],
            "plate": [display.width, display.height],
            "pixel_aspect": found.frame.pixel_aspect,
            "objects": [
                {
                    "id": number,
                    "name": names.get(number, f"<{number}>"),
                    "colour": _display_colour(names.get(number, f"<{number}>")),
                }
                for number in listed
            ],
        }
    ).encode()
    levels = np.round(coverage * 255).astype(np.uint8)
    size = len(head).to_bytes(4, "little")
    return b"".join((size, head, position.astype("<u2").tobytes(), levels.tobytes()))


def _display_colour(name: str) -> str:
    """An object's colour as a page writes it: sRGB, ``#rrggbb``."""

    def encoded(v: float) -> int:
        return round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055))

    return "#" + "".join(f"{encoded(part):02x}" for part in object_colour(name))


def _is_matte(found: Any) -> bool:
    return bool(found.has_frame and found.name.endswith(".exr") and "/" in found.name)


def _loaded(visit: SignedIn, job_id: str, found: Any) -> Path:
    """A result file on this machine for a while."""
    suffix = PurePosixPath(found.name).suffix
    name = f"{threading.get_ident()}{suffix}" if suffix not in _SHOWN_TYPES else f"shown{suffix}"
    path: Path = visit.scratch / "results" / found.sha256.hex() / name
    visit.client.download(job_id, found, path)
    return path
