"""Workers and servers that die, stop, run out of memory or disk: the job goes on or says why."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from client.errors import BusyError, ModelError, PlateError, ResourceError
from client.shots import upload_source
from protos import segmatte_pb2 as wire
from tests.flat_plates import write_flat_plate
from tests.system.serving import RunningServer, fetch, health, request, tracking, until

FRAMES = 8


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    return write_flat_plate(tmp_path_factory.mktemp("plate"), frames=FRAMES)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, plate):
    """What an undisturbed run gives, byte for byte."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with RunningServer(folder / "state") as server, server.client() as client:
        job = client.wait(client.submit(request(plate)).id)
        return fetch(client, job.id, folder / "out")


def no_half_written(server):
    """No unfinished file under a final or temporary name among the results."""
    return not [
        path
        for path in (server.state / "jobs").glob("*/result/**/*")
        if path.name.startswith(".") or path.name.endswith(".part")
    ]


@pytest.mark.parametrize("point", ["detect:2", "track forward:4", "track backward:3"])
def test_a_worker_killed_at_a_seeded_point_is_replaced_and_the_bytes_are_the_same(
    tmp_path, plate, undisturbed, point
):
    accident = {"ACCIDENT": f"kill:{point}"}
    with RunningServer(tmp_path / "state", environment=accident) as server:
        with server.client() as client:
            job = client.wait(client.submit(request(plate)).id)
            assert (job.attempt, job.warnings) == (2, job.warnings)
            assert fetch(client, job.id, tmp_path / "out") == undisturbed
        assert no_half_written(server)
        assert "signal 9" in "".join(
            event.text for update in server.client().watch(job.id) for event in update.events
        )


