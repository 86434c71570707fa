"""What is due is done: a complete new plate submitted, a finished result put in place."""

from __future__ import annotations

import contextlib
import shutil
import string
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.errors import (
    AuthenticationError,
    BusyError,
    CancelledError,
    ClientError,
    InputError,
    LimitError,
    NotFoundError,
    StateError,
)
from client.ingest.folders import SeenPlate, find_plates
from client.ingest.journal import Journal, Version
from client.library import Client, safe_target
from client.shots import upload_source
from protos import segmatte_pb2 as wire

FIELDS = ("root", "relative", "folder", "name", "suffix", "version")
"""What a result's path may be made of."""


@dataclass(frozen=True)
class Asked:
    """What is asked for every plate of a folder."""

    root: Path
    """The watched folder."""
    out: str
    """Template of a result's folder: ``/shows/mattes/{relative}/{name}/v{version:03}``."""
    prompt: str = "person"
    match: str = "*"
    """Wildcard for a plate's path below the root."""
    sentinel: str = ""
    """File that has to stand beside a complete plate; may hold ``{name}``."""
    looks: int = 3
    """A plate is complete when it was the same at so many looks."""
    tries: int = 5
    """Failures in a row after which a plate is given up."""
    pause_seconds: float = 30.0
    """From look to look, and before the first repeat."""
    priority: int = -10
    upload: bool = False
    """Send the pictures: the server does not see the folder."""
    colorspace: str = ""
    detector: str = ""
    segmenter: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder_of(SeenPlate(self.root, "plate.", 4, ".exr", ()), number=1)

    def folder_of(self, plate: SeenPlate, *, number: int) -> Path:
        """Where the result of one version goes.

        Raises:
            InputError: the template has an unknown field.
        """
        values = {
            "root": str(self.root),
            "relative": plate.folder.relative_to(self.root).as_posix(),
            "folder": str(plate.folder),
            "name": plate.name,
            "suffix": plate.suffix[1:],
            "version": number,
        }
        try:
            used = {name for _, name, _, _ in string.Formatter().parse(self.out) if name}
            if used <= set(FIELDS):
                return Path(self.out.format(**values)).absolute()
        except (ValueError, IndexError, KeyError):
            pass
        raise InputError(
            f"The template {self.out!r} cannot be filled in. Its fields are "
            f"{', '.join('{' + name + '}' for name in FIELDS)}; {{version:03}} fills up with zeros."
        )


