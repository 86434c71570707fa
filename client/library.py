"""The client: every call of the wire interface as a method, and the three that need care.

``watch`` reconnects without losing or repeating an event, ``upload`` sends only what is missing and
goes on after a break, ``download`` goes on after a break and checks what arrived. Messages are
those of ``segmatte.proto``; errors are those of ``client.errors``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from client.connection import Connection, Server, find_server, pauses
from client.errors import BusyError, CancelledError, ResultError, error_of_kind
from protos import segmatte_pb2 as wire
from protos import segmatte_pb2_grpc

CHUNK_BYTES = 1 << 20
ENDED = (wire.DONE, wire.FAILED, wire.CANCELLED)
_MANY = 5000
_RECONNECTS = 8

Transferred = Callable[[int, int], None]
"""Hears of (bytes done, bytes in all)."""


class Client:
    """A server's calls; use it as a context manager or close it."""

    def __init__(self, server: Server | None = None) -> None:
        """Nothing is sent before the first call.

        Args:
            server: which; None: the one ``find_server`` finds.
        """
        self.connection = Connection(server or find_server())
        self._stub: Any = segmatte_pb2_grpc.SegmatteStub(self.connection.channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Break off what is running and close."""
        self.connection.close()

    # Every method raises ClientError, as drawn in client.errors.

    def server_info(self, *, client_name: str = "segmatte") -> Any:
        """What the server is, offers and allows."""
        return self._call("GetServerInfo", wire.GetServerInfoRequest(client_name=client_name))

    def list_folder(self, path: str = "") -> Any:
        """Folders and plates on storage the server sees; empty: the roots."""
        return self._call("ListFolder", wire.ListFolderRequest(path=path))

    def submit(self, request: Any) -> Any:
        """Put a shot into the queue; a missing request id is made, so that a retry is one job."""
        if not request.request_id:
            request.request_id = str(uuid.uuid4())
        return self._call("SubmitShot", request, timeout_seconds=60)

    def correct(self, request: Any) -> Any:
        """Re-track one object of a finished shot."""
        if not request.request_id:
            request.request_id = str(uuid.uuid4())
        return self._call("CorrectShot", request, timeout_seconds=60)

    def job(self, job_id: str) -> Any:
        """One job as it stands."""
        return self._call("GetJob", wire.GetJobRequest(job_id=job_id))

    def jobs(
        self,
        *,
        states: Sequence[int] = (),
        owner: str = "",
        text: str = "",
        labels: Mapping[str, str] | None = None,
        limit: int = 50,
    ) -> list[Any]:
        """Jobs, newest first."""
        found: list[Any] = []
        page = ""
        while len(found) < limit:
            answer = self._call(
                "ListJobs",
                wire.ListJobsRequest(
                    states=states,  # type: ignore[arg-type]
                    owner=owner,
                    text=text,
                    labels=labels or {},
                    page_size=min(500, limit - len(found)),
                    page_token=page,
                ),
            )
            found += answer.jobs
            page = answer.next_page_token
            if not page:
                break
        return found

    def watch(
        self,
        job_id: str,
        *,
        after_event: int = 0,
        stopping: threading.Event | None = None,
        away: Callable[[str], None] | None = None,
    ) -> Iterator[Any]:
        """JobUpdates until the job has ended, across breaks of the connection.

        Args:
            job_id: the job.
            after_event: number of the last event already seen.
            stopping: ends the watching when set.
            away: hears, once per break, that the server does not answer.
        """
        seen, waits = after_event, pauses(_RECONNECTS)
        while True:
            request = wire.WatchJobRequest(job_id=job_id, after_event=seen)
            try:
                for update in self.connection.stream(
                    self._stub.WatchJob, request, stopping=stopping
                ):
                    waits = pauses(_RECONNECTS)
                    if update.events:
                        seen = update.events[-1].number
                    yield update
                return
            except BusyError as error:
                pause = next(waits)
                if pause is None:
                    raise
                if away is not None:
                    away(str(error))
                if stopping is not None and stopping.wait(pause):
                    return
                time.sleep(0 if stopping else pause)

    def wait(self, job_id: str) -> Any:
        """The job once it is done.

        Raises:
            ClientError: it failed or was cancelled; the reason is the job's.
        """
        last = None
        for update in self.watch(job_id):
            last = update.job
        if last is None:
            last = self.job(job_id)
        return check_done(last)

    def cancel(self, job_id: str) -> Any:
        """Ask a job to stop; finished frames are kept."""
        return self._call("CancelJob", wire.CancelJobRequest(job_id=job_id))

    def resume(self, job_id: str) -> Any:
        """Go on with a cancelled or failed job."""
        request = wire.ResumeJobRequest(job_id=job_id)
        return self._call("ResumeJob", request, repeat=False)

    def retry(self, job_id: str) -> Any:
        """Do a cancelled or failed job again from the start."""
        return self._call("RetryJob", wire.RetryJobRequest(job_id=job_id), repeat=False)

    def delete(self, job_id: str) -> None:
        """Forget a job and its files on the server."""
        self._call("DeleteJob", wire.DeleteJobRequest(job_id=job_id))

    def set_priority(self, job_id: str, priority: int) -> Any:
        """Move a queued job: -100..100, higher first."""
        request = wire.SetPriorityRequest(job_id=job_id, priority=priority)
        return self._call("SetPriority", request)

    def results(self, job_id: str, *, first: int | None = None, last: int | None = None) -> Any:
        """Finished files, all or those of a frame range (and those of no frame)."""
        request = wire.ListResultsRequest(job_id=job_id)
        if first is not None:
            request.range.CopyFrom(
                wire.FrameRange(first=first, last=first if last is None else last)
            )
        return self._call("ListResults", request)

    def preview(self, request: Any) -> tuple[Any, bytes, list[Any]]:
        """Stages 1 and 2 on one frame.

        Returns:
            PreviewHead, the model image as PNG (empty if not asked for), and the Candidates.
        """
        head, image, candidates = wire.PreviewHead(), bytearray(), []
        for item in self.connection.stream(self._stub.PreviewFrame, request):
            kind = item.WhichOneof("item")
            if kind == "head":
                head = item.head
            elif kind == "image":
                image += item.image.data
            elif kind == "candidate":
                candidates.append(item.candidate)
        return head, bytes(image), candidates

    def open_session(self, request: Any) -> tuple[Any, bytes]:
        """Encode one frame for clicks.

        Returns:
            SessionHead, and the model image as PNG (empty if not asked for).
        """
        head, image = wire.SessionHead(), bytearray()
        for part in self.connection.stream(self._stub.OpenSession, request):
            if part.WhichOneof("part") == "head":
                head = part.head
            else:
                image += part.image.data
        return head, bytes(image)

    def prompt_session(self, request: Any) -> Any:
        """A new prompt for one object of a session; answers with its mask."""
        return self._call("PromptSession", request, timeout_seconds=120, repeat=False)

    def undo_session(self, session_id: str, name: str, *, redo: bool = False) -> Any:
        """One prompt back or forward."""
        request = wire.UndoSessionRequest(session_id=session_id, object=name, redo=redo)
        return self._call("UndoSession", request, timeout_seconds=120, repeat=False)

    def close_session(self, session_id: str) -> None:
        """Forget a session."""
        self._call("CloseSession", wire.CloseSessionRequest(session_id=session_id), repeat=False)

    # ------------------------------------------------------------------------------ transfers

    def find_missing(self, contents: Mapping[bytes, Path]) -> dict[bytes, int]:
        """Which contents the server lacks, and how many bytes of each it has already.

        Args:
            contents: sha256 → file.
        """
        missing: dict[bytes, int] = {}
        items = list(contents.items())
        for start in range(0, len(items), _MANY):
            request = wire.FindMissingRequest()
            for sha256, path in items[start : start + _MANY]:
                request.contents.add(sha256=sha256, size_bytes=path.stat().st_size)
            for item in self._call("FindMissing", request, timeout_seconds=120).missing:
                missing[item.sha256] = item.received_bytes
        return missing

    def upload(
        self,
        contents: Mapping[bytes, Path],
        *,
        report: Transferred | None = None,
        stopping: threading.Event | None = None,
    ) -> int:
        """Send what the server does not have, going on after breaks.

        Args:
            contents: sha256 → file.
            report: hears of the bytes.
            stopping: ends it when set; what arrived stays there.

        Returns:
            Bytes sent.
        """
        total_sent = 0
        for pause in pauses(_RECONNECTS):
            missing = self.find_missing(contents)
            if not missing:
                return total_sent
            sender = _Sender(contents, missing, report=report, stopping=stopping)
            try:
                self.connection.send(
                    self._stub.UploadFrames, sender.chunks(), timeout_seconds=24 * 3600
                )
            except BusyError:
                if pause is None:
                    raise
                time.sleep(pause)
            finally:
                total_sent += sender.sent_bytes
            if stopping is not None and stopping.is_set():
                raise CancelledError("The upload was stopped; what arrived is kept.")
        raise BusyError("The upload was broken off again and again. Try later; it goes on then.")

    def download(
        self,
        job_id: str,
        file: Any,
        target: Path,
        *,
        report: Transferred | None = None,
        stopping: threading.Event | None = None,
    ) -> bool:
        """One result file, checked, under its final name only when it is whole.

        Args:
            job_id: the job.
            file: ResultFile of ``results``.
            target: where to; replaced only by something newer of the same job.
            report: hears of the bytes.
            stopping: ends it when set; what arrived is kept for the next time.

        Returns:
            Whether anything had to be loaded.

        Raises:
            ResultError: what arrived is not what the server promised, twice.
        """
        if target.exists() and _hash_file(target) == file.sha256:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{file.sha256.hex()[:12]}.part")
        for pause in pauses(_RECONNECTS):
            try:
                self._load(job_id, file, partial, report=report, stopping=stopping)
                if stopping is not None and stopping.is_set():
                    raise CancelledError("The download was stopped; what arrived is kept.")
                if _hash_file(partial) == file.sha256:
                    break
                partial.unlink()
                problem: Exception = ResultError(
                    f"{file.name} arrived damaged or was replaced meanwhile. Fetch it again."
                )
            except BusyError as error:
                problem = error
            if pause is None:
                raise problem
            time.sleep(pause)
        with partial.open("rb") as whole:
            os.fsync(whole.fileno())
        partial.replace(target)
        return True

    def _load(
        self,
        job_id: str,
        file: Any,
        partial: Path,
        *,
        report: Transferred | None,
        stopping: threading.Event | None,
    ) -> None:
        have = partial.stat().st_size if partial.exists() else 0
        if have > file.size_bytes:
            partial.unlink()
            have = 0
        request = wire.DownloadResultRequest(job_id=job_id, name=file.name, offset=have)
        with partial.open("ab") as writing:
            for chunk in self.connection.stream(
                self._stub.DownloadResult, request, stopping=stopping
            ):
                if chunk.WhichOneof("part") == "data":
                    writing.write(chunk.data)
                    have += len(chunk.data)
                    if report is not None:
                        report(have, file.size_bytes)

    def _call(
        self, name: str, request: Any, *, timeout_seconds: float = 30, repeat: bool = True
    ) -> Any:
        method = getattr(self._stub, name)
        return self.connection.call(method, request, timeout_seconds=timeout_seconds, repeat=repeat)


class _Sender:
    """The chunks of one upload stream."""

    def __init__(
        self,
        contents: Mapping[bytes, Path],
        missing: Mapping[bytes, int],
        *,
        report: Transferred | None,
        stopping: threading.Event | None,
    ) -> None:
        self._contents = contents
        self._missing = missing
        self._report = report
        self._stopping = stopping
        self.sent_bytes = 0
        self._total = sum(contents[k].stat().st_size - have for k, have in missing.items())

    def chunks(self) -> Iterator[Any]:
        for sha256, have in self._missing.items():
            path = self._contents[sha256]
            size = path.stat().st_size
            yield wire.UploadChunk(
                begin=wire.UploadBegin(sha256=sha256, size_bytes=size, offset=have)
            )
            with path.open("rb") as file:
                file.seek(have)
                while data := file.read(CHUNK_BYTES):
                    if self._stopping is not None and self._stopping.is_set():
                        return
                    yield wire.UploadChunk(data=data)
                    self.sent_bytes += len(data)
                    if self._report is not None:
                        self._report(self.sent_bytes, self._total)


def check_done(job: Any) -> Any:
    """The job, if it is done.

    Raises:
        ClientError: it failed or was cancelled.
    """
    if job.state == wire.FAILED:
        raise error_of_kind(job.error.kind, job.error.message)
    if job.state == wire.CANCELLED:
        raise CancelledError(f"Job {job.id} was cancelled; finished frames are kept.")
    return job


def safe_target(folder: Path, name: str) -> Path:
    """Where a result file of a server goes, inside ``folder`` whatever the name says.

    Raises:
        ResultError: the name would lead somewhere else.
    """
    parts = PurePosixPath(name).parts
    odd = any(p in ("", ".", "..") or "\\" in p or ":" in p or "\0" in p for p in parts)
    if not parts or odd or name.startswith("/"):
        raise ResultError(f"The server names a file {name!r}, which is no name for a result.")
    return folder.joinpath(*parts)


def _hash_file(path: Path) -> bytes:
    digest = hashlib.sha256()
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
