"""The calls of the wire interface: unpack, one call, pack.

Every call goes through ``_answering``: who is it, is there room, what became of it (log, metrics),
and which status an exception is. Reads of the store are done in the event loop, they take well
under a millisecond; writes, files and workers are left to threads.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import grpc

from protos import segmatte_pb2 as wire
from protos import segmatte_pb2_grpc
from server.errors import InputError, SettingsError
from server.executors import Executor
from server.executors.derive import OUTPUTS
from server.executors.engine import shot_request
from server.executors.keeper import Site
from server.executors.prepare import find_plate
from server.jobs.errors import BusyError, LimitError, NotFoundError, StateError
from server.jobs.folders import JobFolder, belongs_to_frame
from server.jobs.request import JobRequest, UploadedPlate, count_keyframes, single_keyframe
from server.jobs.roots import Roots
from server.jobs.store import NewJob, Store, User
from server.jobs.uploads import Uploads
from server.jobs.users import authenticate
from server.service import convert
from server.service.browse import list_folder
from server.service.errors import KIND_KEY, status_of
from server.service.hub import Hub
from server.service.metrics import Metrics
from server.service.models import OfferedModel, check_model
from server.service.transfers import CHUNK_BYTES, read_out, take_in
from server.settings import ServerSettings

_log = logging.getLogger("segmatte.calls")
_T = TypeVar("_T")

API_MINOR = 1
FEATURES = (
    "correct", "preview", "session", "output_folder", "browse", "upload_plate",
    "upload_model_images", *OUTPUTS,
)  # fmt: skip
_UPDATE_SECONDS = 0.25
_QUIET_SECONDS = 15.0
_EVENTS_PER_UPDATE = 200
_MOST_CONTENTS = 10_000


@dataclass
class _Session:
    owner: str
    used: float


@dataclass(frozen=True)
class Caller:
    """Who calls, and what they may open."""

    user: User

    @property
    def sees(self) -> str | None:
        """Whose jobs: None = everybody's."""
        return None if self.user.is_admin else self.user.name


