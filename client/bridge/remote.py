"""The bridge's service: calls from Nuke carried out with the client library.

Unpack JSON, one call of the library, pack JSON. Shots come in the plug-in's form: frames are the
plate's numbers, coordinates plate pixels with the origin at the top left.
"""

from __future__ import annotations

import base64
import json
import tempfile
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from client.bridge.protocol import Emit
from client.connection import find_server
from client.errors import CancelledError
from client.library import Client, safe_target
from client.shots import OUTPUTS, STATES, hash_file, read_prompts
from protos import segmatte_pb2 as wire


class RemoteService:
    """Answers the calls of ``client.bridge.protocol`` with servers on the network."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """Version of the installed client."""
        try:
            return version("segmatte")
        except PackageNotFoundError:
            return "checkout"

    @property
    def calls(self) -> Mapping[str, Callable[..., Mapping[str, Any]]]:
        """Every call Nuke can make."""
        return {
            "info": self.info,
            "submit": self.submit,
            "jobs": self.jobs,
            "follow": self.follow,
            "cancel": self.cancel,
            "retry": self.retry,
            "log": self.log,
            "preview": self.preview,
        }

    def info(self, *, emit: Emit, stopping: threading.Event, server: str = "") -> dict[str, Any]:
        """What the server is and offers."""
        info = self._client(server).server_info(client_name="nuke-bridge")
        names: dict[int, list[str]] = {wire.Model.DETECTOR: [], wire.Model.SEGMENTER: []}
        for model in sorted(info.models, key=lambda m: (not m.is_default, not m.ready, m.name)):
            names.setdefault(model.kind, []).append(model.name)
        return {
            "name": info.name,
            "version": info.version,
            "user": info.user,
            "draining": info.draining,
            "queued_jobs": info.queued_jobs,
            "running_jobs": info.running_jobs,
            "features": list(info.features),
            "detectors": names[wire.Model.DETECTOR],
            "segmenters": names[wire.Model.SEGMENTER],
            "read_roots": [path for r in info.read_roots for path in (r.path, *r.aliases)],
        }

    def submit(
        self,
        *,
        emit: Emit,
        stopping: threading.Event,
        shot: Mapping[str, Any],
        server: str = "",
    ) -> dict[str, Any]:
        """Upload what the server lacks and put the shot into the queue."""
        client = self._client(server)
        with tempfile.TemporaryDirectory() as folder:
            request, contents = _request(shot, Path(folder))
            client.upload(
                contents,
                report=lambda done, total: emit({"stage": "upload", "done": done, "total": total}),
                stopping=stopping,
            )
        return {"job": _job(client.submit(request))}

    def jobs(self, *, emit: Emit, stopping: threading.Event, server: str = "") -> dict[str, Any]:
        """The caller's jobs, newest first."""
        return {"jobs": [_job(job) for job in self._client(server).jobs(limit=100)]}

    def follow(
        self,
        *,
        emit: Emit,
        stopping: threading.Event,
        job: str,
        folder: str,
        server: str = "",
    ) -> dict[str, Any]:
        """Watch a job until it ends and write its files, frame by frame, with the user's rights."""
        client = self._client(server)
        target = Path(folder)
        last = client.job(job)
        for update in client.watch(
            job, stopping=stopping, away=lambda reason: emit({"away": reason})
        ):
            last = update.job
            lines = []
            for event in update.events:
                if event.kind == wire.JobEvent.FRAME:
                    found = client.results(job, first=event.frame)
                    for file in found.files:
                        if file.has_frame:
                            client.download(
                                job, file, safe_target(target, file.name), stopping=stopping
                            )
                    emit({"job": _job(last), "frame": event.frame})
                elif event.kind in (wire.JobEvent.LOG, wire.JobEvent.WARNING):
                    lines.append(event.text)
            emit({"job": _job(last), "lines": lines})
        if stopping.is_set():
            raise CancelledError("No longer followed. The job goes on.")
        files = 0
        if last.state == wire.DONE:
            for file in client.results(job).files:
                files += 1
                client.download(job, file, safe_target(target, file.name), stopping=stopping)
        return {"job": _job(last), "files": files}

    def cancel(
        self, *, emit: Emit, stopping: threading.Event, job: str, server: str = ""
    ) -> dict[str, Any]:
        """Ask a job to stop; finished frames are kept."""
        return {"job": _job(self._client(server).cancel(job))}

    def retry(
        self, *, emit: Emit, stopping: threading.Event, job: str, server: str = ""
    ) -> dict[str, Any]:
        """Go on with a cancelled or failed job where it stopped."""
        return {"job": _job(self._client(server).resume(job))}

    def log(
        self, *, emit: Emit, stopping: threading.Event, job: str, server: str = ""
    ) -> dict[str, Any]:
        """What the job has said so far."""
        client = self._client(server)
        seen = client.job(job).last_event
        lines: list[str] = []
        for update in client.watch(job, stopping=stopping):
            lines += [event.text for event in update.events if event.text]
            if update.job.last_event >= seen and (
                not update.events or update.events[-1].number >= seen
            ):
                break
        return {"lines": lines}

    def preview(
        self,
        *,
        emit: Emit,
        stopping: threading.Event,
        shot: Mapping[str, Any],
        frame: int,
        server: str = "",
    ) -> dict[str, Any]:
        """Boxes and masks on one frame, discarded ones with their reason."""
        client = self._client(server)
        with tempfile.TemporaryDirectory() as folder:
            request, contents = _request(shot, Path(folder))
            client.upload(contents, stopping=stopping)
            head, image, candidates = client.preview(
                wire.PreviewFrameRequest(
                    plate=request.plate,
                    options=request.options,
                    frame=frame,
                    prompts=request.prompts,
                    settings=request.settings,
                    with_image=True,
                )
            )
        window = head.window
        width, height = window.x1 - window.x0, window.y1 - window.y0
        sx = head.width / width if width else 1.0
        sy = head.height / height if height else 1.0
        left = window.x0 - head.format.display_window.x0
        top = window.y0 - head.format.display_window.y0
        return {
            "width": head.width,
            "height": head.height,
            "seconds": head.seconds,
            "image_png": base64.b64encode(image).decode(),
            "candidates": [
                {
                    "category": item.category,
                    "score": item.score,
                    "box": [
                        (item.box.x0 - left) * sx,
                        (item.box.y0 - top) * sy,
                        (item.box.x1 - left) * sx,
                        (item.box.y1 - top) * sy,
                    ],
                    "reason": item.reason,
                    "object": item.object,
                    "mask_png": base64.b64encode(item.mask_png).decode(),
                }
                for item in candidates
            ],
        }

    def _client(self, server: str) -> Client:
        with self._lock:
            if server not in self._clients:
                self._clients[server] = Client(find_server(server or None))
            return self._clients[server]


