"""Plates that arrive, whole and in pieces, at a real server with the fake models."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import objectid
from client.connection import Server
from client.errors import LimitError
from client.ingest import Asked, Journal, Watcher
from client.library import Client
from tests.flat_plates import CAST, write_flat_plate
from tests.system.serving import ROOT, RunningServer

FRAMES = 3
FAKES = {"prompt": "person, car", "colorspace": "sRGB - Display"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RunningServer(tmp_path_factory.mktemp("server") / "state") as running:
        yield running


class Site:
    """A watched folder with its journal; every ``ingest`` is a new process's worth of memory."""

    def __init__(self, folder, server):
        self.root = folder / folder.name  # a name no other test has
        self.root.mkdir()
        self.mattes = folder / "mattes"
        self.journal = folder / "journal.sqlite"
        self.server = server
        self.said = []

    def asked(self, **more):
        values = {"out": f"{self.mattes}/{{relative}}/{{name}}", "looks": 1, "pause_seconds": 0.01}
        return Asked(self.root, **{**FAKES, **values, **more})

    def look(self, *, looks=1, client=None, pass_by=False, **more):
        """Look some times with a new watcher; returns what it said."""
        said = []
        client = client or self.server.client()
        with client, Journal(self.journal) as journal:
            watcher = Watcher(
                self.asked(**more), journal, client, say=said.append, stopping=threading.Event()
            )
            for _ in range(looks):
                watcher.look(pass_by=pass_by)
        self.said += said
        return said

    def look_until(self, word, *, seconds=60, **more):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if any(line.startswith(word) for line in self.look(**more)):
                return
            time.sleep(0.3)
        raise AssertionError(f"not {word!r} within {seconds} s: {self.said}")

    def jobs(self):
        with self.server.client() as client:
            return client.jobs(labels={"ingest": self.root.name})

    def states(self):
        with Journal(self.journal) as journal:
            return [version.state for version in journal.versions()]


@pytest.fixture
def site(tmp_path, server):
    return Site(tmp_path, server)


def names(folder):
    return sorted(objectid.read_sidecar(folder / "flat.manifest.json").ids)


def test_a_new_plate_is_submitted_once_and_its_result_put_in_place(site):
    write_flat_plate(site.root / "sh010", frames=FRAMES)
    site.look_until("done")
    result = site.mattes / "sh010" / "flat"
    assert len(list((result / "objectid").glob("flat.*.exr"))) == FRAMES
    assert [path.name for path in result.parent.iterdir()] == ["flat"]
    assert site.look(looks=3) == []
    assert len(site.jobs()) == 1


def test_a_plate_that_is_still_copied_or_has_a_gap_waits_and_says_why(site):
    whole = write_flat_plate(site.root.parent / "whole", frames=FRAMES).parent
    folder = site.root / "sh020"
    folder.mkdir()
    files = sorted(whole.iterdir())
    shutil.copy(files[0], folder)
    assert "single picture" in site.look()[0]
    shutil.copy(files[2], folder)
    assert "frame 1002 is missing" in site.look()[0]
    (folder / files[1].name).write_bytes(files[1].read_bytes()[:50])
    half_there = site.asked(looks=2)
    said = []
    with site.server.client() as client, Journal(site.journal) as journal:
        watcher = Watcher(half_there, journal, client, say=said.append, stopping=threading.Event())
        watcher.look()
        shutil.copy(files[1], folder)  # it went on growing
        watcher.look()
        assert site.jobs() == []
        watcher.look()
    assert ["may still be copied" in said[0], said[-1].split()[0]] == [True, "submitted"]
    assert len(site.jobs()) == 1


def test_a_sentinel_is_waited_for(site):
    folder = write_flat_plate(site.root, frames=FRAMES).parent
    assert "waits for flat.ready" in site.look(sentinel="{name}.ready", looks=3)[0]
    (folder / "flat.ready").touch()
    assert "submitted" in site.look(sentinel="{name}.ready")[-1]


KILLED = """
import os, signal, sys, threading
from client.ingest import Asked, Journal, Watcher
from client.library import Client
from client.connection import Server
class Killed(Client):
    def submit(self, request):
        super().submit(request)
        os.kill(os.getpid(), signal.SIGKILL)
root, out, journal, address, token = sys.argv[1:]
from pathlib import Path
asked = Asked(Path(root), out=out, looks=1, pause_seconds=0.01, prompt="person, car",
              colorspace="sRGB - Display")
watcher = Watcher(asked, Journal(Path(journal)), Killed(Server(address, token)), say=print,
                  stopping=threading.Event())
watcher.look()
"""


