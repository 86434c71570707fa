"""What holds for any executor, on two devices: the same tests for worker processes and for Ray.

Whatever happens to workers, helpers, nodes and the server, the bytes are those of one device.
"""

import contextlib
import os
import signal
import time

import pytest

from client.errors import ResourceError
from protos import segmatte_pb2 as wire
from tests.flat_plates import write_flat_plate
from tests.system.accidents import ENGINE, Accident
from tests.system.serving import RunningServer, done_of, fetch, request, tracking, until

FRAMES = 24
AT_WORK = ("idle", "job", "helping")
KEY_FRAME_SECONDS = 0.3
"""Over all key frames more than a cold helper on a busy machine needs for its imports."""
HANG_SECONDS = 30
"""More than a new worker on a busy machine needs for its imports."""


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    return write_flat_plate(tmp_path_factory.mktemp("plate"), frames=FRAMES, size=(90, 160))


def shot(plate, **more):
    """Every frame is a key frame: much to share."""
    return request(plate, settings=wire.ShotSettings(step=1, interval=2), **more)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, plate):
    """What one device gives, byte for byte."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with RunningServer(folder / "state") as server, server.client() as client:
        job = client.wait(client.submit(shot(plate)).id)
        return fetch(client, job.id, folder / "out")


class Local:
    """Two worker processes on this machine."""

    settings = 'devices = ["cpu", "cpu"]'

    def __init__(self):
        self.environment = {}


class OnRay:
    """Two nodes of one made-up GPU each."""

    settings = 'devices = []\nexecutor = "ray"'

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
        )
        self.nodes = [self.add_node(), self.add_node()]
        self.environment = {"RAY_ADDRESS": self.cluster.address}

    def add_node(self):
        return self.cluster.add_node(num_cpus=1, num_gpus=1)


@pytest.fixture(
    scope="module", params=["local", pytest.param("ray", marks=pytest.mark.integration)]
)
def devices(request):
    if request.param == "local":
        yield Local()
        return
    pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = OnRay()
    yield ray
    ray.cluster.shutdown()


class TwoWorkers(RunningServer):
    """A server that is waited for until both devices have their worker."""

    def start(self):
        super().start()
        with self.client() as client:
            deadline = time.monotonic() + 120
            while sum(d.worker in AT_WORK for d in client.server_info().devices) < 2:
                assert time.monotonic() < deadline, client.server_info()
                time.sleep(0.2)
        return self


@pytest.fixture
def make_server(tmp_path, devices):
    """A server on two devices, whose workers meet with an accident."""

    def make(accident=None, *, settings=""):
        server = TwoWorkers(
            tmp_path / "state",
            settings=f"{devices.settings}\n{settings}",
            environment=devices.environment,
        )
        config = server.config.read_text()
        server.config.write_text(config.replace("tests.system.serving:SteppedEngine", ENGINE))
        (accident or Accident(seconds=KEY_FRAME_SECONDS)).plan(server.state)
        return server

    return make


def parts(server, job_id):
    """Names of the workers that did chunks of a shot, from its clocks; empty: its own."""
    work = server.state / "jobs" / job_id / "attempts"
    return sorted(path.stem for path in work.glob("*/result/work/measure*.json"))


def events(client, job_id):
    return "\n".join(event.text for update in client.watch(job_id) for event in update.events)


def wait_for_share(client, job_id):
    return until(client, job_id, lambda job: 4 <= done_of(job, "detect") < FRAMES)


def test_the_first_stages_of_one_shot_are_spread_and_the_bytes_are_the_same(
    tmp_path, make_server, plate, undisturbed
):
    with make_server() as server, server.client() as client:
        job = client.wait(client.submit(shot(plate)).id)
        assert len(parts(server, job.id)) == 2
        assert (done_of(job, "detect"), done_of(job, "segment")) == (FRAMES, FRAMES)
        assert fetch(client, job.id, tmp_path / "out") == undisturbed


def test_several_shots_run_at_once_each_on_one_device(tmp_path, make_server, plate, undisturbed):
    with make_server() as server, server.client() as client:
        jobs = [client.submit(shot(plate)) for _ in range(2)]
        done = [client.wait(job.id) for job in jobs]
        began = max(job.started.ToNanoseconds() for job in done)
        assert began < min(job.finished.ToNanoseconds() for job in done)
        for number, job in enumerate(done):
            assert fetch(client, job.id, tmp_path / str(number)) == undisturbed


@pytest.mark.parametrize("kind", ["kill", "fail"])
def test_a_helper_that_is_lost_costs_nothing_but_its_chunk(
    tmp_path, make_server, plate, undisturbed, kind
):
    accident = Accident(kind, "helper", "detect", seconds=KEY_FRAME_SECONDS)
    with make_server(accident) as server, server.client() as client:
        job = client.wait(client.submit(shot(plate)).id)
        assert job.attempt == 1
        assert "left stages 1 and 2 to others" in events(client, job.id)
        assert fetch(client, job.id, tmp_path / "out") == undisturbed


def test_a_worker_killed_while_others_help_is_replaced(tmp_path, make_server, plate, undisturbed):
    accident = Accident("kill", "owner", "segment", seconds=KEY_FRAME_SECONDS)
    with make_server(accident) as server, server.client() as client:
        job = client.wait(client.submit(shot(plate)).id)
        assert job.attempt == 2
        assert "signal 9" in events(client, job.id)
        assert fetch(client, job.id, tmp_path / "out") == undisturbed


@pytest.mark.parametrize(
    ("who", "stage", "attempts"), [("helper", "detect", 1), ("alone", "track forward", 2)]
)
def test_a_worker_that_lives_but_hangs_in_one_call_is_ended(
    tmp_path, make_server, plate, undisturbed, who, stage, attempts
):
    accident = Accident("hang", who, stage, seconds=KEY_FRAME_SECONDS)
    with (
        make_server(accident, settings=f"hang_seconds = {HANG_SECONDS}") as server,
        server.client() as client,
    ):
        job = client.wait(client.submit(shot(plate)).id)
        assert job.attempt == attempts
        assert f"hung: nothing was finished in {HANG_SECONDS} s" in events(client, job.id)
        assert fetch(client, job.id, tmp_path / "out") == undisturbed


def test_a_shot_on_which_workers_always_hang_fails_with_the_reason(make_server, plate):
    accident = Accident("hang", "alone", "track forward", often=True)
    settings = f"hang_seconds = {HANG_SECONDS}\nmax_crashes = 2"
    with make_server(accident, settings=settings) as server, server.client() as client:
        job = client.submit(shot(plate))
        with pytest.raises(ResourceError, match=r"lost 2 times .* hung: nothing was finished"):
            client.wait(job.id)


def test_a_cancelled_shot_frees_its_helpers_too(tmp_path, make_server, plate, undisturbed):
    with make_server() as server, server.client() as client:
        job = client.submit(shot(plate))
        wait_for_share(client, job.id)
        client.cancel(job.id)
        until(client, job.id, lambda j: j.state == wire.CANCELLED)
        Accident().plan(server.state)
        others = [client.submit(shot(plate)) for _ in range(2)]
        for number, other in enumerate(others):
            client.wait(other.id)
            assert fetch(client, other.id, tmp_path / str(number)) == undisturbed


def test_a_server_killed_while_devices_share_goes_on_after_its_restart(
    tmp_path, make_server, plate, undisturbed
):
    server = make_server().start()
    with server.client() as client:
        job = client.submit(shot(plate))
        wait_for_share(client, job.id)
    server.kill()
    Accident().plan(server.state)
    with server, server.client() as client:
        assert client.wait(job.id).attempt == 2
        assert fetch(client, job.id, tmp_path / "out") == undisturbed


def test_a_node_that_dies_is_done_without_and_a_new_one_is_taken_in(
    tmp_path, make_server, devices, plate, undisturbed
):
    if isinstance(devices, Local):
        pytest.skip("one machine has one node")
    with make_server(Accident(tracking_seconds=0.4)) as server, server.client() as client:
        jobs = [client.submit(shot(plate)) for _ in range(2)]
        for job in jobs:
            until(client, job.id, tracking)
        devices.cluster.remove_node(devices.nodes.pop(), allow_graceful=False)
        Accident().plan(server.state)
        for number, job in enumerate(jobs):
            client.wait(job.id)
            assert fetch(client, job.id, tmp_path / str(number)) == undisturbed
        assert sorted(client.job(job.id).attempt for job in jobs) == [1, 2]
        devices.nodes.append(devices.add_node())
        job = client.wait(client.submit(shot(plate)).id)
        assert fetch(client, job.id, tmp_path / "after") == undisturbed


def test_workers_end_with_their_server(make_server, plate):
    server = make_server().start()
    with server.client() as client:
        job = client.submit(shot(plate))
        wait_for_share(client, job.id)
    workers = [process for process in server.workers().values() if process]
    server.stop()
    assert server.process.returncode == 0
    for process in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
            pytest.fail(f"worker {process} outlived its server")
