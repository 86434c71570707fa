"""JSON lines between Nuke and the bridge, and the loop that answers them.

One JSON object per line, UTF-8. The bridge speaks first::

    ←  {"hello": {"protocol": 1, "bridge": "0.1.0", "python": "3.11.7", "calls": ["info", …]}}
    →  {"id": 3, "call": "submit", "arguments": {…}}
    ←  {"id": 3, "event": {…}}                                 none or many
    ←  {"id": 3, "result": {…}}                                or
    ←  {"id": 3, "error": {"kind": "BusyError", "message": "…", "retryable": true}}
    →  {"id": 4, "call": "stop", "arguments": {"id": 3}}       call 3 then ends with StoppedError

Calls run side by side, each in a thread of its own. The end of stdin ends the bridge. Nothing but
these lines goes to stdout; what libraries print there is sent to stderr. The protocol's number
grows when an older partner would misunderstand; new calls, arguments and keys do not make it grow.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol

PROTOCOL = 1
"""The number both sides have to agree on."""
LONGEST_LINE_BYTES = 64 << 20
"""A longer line is refused: nothing Nuke asks for is that long."""

Emit = Callable[[Mapping[str, Any]], None]


class StoppedError(Exception):
    """Nuke asked for this call to stop."""

    kind = "StoppedError"
    retryable = False


class Service(Protocol):
    """What answers the calls: the client library, or a fake in tests.

    A method takes the call's arguments by name, ``emit`` for events and ``stopping``, set when the
    call should end. It returns what becomes JSON. Its exceptions may have ``kind`` (a name),
    ``retryable`` and a message for people.
    """

    @property
    def version(self) -> str:
        """Version of the program behind."""

    @property
    def calls(self) -> Mapping[str, Callable[..., Mapping[str, Any]]]:
        """Name of a call → the method that answers it."""


def serve(service: Service, *, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer calls until the source ends.

    Args:
        service: answers the calls.
        source: lines from Nuke.
        sink: lines to Nuke.
    """
    loop = _Loop(service, sink)
    loop.hello()
    for line in _lines(source):
        loop.take(line)
    loop.stop_all()


@contextlib.contextmanager
def clean_stdout() -> Iterator[BinaryIO]:
    """The process's stdout for protocol lines alone; prints go to stderr meanwhile."""
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(private, "wb") as stream:
            yield stream
    finally:
        sys.stdout.flush()


def _lines(source: BinaryIO) -> Iterator[bytes]:
    while line := source.readline(LONGEST_LINE_BYTES + 1):
        yield line


class _Loop:
    def __init__(self, service: Service, sink: BinaryIO) -> None:
        self._service = service
        self._sink = sink
        self._writing = threading.Lock()
        self._running: dict[int, threading.Event] = {}

    def hello(self) -> None:
        self._write(
            {
                "hello": {
                    "protocol": PROTOCOL,
                    "bridge": self._service.version,
                    "python": platform.python_version(),
                    "calls": [*self._service.calls, "stop"],
                }
            }
        )

    def take(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            number, name = request["id"], request["call"]
            arguments = request.get("arguments", {})
            if not isinstance(number, int) or not isinstance(arguments, dict):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            shown = line[:80].decode("utf-8", "replace").rstrip()
            self._fail(
                -1, "ProtocolError", f"Expected a call as one line of JSON, found {shown!r}."
            )
            return
        if name == "stop":
            event = self._running.get(arguments.get("id", -1))
            if event is not None:
                event.set()
            self._write({"id": number, "result": {"stopped": event is not None}})
            return
        method = self._service.calls.get(name)
        if method is None:
            known = ", ".join(self._service.calls)
            self._fail(
                number,
                "ProtocolError",
                f"The bridge knows no call {name!r}, only {known}. Install plug-in and bridge of "
                "one version: segmatte nuke install.",
            )
            return
        stopping = self._running[number] = threading.Event()
        threading.Thread(
            target=self._answer, args=(number, method, arguments, stopping), daemon=True
        ).start()

    def stop_all(self) -> None:
        for event in list(self._running.values()):
            event.set()

    def _answer(
        self,
        number: int,
        method: Callable[..., Mapping[str, Any]],
        arguments: Mapping[str, Any],
        stopping: threading.Event,
    ) -> None:
        def emit(event: Mapping[str, Any]) -> None:
            self._write({"id": number, "event": dict(event)})

        try:
            result = method(emit=emit, stopping=stopping, **arguments)
            self._write({"id": number, "result": dict(result)})
        except Exception as error:  # the edge: everything becomes an answer
            kind = str(getattr(error, "kind", type(error).__name__))
            self._fail(number, kind, str(error), bool(getattr(error, "retryable", False)))
        finally:
            self._running.pop(number, None)

    def _fail(self, number: int, kind: str, message: str, retryable: bool = False) -> None:
        self._write(
            {"id": number, "error": {"kind": kind, "message": message, "retryable": retryable}}
        )

    def _write(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        # Nuke may be gone, in which case the end of stdin is about to be seen.
        with self._writing, contextlib.suppress(BrokenPipeError, ValueError):
            self._sink.write(line)
            self._sink.flush()
