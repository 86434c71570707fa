"""A server from start to stop: who may run it, where it listens, what it does by itself."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from protos import segmatte_pb2, segmatte_pb2_grpc
from server.errors import ResourceError, SettingsError
from server.executors import Executor
from server.executors.engine import Defaults
from server.executors.keeper import Site
from server.executors.local import LocalExecutor, find_devices
from server.executors.process import WorkerProgram, shared_threads
from server.jobs.folders import JobFolder
from server.jobs.request import JobRequest
from server.jobs.roots import Root
from server.jobs.store import Store
from server.jobs.uploads import Uploads
from server.jobs.users import own_token
from server.models.store import models_folder
from server.service.calls import Calls
from server.service.hub import Hub
from server.service.metrics import Metrics, MetricsServer
from server.service.models import offered_models
from server.settings import ServerSettings

_log = logging.getLogger("segmatte.server")
SERVICE = segmatte_pb2.DESCRIPTOR.services_by_name["Segmatte"].full_name
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_TOKEN = re.compile(r"sgm_[\w-]+|[Bb]earer +\S+")


class Host:
    """One server."""

    def __init__(self, settings: ServerSettings) -> None:
        """Nothing is touched before ``start``."""
        self._settings = settings
        self.port = settings.port
        self.token_file: Path | None = None
        self._done = asyncio.Event()
        self._closing: list[Callable[[], Any]] = []

    async def start(self) -> None:
        """Take over the state folder, listen, begin to run jobs.

        Raises:
            SettingsError: the settings would leave it open, the port is taken, or another server
                uses the state folder.
            ResourceError: the state folder cannot be used.
        """
        settings = self._settings
        _make_private(settings.state)
        self._lock = _lock(settings.state)
        store = self._store = Store(
            settings.store_path,
            lease_seconds=settings.lease_seconds,
            max_crashes=settings.max_crashes,
        )
        settings.check(has_users=bool(store.users()))
        if settings.is_loopback:
            self.token_file = own_token(store, settings.state)
        for folder in (settings.jobs_folder, settings.uploads_folder, self._scratch):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._clean_up_after_kill()
        uploads = self._uploads = Uploads(
            settings.uploads_folder,
            max_content_bytes=settings.limits.frame_bytes,
            max_user_bytes=settings.limits.upload_bytes,
        )
        self._hub = Hub(store)
        self._metrics = Metrics(self._gauges)
        site = self._site = self._make_site()
        self._executor = self._make_executor(site)
        self._calls = Calls(
            settings,
            store,
            self._executor,
            site=site,
            uploads=uploads,
            hub=self._hub,
            metrics=self._metrics,
            offered=lambda: offered_models(settings.offered_models),
            version=program_version(),
        )
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(max_workers=64, thread_name_prefix="call")
        )
        await self._listen()
        if settings.metrics_port:
            served = MetricsServer(
                self._metrics, host=settings.metrics_host, port=settings.metrics_port
            )
            self._closing.append(served.close)
        self._executor.start()
        self._tasks = [
            asyncio.create_task(self._every(1.0, self._look_after_jobs)),
            asyncio.create_task(self._every(settings.retention.every_seconds, self._retain)),
        ]
        await self._write_address()
        _log.info("serving on %s with %s", self.address, ", ".join(self._executor.devices))
        for name in await asyncio.to_thread(self._absent_models):
            _log.warning(
                "the usual model %s is not on this machine: jobs that name no other will fail. "
                "Fetch it with `segmatte models fetch %s`, or try the server on drawn plates with "
                "--detector demo-groundingdino --segmenter demo-sam2",
                name,
                name,
            )

    def _absent_models(self) -> list[str]:
        usual = self._settings.detector, self._settings.segmenter
        offered = offered_models(self._settings.offered_models)
        return [model.name for model in offered if model.name in usual and not model.ready]

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self._settings.host}:{self.port}"

    def request_stop(self) -> None:
        """Have ``wait`` return; may be called from a signal handler of the loop."""
        self._done.set()

    async def wait(self) -> None:
        """Until somebody asks for a stop."""
        await self._done.wait()

    async def stop(self) -> None:
        """Let running frames finish, give jobs back, close everything."""
        _log.info("stopping: running frames are finished first")
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self._executor.stop)
        await self._server.stop(1.0)
        await asyncio.to_thread(self._uploads.close)
        for close in self._closing:
            close()
        self._settings.address_file.unlink(missing_ok=True)
        self._store.close()
        os.close(self._lock)
        _log.info("stopped")

    # ------------------------------------------------------------------------------ parts

    @property
    def _scratch(self) -> Path:
        return self._settings.jobs_folder / ".scratch"

    def _make_site(self) -> Site:
        settings, store = self._settings, self._store
        if settings.roots is not None:
            roots = tuple(Root(**root.model_dump()) for root in settings.roots)
        elif settings.is_loopback:
            roots = (Root("/"),)
        else:
            roots = ()
        for root in roots:
            if not Path(root.path).is_absolute() or not Path(root.path).is_dir():
                raise SettingsError(
                    f"Expected the root {root.path} to be an absolute path of a folder. Mount it, "
                    "or take it out of roots."
                )

        def groups_of(name: str) -> tuple[str, ...]:
            return next((user.groups for user in store.users() if user.name == name), ())

        return Site(
            jobs=settings.jobs_folder,
            uploads=settings.uploads_folder,
            roots=tuple(_resolved(root) for root in roots),
            closed=tuple(str(path) for path in (settings.state, settings.files) if path),
            defaults=Defaults(
                settings.detector,
                settings.segmenter,
                settings.limits.frame_pixels,
                settings.limits.frames,
            ),
            running_per_user=settings.limits.running_jobs,
            groups_of=groups_of,
            output_mode=int(settings.output_mode, 8),
            output_group=settings.output_group,
            stop_seconds=settings.stop_seconds,
            interactive_idle_seconds=settings.interactive_idle_seconds,
            hang_seconds=settings.hang_seconds,
        )

    def _make_executor(self, site: Site) -> Executor:
        settings = self._settings
        on_ray = settings.executor == "ray"
        devices = settings.devices or (() if on_ray else find_devices())
        threads = settings.threads_per_worker
        program = WorkerProgram(
            engine=settings.engine,
            scratch=self._scratch,
            read=(
                *(root.path for root in site.roots if root.access == "read"),
                str(site.uploads),
                str(models_folder()),
            ),
            write=(str(site.jobs),),
            sandbox=settings.sandbox,
            threads=threads if on_ray else shared_threads(devices, threads),
        )
        if on_ray:
            from server.executors.ray import RayExecutor

            return RayExecutor(self._store, site, program=program, devices=devices)
        return LocalExecutor(self._store, site, program=program, devices=devices)

    async def _listen(self) -> None:
        settings = self._settings
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=settings.limits.calls,
            options=(
                # Two servers on one port would share its clients by chance.
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ),
        )
        segmatte_pb2_grpc.add_SegmatteServicer_to_server(  # type: ignore[no-untyped-call]
            self._calls, self._server
        )
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), self._server)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            if settings.tls_certificate is None or settings.tls_key is None:
                self.port = self._server.add_insecure_port(f"{host}:{settings.port}")
            else:
                pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
                credentials = grpc.ssl_server_credentials([pair])
                self.port = self._server.add_secure_port(f"{host}:{settings.port}", credentials)
        except RuntimeError as error:
            raise SettingsError(
                f"Cannot listen on {host}:{settings.port}: it is taken, perhaps by another server, "
                "or is no address of this machine. Choose another port."
            ) from error
        await self._server.start()
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)

    async def _write_address(self) -> None:
        """Where clients of the same user find this server."""
        path = self._settings.address_file
        partial = path.with_name(f".{path.name}")
        data = {"address": self.address, "tls": self._settings.tls_certificate is not None}
        partial.write_text(json.dumps(data) + "\n")
        partial.chmod(0o600)
        partial.replace(path)

    # ------------------------------------------------------------------------- by itself

    def _clean_up_after_kill(self) -> None:
        """Whatever an earlier server left half done."""
        for job_id in self._store.reap(all_leases=True):
            _log.info("job %s was running when the server ended; it goes on", job_id)
        self._store.forget_workers()
        for job_id in self._store.removed_ids():
            JobFolder(self._settings.jobs_folder, job_id).remove()
            self._store.forget_removed(job_id)
        JobFolder(self._settings.jobs_folder, ".frames").remove()

    async def _every(self, seconds: float, action: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await action()
            except Exception:  # one failure must not end the care for all jobs
                _log.exception("%s failed", getattr(action, "__name__", "a task"))

    async def _look_after_jobs(self) -> None:
        await asyncio.to_thread(self._executor.tidy)
        for job_id in await asyncio.to_thread(self._store.reap):
            _log.warning("job %s was taken back from a silent worker", job_id)
        self._hub.wake()
        await self._calls.close_idle_sessions()

    async def _retain(self) -> None:
        await asyncio.to_thread(
            retain, self._settings, self._store, uploads=self._uploads, now=time.time()
        )

    def _gauges(self) -> dict[str, float]:
        counts = self._store.counts()
        states = ("queued", "running", "done", "failed", "cancelled")
        values = {f'jobs{{state="{state}"}}': float(counts.get(state, 0)) for state in states}
        for worker in self._store.workers():
            labels = f'name="{worker.name}",state="{worker.state}"'
            values[f"worker{{{labels}}}"] = 1.0
        values["watchers"] = float(self._hub.watchers)
        values["draining"] = float(self._store.draining)
        return values


def retain(settings: ServerSettings, store: Store, *, uploads: Uploads, now: float) -> list[str]:
    """Remove ended jobs that are too old or too large together, and uploads nobody uses.

    Args:
        settings: how long and how much.
        store: of the jobs.
        uploads: of all users.
        now: seconds since 1970.

    Returns:
        Ids of the jobs removed.
    """
    rules = settings.retention
    jobs = store.jobs(limit=1_000_000)
    needed = {job.source for job in jobs if not job.ended}
    needed |= {JobRequest.from_json(j.request).reference_job for j in jobs if not j.ended}
    ended = [job for job in jobs if job.ended and job.id not in needed]
    sizes = {job.id: JobFolder(settings.jobs_folder, job.id).size_bytes() for job in jobs}
    total, removed = sum(sizes.values()), []
    for job in sorted(ended, key=lambda job: job.finished or job.created):
        age_days = (now - (job.finished or job.created)) / 86400
        if age_days <= rules.job_days and total <= rules.job_bytes:
            continue
        store.remove(job.id)
        JobFolder(settings.jobs_folder, job.id).remove()
        store.forget_removed(job.id)
        total -= sizes[job.id]
        removed.append(job.id)
    keep = {
        (job.owner, sha256)
        for job in jobs
        if job.state in ("queued", "running")
        for sha256 in JobRequest.from_json(job.request).contents()
    }
    freed = uploads.clean(older_than_seconds=rules.upload_days * 86400, keep=keep)
    if removed or freed:
        _log.info("retention: %d jobs removed, %d upload bytes freed", len(removed), freed)
    return removed


def program_version() -> str:
    """Of this program."""
    try:
        return metadata.version("segmatte")
    except metadata.PackageNotFoundError:
        return "0.0.0"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        data = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key in ("call", "user", "status", "seconds", "job"):
            if key in record.__dict__:
                data[key] = record.__dict__[key]
        if record.exc_info:
            data["exception"] = self.formatException(record.exc_info)
        return json.dumps(data)


class _WithoutTokens(logging.Filter):
    """Nothing that looks like a token gets into a log, wherever it came from."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if _TOKEN.search(text):
            record.msg, record.args = _TOKEN.sub("[token]", text), None
        return True


