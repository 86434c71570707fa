"""Who is let in to the browser pages, and what attackers get."""

import hashlib
import http.client
import io
import json
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import uvicorn
from PIL import Image

from client.connection import Server
from client.errors import InputError
from client.web.access import KEY_HEADER, Address
from client.web.app import PAGES, make_app
from client.web.messages import picture_data
from protos import segmatte_pb2 as wire
from protos import segmatte_pb2_grpc
from server.prompts import load_prompts

TOKENS = {"sgm_alice": "alice", "sgm_bob": "bob"}
PAGE = b"<script>alert(1)</script>"


class SmallServer(segmatte_pb2_grpc.SegmatteServicer):
    """Knows two people, and one job of alice with a page as result."""

    def GetServerInfo(self, request, context):  # noqa: N802
        return wire.ServerInfo(
            user=user(context), limits=wire.Limits(frame_bytes=1000, upload_bytes=1500)
        )

    def ListResults(self, request, context):  # noqa: N802
        user(context)
        file = wire.ResultFile(
            name="page.html", size_bytes=len(PAGE), sha256=hashlib.sha256(PAGE).digest()
        )
        return wire.ListResultsResponse(files=[file], complete=True)

    def DownloadResult(self, request, context):  # noqa: N802
        user(context)
        yield wire.DownloadChunk(data=PAGE)


def user(context):
    token = dict(context.invocation_metadata()).get("authorization", "").removeprefix("Bearer ")
    if token not in TOKENS:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "The token is not known.")
    return TOKENS[token]


