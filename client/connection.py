"""Where the server is, who we are, and one call to it: deadline, retry, translation of errors."""

from __future__ import annotations

import json
import os
import random
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from client.errors import BusyError, ClientError, InputError, translated

DEFAULT_ADDRESS = "127.0.0.1:7766"
_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Server:
    """A server and how to be let in."""

    address: str
    """``host:port``."""
    token: str
    tls: bool = False
    certificate_authority: bytes | None = None
    """PEM the server's certificate is checked against; None: the system's."""

    def __repr__(self) -> str:
        return f"Server(address={self.address!r}, token=…, tls={self.tls})"


def find_server(
    address: str | None = None,
    *,
    token: str | None = None,
    token_file: Path | None = None,
    certificate_authority: Path | None = None,
) -> Server:
    """The server to talk to, from what is given, the environment, and what it left for its user.

    Looked at in this order: the arguments; ``SEGMATTE_SERVER``, ``SEGMATTE_TOKEN``,
    ``SEGMATTE_TOKEN_FILE``, ``SEGMATTE_CA``; the folder in which a server started by the same user
    leaves its address and token (``SEGMATTE_STATE``, else ``~/.local/state/segmatte``).

    Args:
        address: ``host:port``, or ``https://host:port`` for TLS.
        token: what ``segmatte users add`` printed.
        token_file: a file that holds it.
        certificate_authority: PEM file; implies TLS.

    Raises:
        InputError: a file cannot be read, or others can read the token.
    """
    state = _state_folder()
    left = _left_by_server(state)
    chosen = address or os.environ.get("SEGMATTE_SERVER") or left.get("address") or DEFAULT_ADDRESS
    own = chosen == left.get("address")
    authority = certificate_authority or _path(os.environ.get("SEGMATTE_CA"))
    tls = authority is not None or chosen.startswith("https://") or bool(own and left.get("tls"))
    text = token or os.environ.get("SEGMATTE_TOKEN") or ""
    if not text:
        file = token_file or _path(os.environ.get("SEGMATTE_TOKEN_FILE")) or state / "token"
        text = _read_token(file) if file.exists() or token_file else ""
    return Server(
        address=chosen.removeprefix("https://"),
        token=text,
        tls=tls,
        certificate_authority=_read(authority) if authority else None,
    )


class Connection:
    """A channel to one server; may be used from several threads."""

    def __init__(self, server: Server) -> None:
        """Nothing is sent before the first call."""
        self.server = server
        options = (
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.max_reconnect_backoff_ms", 5_000),
            ("grpc.enable_retries", 0),  # ours know which calls are safe
        )
        if server.tls:
            credentials = grpc.ssl_channel_credentials(server.certificate_authority)
            self.channel = grpc.secure_channel(server.address, credentials, options)
        else:
            self.channel = grpc.insecure_channel(server.address, options)
        self._metadata = (("authorization", f"Bearer {server.token}"),) if server.token else ()

    def close(self) -> None:
        """Break off what is running and close."""
        self.channel.close()

    def call(
        self, method: Any, request: Any, *, timeout_seconds: float = 30, repeat: bool = True
    ) -> Any:
        """One call with one answer.

        Args:
            method: of a stub made on ``channel``.
            request: its message.
            timeout_seconds: for all tries together.
            repeat: whether it may be sent again when the server was away: it is when it reads, or
                carries a request id, or does the same twice.

        Raises:
            ClientError: as drawn in ``client.errors``.
        """
        deadline = time.monotonic() + timeout_seconds
        for pause in pauses(_TRIES if repeat else 1):
            try:
                left = max(0.05, deadline - time.monotonic())
                return method(request, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                problem = self.translated(error)
                out_of_time = pause is None or time.monotonic() + pause > deadline
                if not isinstance(problem, BusyError) or out_of_time:
                    raise problem from error
                time.sleep(pause or 0)
        raise AssertionError("unreachable: the last try returns or raises")

    def stream(
        self, method: Any, request: Any, *, stopping: threading.Event | None = None
    ) -> Iterator[Any]:
        """A call with many answers; ends early when ``stopping`` is set.

        Raises:
            ClientError: as drawn in ``client.errors``.
        """
        call = method(request, metadata=self._metadata)
        finished = threading.Event()
        if stopping is not None:
            _when(stopping, finished, call.cancel)
        try:
            yield from call
        except grpc.RpcError as error:
            if stopping is not None and stopping.is_set():
                return
            raise self.translated(error) from error
        finally:
            finished.set()
            call.cancel()

    def send(self, method: Any, requests: Iterator[Any], *, timeout_seconds: float) -> Any:
        """A call with many requests and one answer.

        Raises:
            ClientError: as drawn in ``client.errors``.
        """
        try:
            return method(requests, timeout=timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self.translated(error) from error

    def translated(self, error: grpc.RpcError) -> ClientError:
        """What a failed call means."""
        return translated(error, address=self.server.address)


def pauses(tries: int) -> Iterator[float | None]:
    """Seconds to wait after each try, growing and jittered; None after the last."""
    pause = _FIRST_PAUSE_SECONDS
    for _ in range(tries - 1):
        yield pause * random.uniform(0.5, 1.5)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
    yield None


def _when(
    stopping: threading.Event, finished: threading.Event, action: Callable[[], object]
) -> None:
    def wait() -> None:
        while not finished.is_set():
            if stopping.wait(0.1):
                action()
                return

    threading.Thread(target=wait, daemon=True, name="stop watching").start()


def _state_folder() -> Path:
    if folder := os.environ.get("SEGMATTE_STATE"):
        return Path(folder)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "segmatte"


def _left_by_server(state: Path) -> dict[str, Any]:
    try:
        data = json.loads((state / "server.json").read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def _read_token(path: Path) -> str:
    data = _read(path)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError(
            f"The token file {path} can be read by others. Run: chmod 600 {path}, and ask for a "
            "new token."
        )
    return data.decode(errors="replace").strip()