def ends(process: int) -> None:
    """Wait until a process is gone; a dead one that nobody has asked after counts as gone."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {process} still runs")


def test_a_server_killed_in_the_middle_goes_on_after_its_restart(tmp_path, plate, undisturbed):
    server = RunningServer(tmp_path / "state", environment={"STEP_SECONDS": "0.05"}).start()
    with server.client() as client:
        first = client.submit(request(plate))
        second = client.submit(request(plate, priority=-1))
        until(client, first.id, lambda job: job.progress.frames_done >= 2)
    worker = server.workers()["cpu#0"]
    server.kill()
    with server:
        ends(worker)
        with server.client() as client:
            for number, job in enumerate((first, second)):
                job = client.wait(job.id)
                assert job.attempt == 2 - number
                assert fetch(client, job.id, tmp_path / str(number)) == undisturbed
        assert no_half_written(server)


def test_a_worker_stopped_past_its_lease_loses_the_job_and_others_go_on(
    tmp_path, plate, undisturbed
):
    settings = "lease_seconds = 2.5"
    accident = {"ACCIDENT": "stop:track forward:3"}
    with (
        RunningServer(tmp_path / "state", settings=settings, environment=accident) as server,
        server.client() as client,
    ):
        job = client.submit(request(plate))
        other = client.submit(request(plate, priority=-1))
        job, other = client.wait(job.id), client.wait(other.id)
        assert (job.attempt, other.attempt) == (2, 1)
        assert fetch(client, job.id, tmp_path / "out") == undisturbed


def test_memory_running_out_fails_the_job_with_what_to_do_and_a_resume_goes_on(
    tmp_path, plate, undisturbed
):
    accident = {"ACCIDENT": "memory:track backward:2"}
    with (
        RunningServer(tmp_path / "state", environment=accident) as server,
        server.client() as client,
    ):
        job = client.submit(request(plate))
        with pytest.raises(ResourceError, match=r"Memory ran out\. Resume with fewer objects"):
            client.wait(job.id)
        assert client.job(job.id).error.retryable
        client.resume(job.id)
        assert client.wait(job.id).progress.frames_done == FRAMES
        assert fetch(client, job.id, tmp_path / "out") == undisturbed


def test_missing_models_and_plates_fail_with_the_reason_and_other_jobs_go_on(
    tmp_path, plate, undisturbed
):
    settings = "\n".join(["[limits]", "frame_pixels = 100000"])
    server = RunningServer(tmp_path / "state", settings=settings)
    text = server.config.read_text().replace('["fake"]', '["fake", "sam2.1-large"]')
    server.config.write_text(text)
    server.environment["SEGMATTE_MODELS"] = str(tmp_path / "no-models")
    gone = write_flat_plate(tmp_path / "gone", frames=3)
    bomb = write_flat_plate(tmp_path / "bomb", frames=1, size=(400, 400))
    cut = write_flat_plate(tmp_path / "cut", frames=3)
    (tmp_path / "cut" / "flat.1002.png").write_bytes(
        (tmp_path / "cut" / "flat.1002.png").read_bytes()[:60]
    )
    with server, server.client() as client:
        first = client.submit(request(plate))
        jobs = [
            client.submit(request(gone)),
            client.submit(request(plate, settings=wire.ShotSettings(segmenter="sam2.1-large"))),
            client.submit(request(bomb)),
            client.submit(request(cut)),
        ]
        last = client.submit(request(plate))
        shutil.rmtree(tmp_path / "gone")
        assert fetch(client, client.wait(first.id).id, tmp_path / "a") == undisturbed
        with pytest.raises(PlateError, match="gone"):
            client.wait(jobs[0].id)
        with pytest.raises(ModelError, match="segmatte models fetch sam2"):
            client.wait(jobs[1].id)
        with pytest.raises(Exception, match="160000 pixels, this server takes 100000"):
            client.wait(jobs[2].id)
        with pytest.raises(PlateError, match="1002"):
            client.wait(jobs[3].id)
        assert fetch(client, client.wait(last.id).id, tmp_path / "b") == undisturbed
        assert "gone" not in "".join(p.name for p in (server.state / "jobs").rglob(".*.part"))


def test_a_plate_deleted_after_the_job_began_is_read_to_its_end(tmp_path, undisturbed):
    plate = write_flat_plate(tmp_path / "plate", frames=FRAMES)
    with (
        RunningServer(tmp_path / "state", environment={"STEP_SECONDS": "0.05"}) as server,
        server.client() as client,
    ):
        job = client.submit(request(plate))
        until(client, job.id, tracking)
        shutil.rmtree(plate.parent)
        client.wait(job.id)
        assert fetch(client, job.id, tmp_path / "out") == undisturbed


def test_sigterm_finishes_the_frame_and_gives_the_job_back(tmp_path, plate, undisturbed):
    server = RunningServer(tmp_path / "state", environment={"STEP_SECONDS": "0.2"}).start()
    with server.client() as client:
        job = client.submit(request(plate))
        until(client, job.id, tracking)
    server.stop()
    assert server.process.returncode == 0
    server.environment["STEP_SECONDS"] = "0"
    with server, server.client() as client:
        assert client.wait(job.id).attempt == 2
        assert fetch(client, job.id, tmp_path / "out") == undisturbed


def test_a_server_killed_in_an_upload_keeps_what_arrived(tmp_path, plate):
    source, contents = upload_source(str(plate))
    sha256, path = next(iter(contents.items()))
    server = RunningServer(tmp_path / "state").start()
    killed = threading.Event()
    with server.client() as client:
        half = path.stat().st_size // 2

        def chunks():
            begin = wire.UploadBegin(sha256=sha256, size_bytes=path.stat().st_size)
            yield wire.UploadChunk(begin=begin)
            yield wire.UploadChunk(data=path.read_bytes()[:half])
            while client.find_missing({sha256: path})[sha256] < half:
                time.sleep(0.05)
            server.kill()
            killed.set()

        with pytest.raises(BusyError):
            client.connection.send(client._stub.UploadFrames, chunks(), timeout_seconds=30)
        assert killed.wait(20)
    with server, server.client() as client:
        assert client.find_missing({sha256: path}) == {sha256: half}
        sent = client.upload(contents)
        assert sent == sum(p.stat().st_size for p in contents.values()) - half
        assert client.wait(client.submit(request(plate, plate=source)).id).state == wire.DONE


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A file system of its own that can be filled; yields what fills it but for some bytes."""
    folder.mkdir(parents=True)
    options = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(options, capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a file system")
    filler = folder / ".filler"

    def fill(*, but):
        with contextlib.suppress(OSError):  # others write meanwhile
            filler.write_bytes(b"\0" * (shutil.disk_usage(folder).free - but))

    try:
        yield fill, filler.unlink
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_fails_the_job_with_the_reason_and_a_resume_goes_on(
    tmp_path, plate, undisturbed
):
    with (
        small_disk(tmp_path / "state" / "jobs", 4) as (fill, free),
        RunningServer(tmp_path / "state") as server,
        server.client() as client,
    ):
        fill(but=100_000)
        job = client.submit(request(plate))
        with pytest.raises(ResourceError, match=r"(?i)space|full"):
            client.wait(job.id)
        free()
        client.resume(job.id)
        client.wait(job.id)
        assert fetch(client, job.id, tmp_path / "out") == undisturbed
        assert no_half_written(server)


def submit_until_full(client, plate):
    """The pages that the store's file has already can still be filled."""
    for _ in range(50):
        client.submit(request(plate, priority=-1))


def test_a_full_disk_of_the_store_is_said_and_jobs_wait_until_there_is_room(
    tmp_path, plate, undisturbed
):
    source, contents = upload_source(str(plate))
    with (
        small_disk(tmp_path / "state", 12) as (fill, free),
        RunningServer(
            tmp_path / "state",
            settings="lease_seconds = 2.5",
            environment={"STEP_SECONDS": "0.2"},
        ) as server,
        server.client() as client,
    ):
        job = client.submit(request(plate))
        until(client, job.id, tracking)
        fill(but=0)
        with pytest.raises(ResourceError, match=r"store .* cannot be written.* Free some disk"):
            submit_until_full(client, plate)
        with pytest.raises(ResourceError, match="What arrived is kept: free some space"):
            client.upload(contents)
        published = [f.name for f in client.results(job.id).files]
        free()
        assert client.upload(contents) > 0
        other = client.submit(request(plate, plate=source))
        try:
            client.wait(job.id)
        except ResourceError:  # it met the full disk before the store did
            client.resume(job.id)
            client.wait(job.id)
        files = fetch(client, job.id, tmp_path / "out")
        assert files == undisturbed
        assert set(published) <= set(files)
        assert client.wait(other.id).state == wire.DONE
        assert no_half_written(server)
        assert server.run("admin", "--state", server.state, "check").stdout.strip() == "ok"
        log = [event.text for update in client.watch(job.id) for event in update.events]
        assert "The worker fell silent." not in log


def test_a_server_stopped_past_its_leases_goes_on_when_it_wakes_up(tmp_path, plate, undisturbed):
    with (
        RunningServer(
            tmp_path / "state",
            settings="lease_seconds = 1.5",
            environment={"STEP_SECONDS": "0.1"},
        ) as server,
        server.client() as client,
    ):
        job = client.submit(request(plate))
        until(client, job.id, tracking)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        server.process.send_signal(signal.SIGCONT)
        client.wait(job.id)
        assert fetch(client, job.id, tmp_path / "out") == undisturbed
        assert no_half_written(server)


def test_a_second_server_on_the_port_or_the_state_folder_is_refused(tmp_path):
    with RunningServer(tmp_path / "state") as server:
        port = server.address.rpartition(":")[2]
        other = server.run("serve", "--port", port, "--state", tmp_path / "other", check=False)
        assert (other.returncode, "it is taken" in other.stderr) == (2, True)
        other = server.run("serve", "--port", "0", "--state", server.state, check=False)
        assert other.returncode == 2
        assert "Another server uses the state folder" in other.stderr
        assert health(server.address) == 1


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(3))
def test_random_kills_of_worker_and_server_change_no_byte(tmp_path, plate, undisturbed, seed):
    """``make test-long`` runs it with more: SEGMATTE_KILLS=50.

    With SEGMATTE_KILLS_REPORT=FILE.json it writes down what it did.
    """
    wanted = int(os.environ.get("SEGMATTE_KILLS", "6"))
    generator = random.Random(seed)
    server = RunningServer(
        tmp_path / "state",
        settings="max_crashes = 1000",
        environment={"STEP_SECONDS": "0.05"},
    ).start()
    begun, kills, equal = time.monotonic(), [], 0
    try:
        with server.client() as client:
            jobs = [client.submit(request(plate)).id for _ in range(2 + wanted // 3)]
        while len(kills) < wanted:
            patience = generator.random()
            if patience < 0.2:  # so that kills meet many jobs, not the first again and again
                wait_for(server, lambda job: job.state == wire.DONE)
            elif patience < 0.7:  # else also while processes start
                wait_for(server, lambda job: sum(stage.done for stage in job.progress.stages))
            time.sleep(generator.uniform(0, 1.5))
            stage, ended = standing(server)
            victim = "server" if generator.random() < 0.5 else "worker"
            if victim == "server":
                server.kill()
                server.start()
            else:
                worker = server.workers().get("cpu#0", 0)
                if not worker or not os.path.exists(f"/proc/{worker}"):
                    continue
                os.kill(worker, signal.SIGKILL)
            kills.append({"killed": victim, "running_stage": stage, "jobs_ended": ended})
        with server.client() as client:
            attempts = []
            for job in jobs:
                attempts.append(client.wait(job).attempt)
                assert fetch(client, job, tmp_path / job) == undisturbed
                equal += 1
        assert no_half_written(server)
    finally:
        server.stop()
    if report := os.environ.get("SEGMATTE_KILLS_REPORT"):
        outcome = {
            "jobs": len(jobs),
            "jobs_done_with_every_byte_equal": equal,
            "attempts_of_each_job": attempts,
            "seconds": round(time.monotonic() - begun),
            "kills": kills,
        }
        note_down(Path(report), seed, outcome)


def wait_for(server, standing_of):
    """Wait until some job stands elsewhere, or all are done."""
    with server.client() as client:
        jobs = client.jobs(limit=500)
        before = [standing_of(job) for job in jobs]
        while [standing_of(job) for job in jobs] == before:
            if all(job.state == wire.DONE for job in jobs):
                return
            time.sleep(0.2)
            jobs = client.jobs(limit=500)


def standing(server):
    """The stage of the running job, and how many jobs have ended."""
    with server.client() as client:
        found = client.jobs(limit=500)
    stages = [job.progress.stage for job in found if job.state == wire.RUNNING]
    return stages[0] if stages else "", sum(job.state == wire.DONE for job in found)


def note_down(path, seed, outcome):
    """Add one seed's run to a chapter of the benchmarks' report."""
    from tests.benchmarks.measure import Clock, Part, Table, as_data

    before = json.loads(path.read_text())["values"] if path.exists() else {}
    runs = {**before.get("runs", {}), str(seed): outcome}
    jobs = sum(run["jobs"] for run in runs.values())
    equal = sum(run["jobs_done_with_every_byte_equal"] for run in runs.values())
    kills = [kill for run in runs.values() for kill in run["kills"]]
    met = Counter(kill["running_stage"] or "between jobs or starting" for kill in kills)
    table = Table(
        "Kills by seed",
        ("seed", "kills of a worker", "of the server", "jobs", "all bytes equal", "attempts", "s"),
        tuple(
            (
                name,
                sum(kill["killed"] == "worker" for kill in run["kills"]),
                sum(kill["killed"] == "server" for kill in run["kills"]),
                run["jobs"],
                run["jobs_done_with_every_byte_equal"],
                f"1 to {max(run['attempts_of_each_job'])}",
                run["seconds"],
            )
            for name, run in runs.items()
        ),
        (
            "Signal 9 at a random moment, while jobs of eight frames run with the fake models: "
            f"{', '.join(f'{stage} {count}' for stage, count in met.most_common())}. Every result "
            "file but the report and the overlay movie is compared with an undisturbed run.",
        ),
    )
    part = Part(
        "Random kills",
        (
            f"{len(kills)} kills of workers and server: {equal} of {jobs} jobs ended done, every "
            "output byte equal to an undisturbed run (goal: all).",
        ),
        (table,),
        values={"runs": runs},
    )
    took = Clock(wall=sum(run["seconds"] for run in runs.values()))
    size = "full" if len(outcome["kills"]) >= 50 else "quick"
    path.write_text(json.dumps(as_data(part, size=size, seconds=took), indent=1) + "\n")
