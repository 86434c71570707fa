"""One worker, seen from the server: started, told, listened to, ended.

``Worker`` is the port; a ``WorkerProcess`` is one on this machine.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

_log = logging.getLogger("segmatte.worker")
Message = dict[str, Any]


@dataclass(frozen=True)
class WorkerProgram:
    """How worker processes are started."""

    engine: str
    """``module:class`` of what they run."""
    scratch: Path
    """Folder for temporary files of libraries."""
    read: tuple[str, ...] = ()
    """Folders they may read, beside the system's."""
    write: tuple[str, ...] = ()
    sandbox: bool = True
    threads: int = 1
    file_bytes: int = 64 << 30
    """Largest file they may write."""

    def command(self, device: str) -> list[str]:
        """Command line of one worker."""
        options = ["--engine", self.engine, "--device", device]
        options += ["--file-bytes", str(self.file_bytes)]
        options += ["--sandbox"] if self.sandbox else []
        for name, folders in (("--read", self.read), ("--write", self.write)):
            for folder in folders:
                options += [name, folder]
        return [sys.executable, "-m", "server.executors.runner", *options]

    def environment(self) -> dict[str, str]:
        """The server's environment, without what a decoder has no business to know."""
        kept = {k: v for k, v in os.environ.items() if not _is_secret(k)}
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        kept.update(dict.fromkeys(threads, str(self.threads)))
        folders = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
        kept["TMPDIR"] = str(self.scratch)
        return kept


class Worker(Protocol):
    """A running ``server.executors.runner``, wherever it runs.

    Its messages come to a listener, in a thread of their own. The last one is ``{"say": "exit",
    "reason": …, "last_words": …}``, whatever it ended of.
    """

    pid: int
    """Process number on its machine."""
    ended: bool
    """Whether it has said ``exit``."""

    def send(self, order: Mapping[str, Any]) -> None:
        """Tell it something; a dead worker does not hear, and its ``exit`` says so."""
        ...

    def kill(self) -> None:
        """End it now; a stopped or hung one, too."""
        ...

    def end(self) -> None:
        """Let it end, and wait until it is gone."""
        ...


Listener = Callable[[Message], None]


class WorkerProcess:
    """A worker on this machine, see ``Worker``."""

    def __init__(
        self, program: WorkerProgram, device: str, *, name: str, listener: Listener
    ) -> None:
        """Start it."""
        self.ended = False
        self._listener = listener
        self._name = name
        self._process = subprocess.Popen(
            program.command(device),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=program.environment(),
            cwd="/",
            close_fds=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._stdin, self._stdout, self._stderr = cast("tuple[IO[bytes], ...]", pipes)
        self._lock = threading.Lock()
        self._tail: list[str] = []
        self._threads = [
            threading.Thread(target=target, daemon=True, name=f"{name} {target.__name__}")
            for target in (self._listen, self._follow_log)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, order: Mapping[str, Any]) -> None:
        """Tell it something; a dead worker does not hear, and its ``exit`` says so."""
        line = json.dumps(order).encode() + b"\n"
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stdin.write(line)
            self._stdin.flush()

    def kill(self) -> None:
        """End it now; a stopped process, too."""
        self._process.kill()

    def end(self, *, seconds: float = 5.0) -> None:
        """End it: stdin closed, killed when that is not enough."""
        with self._lock, contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(2)

    def _listen(self) -> None:
        with self._stdout as stream:
            for line in stream:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # cut off by a kill
                self._listener(message)
        reason = describe_exit(self._process.wait())
        self.ended = True
        self._listener({"say": "exit", "reason": reason, "last_words": " | ".join(self._tail[-3:])})

    def _follow_log(self) -> None:
        with self._stderr as stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                self._tail = [*self._tail[-9:], text]
                _log.info("%s: %s", self._name, text)


def describe_exit(code: int) -> str:
    """Why a worker ended, for people."""
    if code >= 0:
        return f"The worker process ended with code {code}."
    hint = " (often: out of memory)" if code == -9 else ""
    return f"The worker process was ended by signal {-code}{hint}."


def _is_secret(name: str) -> bool:
    return (name.startswith("SEGMATTE_") and name != "SEGMATTE_MODELS") or "TOKEN" in name


def shared_threads(workers: Sequence[str], chosen: int) -> int:
    """CPU threads of one worker."""
    return chosen or max(1, (os.cpu_count() or 1) // max(1, len(workers)))