def start_logging(*, level: str, form: str) -> None:
    """Write this program's log to stderr, as text or JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_WithoutTokens())
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(_JsonLines() if form == "json" else text)
    logger = logging.getLogger("segmatte")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise ResourceError(
            f"The state folder {folder} cannot be used: {error.strerror}. Choose another with "
            "--state."
        ) from error


def _lock(folder: Path) -> int:
    """Own the state folder as long as this process lives."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise SettingsError(
            f"Another server uses the state folder {folder}. Stop it, or choose another folder "
            "with --state."
        ) from None
    return handle


def _keep_buffers() -> None:
    """Have freed chunks of a megabyte used again instead of given back to the system.

    Otherwise every chunk of a transfer is made of pages that are new, which costs more than
    copying it. Where the C library is not glibc, nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        adjust = ctypes.CDLL(None).mallopt
        adjust(_M_MMAP_THRESHOLD, 32 << 20)
        adjust(_M_TRIM_THRESHOLD, 64 << 20)


def _resolved(root: Root) -> Root:
    """A root whose own path contains no link, so that links inside it can be compared to it."""
    return replace(root, path=str(Path(root.path).resolve()))


async def serve(settings: ServerSettings, *, started: Callable[[Host], None]) -> None:
    """Run a server until SIGTERM or Ctrl-C.

    Args:
        settings: of the server.
        started: called once it serves.

    Raises:
        SettingsError: it cannot serve like that.
        ResourceError: the state folder cannot be used.
    """
    _keep_buffers()
    host = Host(settings)
    await host.start()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, host.request_stop)
    started(host)
    try:
        await host.wait()
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await host.stop()