def _request(shot: Mapping[str, Any], folder: Path) -> tuple[Any, dict[bytes, Path]]:
    """A shot as the plug-in describes it as a request, and the files it needs on the server."""
    contents: dict[bytes, Path] = {}
    first, last = shot["range"]
    options = shot.get("options", {})
    settings = shot.get("settings", {})
    request = wire.SubmitShotRequest(
        request_id=shot["request_id"],
        plate=_plate(shot["plate"], contents),
        range=wire.FrameRange(first=first, last=last),
        options=wire.PlateOptions(
            colorspace=options.get("colorspace", ""),
            display=options.get("display", ""),
            view=options.get("view", ""),
            exposure_stops=options.get("exposure", 0.0),
        ),
        settings=wire.ShotSettings(
            detector=settings.get("detector", ""), segmenter=settings.get("segmenter", "")
        ),
        reference_job_id=shot.get("reference_job", ""),
        outputs=[OUTPUTS[name] for name in shot.get("outputs", ()) if name in OUTPUTS],
        priority=shot.get("priority", 0),
        labels=shot.get("labels", {}),
    )
    request.prompts.text = shot["text"]
    if shot["objects"]:
        path = folder / "prompts.json"
        path.write_text(json.dumps({"version": 1, "objects": shot["objects"]}), encoding="utf-8")
        objects, masks = read_prompts(path)
        request.prompts.objects.extend(objects)
        contents.update(masks)
    return request, contents


def _plate(plate: Mapping[str, Any], contents: dict[bytes, Path]) -> Any:
    if plate.get("path"):
        return wire.PlateSource(path=plate["path"])
    upload = wire.UploadedPlate(name=plate["name"], kind=wire.UploadedPlate.MODEL_IMAGE)
    width, height, pixel_aspect = plate["format"]
    box = wire.Box(x0=0, y0=0, x1=width, y1=height)
    upload.format.CopyFrom(
        wire.PlateFormat(display_window=box, data_window=box, pixel_aspect=pixel_aspect)
    )
    upload.window.CopyFrom(box)
    for entry in plate["frames"]:
        path = Path(entry["path"])
        sha256 = hash_file(path)
        contents[sha256] = path
        upload.frames.add(frame=entry["frame"], sha256=sha256, suffix=path.suffix.lower()[1:])
    return wire.PlateSource(upload=upload)


def _job(job: Any) -> dict[str, Any]:
    progress = job.progress
    return {
        "id": job.id,
        "state": STATES.get(job.state, "queued"),
        "plate": job.plate,
        "prompt": job.prompt,
        "objects": list(job.object_names),
        "first": job.range.first,
        "last": job.range.last,
        "stage": progress.stage,
        "frames_done": progress.frames_done,
        "frames_total": progress.frames_total,
        "frames_per_minute": progress.frames_per_minute,
        "seconds_left": progress.seconds_left,
        "error": job.error.message,
        "note": job.result_note,
        "warnings": job.warnings,
        "labels": dict(job.labels),
        "request_id": job.request_id,
        "created": job.created.seconds + job.created.nanos / 1e9,
    }
