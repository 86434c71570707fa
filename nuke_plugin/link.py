"""The plug-in's end of the bridge: starts the child process, asks it, and hands answers back.

Nothing here blocks Nuke's main thread: lines are written and read by threads of this module, and
``poll``, called by a timer on the main thread, delivers what has arrived. The protocol is
described in ``client/bridge/protocol.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROTOCOL = 1
"""The number both sides have to agree on."""
MOST_RESTARTS = 3
"""Within ``RESTART_SECONDS``; then the bridge counts as broken until asked for again."""
RESTART_SECONDS = 60.0
_FORGOTTEN = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "LD_LIBRARY_PATH",
    "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", "DYLD_INSERT_LIBRARIES",
)  # fmt: skip
_FORGOTTEN_PREFIXES = ("QT_", "NUKE_", "FN_", "OCIO_")

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """Why a call has no result."""

    kind: str
    """Name of the error: ``BusyError``, ``BridgeError``, …"""
    message: str
    """For people."""
    retryable: bool = False


@dataclass
class _Pending:
    on_result: Callable[[Answer], None]
    on_failure: Callable[[Failure], None]
    on_event: Callable[[Answer], None] | None


class Link:
    """A bridge process, started on the first call and again when it dies."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        record: Path | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            command: program and arguments of the bridge.
            environment: its variables; None takes this process's, cleaned.
            folder: its working folder.
            record: file to which every line is written, both ways, for bug reports and tests.
        """
        self._command = list(command)
        self._environment = dict(environment if environment is not None else clean_environment())
        self._folder = folder
        self._record = record
        self._process: subprocess.Popen[bytes] | None = None
        self._arrived: queue.Queue[tuple[int, str]] = queue.Queue()
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._pending: dict[int, _Pending] = {}
        self._next_number = 1
        self._generation = 0
        self._starts: list[float] = []
        self._recording = threading.Lock()
        self.is_ready = False
        self.problem = ""
        """Why there is no bridge, as a sentence; empty while all is well."""
        self.log: deque[str] = deque(maxlen=200)
        """The last lines the bridge wrote to stderr."""

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        on_result: Callable[[Answer], None],
        on_failure: Callable[[Failure], None],
        on_event: Callable[[Answer], None] | None = None,
    ) -> int:
        """Ask the bridge; exactly one of the first two functions is called from ``poll``.

        Returns:
            The call's number, for ``stop_call``.
        """
        number = self._next_number
        self._next_number += 1
        self._pending[number] = _Pending(on_result, on_failure, on_event)
        if self._process is None:
            self._start()
        self._send({"id": number, "call": name, "arguments": dict(arguments)})
        return number

    def stop_call(self, number: int) -> None:
        """Ask for a running call to stop; it then ends with a failure."""
        if number in self._pending:
            self.call("stop", {"id": number}, on_result=_ignore, on_failure=_ignore)

    def poll(self) -> None:
        """Deliver what has arrived; on the main thread, a few times a second."""
        while True:
            try:
                generation, line = self._arrived.get_nowait()
            except queue.Empty:
                return
            if generation != self._generation:
                continue
            if line:
                self._deliver(line)
            else:
                self._ended()

    def close(self) -> None:
        """End the bridge; what is still asked for fails."""
        process, self._process = self._process, None
        self._generation += 1
        self._outgoing.put(None)
        if process is not None:
            _finish(process)
        self._fail_all("The bridge was closed.")
        self.is_ready = False

    # Inside

    def _start(self) -> None:
        now = time.monotonic()
        self._starts = [t for t in self._starts if now - t < RESTART_SECONDS]
        if len(self._starts) >= MOST_RESTARTS:
            self.problem = (
                f"The bridge stopped {MOST_RESTARTS} times within a minute. Its last words: "
                f"{self._last_words()}"
            )
        else:
            self._starts.append(now)
            self._launch()
        if self._process is None:
            self._generation += 1
            self._arrived.put((self._generation, ""))

    def _launch(self) -> None:
        self._generation += 1
        self._outgoing = queue.Queue()
        self.is_ready = False
        self.problem = ""
        flags = 0x08000000 if sys.platform == "win32" else 0  # no console window
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                cwd=str(self._folder) if self._folder else None,
                creationflags=flags,
            )
        except OSError as error:
            self.problem = (
                f"The bridge cannot be started: {self._command[0]}: {error.strerror}. Run "
                "'segmatte nuke install', or set SEGMATTE_BRIDGE_PYTHON."
            )
            return
        self._process = process
        generation = self._generation
        for target, arguments in (
            (self._read, (process, generation)),
            (self._read_log, (process,)),
            (self._write, (process, self._outgoing)),
        ):
            threading.Thread(target=target, args=arguments, daemon=True).start()

    def _read(self, process: subprocess.Popen[bytes], generation: int) -> None:
        if process.stdout is not None:
            with process.stdout as stream:
                for line in stream:
                    self._arrived.put((generation, line.decode("utf-8", "replace")))
        process.wait()
        self._arrived.put((generation, ""))

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        if process.stderr is not None:
            with process.stderr as stream:
                for line in stream:
                    self.log.append(line.decode("utf-8", "replace").rstrip())

    def _write(self, process: subprocess.Popen[bytes], lines: queue.Queue[bytes | None]) -> None:
        if process.stdin is None:
            return
        with contextlib.suppress(OSError), process.stdin as stream:  # it died; _read tells us
            while True:
                line = lines.get()
                if line is None:
                    return
                stream.write(line)
                stream.flush()

    def _send(self, message: Mapping[str, Any]) -> None:
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        self._note("to", text)
        self._outgoing.put(text.encode() + b"\n")

    def _deliver(self, line: str) -> None:
        self._note("from", line)
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.problem = f"The bridge said something that is no protocol: {line[:80].strip()!r}."
            self._kill()
            return
        if "hello" in message:
            self._greet(message["hello"])
            return
        pending = self._pending.get(message.get("id", -1))
        if pending is None:
            return
        if "event" in message:
            if pending.on_event is not None:
                pending.on_event(message["event"])
            return
        del self._pending[message["id"]]
        if "error" in message:
            error = message["error"]
            pending.on_failure(
                Failure(
                    str(error.get("kind", "")),
                    str(error.get("message", "")),
                    bool(error.get("retryable")),
                )
            )
        else:
            pending.on_result(message.get("result", {}))

    def _greet(self, hello: Mapping[str, Any]) -> None:
        if hello.get("protocol") != PROTOCOL:
            self.problem = (
                f"The bridge speaks protocol {hello.get('protocol')}, this plug-in {PROTOCOL}. "
                "Install both of one version: segmatte nuke install."
            )
            self._kill()
            return
        self.is_ready = True

    def _kill(self) -> None:
        process, self._process = self._process, None
        self._generation += 1
        self._outgoing.put(None)
        if process is not None:
            process.kill()
        self._fail_all(self.problem)
        self.is_ready = False

    def _ended(self) -> None:
        self._process = None
        self._outgoing.put(None)
        self.is_ready = False
        reason = self.problem or f"The bridge stopped. Its last words: {self._last_words()}"
        self._fail_all(reason)

    def _fail_all(self, message: str) -> None:
        pending, self._pending = self._pending, {}
        for call in pending.values():
            call.on_failure(Failure("BridgeError", message, retryable=True))

    def _last_words(self) -> str:
        return self.log[-1] if self.log else "none"

    def _note(self, direction: str, text: str) -> None:
        if self._record is None:
            return
        with self._recording, self._record.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({direction: json.loads(text)}, ensure_ascii=False) + "\n")


def clean_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for the bridge, without what Nuke set up for its own Python and Qt.

    Args:
        variables: what to start from; None takes this process's.
    """
    start = os.environ if variables is None else variables
    kept = {
        name: value
        for name, value in start.items()
        if name.upper() not in _FORGOTTEN and not name.upper().startswith(_FORGOTTEN_PREFIXES)
    }
    return {**kept, "PYTHONNOUSERSITE": "1", "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}


def bridge_command(root: Path, configured: str = "") -> tuple[list[str], Path | None]:
    """How to start the bridge: command and working folder.

    Args:
        root: the folder with ``menu.py``: an installation or a checkout.
        configured: a Python from the settings.
    """
    places = [
        Path(os.environ.get("SEGMATTE_BRIDGE_PYTHON", "")),
        Path(configured),
        *(root / name / folder / program for name in ("bridge", ".venv")
          for folder, program in (("bin", "python"), ("Scripts", "python.exe"))),
    ]  # fmt: skip
    python = next((p for p in places if str(p) != "." and p.is_file()), Path("python3"))
    is_checkout = (root / "client" / "bridge").is_dir()
    return [str(python), "-m", "client.bridge"], root if is_checkout else None


def _finish(process: subprocess.Popen[bytes]) -> None:
    """Give a child whose stdin was closed a moment to end, without waiting for it here."""

    def wait() -> None:
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()

    threading.Thread(target=wait, daemon=True).start()


def _ignore(answer: object) -> None:
    return None
