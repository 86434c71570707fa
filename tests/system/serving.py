"""A real server in a process of its own, and engines that stop at chosen points."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from client.connection import Server
from client.library import Client
from protos import segmatte_pb2 as wire
from server.executors.engine import PipelineEngine

ROOT = Path(__file__).resolve().parents[2]


class SteppedEngine(PipelineEngine):
    """The real pipeline, slowed down, that meets with accidents named by the environment.

    ``STEP_SECONDS``: pause at every frame. ``ACCIDENT``: ``kill:STAGE:DONE`` (this process, once),
    ``memory:STAGE:DONE``, ``stop:STAGE:DONE`` (SIGSTOP, once).
    """

    def run(self, work, *, report, cancellation, warn):
        pause = float(os.environ.get("STEP_SECONDS", "0"))
        kind, stage, done = (os.environ.get("ACCIDENT") or "::").split(":")

        def stepped(progress):
            report(progress)
            if progress.frame is not None:
                time.sleep(pause)
            if kind and progress.stage == stage and progress.done >= int(done) and _first(kind):
                time.sleep(0.05)  # let the message out
                if kind == "memory":
                    raise MemoryError
                os.kill(os.getpid(), signal.SIGKILL if kind == "kill" else signal.SIGSTOP)

        return super().run(work, report=stepped, cancellation=cancellation, warn=warn)


def _first(kind):
    """Whether this accident has not happened yet; workers can write to their scratch folder."""
    try:
        (Path(os.environ["TMPDIR"]) / f"accident-{kind}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class RunningServer:
    """A server process, with the fake models unless others are named."""

    def __init__(
        self, state, *, settings="", environment=None, users=False, port=0, models=("fake", "fake")
    ):
        self.state = Path(state)
        self.state.mkdir(parents=True, exist_ok=True)
        self.config = self.state.parent / f"{self.state.name}.toml"
        lines = [f'detector="{models[0]}"', f'segmenter="{models[1]}"']
        lines.append(f"offered_models={json.dumps(sorted(set(models)))}")
        if "devices" not in settings:
            lines.append('devices=["cpu"]')
        lines.append('engine="tests.system.serving:SteppedEngine"')
        # Top-level keys stand before the tables of `settings`.
        self.config.write_text("\n".join([*lines, f"port={port}", settings]) + "\n")
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "SEGMATTE_STATE": str(self.state),
            "PYTHONPATH": str(ROOT),
            **(environment or {}),
        }
        self.log = []
        self.process = None

    def command(self, *arguments):
        return [sys.executable, "-m", "client", *map(str, arguments)]

    def run(self, *arguments, check=True):
        """A command of the program, against this server."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=90,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def start(self):
        self.process = subprocess.Popen(
            self.command("serve", "--config", self.config),
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        line = self.process.stdout.readline()
        assert line.startswith("Serving on "), "".join(self.log)
        self.address = line.split()[-1]
        return self

    def _read_log(self):
        self.log.extend(self.process.stderr)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def kill(self):
        self.process.kill()
        self._end()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._end()

    def _end(self):
        self.process.wait()
        self._reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()

    @property
    def token(self):
        return (self.state / "token").read_text().strip()

    def client(self, token=None):
        return Client(Server(self.address, self.token if token is None else token))

    def workers(self):
        done = self.run("admin", "--state", self.state, "workers").stdout
        return {line.split()[0]: int(line.split("pid")[1].split()[0]) for line in done.splitlines()}


def request(path, /, **more):
    values = {
        "plate": wire.PlateSource(path=str(path)),
        "prompts": wire.Prompts(text="person, car"),
        **more,
    }
    return wire.SubmitShotRequest(**values)


def until(client, job_id, condition, *, seconds=60):
    """The first update of a job that fulfils a condition."""
    stopping = threading.Event()
    timer = threading.Timer(seconds, stopping.set)
    timer.start()
    try:
        for update in client.watch(job_id, stopping=stopping):
            if condition(update.job):
                return update.job
    finally:
        timer.cancel()
    raise AssertionError(f"not within {seconds} s: {client.job(job_id)}")


def done_of(job, stage):
    """Frames of a stage that are done."""
    return next((s.done for s in job.progress.stages if s.name == stage), 0)


def tracking(job):
    """Whether stage 3 of a job has begun; stays true, so that no watcher comes too late for it."""
    return done_of(job, "track forward") > 0


def result_bytes(folder):
    """Name → bytes of a fetched result, without what says when and where it was made."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name not in ("report.json", "overlay.webm")
    }


def fetch(client, job_id, folder):
    for file in client.results(job_id).files:
        client.download(job_id, file, Path(folder) / file.name)
    return result_bytes(folder)


def health(address):
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with contextlib.closing(grpc.insecure_channel(address)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status


def read_json(path):
    return json.loads(Path(path).read_text())