@pytest.fixture(scope="module")
def rpc():
    server = grpc.server(ThreadPoolExecutor(4))
    segmatte_pb2_grpc.add_SegmatteServicer_to_server(SmallServer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


class Site:
    """The pages on a free port, and plain HTTP to them."""

    def __init__(self, rpc):
        import socket

        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        app, self.visits = make_app(Server(rpc, "sgm_alice"), Address("127.0.0.1", self.port))
        config = uvicorn.Config(app, log_level="warning", ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def close(self):
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    def ask(self, method, path, *, body=None, **headers):
        """(status, headers, body); header names with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        names = {name.replace("_", "-"): v for name, v in headers.items() if v is not None}
        data = json.dumps(body) if isinstance(body, dict) else body
        connection.request(method, path, data, names)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def sign_in(self, token):
        status, headers, _ = self.ask(
            "POST", "/api/sign-in", body={"token": token}, Origin=self.origin
        )
        assert status == 200
        cookie = headers["Set-Cookie"].split(";")[0]
        _, _, content = self.ask("GET", "/api/me", Cookie=cookie)
        return {"Cookie": cookie, KEY_HEADER: json.loads(content)["key"], "Origin": self.origin}


@pytest.fixture(scope="module")
def site(rpc):
    found = Site(rpc)
    yield found
    found.close()


@pytest.fixture(scope="module")
def alice(site):
    return site.sign_in("sgm_alice")


def test_without_signing_in_there_is_nothing_but_the_way_in(site):
    for path in ("/", *(f"/{page}" for page in PAGES)):
        status, headers, _ = site.ask("GET", path)
        assert (status, headers["Location"]) == (303, "/sign-in")
    for path in ("/api/me", "/api/jobs", "/api/folder", "/api/jobs/x/events", "/api/nothing"):
        assert site.ask("GET", path)[0] == 401
    assert site.ask("POST", "/api/jobs", body={}, Origin=site.origin)[0] == 401
    assert site.ask("GET", "/static/app.js")[0] == 200
    for path in ("/static/../access.py", "/static/%2e%2e/access.py", "/static//etc/passwd"):
        assert site.ask("GET", path)[0] in (401, 404)


def test_a_token_the_server_knows_gives_a_cookie_no_script_can_read(site):
    status, headers, _ = site.ask(
        "POST", "/api/sign-in", body={"token": "sgm_bob"}, Origin=site.origin
    )
    assert status == 200
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(headers["Set-Cookie"].split("; "))
    for token in ("sgm_wrong", "", "a\r\nb", "ü", 5, None):
        status, headers, content = site.ask(
            "POST", "/api/sign-in", body={"token": token}, Origin=site.origin
        )
        assert status in (400, 401)
        assert "Set-Cookie" not in headers
        assert json.loads(content)["message"]


def test_the_printed_key_works_once(rpc):
    site = Site(rpc)
    try:
        key = site.visits.once
        assert site.ask("GET", "/?key=wrong")[1]["Location"] == "/sign-in"
        _, headers, _ = site.ask("GET", f"/?key={key}")
        assert headers["Location"] == f"/{PAGES[0]}"
        assert site.ask("GET", "/api/me", Cookie=headers["Set-Cookie"].split(";")[0])[0] == 200
        assert site.ask("GET", f"/?key={key}")[1]["Location"] == "/sign-in"
        assert site.ask("GET", "/?key=")[1]["Location"] == "/sign-in"
    finally:
        site.close()


def test_when_called_by_another_name_then_it_is_refused(site, alice):
    # A name of an attacker's own that was made to point here (DNS rebinding).
    for host in (
        "evil.test",
        f"evil.test:{site.port}",
        f"127.0.0.1.evil.test:{site.port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "",
    ):
        for path in ("/", "/api/me", "/static/app.js"):
            assert site.ask("GET", path, Host=host, Cookie=alice["Cookie"])[0] == 421
    assert (
        site.ask("GET", "/api/me", Host=f"LOCALHOST:{site.port}", **alice | {"Origin": None})[0]
        == 200
    )


def test_when_another_site_sends_a_call_then_it_is_refused(site, alice):
    path = "/api/jobs/x/cancel"
    for origin in (None, "null", "http://evil.test", site.origin + "0", "https" + site.origin[4:]):
        assert site.ask("POST", path, body={}, **alice | {"Origin": origin})[0] == 403
        if origin is not None:
            assert site.ask("GET", "/api/jobs", **alice | {"Origin": origin})[0] == 403
    for relation in ("cross-site", "same-site"):
        assert site.ask("GET", "/api/me", Sec_Fetch_Site=relation, Cookie=alice["Cookie"])[0] == 403
    bob = site.sign_in("sgm_bob")
    for key in (None, "", "wrong", bob[KEY_HEADER]):
        assert site.ask("POST", path, body={}, **alice | {KEY_HEADER: key})[0] == 403
        assert site.ask("DELETE", "/api/jobs/x", **alice | {KEY_HEADER: key})[0] == 403
        upload = "/api/uploads/0123456789ab/a.png"
        assert site.ask("PUT", upload, body=b"x", **alice | {KEY_HEADER: key})[0] == 403


def test_every_answer_carries_the_headers_that_keep_scripts_out(site, alice):
    calls = [("/sign-in", {}), ("/api/me", alice | {"Origin": None}), ("/nothing", {}), ("/", {})]
    for path, headers in calls:
        _, answered, _ = site.ask("GET", path, **headers)
        policy = answered["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answered["X-Content-Type-Options"] == "nosniff"
        assert answered["X-Frame-Options"] == "DENY"
    page = site.ask("GET", "/sign-in")[2]
    assert b"<style" not in page
    assert page.count(b"<script") == page.count(b'<script type="module" src="/static/')


def test_a_result_that_is_a_page_is_saved_and_never_shown(site, alice):
    _, headers, content = site.ask("GET", "/api/jobs/x/files/page.html", Cookie=alice["Cookie"])
    assert content == PAGE
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment")
    assert site.ask("GET", "/api/jobs/x/files/..%2fpage.html", Cookie=alice["Cookie"])[0] == 404


def test_signing_out_ends_the_visit(site):
    bob = site.sign_in("sgm_bob")
    assert site.ask("POST", "/api/sign-out", body={}, **bob)[0] == 200
    assert site.ask("GET", "/api/me", Cookie=bob["Cookie"])[0] == 401


def test_odd_uploads_are_refused(site, alice):
    for name in ("..%2f..%2fx.png", ".hidden.png", "a%00.png", "%2fetc%2fx.png"):
        status = site.ask("PUT", f"/api/uploads/0123456789ab/{name}", body=b"x", **alice)[0]
        assert status in (400, 404), name
    assert site.ask("PUT", "/api/uploads/..%2f..%2fx/a.png", body=b"x", **alice)[0] in (400, 404)
    large = site.ask("PUT", "/api/uploads/0123456789ab/a.png", body=b"x" * 1001, **alice)
    assert (large[0], json.loads(large[2])["kind"]) == (429, "LimitError")
    for upload, status in (("0" * 12, 200), ("1" * 12, 429)):
        file = f"/api/uploads/{upload}/a.png"
        assert site.ask("PUT", file, body=b"x" * 900, **alice)[0] == status


def test_what_is_no_request_of_a_page_says_what_was_expected(site, alice):
    for path, body, said in (
        ("/api/preview", {}, "Choose a plate first."),
        ("/api/preview", {"plate": {"upload": "not mine"}}, "Drop the plate's files again."),
        ("/api/preview", {"plate": 5}, "Expected plate"),
        ("/api/jobs", {"plate": {"path": "/x"}, "range": [1]}, "Expected range as"),
        ("/api/jobs", {"plate": {"path": "/x"}, "settings": {"step": -1}}, "Expected step"),
        ("/api/jobs", {"plate": {"path": "/x"}, "objects": [5]}, "Expected objects"),
        ("/api/jobs", b"[1]", "Expected a JSON object."),
        ("/api/jobs", b"\xff", "Expected a JSON object."),
        ("/api/jobs/x/correct", {"keyframe": {"frame": True}}, "Expected frame"),
    ):
        status, _, content = site.ask("POST", path, body=body, **alice)
        assert (status, said in json.loads(content)["message"]) == (400, True), content


def test_a_prompt_set_is_what_a_run_takes(site, alice, tmp_path):
    body = io.BytesIO()
    mask = np.zeros((9, 16), np.uint8)
    mask[3:6, 4:8] = 255
    Image.fromarray(mask).save(body, "png")
    keyframe = {
        "frame": 1001,
        "points": [{"x": 10, "y": 8, "positive": True}],
        "box": [8, 6, 16, 12],
        "mask": picture_data(body.getvalue()),
        "rect": [0, 0, 32, 18],
    }
    name = "/<img src=x onerror=alert(1)>"
    data = {"objects": [{"name": name, "keyframes": [keyframe]}], "plate_size": [32, 18]}
    status, _, content = site.ask("POST", "/api/prompt-set", body=data, **alice)
    assert status == 200
    zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path)
    (masked,) = load_prompts(tmp_path / "prompts.json").objects
    (clicked,) = load_prompts(tmp_path / "clicks.json").objects
    assert masked.name == clicked.name == name
    assert clicked.keyframes[0].box == (8, 6, 16, 12)
    assert clicked.keyframes[0].points[0].positive

    import OpenImageIO

    coverage = OpenImageIO.ImageBuf(str(masked.keyframes[0].mask.path)).get_pixels(
        OpenImageIO.FLOAT
    )[..., 0]
    assert coverage.shape == (18, 32)
    assert coverage[7:11, 9:15].min() == 1
    assert coverage[:5].max() == coverage[13:].max() == 0


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (Address("0.0.0.0", 1), "needs TLS"),
        (Address("10.0.0.5", 1, name="web.test"), "needs TLS"),
        (Address("0.0.0.0", 1, tls=True), "needs --name"),
    ],
)
def test_on_the_network_only_with_tls_and_a_name(address, said):
    with pytest.raises(InputError, match=said):
        address.check()
    Address("0.0.0.0", 1, tls=True, name="web.test").check()
    assert Address("0.0.0.0", 443, tls=True, name="Web.test").names == {"web.test"}