def test_killed_between_submit_and_memory_the_repeat_is_the_same_job(site):
    write_flat_plate(site.root, frames=FRAMES)
    out = site.asked().out
    where = [str(site.root), out, str(site.journal), site.server.address, site.server.token]
    done = subprocess.run([sys.executable, "-c", KILLED, *where], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert site.states() == ["new"]
    site.look_until("done")
    assert len(site.jobs()) == 1


def test_while_the_server_is_away_nothing_is_lost_and_it_is_said_once(site):
    write_flat_plate(site.root / "a", frames=FRAMES)
    write_flat_plate(site.root / "b", frames=FRAMES)
    nobody = Client(Server("127.0.0.1:1", "token"))
    said = site.look(client=nobody, looks=2)
    assert [line.startswith("server     is away: No server answers") for line in said] == [True]
    stranger = Client(Server(site.server.address, "wrong"))
    assert "is away" in site.look(client=stranger)[0]
    assert site.states() == ["new", "new"]
    assert [line.split()[0] for line in site.look()] == ["submitted", "submitted"]


def test_a_plate_delivered_again_is_a_new_version_and_names_stay(site):
    pattern = write_flat_plate(site.root, frames=FRAMES)
    site.look_until("done")
    before = names(site.mattes / "flat")
    fewer = write_flat_plate(site.root.parent / "again", frames=2, actors=CAST[1:]).parent
    for file in pattern.parent.iterdir():
        file.unlink()
    for file in sorted(fewer.iterdir()):
        shutil.copy(file, pattern.parent)
    site.look_until("done")
    result = site.mattes / "flat"
    assert sorted(p.name for p in (result / "objectid").iterdir()) == [
        "flat.1001.exr",
        "flat.1002.exr",
    ]
    assert names(result) == ["/car/car_01", "/person/person_02"]
    assert set(names(result)) < set(before)
    assert len(site.jobs()) == 2


def test_a_newer_version_takes_the_place_of_one_under_way(site):
    pattern = write_flat_plate(site.root, frames=FRAMES)
    site.look()
    os.utime(pattern.parent / "flat.1001.png", ns=(7, 7))
    site.look_until("done")
    assert site.states() == ["replaced", "done"]


def test_what_is_refused_says_why_and_a_retry_begins_anew(site):
    write_flat_plate(site.root, frames=FRAMES)
    said = site.look(segmenter="unheard-of", looks=3)
    assert len(said) == 1
    assert said[0].startswith("failed")
    assert "unheard-of" in said[0]
    site.server.run("ingest", "retry", site.root, "--journal", site.journal)
    site.look_until("done")


class Full(Client):
    """A server whose queue is full."""

    def submit(self, request):
        raise LimitError("9 jobs of you wait already.")


def test_a_full_queue_is_no_failure_of_the_plate(site):
    write_flat_plate(site.root, frames=FRAMES)
    for _ in range(7):
        said = site.look(client=Full(Server(site.server.address, site.server.token)), tries=2)
        time.sleep(0.02)
    assert "put off" in said[0]
    assert site.states() == ["new"]
    assert "submitted" in site.look()[0]


def test_a_job_that_ran_out_of_memory_goes_on(tmp_path):
    accident = {"ACCIDENT": "memory:track backward:2"}
    with RunningServer(tmp_path / "state", environment=accident) as server:
        site = Site(tmp_path, server)
        write_flat_plate(site.root, frames=FRAMES)
        site.look_until("done")
        assert [line.split()[0] for line in site.said] == ["submitted", "resumed", "done"]
        assert len(site.jobs()) == 1


def test_killed_while_a_result_is_put_in_place_the_next_look_finishes_it(site):
    write_flat_plate(site.root, frames=FRAMES)
    site.look_until("done")
    with Journal(site.journal) as journal:
        journal.change(journal.versions()[0], state="placing")
    assert site.look()[0].startswith("done")
    assert len(names(site.mattes / "flat")) > 0


def test_a_folder_in_the_way_is_never_replaced(site):
    write_flat_plate(site.root, frames=FRAMES)
    others = site.mattes / "flat" / "notes.txt"
    others.parent.mkdir(parents=True)
    others.write_text("mine")
    assert "is there already and no result of this plate's" in site.look()[0]
    assert others.read_text() == "mine"
    assert site.jobs() == []


def test_a_job_the_server_lost_is_begun_anew(site):
    write_flat_plate(site.root, frames=FRAMES)
    site.look()
    (job,) = site.jobs()
    with site.server.client() as client:
        client.wait(job.id)
        client.delete(job.id)
    site.look_until("done")
    assert site.states() == ["done"]


def test_plates_passed_by_are_never_submitted(site):
    write_flat_plate(site.root, frames=FRAMES)
    assert site.look(pass_by=True)[0].startswith("passed by")
    assert site.look(looks=2) == []
    assert site.jobs() == []


def options(site):
    return [
        *[site.root, "--journal", site.journal, "--out", str(site.mattes / "{name}")],
        *["--colorspace", FAKES["colorspace"], "--server", site.server.address],
    ]


def test_a_watch_outlasts_a_lost_folder_ends_cleanly_on_sigterm_and_a_hook_goes_on(site):
    write_flat_plate(site.root, frames=FRAMES)
    away = site.root.rename(site.root.with_name("unmounted"))
    watch = subprocess.Popen(
        site.server.command("ingest", "watch", *options(site), "--every", "0.3", "--looks", "2"),
        env=site.server.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in watch.stdout:
        if " trouble " in line:
            away.rename(site.root)
        if " submitted " in line:
            break
    watch.send_signal(signal.SIGTERM)
    rest = watch.stdout.read()
    watch.stdout.close()
    assert watch.wait() == 0
    assert rest.splitlines()[-1].endswith("stopped    on request; the next start goes on")
    once = ["ingest", "once", *options(site), "--looks", "1", "--every", "0.3", "--wait"]
    assert " done " in site.server.run(*once).stdout
    assert (site.mattes / "flat" / "report.json").exists()
    (Path(site.root) / "still.0001.png").touch()
    site.server.run(*once)
    report = site.server.run("ingest", "report", site.root, "--journal", site.journal).stdout
    assert [line.split()[0] for line in report.splitlines()] == ["done", "waits"]
    assert "single picture" in report
