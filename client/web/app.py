"""Pages and calls joined into one ASGI application.

A call is a function of (visit, data) → what becomes JSON, or a Response. ``data`` holds the JSON of
the body, the query and the parts of the path. It runs in a thread, because the client library
waits; its ClientErrors become an HTTP status and ``{"kind", "message", "retryable"}``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from client.connection import Server
from client.errors import (
    AuthenticationError,
    BusyError,
    ClientError,
    InputError,
    InternalError,
    NotFoundError,
    PermissionError_,
    ResourceError,
    StateError,
)
from client.web import bench, clicks, jobs, plates
from client.web.access import Address, Guard, SignedIn, Visits, read_json

Call = Callable[[SignedIn, dict[str, Any]], "dict[str, Any] | Response"]

PAGES = ("bench", "click", "jobs")
"""Each is ``/NAME``, shown by ``static/pages/NAME.js``."""
_STATIC = Path(__file__).parent / "static"
_MOST_BODY_BYTES = 8 << 20
_STATUS: tuple[tuple[type[ClientError], int], ...] = (
    (InputError, 400),
    (AuthenticationError, 401),
    (PermissionError_, 403),
    (NotFoundError, 404),
    (StateError, 409),
    (ResourceError, 429),
    (BusyError, 503),
    (InternalError, 500),
)
_log = logging.getLogger(__name__)

CALLS: tuple[tuple[str, str, Call], ...] = (
    ("GET", "/api/folder", plates.folder),
    ("GET", "/api/picture", plates.picture),
    ("POST", "/api/uploads", plates.finish_upload),
    ("POST", "/api/preview", bench.preview),
    ("POST", "/api/sessions", clicks.open_session),
    ("POST", "/api/sessions/{session}/prompt", clicks.prompt),
    ("DELETE", "/api/sessions/{session}", clicks.close_session),
    ("POST", "/api/prompt-set", clicks.prompt_set),
    ("POST", "/api/jobs", jobs.submit),
    ("GET", "/api/jobs", jobs.listing),
    ("GET", "/api/jobs/{job}", jobs.one),
    ("DELETE", "/api/jobs/{job}", jobs.delete),
    ("POST", "/api/jobs/{job}/cancel", jobs.cancel),
    ("POST", "/api/jobs/{job}/resume", jobs.resume),
    ("POST", "/api/jobs/{job}/retry", jobs.retry),
    ("POST", "/api/jobs/{job}/correct", jobs.correct),
    ("GET", "/api/jobs/{job}/results", jobs.results),
    ("GET", "/api/jobs/{job}/archive", jobs.archive),
    ("GET", "/api/jobs/{job}/objects", jobs.objects),
    ("GET", "/api/jobs/{job}/mattes/{frame:int}", jobs.mattes),
    ("GET", "/api/jobs/{job}/files/{name:path}", jobs.file),
)
"""Method, path, what answers."""


def make_app(server: Server, address: Address) -> tuple[Starlette, Visits]:
    """The application, and who is signed in to it.

    Args:
        server: the gRPC server; its token is used for the one-time key alone.
        address: where it will be served.
    """
    named = [f"/{name}" for name in (*PAGES, "sign-in")]
    visits = Visits(
        server,
        cookie=f"segmatte-{address.port}",
        secure=address.tls,
        once=address.is_loopback,
    )
    pages = _Pages(visits)

    @contextlib.asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        yield
        visits.close()

    app = Starlette(
        routes=[
            Route("/", pages.home),
            *(Route(path, pages.page) for path in named),
            Route("/api/sign-in", pages.sign_in, methods=["POST"]),
            Route("/api/sign-out", pages.sign_out, methods=["POST"]),
            Route("/api/me", _endpoint(_me)),
            Route("/api/uploads/{upload}/{name}", plates.take_file, methods=["PUT"]),
            Route("/api/jobs/{job}/events", jobs.events),
            *(Route(path, _endpoint(call), methods=[method]) for method, path, call in CALLS),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[
            Middleware(
                Guard,
                address=address,
                visits=visits,
                open_paths=frozenset(
                    {"/", "/api/sign-in", *(f"/{p}" for p in (*PAGES, "sign-in"))}
                ),
            )
        ],
        exception_handlers={ClientError: _error},
        lifespan=life,
    )
    return app, visits


class _Pages:
    """Pages, and the way in and out."""

    def __init__(self, visits: Visits) -> None:
        self._visits = visits

    async def home(self, request: Request) -> Response:
        key = request.query_params.get("key", "")
        value = await run_in_threadpool(self._visits.sign_in_once, key) if key else None
        if value is None and request.scope["visit"] is None:
            return RedirectResponse("/sign-in", 303)
        response = RedirectResponse(f"/{PAGES[0]}", 303)
        if value is not None:
            self._visits.set_cookie(response, value)
        return response

    async def page(self, request: Request) -> Response:
        if request.scope["visit"] is None and request.url.path != "/sign-in":
            return RedirectResponse("/sign-in", 303)
        return FileResponse(_STATIC / "page.html")

    async def sign_in(self, request: Request) -> Response:
        data = read_json(await request.body())
        token = data.get("token")
        if not isinstance(token, str):
            raise InputError("Expected a token.")
        value, _ = await run_in_threadpool(self._visits.sign_in, token.strip())
        response = JSONResponse({})
        self._visits.set_cookie(response, value)
        return response

    async def sign_out(self, request: Request) -> Response:
        await run_in_threadpool(self._visits.sign_out, request.scope["visit"])
        return JSONResponse({})


def _me(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Who is signed in, and what the server offers."""
    info = visit.client.server_info(client_name="web")
    return {
        "user": visit.user,
        "key": visit.key,
        "is_admin": info.is_admin,
        "server": visit.client.connection.server.address,
        "version": info.version,
        "draining": info.draining,
        "features": list(info.features),
        "models": [
            {
                "name": m.name,
                "kind": "detector" if m.kind == m.DETECTOR else "segmenter",
                "summary": m.summary,
                "ready": m.ready,
                "demo": m.demo,
                "default": m.is_default,
            }
            for m in info.models
        ],
    }


def _endpoint(call: Call) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        data: dict[str, Any] = {}
        if request.method in ("POST", "DELETE"):
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > _MOST_BODY_BYTES:
                    raise InputError("The page sent more than is taken at once.")
            data = read_json(bytes(body))
        data.update(request.query_params)
        data.update(request.path_params)
        answer = await run_in_threadpool(call, request.scope["visit"], data)
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    return endpoint


async def _error(request: Request, error: Exception) -> Response:
    status = next((s for kind, s in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        _log.error("%s %s failed: %s", request.method, request.url.path, error)
    kind, retryable = getattr(error, "kind", "InternalError"), getattr(error, "retryable", False)
    body = {"kind": kind, "message": str(error), "retryable": retryable}
    return JSONResponse(body, status)
