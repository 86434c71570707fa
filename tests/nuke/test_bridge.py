"""The bridge as a real child process, with the protocol loop it has in production."""

import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from client.bridge import protocol
from nuke_plugin.link import MOST_RESTARTS, Link, bridge_command, clean_environment
from tests.nuke.fake_bridge import FakeService

ROOT = Path(__file__).parents[2]
EXCHANGE = Path(__file__).parent / "exchange.jsonl"
DEADLINE_SECONDS = 30


def fake(*mood, record=None):
    command = [sys.executable, "-m", "tests.nuke.fake_bridge", *mood]
    return Link(command, folder=ROOT, record=record)


class Answers:
    """Collects what a call brings and waits for its end as the panel's timer does."""

    def __init__(self, link, name, **arguments):
        self.events, self.result, self.failure = [], None, None
        self.link = link
        self.number = link.call(
            name,
            arguments,
            on_result=lambda r: setattr(self, "result", r),
            on_failure=lambda f: setattr(self, "failure", f),
            on_event=self.events.append,
        )

    def wait(self):
        return self.until(lambda: self.result is not None or self.failure is not None)

    def until(self, condition):
        end = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < end, f"no answer; log: {list(self.link.log)}"
            self.link.poll()
            time.sleep(0.005)
        return self


@pytest.fixture
def link():
    made = fake()
    yield made
    made.close()


SHOT = {
    "request_id": "r1", "plate": {"name": "plate.####.exr", "path": "/shows/plate.####.exr"},
    "range": [1001, 1010], "text": "person", "objects": [], "labels": {},
}  # fmt: skip


def test_a_call_is_answered_and_the_handshake_precedes_it(link):
    assert Answers(link, "info").wait().result["name"] == "demo-host"
    assert link.is_ready


def test_calling_does_not_wait_for_the_bridge(link):
    # Python alone needs longer to start than a call may take.
    answers = Answers(link, "info")
    assert answers.result is None
    answers.wait()


def test_errors_arrive_as_sentences_with_their_kind(link):
    failure = Answers(link, "info", server="away:1").wait().failure
    assert failure.kind == "UnreachableError"
    assert failure.retryable
    assert "Start it there" in failure.message


def test_events_arrive_in_order_and_before_the_result(link):
    job = Answers(link, "submit", shot=SHOT).wait().result["job"]["id"]
    watched = Answers(link, "follow", job=job, folder="/nowhere").wait()
    assert [event["frame"] for event in watched.events] == list(range(1010, 1000, -1))
    assert watched.result["job"]["state"] == "done"


def test_a_running_call_can_be_stopped_while_another_is_answered(link):
    shot = {**SHOT, "range": [1, 5000]}
    job = Answers(link, "submit", shot=shot).wait().result["job"]["id"]
    watched = Answers(link, "follow", job=job, folder="/nowhere")
    watched.until(lambda: watched.events)
    assert Answers(link, "info").wait().result
    link.stop_call(watched.number)
    assert watched.wait().result["job"]["state"] == "cancelled"


def test_prints_of_libraries_do_not_reach_the_protocol():
    link = fake("prints")
    try:
        assert Answers(link, "info").wait().result
        assert Answers(link, "info").until(lambda: link.log).link.log[0].startswith("a library")
    finally:
        link.close()


def test_a_dead_bridge_fails_its_calls_and_is_started_again(link):
    failure = Answers(link, "crash").wait().failure
    assert failure.retryable
    assert "stopped" in failure.message
    assert Answers(link, "info").wait().result


def test_a_bridge_that_keeps_dying_is_not_started_for_ever():
    link = fake("silent")
    failures = [Answers(link, "info").wait().failure for _ in range(MOST_RESTARTS + 1)]
    assert f"{MOST_RESTARTS} times within a minute" in failures[-1].message


def test_another_protocol_is_refused_with_what_to_do():
    failure = Answers(fake("old"), "info").wait().failure
    assert "protocol 99" in failure.message
    assert "segmatte nuke install" in failure.message