class Watcher:
    """Looks at a folder again and again; every look leaves the journal true."""

    def __init__(
        self,
        asked: Asked,
        journal: Journal,
        client: Client,
        *,
        say: Callable[[str], None],
        stopping: threading.Event,
    ) -> None:
        """Watch nothing yet.

        Args:
            asked: the folder and what is asked for its plates.
            journal: its memory.
            client: the server.
            say: hears, in a line each, what was done and what was not, and why.
            stopping: ends a look at the next good moment.
        """
        self._asked = asked
        self._journal = journal
        self._client = client
        self._say = say
        self._stopping = stopping
        self._same: dict[str, tuple[str, int]] = {}
        """Plates that are new or changed → fingerprint, and looks at which it was that."""
        self.server_away = False
        """Whether the server did not answer, or did not let us in, at the last look."""

    def look(self, *, pass_by: bool = False) -> None:
        """Look once, and do what is due.

        Args:
            pass_by: complete plates are only taken note of, never submitted.

        Raises:
            ClientError: the folder cannot be read, or the journal is damaged; no plate's own
                trouble is raised.
        """
        with contextlib.suppress(CancelledError), self._journal.turn(self._stopping):
            self._take_stock(pass_by=pass_by)
            if not pass_by:
                self._serve()

    # What lies there

    def _take_stock(self, *, pass_by: bool) -> None:
        waiting: dict[str, str] = {}
        same: dict[str, tuple[str, int]] = {}
        for plate in find_plates(
            self._asked.root,
            match=self._asked.match,
            sentinel=self._asked.sentinel,
            unreadable=waiting.__setitem__,
        ):
            latest = self._journal.latest(plate.path)
            if latest is not None and latest.fingerprint == plate.fingerprint:
                continue
            before, looks = self._same.get(plate.path, ("", 0))
            looks = looks + 1 if before == plate.fingerprint else 1
            same[plate.path] = plate.fingerprint, looks
            if plate.lacks:
                waiting[plate.path] = plate.lacks
            elif looks < self._asked.looks:
                waiting[plate.path] = "may still be copied"
            else:
                del same[plate.path]
                self._begin(plate, latest, pass_by=pass_by)
        self._same = same
        for path, reason in self._journal.set_waiting(waiting).items():
            self._say(f"waits      {path}: {reason}")

    def _begin(self, plate: SeenPlate, latest: Version | None, *, pass_by: bool) -> None:
        number = latest.number + 1 if latest else 1
        folder = self._asked.folder_of(plate, number=number)
        version = self._journal.begin(plate, number=number, folder=folder, passed_by=pass_by)
        if pass_by:
            self._say(f"passed by  {_title(version)}")

    # What is due

    def _serve(self) -> None:
        full = False
        for version in self._journal.unfinished(due=True):
            if self._stopping.is_set():
                return
            if version.state == "new" and (full or version.plate in self._same):
                continue  # no room in the queue, or changed since: a newer version is coming
            try:
                self._advance(version)
            except CancelledError:
                raise
            except (BusyError, AuthenticationError) as error:
                if not self.server_away:
                    self._say(f"server     is away: {error}")
                self.server_away = True
                return
            except LimitError as error:
                full = True
                due = time.time() + self._asked.pause_seconds
                self._journal.change(version, due=due, note=str(error))
                self._say(f"put off    {_title(version)}: {error}")
            except (ClientError, OSError) as error:
                self._failed(version, error)
            if self.server_away:
                self._say("server     is back")
                self.server_away = False

    def _failed(self, version: Version, error: Exception) -> None:
        again = isinstance(error, OSError) or getattr(error, "retryable", False)
        if again and version.tries + 1 < self._asked.tries:
            pause = self._asked.pause_seconds
            later = self._journal.put_off(version, str(error), pause_seconds=pause)
            self._say(f"put off    {_title(version)}, try {later.tries + 1}: {error}")
        else:
            self._journal.change(version, state="failed", note=str(error))
            self._say(f"failed     {_title(version)}: {error}")

    def _advance(self, version: Version) -> None:
        latest = self._journal.latest(version.plate)
        if latest is not None and latest.number > version.number:
            if version.job:
                with contextlib.suppress(NotFoundError, StateError):
                    self._client.cancel(version.job)
            shutil.rmtree(_part(version), ignore_errors=True)
            self._journal.change(version, state="replaced", note="a newer version has come")
            self._say(f"replaced   {_title(version)}: a newer version has come")
        elif version.state == "new":
            self._submit(version)
        else:
            self._follow(version)

    def _submit(self, version: Version) -> None:
        self._check_free(version)
        request, contents = self._request(version)
        if contents:
            self._client.upload(contents, stopping=self._stopping)
        try:
            job = self._client.submit(_identified(request, version))
        except (NotFoundError, StateError):
            if not version.reference:
                raise
            # The result before is not on the server any more: names begin anew.
            version = self._journal.change(version, reference="")
            request.reference_job_id = ""
            job = self._client.submit(_identified(request, version))
        self._journal.change(version, state="submitted", job=job.id, tries=0, note="")
        self._say(f"submitted  {_title(version)} as job {job.id}")

    def _request(self, version: Version) -> tuple[wire.SubmitShotRequest, dict[bytes, Path]]:
        asked = self._asked
        request = wire.SubmitShotRequest(
            plate=wire.PlateSource(path=version.plate),
            prompts=wire.Prompts(text=asked.prompt),
            settings=wire.ShotSettings(detector=asked.detector, segmenter=asked.segmenter),
            reference_job_id=version.reference,
            priority=asked.priority,
            labels={**asked.labels, "ingest": asked.root.name},
        )
        request.range.CopyFrom(wire.FrameRange(first=version.first, last=version.last, step=1))
        request.options.colorspace = asked.colorspace
        if not asked.upload:
            return request, {}
        source, contents = upload_source(version.plate, first=version.first, last=version.last)
        request.plate.CopyFrom(source)
        return request, contents

    def _follow(self, version: Version) -> None:
        try:
            job = self._client.job(version.job)
        except NotFoundError as error:
            if version.tries + 1 >= self._asked.tries:
                raise
            self._journal.change(version, tries=version.tries + 1)
            self._again(version, f"the server lost job {version.job}: {error}")
            return
        if job.state == wire.DONE:
            self._place(version, note=job.result_note)
        elif job.state == wire.CANCELLED:
            raise JobLostError(f"Job {job.id} was cancelled by somebody.")
        elif job.state == wire.FAILED:
            if not job.error.retryable or version.tries + 1 >= self._asked.tries:
                raise JobLostError(job.error.message)
            with contextlib.suppress(StateError):  # somebody did so before us
                self._client.resume(job.id)
            pause = self._asked.pause_seconds
            self._journal.put_off(version, job.error.message, pause_seconds=pause)
            self._say(f"resumed    {_title(version)}: {job.error.message}")

    def _again(self, version: Version, reason: str) -> None:
        self._journal.change(version, state="new", job="", round=version.round + 1, note=reason)
        self._say(f"again      {_title(version)}: {reason}")

    # Results

    def _place(self, version: Version, *, note: str) -> None:
        """Bring a result into its folder: all of it at once, or nothing."""
        target = version.folder
        self._check_free(version)
        part = _part(version)
        for file in self._client.results(version.job).files:
            path = safe_target(part, file.name)
            self._client.download(version.job, file, path, stopping=self._stopping)
        owned = self._journal.owns(target, plate=version.plate)
        version = self._journal.change(version, state="placing")
        if target.exists():
            if owned:
                old = target.with_name(f".{target.name}.old")
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
            else:
                target.rmdir()  # empty, or it would have been refused
        part.rename(target)
        shutil.rmtree(target.with_name(f".{target.name}.old"), ignore_errors=True)
        self._journal.change(version, state="done", tries=0, note=note)
        self._say(f"done       {_title(version)} in {target}{': ' if note else ''}{note}")

    def _check_free(self, version: Version) -> None:
        target = version.folder
        if self._journal.owns(target, plate=version.plate) or not target.exists():
            return
        if not target.is_dir() or any(target.iterdir()):
            raise InputError(
                f"{target} is there already and no result of this plate's. Move it away, or add "
                "{suffix} or {version} to the template; then `segmatte ingest retry`."
            )


class JobLostError(ClientError):
    """The job ended without a result, and not by our doing."""


def _identified(request: wire.SubmitShotRequest, version: Version) -> wire.SubmitShotRequest:
    """The request with an id made of all that it is: the same request is one job."""
    request.request_id = ""
    content = request.SerializeToString(deterministic=True).hex()
    name = f"segmatte ingest {version.fingerprint} {version.number} {version.round} {content}"
    request.request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    return request


def _part(version: Version) -> Path:
    """Where a result gathers; hidden, so that nobody takes it for a result or for plates."""
    return version.folder.with_name(f".{version.folder.name}.{version.job}.part")


def _title(version: Version) -> str:
    again = f" version {version.number}" if version.number > 1 else ""
    return f"{version.plate} {version.first}-{version.last}{again}"
