"""The worker for previews and clicks: started when first asked, ended when idle.

It keeps a model and the image features of open sessions warm, so that a click is answered at once.
Whoever asks waits here for its answer; a worker that hangs over one is ended, and the next to ask
starts another.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from server.errors import ServerError
from server.executors.process import Listener, Message, Worker
from server.jobs import errors as job_errors
from server.jobs.errors import BusyError

_log = logging.getLogger("segmatte.executor")


class Interactive:
    """Asks the worker for previews and clicks. Safe to use from all threads."""

    def __init__(
        self,
        start: Callable[[Listener], Worker],
        *,
        answer_seconds: float,
        idle_seconds: float,
    ) -> None:
        """No worker is started before somebody asks.

        Args:
            start: starts a worker that a listener hears.
            answer_seconds: an answer takes no longer, loading of models included.
            idle_seconds: a worker that nobody has used for so long is ended.
        """
        self._start = start
        self._answer_seconds = answer_seconds
        self._idle_seconds = idle_seconds
        self._guard = threading.Lock()
        self._process: Worker | None = None
        self._generation = 0
        self._waiting: dict[int, queue.SimpleQueue[Message]] = {}
        self._next = 0
        self._used = self._answered = time.monotonic()

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Have an order answered.

        Raises:
            ServerError: what the worker answered, or BusyError when it died or hung over it.
        """
        answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        with self._guard:
            self._next += 1
            number = self._next
            self._used = time.monotonic()
            if self._process is None:
                generation = self._generation = number
                self._answered = time.monotonic()
                self._process = self._start(lambda message: self._hear(message, generation))
            self._waiting[number] = answers
            self._process.send({**order, "id": number})
        try:
            message = answers.get(timeout=self._answer_seconds)
        except queue.Empty:
            if time.monotonic() - self._answered > self._answer_seconds:
                self._kill_hung()
            raise BusyError(
                "The server did not answer in time. It may be loading models: try again."
            ) from None
        finally:
            self._waiting.pop(number, None)
        if message["say"] == "exit":
            raise BusyError(f"{message['reason']} Try again; sessions are lost.")
        if message["say"] == "error":
            raise _raised(message)
        return message

    def stop(self) -> None:
        """End the worker."""
        with self._guard:
            process, self._process = self._process, None
        if process is not None:
            process.end()

    def tidy(self) -> None:
        """End the worker when nobody has used it for a while."""
        idle = time.monotonic() - self._used
        if not self._waiting and idle > self._idle_seconds:
            self.stop()

    def _kill_hung(self) -> None:
        """Nothing was answered for so long that it must hang in one call."""
        with self._guard:
            process = self._process
        if process is not None:
            _log.warning("the interactive worker hung and is started anew")
            process.kill()

    def _hear(self, message: Message, generation: int) -> None:
        if message["say"] == "exit":
            with self._guard:
                if self._process is not None and self._generation == generation:
                    self._process = None
                waiting = list(self._waiting.values())
            for answers in waiting:
                answers.put(message)
        elif (number := message.get("id")) is not None:
            self._answered = time.monotonic()
            if (found := self._waiting.get(number)) is not None:
                found.put(message)


def _raised(message: Mapping[str, Any]) -> ServerError:
    """The error a worker reported, to be raised again here."""
    from server import errors

    name = message["kind"]
    kind = getattr(errors, name, None) or getattr(job_errors, name, None)
    kind = kind or getattr(job_errors, f"{name}_", None) or ServerError
    error: ServerError = kind(message["message"])
    return error