def test_what_is_no_protocol_is_named():
    failure = Answers(fake("garbage"), "info").wait().failure
    assert "Traceback" in failure.message


def test_a_bridge_that_is_not_there_says_what_to_install():
    failure = Answers(Link(["/no/such/python"]), "info").wait().failure
    assert "/no/such/python" in failure.message
    assert "SEGMATTE_BRIDGE_PYTHON" in failure.message


def test_an_unknown_call_is_a_version_mismatch(link):
    assert "Install plug-in and bridge" in Answers(link, "fly").wait().failure.message


def test_the_bridge_ends_when_nuke_does():
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.nuke.fake_bridge"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert b"hello" in child.stdout.readline()
    child.stdin.close()
    assert child.wait(timeout=DEADLINE_SECONDS) == 0
    child.stdout.close()


def test_closing_fails_what_is_still_asked_for(link):
    answers = Answers(link, "info")
    link.close()
    assert answers.failure.message == "The bridge was closed."


def test_nukes_own_variables_do_not_reach_the_bridge():
    variables = {
        "PYTHONPATH": "/opt/Nuke", "PYTHONHOME": "/opt/Nuke", "LD_LIBRARY_PATH": "/opt/Nuke",
        "QT_PLUGIN_PATH": "/opt/Nuke", "QT_API": "x", "NUKE_PATH": "/x", "HOME": "/home/artist",
        "SEGMATTE_SERVER": "host:50051",
    }  # fmt: skip
    cleaned = clean_environment(variables)
    assert cleaned["HOME"] == "/home/artist"
    assert cleaned["SEGMATTE_SERVER"] == "host:50051"
    assert not {"PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "QT_PLUGIN_PATH", "QT_API"} & set(
        cleaned
    )


def test_the_bridges_python_can_be_chosen(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.touch()
    monkeypatch.setenv("SEGMATTE_BRIDGE_PYTHON", str(python))
    assert bridge_command(tmp_path) == ([str(python), "-m", "client.bridge"], None)
    monkeypatch.delenv("SEGMATTE_BRIDGE_PYTHON")
    installed = tmp_path / "bridge" / "bin" / "python"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert bridge_command(tmp_path)[0][0] == str(installed)


def test_a_recorded_exchange_can_be_replayed():
    link = Link([sys.executable, "-m", "tests.nuke.replay", str(EXCHANGE)], folder=ROOT)
    try:
        assert Answers(link, "info").wait().result["name"] == "demo-host"
        job = Answers(link, "submit", shot=SHOT).wait().result["job"]["id"]
        watched = Answers(link, "follow", job=job, folder="/nowhere").wait()
        assert watched.result["job"]["state"] == "done"
    finally:
        link.close()


def test_an_exchange_can_be_recorded(tmp_path):
    record = tmp_path / "exchange.jsonl"
    link = fake(record=record)
    try:
        Answers(link, "info").wait()
    finally:
        link.close()
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert lines[0]["to"]["call"] == "info"
    assert "hello" in lines[1]["from"]
    assert lines[2]["from"]["result"]["name"] == "demo-host"


def serve(*lines):
    sink = io.BytesIO()
    protocol.serve(FakeService(), source=io.BytesIO(b"".join(lines)), sink=sink)
    end = time.monotonic() + DEADLINE_SECONDS
    while threading.active_count() > 1 and sink.getvalue().count(b"\n") < 1 + len(lines):
        assert time.monotonic() < end
    return [json.loads(line) for line in sink.getvalue().splitlines()]


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[1, 2]\n", b'{"id": "x", "call": "info"}\n', b"\xff\n"]
)
def test_a_line_that_is_no_call_is_answered_with_an_error(line):
    answers = serve(line)
    assert answers[0]["hello"]["protocol"] == protocol.PROTOCOL
    assert answers[1]["error"]["kind"] == "ProtocolError"
