"""The operator's guide, tried: the store is backed up beside a running server, and goes on."""

import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

from tests.flat_plates import write_flat_plate
from tests.system.serving import RunningServer, fetch, request, until

pytestmark = pytest.mark.integration
FRAMES = 8


def backup(source, target):
    """What the guide says, by the program or, where that is absent, by its library."""
    if shutil.which("sqlite3"):
        subprocess.run(["sqlite3", source, f".backup '{target}'"], check=True)
    else:
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)


def test_a_backup_of_a_running_server_goes_on_elsewhere_with_the_same_bytes(tmp_path):
    plate = write_flat_plate(tmp_path / "plate", frames=FRAMES)
    slow = {"STEP_SECONDS": "0.2"}
    copy = tmp_path / "copy" / "state"
    copy.mkdir(parents=True)
    with RunningServer(tmp_path / "state", environment=slow) as server, server.client() as client:
        done = client.wait(client.submit(request(plate)).id)
        result = fetch(client, done.id, tmp_path / "done")
        running = client.submit(request(plate))
        queued = client.submit(request(plate, priority=-1))
        until(client, running.id, lambda job: job.progress.frames_done >= 2)
        backup(server.state / "jobs.sqlite", copy / "jobs.sqlite")
        shutil.copytree(server.state / "jobs", copy / "jobs", symlinks=True)
        assert client.job(running.id).progress.frames_done < FRAMES
        server.kill()
    with RunningServer(copy) as server, server.client() as client:
        assert server.run("admin", "--state", copy, "check").stdout == "ok\n"
        for job in (done, running, queued):
            assert client.wait(job.id).progress.frames_done == FRAMES
            assert fetch(client, job.id, tmp_path / job.id) == result