def _unary(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def call(self: Calls, request: Any, context: grpc.aio.ServicerContext) -> Any:  # type: ignore[type-arg]
        async with self._answering(method.__name__, context) as caller:
            return await method(self, request, caller)

    return call


def _streaming(method: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    @functools.wraps(method)
    async def call(
        self: Calls,
        request: Any,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[Any]:
        async with self._answering(method.__name__, context, stream=True) as caller:
            async for message in method(self, request, caller):
                yield message

    return call


class Calls(segmatte_pb2_grpc.SegmatteServicer):
    """All calls of ``segmatte.v1.Segmatte``."""

    def __init__(
        self,
        settings: ServerSettings,
        store: Store,
        executor: Executor,
        *,
        site: Site,
        uploads: Uploads,
        hub: Hub,
        metrics: Metrics,
        offered: Callable[[], list[OfferedModel]],
        version: str,
    ) -> None:
        """Join the parts; nothing is started here."""
        self._settings = settings
        self._limits = settings.limits
        self._store = store
        self._executor = executor
        self._site = site
        self._uploads = uploads
        self._hub = hub
        self._metrics = metrics
        self._offered = offered
        self._version = version
        self._streams: Counter[str] = Counter()
        self._sessions: dict[str, _Session] = {}

    # ---------------------------------------------------------------------------- the server

    @_unary
    async def GetServerInfo(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """What this server is."""
        del request
        counts = self._store.counts()
        user = caller.user
        defaults = (self._settings.detector, self._settings.segmenter)
        info = wire.ServerInfo(
            name=self._settings.name,
            version=self._version,
            api_major=1,
            api_minor=API_MINOR,
            features=FEATURES,
            user=user.name,
            is_admin=user.is_admin,
            draining=self._store.draining,
            queued_jobs=counts.get("queued", 0),
            running_jobs=counts.get("running", 0),
            limits=self._limits_message(),
            time=convert.timestamp(time.time()),
        )
        for model in await asyncio.to_thread(self._offered):
            kind = wire.Model.DETECTOR if model.kind == "detector" else wire.Model.SEGMENTER
            info.models.add(
                name=model.name,
                kind=kind,
                summary=model.summary,
                licence=model.licence,
                ready=model.ready,
                demo=model.demo,
                is_default=model.name in defaults,
            )
        own = {job.id for job in self._store.jobs(owner=caller.sees, states=["running"])}
        for worker in self._store.workers():
            shown = worker.job if worker.job in own else ""
            info.devices.add(name=worker.device, worker=worker.state, job_id=shown)
        for roots, messages in (
            (self._roots(user), info.read_roots),
            (self._roots(user, access="write"), info.write_roots),
        ):
            for root in roots.roots:
                messages.add(path=root.path, aliases=root.aliases)
        return info

    @_unary
    async def ListFolder(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Folders and plates below the read roots."""
        roots = self._roots(caller.user)
        if not request.path:
            return wire.Folder(folders=sorted(root.path for root in roots.roots))
        return await asyncio.to_thread(list_folder, roots, request.path)

    # ---------------------------------------------------------------------------- submitting

    @_unary
    async def SubmitShot(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Put a shot into the queue."""
        job = convert.shot_request(request)
        return await asyncio.to_thread(self._submit, job, request, caller)

    @_unary
    async def CorrectShot(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Put a correction of a finished shot into the queue."""
        source = self._store.job(request.job_id, owner=caller.sees)
        if source.state != "done":
            raise StateError(
                f"Job {source.id} is {source.state}; only a finished shot is corrected."
            )
        before = JobRequest.from_json(source.request)
        masks = list(before.masks)
        keyframe = convert.keyframe(request.keyframe, masks)
        job = replace(
            before,
            artist=single_keyframe(request.object, keyframe),
            masks=tuple(masks),
            correct_object=request.object,
            output_folder=request.output_folder,
        )
        return await asyncio.to_thread(self._submit, job, request, caller, source=source.id)

    def _submit(self, job: JobRequest, message: Any, caller: Caller, *, source: str = "") -> Any:
        if self._store.draining:
            raise BusyError("This server takes no new jobs for now. Try again later.")
        self._check(job, caller)
        stored = self._store.submit(
            NewJob(
                owner=caller.user.name,
                kind="correction" if source else "shot",
                request=job.to_json(),
                title=convert.title_of(job),
                request_id=convert.request_id(message.request_id),
                priority=convert.priority(message.priority),
                labels=convert.labels(message.labels),
                source=source,
            ),
            max_queued=self._limits.queued_jobs,
        )
        return self._job_message(stored.id)

    def _check(self, job: JobRequest, caller: Caller) -> None:
        """Refuse at once what could only fail later."""
        user = caller.user
        offered = self._offered()
        check_model(job.choices.detector, "detector", offered)
        check_model(job.choices.segmenter, "segmenter", offered)
        if not job.is_correction:
            shot_request(job, plate="plate", defaults=self._site.defaults)
        if (count := count_keyframes(job.artist)) > self._limits.keyframes:
            raise LimitError(
                f"The objects have {count} keyframes, the limit is {self._limits.keyframes}."
            )
        roots = self._roots(user)
        if isinstance(job.plate, UploadedPlate):
            if len(job.plate.frames) > self._limits.frames:
                raise LimitError(
                    f"The shot has {len(job.plate.frames)} frames, the limit is "
                    f"{self._limits.frames}. Submit it in parts."
                )
            if job.options.ocio_config:
                raise SettingsError(
                    "An OCIO config is taken together with a plate on storage only, never with an "
                    "upload. Send display-referred pictures, or name the colour space."
                )
        else:
            find_plate(roots, roots.local_path(job.plate))
        if job.options.ocio_config:
            with roots.open(roots.local_path(job.options.ocio_config)):
                pass
        for mask in job.masks:
            if mask.path:
                with roots.open(roots.local_path(mask.path)):
                    pass
        self._uploads.require(user.name, job.contents())
        if job.reference_job:
            reference = self._store.job(job.reference_job, owner=caller.sees)
            if reference.state != "done":
                raise StateError(
                    f"The reference job {reference.id} is {reference.state}; names are inherited "
                    "from a finished one."
                )
        if job.output_folder:
            self._roots(user, access="write").local_path(job.output_folder)

    # ---------------------------------------------------------------------------------- jobs

    @_unary
    async def GetJob(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """One job as it stands."""
        self._store.job(request.job_id, owner=caller.sees)
        return self._hub.view(request.job_id)

    @_unary
    async def ListJobs(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Jobs in pages, newest first."""
        owner = caller.sees
        if request.owner:
            if owner is not None and request.owner != owner:
                return wire.ListJobsResponse()
            owner = request.owner
        size = min(request.page_size or 50, 500)
        if request.page_token and not request.page_token.isdigit():
            raise InputError("page_token is not one that ListJobs gave.")
        found = self._store.jobs(
            owner=owner,
            states=convert.states(request.states),
            text=request.text,
            labels=dict(request.labels),
            before=int(request.page_token) if request.page_token else None,
            limit=size + 1,
        )
        answer = wire.ListJobsResponse(jobs=[self._hub.view(job.id) for job in found[:size]])
        if len(found) > size:
            answer.next_page_token = str(found[size - 1].number)
        return answer

    @_streaming
    async def WatchJob(self, request: Any, caller: Caller) -> AsyncIterator[Any]:  # noqa: N802
        """A job until it ends."""
        job_id, seen = request.job_id, request.after_event
        self._store.job(job_id, owner=caller.sees)
        with self._hub.watch(job_id) as changed:
            while True:
                changed.clear()
                view = self._hub.view(job_id)
                events = self._store.events(job_id, after=seen, limit=_EVENTS_PER_UPDATE)
                yield wire.JobUpdate(job=view, events=[convert.event(item) for item in events])
                if events:
                    seen = events[-1].number
                if len(events) == _EVENTS_PER_UPDATE:
                    continue
                if view.state in (wire.DONE, wire.FAILED, wire.CANCELLED):
                    if view.last_event <= seen:
                        return
                    continue
                await asyncio.sleep(_UPDATE_SECONDS)
                try:
                    await asyncio.wait_for(changed.wait(), _QUIET_SECONDS)
                except asyncio.TimeoutError:
                    continue  # a sign of life, so that a dead connection is noticed

    @_unary
    async def CancelJob(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Ask a job to stop."""
        return await self._change(request.job_id, caller, self._store.cancel)

    @_unary
    async def ResumeJob(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Go on with an ended job."""
        return await self._change(
            request.job_id, caller, functools.partial(self._store.requeue, fresh=False)
        )

    @_unary
    async def RetryJob(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Do an ended job again from the start."""
        return await self._change(
            request.job_id, caller, functools.partial(self._store.requeue, fresh=True)
        )

    @_unary
    async def SetPriority(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Move a queued job."""
        number = convert.priority(request.priority)
        return await self._change(
            request.job_id, caller, lambda job_id: self._store.set_priority(job_id, number)
        )

    @_unary
    async def DeleteJob(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Forget a job and its files."""
        self._store.job(request.job_id, owner=caller.sees)
        await asyncio.to_thread(self._delete, request.job_id)
        return wire.DeleteJobResponse()

    def _delete(self, job_id: str) -> None:
        self._store.remove(job_id)
        JobFolder(self._site.jobs, job_id).remove()
        self._store.forget_removed(job_id)

    async def _change(self, job_id: str, caller: Caller, change: Callable[[str], Any]) -> Any:
        self._store.job(job_id, owner=caller.sees)
        await asyncio.to_thread(change, job_id)
        return self._job_message(job_id)

    def _job_message(self, job_id: str) -> Any:
        job = self._store.job(job_id)
        position = self._store.queue_position(job)
        return convert.job(job, self._store.stages(job_id), queue_position=position)

    # ----------------------------------------------------------------------------- transfers

    @_unary
    async def FindMissing(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Which of the caller's own contents are missing."""
        if len(request.contents) > _MOST_CONTENTS:
            raise LimitError(f"Ask for up to {_MOST_CONTENTS} contents at a time.")
        return await asyncio.to_thread(self._find_missing, request, caller.user.name)

    def _find_missing(self, request: Any, user: str) -> Any:
        answer = wire.FindMissingResponse()
        for content in request.contents:
            received = self._uploads.received(user, convert.sha256_hex(content.sha256))
            if received is not None:
                answer.missing.add(sha256=content.sha256, received_bytes=received)
        return answer

    async def UploadFrames(  # noqa: N802
        self,
        requests: AsyncIterator[Any],
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> Any:
        """Take in contents."""
        async with self._answering("UploadFrames", context, stream=True) as caller:
            return await take_in(
                requests, self._uploads, caller.user.name, count=self._metrics.count
            )

    @_unary
    async def ListResults(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Published files of a job."""
        job = self._store.job(request.job_id, owner=caller.sees)
        chosen = convert.frame_range(request.range) if request.HasField("range") else None
        answer = wire.ListResultsResponse(complete=job.state == "done")
        for file in self._store.files(job.id):
            frame = file.frame if file.frame is not None else belongs_to_frame(file.name)
            if frame is None and request.frames_only:
                continue
            if frame is not None and chosen is not None and frame not in chosen:
                continue
            answer.files.append(convert.result_file(replace(file, frame=frame)))
        return answer

    @_streaming
    async def DownloadResult(  # noqa: N802
        self, request: Any, caller: Caller
    ) -> AsyncIterator[Any]:
        """Bytes of one published file."""
        job = self._store.job(request.job_id, owner=caller.sees)
        file = self._store.file(job.id, request.name)
        if request.offset > file.size_bytes:
            raise InputError(
                f"{file.name} has {file.size_bytes} bytes, the download starts at {request.offset}."
            )
        path = JobFolder(self._site.jobs, job.id).result / file.name
        yield wire.DownloadChunk(file=convert.result_file(file))
        reading = read_out(
            path, file, offset=request.offset, length=request.length, count=self._metrics.count
        )
        async with aclosing(reading):
            async for data in reading:
                yield wire.DownloadChunk(data=data)

    # ------------------------------------------------------------------- previews and clicks

    @_streaming
    async def PreviewFrame(  # noqa: N802
        self, request: Any, caller: Caller
    ) -> AsyncIterator[Any]:
        """Stages 1 and 2 on one frame."""
        begun = time.monotonic()
        answer = await self._ask_about_frame(
            convert.frame_request(request),
            caller,
            do="preview",
            frame=request.frame,
            image_size=request.image_size if request.with_image else 0,
            boxes_only=request.boxes_only,
            with_image=request.with_image,
        )
        head = wire.PreviewHead(
            **_shown(answer), candidates=len(answer["candidates"]), seconds=time.monotonic() - begun
        )
        yield wire.PreviewItem(head=head)
        for chunk in _image_chunks(answer["image"]):
            yield wire.PreviewItem(image=chunk)
        for item in answer["candidates"]:
            x0, y0, x1, y1 = item["box"]
            yield wire.PreviewItem(
                candidate=wire.Candidate(
                    category=item["category"],
                    score=item["score"],
                    box=wire.BoxPrompt(x0=x0, y0=y0, x1=x1, y1=y1),
                    reason=item["reason"],
                    object=item["object"],
                    mask_png=base64.b64decode(item["mask"]),
                )
            )

    @_streaming
    async def OpenSession(  # noqa: N802
        self, request: Any, caller: Caller
    ) -> AsyncIterator[Any]:
        """Encode a frame for clicks."""
        user = caller.user.name
        own = [s for s in self._sessions.values() if s.owner == user]
        if len(own) >= self._limits.sessions:
            raise LimitError(
                f"{user} has {len(own)} open sessions, the limit is {self._limits.sessions}. Close "
                "one."
            )
        session_id = uuid.uuid4().hex
        self._sessions[session_id] = _Session(user, time.monotonic())
        try:
            answer = await self._ask_about_frame(
                convert.frame_request(request),
                caller,
                do="open",
                frame=request.frame,
                session=session_id,
                with_image=request.with_image,
            )
        except BaseException:
            self._sessions.pop(session_id, None)
            raise
        head = wire.SessionHead(session_id=session_id, **_shown(answer))
        yield wire.SessionOpened(head=head)
        for chunk in _image_chunks(answer["image"]):
            yield wire.SessionOpened(image=chunk)

    @_unary
    async def PromptSession(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """A new prompt for one object of a session."""
        box = list(convert.box(request.box)) if request.HasField("box") else None
        clicks = convert.points(request.points)
        prompt = {
            "points": [[p.x, p.y, p.positive] for p in clicks],
            "box": box,
            "mask": base64.b64encode(request.mask_png).decode(),
        }
        return await self._ask_session(
            request.session_id, caller, do="prompt", object=request.object, prompt=prompt
        )

    @_unary
    async def UndoSession(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """One prompt back or forward."""
        return await self._ask_session(
            request.session_id, caller, do="undo", object=request.object, redo=request.redo
        )

    @_unary
    async def CloseSession(self, request: Any, caller: Caller) -> Any:  # noqa: N802
        """Forget a session."""
        self._session(request.session_id, caller)
        await self._close(request.session_id)
        return wire.CloseSessionResponse()

    async def close_idle_sessions(self) -> None:
        """Forget sessions that nobody has used for a while."""
        limit = time.monotonic() - self._limits.session_idle_seconds
        for session_id in [k for k, s in self._sessions.items() if s.used < limit]:
            await self._close(session_id)

    async def _close(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)
        order = {"do": "close", "session": session_id}
        await asyncio.to_thread(self._executor.ask, order)

    def _session(self, session_id: str, caller: Caller) -> _Session:
        session = self._sessions.get(session_id)
        if session is None or session.owner != caller.user.name:
            raise NotFoundError("This session has ended. Open a new one on the frame.")
        session.used = time.monotonic()
        return session

    async def _ask_session(self, session_id: str, caller: Caller, **order: Any) -> Any:
        self._session(session_id, caller)
        begun = time.monotonic()
        try:
            answer = await asyncio.to_thread(self._executor.ask, {**order, "session": session_id})
        except (NotFoundError, BusyError):
            self._sessions.pop(session_id, None)
            raise
        message = wire.SessionMask(
            object=answer["object"],
            mask_png=base64.b64decode(answer["mask"]),
            can_undo=answer["can_undo"],
            can_redo=answer["can_redo"],
            seconds=time.monotonic() - begun,
        )
        for x, y, positive in answer["points"]:
            message.points.add(x=x, y=y, negative=not positive)
        if answer["box"]:
            x0, y0, x1, y1 = answer["box"]
            message.box.CopyFrom(wire.BoxPrompt(x0=x0, y0=y0, x1=x1, y1=y1))
        return message

    async def _ask_about_frame(
        self, job: JobRequest, caller: Caller, *, frame: int, image_size: int = 0, **order: Any
    ) -> dict[str, Any]:
        await asyncio.to_thread(self._check, job, caller)
        folder = self._site.jobs / ".frames" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        what = self._site.order(
            job.to_json(),
            owner=caller.user.name,
            folder=folder,
            frame=frame,
            image_size=image_size,
        )
        try:
            return await asyncio.to_thread(self._executor.ask, {**order, "order": what.to_data()})
        finally:
            await asyncio.to_thread(JobFolder(folder.parent, folder.name).remove)

    # -------------------------------------------------------------------------- every call

    @asynccontextmanager
    async def _answering(
        self,
        name: str,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
        *,
        stream: bool = False,
    ) -> AsyncIterator[Caller]:
        begun, user, outcome = time.monotonic(), "", "OK"
        counted = False
        try:
            metadata = dict(context.invocation_metadata() or ())
            caller = Caller(authenticate(self._store, str(metadata.get("authorization", ""))))
            user = caller.user.name
            if stream:
                if self._streams[user] >= self._limits.streams:
                    raise LimitError(
                        f"{user} has {self._streams[user]} open streams, the limit is "
                        f"{self._limits.streams}. Close some."
                    )
                self._streams[user] += 1
                counted = True
            yield caller
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "CANCELLED"
            raise
        except Exception as error:
            status, sentence, kind = status_of(error)
            outcome = status.name
            if status is grpc.StatusCode.INTERNAL:
                _log.exception("%s failed", name)
            await context.abort(status, sentence, ((KIND_KEY, kind),))
        finally:
            if counted:
                self._streams[user] -= 1
            seconds = time.monotonic() - begun
            self._metrics.call(name, outcome, seconds)
            _log.info(
                "%s %s %s %.0f ms",
                name,
                user or "?",
                outcome,
                seconds * 1000,
                extra={"call": name, "user": user, "status": outcome, "seconds": seconds},
            )

    def _roots(self, user: User, *, access: Any = "read") -> Roots:
        return Roots(
            self._site.roots,
            user=user.name,
            groups=user.groups,
            access=access,
            closed=[Path(path) for path in self._site.closed],
        )

    def _limits_message(self) -> Any:
        limits = self._limits
        return wire.Limits(
            message_bytes=4 << 20,
            frame_bytes=limits.frame_bytes,
            frame_pixels=limits.frame_pixels,
            frames=limits.frames,
            upload_bytes=limits.upload_bytes,
            queued_jobs=limits.queued_jobs,
            running_jobs=limits.running_jobs,
            streams=limits.streams,
            sessions=limits.sessions,
            session_idle_seconds=int(limits.session_idle_seconds),
            keyframes=limits.keyframes,
        )


def _shown(answer: dict[str, Any]) -> dict[str, Any]:
    height, width = answer["model_size"]
    mask_height, mask_width = answer["mask_size"]
    return {
        "width": width,
        "height": height,
        "mask_width": mask_width,
        "mask_height": mask_height,
        "format": convert.format_message(answer["format"]),
        "window": convert.box_message(answer["window"]),
    }


def _image_chunks(text: str) -> list[Any]:
    data = base64.b64decode(text)
    return [
        wire.ImageChunk(data=data[start : start + CHUNK_BYTES])
        for start in range(0, len(data), CHUNK_BYTES)
    ]
