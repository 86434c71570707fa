"""Who may call: sign-in, sessions, and the checks every request passes before anything else.

A person signs in with a token of the gRPC server, or, on their own machine, by opening an address
with a key that works once. What they get is a cookie that scripts cannot read and other sites
cannot send; what changes something needs, besides, the page's own Origin and a key that only the
page knows.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.connection import Server
from client.errors import AuthenticationError, InputError
from client.library import Client

KEY_HEADER = "X-Segmatte-Key"
"""Header in which a page sends its key with every call that changes something."""
_IDLE_SECONDS = 12 * 3600
_MOST_SESSIONS = 200
_READING = ("GET", "HEAD")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Address:
    """Where the pages are served."""

    host: str
    port: int
    tls: bool = False
    name: str = ""
    """What people call the machine, for a listener on the network."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def names(self) -> frozenset[str]:
        """What a Host header may say."""
        names = {self.name} if self.name else {self.host}
        if self.is_loopback:
            names |= {"127.0.0.1", "localhost", "::1"}
        port = "" if self.port == (443 if self.tls else 80) else f":{self.port}"
        return frozenset((f"[{n}]" if ":" in n else n.lower()) + port for n in names)

    @property
    def url(self) -> str:
        """What people open."""
        name = self.name or self.host
        name = f"[{name}]" if ":" in name else name
        return f"{'https' if self.tls else 'http'}://{name}:{self.port}"

    def check(self) -> None:
        """Refuse to listen where tokens would travel readable.

        Raises:
            InputError: on the network without TLS, or without a name.
        """
        if self.is_loopback:
            return
        if not self.tls:
            raise InputError(
                f"Serving pages on {self.host} needs TLS: give --certificate and --key, or listen "
                "on 127.0.0.1."
            )
        if not self.name:
            raise InputError(
                f"Serving pages on {self.host} needs --name, the host name people open, so that "
                "calls under any other name can be refused."
            )


@dataclass(eq=False)
class SignedIn:
    """One person's visit: their client, and what their pages keep on this side."""

    client: Client
    user: str
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Known to the pages of this visit alone."""
    uploads: dict[str, Any] = field(default_factory=dict, repr=False)
    """Plates sent from the browser: id → PlateSource."""
    used: float = field(default_factory=time.monotonic)
    scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="segmatte-web-")))
    """For files on their way; removed with the visit."""

    def close(self) -> None:
        """End the connection and remove the scratch folder."""
        import shutil

        self.client.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


class Visits:
    """Everybody who is signed in; may be used from several threads."""

    def __init__(self, server: Server, *, cookie: str, secure: bool, once: bool) -> None:
        """Nobody is signed in at first.

        Args:
            server: the gRPC server; its token, if any, is used for the one-time key alone.
            cookie: name of the cookie.
            secure: whether the cookie is for TLS only.
            once: whether there is a one-time key.
        """
        self._server = server
        self._cookie = cookie
        self._secure = secure
        self._visits: dict[str, SignedIn] = {}
        self._lock = threading.Lock()
        self._once = secrets.token_urlsafe(32) if once and server.token else ""

    @property
    def once(self) -> str:
        """The key that signs in its first user with the server's own token; empty: none."""
        return self._once

    def sign_in(self, token: str) -> tuple[str, SignedIn]:
        """Let in whom the gRPC server knows.

        Returns:
            The cookie's value, and the visit.

        Raises:
            ClientError: the token is unknown, or the server is away.
        """
        if not token.isascii() or not token.isprintable() or not 1 <= len(token) <= 500:
            raise AuthenticationError("Expected a token as `segmatte users add` printed it.")
        client = Client(replace(self._server, token=token))
        try:
            visit = SignedIn(client, client.server_info(client_name="web").user)
        except BaseException:
            client.close()
            raise
        value = secrets.token_urlsafe(32)
        with self._lock:
            self._visits[value] = visit
            limit = time.monotonic() - _IDLE_SECONDS
            oldest = sorted(self._visits, key=lambda v: self._visits[v].used)
            ended = [v for v in oldest if self._visits[v].used < limit]
            ended += oldest[len(ended) : len(oldest) - _MOST_SESSIONS]
            closing = [self._visits.pop(v) for v in ended]
        for old in closing:
            old.close()
        return value, visit

    def sign_in_once(self, key: str) -> str | None:
        """The cookie's value for the one-time key; None: it is wrong or was used."""
        with self._lock:
            if not self._once or not hmac.compare_digest(key.encode(), self._once.encode()):
                return None
            self._once = ""
        return self.sign_in(self._server.token)[0]

    def sign_out(self, visit: SignedIn) -> None:
        """End a visit."""
        with self._lock:
            self._visits = {k: v for k, v in self._visits.items() if v is not visit}
        visit.close()

    def find(self, headers: Mapping[str, str]) -> SignedIn | None:
        """Whose cookie a request carries."""
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return None
        with self._lock:
            visit = self._visits.get(morsel.value) if morsel else None
            if visit is None or visit.used < time.monotonic() - _IDLE_SECONDS:
                return None
            visit.used = time.monotonic()
            return visit

    def set_cookie(self, response: Response, value: str) -> None:
        """Hand out the cookie."""
        response.set_cookie(
            self._cookie, value, httponly=True, samesite="strict", secure=self._secure, path="/"
        )

    def close(self) -> None:
        """End all visits."""
        with self._lock:
            visits, self._visits = list(self._visits.values()), {}
        for visit in visits:
            visit.close()


class Guard:
    """Checks Host, Origin, cookie and key of every request, and adds the security headers.

    Only ``open_paths`` and files under ``/static/`` are answered without a cookie; all others find
    the SignedIn in ``scope["visit"]``.
    """

    def __init__(
        self, app: ASGIApp, *, address: Address, visits: Visits, open_paths: frozenset[str]
    ) -> None:
        self._app = app
        self._names = address.names
        self._scheme = "https" if address.tls else "http"
        self._visits = visits
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse before anything of the application runs."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        host = headers.get("host", "").lower()
        if host not in self._names:
            return _refused(421, "These pages are not served under that name.", "HostError")
        reading = method in _READING
        origin = headers.get("origin")
        if origin != f"{self._scheme}://{host}" and not (reading and origin is None):
            return _refused(403, "The call comes from another site.", "OriginError")
        if path.startswith("/api/") and headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            return _refused(403, "The call comes from another site.", "OriginError")
        visit = scope["visit"] = self._visits.find(headers)
        if path in self._open_paths or path.startswith("/static/"):
            return None
        if visit is None:
            return _refused(401, "Sign in first.", "AuthenticationError")
        given = headers.get(KEY_HEADER, "")
        if not reading and not hmac.compare_digest(given.encode(), visit.key.encode()):
            return _refused(403, "The page is out of date. Load it again.", "KeyError")
        return None


def _refused(status: int, message: str, kind: str) -> Response:
    return JSONResponse({"kind": kind, "message": message, "retryable": False}, status)


def read_json(body: bytes) -> dict[str, Any]:
    """A request's JSON object.

    Raises:
        InputError: it is none.
    """
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise InputError("Expected a JSON object.")
    return data
