"""A publisher on localhost: serves files over HTTP and misbehaves on request."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from server.models.catalogue import OfficialFile, OfficialModel
from server.models.download import DownloadSettings

IMPATIENT = DownloadSettings(timeout_seconds=1.0, attempts=3, sleep=lambda seconds: None)
"""Gives a silent server up quickly and never pauses."""


@dataclass(frozen=True)
class Misbehaviour:
    """What happens to one request; the defaults are a good answer."""

    status: int = 0
    """Answer with this HTTP status and nothing else."""
    ends_after: int | None = None
    """Close the connection after so many bytes of the answer."""
    stalls_after: int | None = None
    """Fall silent after so many bytes of the answer."""
    flips_byte: int | None = None
    """Send this byte of the file wrong."""
    ignores_range: bool = False
    """Answer a request for a part with the whole."""
    wrong_offset: bool = False
    """Answer with another part than the one asked for."""


GOOD = Misbehaviour()


class Publisher:
    """Serves files; each request takes the next misbehaviour, later ones are good.

    Attributes:
        requests: path and Range header of every request so far.
    """

    def __init__(self, files: Mapping[str, bytes], *misbehaviour: Misbehaviour) -> None:
        self.requests: list[tuple[str, str]] = []
        self._files = dict(files)
        self._script = list(misbehaviour)
        self._closing = threading.Event()
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher._answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        """The publisher's folder, with a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.requests.append((request.path, wanted))
        act = self._script.pop(0) if self._script else GOOD
        content = self._files.get(request.path.lstrip("/"))
        if act.status or content is None:
            request.send_error(act.status or 404)
            return
        body = memoryview(content)
        if act.flips_byte is not None:
            body = memoryview(bytearray(content))
            body[act.flips_byte] ^= 0xFF
        start = 0
        if wanted and not act.ignores_range:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                request.send_error(416)
                return
            start = start - 1 if act.wrong_offset else start
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        limit = act.ends_after if act.ends_after is not None else act.stalls_after
        request.wfile.write(body[start : None if limit is None else start + limit])
        request.wfile.flush()
        if act.stalls_after is not None:
            self._closing.wait(10)
        request.close_connection = True


def checkpoint(
    state: Mapping[str, object] | None = None, *, prefix: str = "", extra: object = None
) -> bytes:
    """A file of the official layout, a pickled ``{"model": state dict}``, of random numbers."""
    random = torch.Generator().manual_seed(4)
    if state is None:
        state = {
            "encoder.weight": torch.randn(64, 700, generator=random),
            "encoder.bias": torch.randn(64, generator=random),
        }
    content: dict[str, object] = {"model": {prefix + key: value for key, value in state.items()}}
    if extra is not None:
        content["optimizer"] = extra
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def official_file(name: str, content: bytes, *urls: str) -> OfficialFile:
    """The catalogue's entry of a file."""
    return OfficialFile(
        name=name,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        urls=urls,
    )


def official_model(
    content: bytes, *urls: str, vocabulary: OfficialFile | None = None, prefix: str = ""
) -> OfficialModel:
    """The catalogue's entry of a model called ``tiny``."""
    return OfficialModel(
        name="tiny",
        family="sam2",
        checkpoint=official_file("tiny.pt", content, *urls),
        config="configs/tiny.yaml",
        licence="Apache-2.0",
        summary="random numbers in the official layout",
        vocabulary=vocabulary,
        key_prefix=prefix,
        unused_keys=("label_enc.",),
    )
