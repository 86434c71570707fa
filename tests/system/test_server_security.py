"""The table of attacks of docs/server.md, each tried on a real server."""

import json
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import grpc
import pytest

from client.connection import Server
from client.errors import (
    AuthenticationError,
    ClientError,
    LimitError,
    NotFoundError,
    PermissionError_,
    PlateError,
    SettingsError,
    StateError,
)
from client.library import Client
from client.shots import upload_source
from protos import segmatte_pb2 as wire
from tests.flat_plates import write_flat_plate
from tests.system.serving import RunningServer, request, tracking, until


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_flat_plate(folder / "shows", frames=3)
    write_flat_plate(folder / "private", frames=3)
    (folder / "out").mkdir()
    return folder


@pytest.fixture(scope="module")
def server(site):
    settings = f"""
[limits]
streams = 3
sessions = 1
keyframes = 5
frames = 4
[[roots]]
path = "{site / "shows"}"
aliases = ["P:/shows"]
[[roots]]
path = "{site / "private"}"
users = ["ann"]
[[roots]]
path = "{site / "out"}"
access = "write"
users = ["ann"]
"""
    with RunningServer(
        site / "state", settings=settings, environment={"STEP_SECONDS": "0.1"}
    ) as server:
        yield server


def client_of(server, name):
    token = server.run("users", "--state", server.state, "add", name).stdout.strip()
    return server.client(token)


@pytest.fixture(scope="module")
def ann(server):
    with client_of(server, "ann") as client:
        yield client


@pytest.fixture(scope="module")
def bob(server):
    with client_of(server, "bob") as client:
        yield client


def test_a_token_is_needed_on_the_loopback_address_too(server):
    for token in ("", "sgm_wrong", "Bearer x"):
        with server.client(token) as client, pytest.raises(AuthenticationError):
            client.server_info()


def test_the_token_file_is_private_and_the_state_folder_closed(server):
    assert stat.S_IMODE((server.state / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(server.state.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.state / "jobs.sqlite").stat().st_mode) == 0o600


def test_a_removed_user_is_out_at_once(server):
    with client_of(server, "eve") as eve:
        eve.server_info()
        server.run("users", "--state", server.state, "remove", "eve")
        with pytest.raises(AuthenticationError):
            eve.server_info()


def test_nobody_touches_somebody_elses_job_and_an_admin_does(server, site, ann, bob):
    job = ann.submit(request(site / "shows/flat.####.png"))
    for act in (
        bob.job,
        bob.cancel,
        bob.retry,
        bob.resume,
        bob.delete,
        bob.results,
        lambda job_id: bob.set_priority(job_id, 100),
        lambda job_id: list(bob.watch(job_id)),
        lambda job_id: bob.submit(request(site / "shows/flat.####.png", reference_job_id=job_id)),
        lambda job_id: bob.correct(
            wire.CorrectShotRequest(job_id=job_id, object="/x", keyframe=wire.Keyframe(frame=1001))
        ),
    ):
        with pytest.raises(NotFoundError):
            act(job.id)
    assert job.id not in [other.id for other in bob.jobs()]
    assert bob.jobs(owner="ann") == []
    with server.client() as admin:
        assert admin.job(job.id).owner == "ann"
    ann.wait(job.id)


def test_a_session_is_its_owners_alone(site, ann, bob):
    plate = wire.PlateSource(path=str(site / "shows/flat.####.png"))
    head, _ = ann.open_session(wire.OpenSessionRequest(plate=plate, frame=1001))
    with pytest.raises(NotFoundError):
        bob.undo_session(head.session_id, "x")
    with pytest.raises(LimitError, match="open sessions, the limit is 1"):
        ann.open_session(wire.OpenSessionRequest(plate=plate, frame=1001))
    ann.close_session(head.session_id)


def test_a_plate_outside_of_ones_roots_is_refused_for_every_way_to_read_it(server, site, ann, bob):
    ann.submit(request(site / "private/flat.####.png"))
    (site / "shows/link").symlink_to(site / "private")
    for path in (
        site / "private/flat.####.png",
        site / "shows/link/flat.####.png",
        site / "shows/../private/flat.####.png",
        server.state / "token",
        "P:/shows/../private/flat.####.png",
        "P:\\private\\flat.####.png",
    ):
        source = wire.PlateSource(path=str(path))
        for act in (
            lambda source=source: bob.submit(request("x", plate=source)),
            lambda source=source: bob.preview(
                wire.PreviewFrameRequest(
                    plate=source, frame=1001, prompts=wire.Prompts(text="person")
                )
            ),
            lambda source=source: bob.open_session(
                wire.OpenSessionRequest(plate=source, frame=1001)
            ),
            lambda source=source: bob.list_folder(source.path.rpartition("/")[0] or source.path),
        ):
            with pytest.raises((PermissionError_, PlateError)):
                act()
    mask = wire.Keyframe(frame=1001, mask=wire.MaskPrompt(path=str(site / "private/flat.1001.png")))
    prompts = wire.Prompts(objects=[wire.PromptedObject(name="/x", keyframes=[mask])])
    with pytest.raises(PermissionError_):
        bob.submit(request(site / "shows/flat.####.png", prompts=prompts))
    options = wire.PlateOptions(ocio_config="/etc/passwd")
    with pytest.raises(PermissionError_):
        bob.submit(request(site / "shows/flat.####.png", options=options))


def test_a_link_made_after_the_submit_leads_nowhere(site, bob):
    """Checked at submit, swapped before the worker opens it."""
    inside = write_flat_plate(site / "shows/swap", frames=3)
    blocker = bob.submit(request(site / "shows/flat.####.png"))
    job = bob.submit(request(inside, priority=-100))
    (site / "shows/swap").rename(site / "shows/swapped")
    (site / "shows/swap").symlink_to(site / "private")
    bob.wait(blocker.id)
    with pytest.raises(PermissionError_, match="leads out of your folders"):
        bob.wait(job.id)


def test_results_are_written_only_where_granted_and_never_over_anything(site, ann, bob):
    plate = site / "shows/flat.####.png"
    with pytest.raises(PermissionError_, match="none of your folders for write access"):
        bob.submit(request(plate, output_folder=str(site / "out/v001")))
    with pytest.raises(PermissionError_):
        ann.submit(request(plate, output_folder=str(site / "shows/v001")))
    ann.wait(ann.submit(request(plate, output_folder=str(site / "out/v001"))).id)
    written = site / "out/v001/objectid/flat.1001.exr"
    assert written.exists()
    theirs = site / "out/v002/objectid/flat.1001.exr"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"somebody's")
    with pytest.raises(ClientError, match="not this job's"):
        ann.wait(ann.submit(request(plate, output_folder=str(site / "out/v002"))).id)
    assert theirs.read_bytes() == b"somebody's"


def test_uploads_say_nothing_about_other_users(site, ann, bob):
    source, contents = upload_source(str(site / "shows/flat.####.png"))
    ann.upload(contents)
    assert ann.find_missing(contents) == {}
    assert len(bob.find_missing(contents)) == len(contents)
    with pytest.raises(StateError, match="uploaded files are missing"):
        bob.submit(request("x", plate=source))


def test_what_is_no_picture_or_lies_about_itself_is_not_taken(tmp_path, bob):
    import hashlib

    script = tmp_path / "x.png"
    script.write_bytes(b"#!/bin/sh\nrm -rf /\n")
    sha256 = hashlib.sha256(script.read_bytes()).digest()
    with pytest.raises(ClientError, match="no picture of a known format"):
        bob.upload({sha256: script})
    with pytest.raises(ClientError, match="another sha256"):
        bob.upload({b"x" * 32: script})
    upload = wire.UploadedPlate(
        name="x", frames=[wire.UploadedFrame(frame=1, sha256=sha256, suffix="mov")]
    )
    with pytest.raises(ClientError, match="Movies are read from storage"):
        bob.submit(request("x", plate=wire.PlateSource(upload=upload)))


def test_no_ocio_config_comes_with_an_upload(site, ann):
    source, contents = upload_source(str(site / "shows/flat.####.png"))
    ann.upload(contents)
    options = wire.PlateOptions(ocio_config=str(site / "shows/config.ocio"))
    with pytest.raises(SettingsError, match="never with an upload"):
        ann.submit(request("x", plate=source, options=options))


def test_limits_of_frames_keyframes_messages_and_streams_hold(site, ann, bob):
    frames = [wire.UploadedFrame(frame=n, sha256=b"x" * 32, suffix="png") for n in range(5)]
    upload = wire.UploadedPlate(name="x", frames=frames)
    with pytest.raises(LimitError, match="has 5 frames, the limit is 4"):
        bob.submit(request("x", plate=wire.PlateSource(upload=upload)))
    point = wire.PointPrompt(x=1, y=1)
    keyframes = [wire.Keyframe(frame=n, points=[point]) for n in range(6)]
    prompts = wire.Prompts(objects=[wire.PromptedObject(name="/x", keyframes=keyframes)])
    with pytest.raises(LimitError, match="6 keyframes, the limit is 5"):
        bob.submit(request(site / "shows/flat.####.png", prompts=prompts))
    with pytest.raises(ClientError, match=r"(?i)larger than max|message"):
        bob.submit(request("x" * (5 << 20)))
    job = ann.submit(request(site / "shows/flat.####.png"))
    watching = [ann.watch(job.id) for _ in range(4)]
    with pytest.raises(LimitError, match="open streams, the limit is 3"):
        list(map(next, watching))
    for stream in watching:
        stream.close()


def test_a_worker_reads_no_token_and_no_store_and_opens_no_connection(tmp_path):
    """What a decoder could do after an attack has taken it over."""
    secret, jobs = tmp_path / "state", tmp_path / "state" / "jobs"
    jobs.mkdir(parents=True)
    (secret / "token").write_text("secret")
    (tmp_path / "plates").mkdir()
    (tmp_path / "plates" / "p").write_text("plate")
    code = f"""
        import json, socket
        from server.executors.sandbox import close_off
        done = close_off(read=[{str(tmp_path / "plates")!r}], write=[{str(jobs)!r}])
        def tried(action):
            try:
                action()
                return "done"
            except OSError as error:
                return type(error).__name__
        def connect():
            with socket.socket() as s:
                s.settimeout(3)
                s.connect(("127.0.0.1", 22222))
        print(json.dumps([done,
            tried(lambda: open({str(secret / "token")!r}).read()),
            tried(lambda: open({str(tmp_path / "plates" / "p")!r}).read()),
            tried(lambda: open({str(tmp_path / "plates" / "p")!r}, "w")),
            tried(lambda: open({str(jobs / "x")!r}, "w").close()),
            tried(lambda: open("/root/.x" , "w")),
            tried(connect)]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    how, token, plate, overwrite, own, home, network = json.loads(done.stdout)
    if how.startswith("none"):
        pytest.skip(f"this kernel offers no sandbox: {how}")
    assert (token, plate, overwrite, own, home) == (
        "PermissionError",
        "done",
        "PermissionError",
        "done",
        "PermissionError",
    )
    assert network in ("PermissionError", "OSError")  # forbidden, or nothing to reach


def test_the_worker_is_told_no_token(server):
    pid = server.workers()["cpu#0"]
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"SEGMATTE_" not in environment.replace(b"SEGMATTE_MODELS", b"")
    assert b"token" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def certificate(folder):
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
        ],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("openssl is not here to make a certificate")
    (folder / "key.pem").chmod(0o600)


def test_an_open_address_needs_tls_and_users_and_then_works_with_both(tmp_path):
    server = RunningServer(tmp_path / "state")
    open_address = ("serve", "--config", server.config, "--host", "0.0.0.0")
    refused = server.run(*open_address, check=False)
    assert refused.returncode == 2
    assert "needs TLS" in refused.stderr
    certificate(tmp_path)
    text = f'tls_certificate="{tmp_path}/cert.pem"\ntls_key="{tmp_path}/key.pem"\n'
    server.config.write_text(text + 'host="0.0.0.0"\n' + server.config.read_text())
    refused = server.run("serve", "--config", server.config, check=False)
    assert "needs users with tokens" in refused.stderr
    token = server.run("users", "--state", server.state, "add", "ann").stdout.strip()
    (tmp_path / "key.pem").chmod(0o644)
    assert (
        "can be read by others"
        in server.run("serve", "--config", server.config, check=False).stderr
    )
    (tmp_path / "key.pem").chmod(0o600)
    with server:
        assert not (server.state / "token").exists()
        port = server.address.rpartition(":")[2]
        authority = (tmp_path / "cert.pem").read_bytes()
        trusted = Server(f"localhost:{port}", token, tls=True, certificate_authority=authority)
        with Client(trusted) as client:
            assert client.server_info().user == "ann"
            assert list(client.server_info().read_roots) == []
        with Client(Server(f"localhost:{port}", token)) as client, pytest.raises(ClientError):
            client.connection.call(
                client._stub.GetServerInfo, wire.GetServerInfoRequest(), timeout_seconds=2
            )


def test_settings_come_from_arguments_environment_file_and_default(tmp_path):
    server = RunningServer(tmp_path / "state", settings="lease_seconds = 9")
    server.environment["SEGMATTE_LEASE_SECONDS"] = "8"
    server.environment["SEGMATTE_LIMITS__FRAMES"] = "77"
    printed = server.run("serve", "--config", server.config, "--print-config", "--port", "5")
    found = json.loads(printed.stdout)
    assert (found["port"], found["lease_seconds"], found["detector"]) == (5, 8.0, "fake")
    assert (found["limits"]["frames"], found["max_crashes"]) == (77, 3)
    server.config.write_text("prot = 1\n")
    refused = server.run("serve", "--config", server.config, check=False)
    assert "prot: Extra inputs" in refused.stderr


def test_metrics_drain_and_retention(tmp_path, site):
    import urllib.request

    settings = "metrics_port = 17967\n[retention]\njob_days = 0\nevery_seconds = 1"
    server = RunningServer(
        tmp_path / "state", settings=settings, environment={"STEP_SECONDS": "0.2"}
    )
    with server, server.client() as client:
        plate = site / "shows/flat.####.png"
        running = client.submit(request(plate))
        until(client, running.id, tracking)
        text = urllib.request.urlopen("http://127.0.0.1:17967/metrics").read().decode()
        assert 'segmatte_jobs{state="running"} 1' in text
        assert 'segmatte_calls_total{call="SubmitShot",status="OK"} 1' in text
        assert "flat" not in text
        server.run("admin", "--state", server.state, "drain")
        with pytest.raises(ClientError, match="takes no new jobs"):
            client.connection.call(
                client._stub.SubmitShot, request(plate), timeout_seconds=5, repeat=False
            )
        assert client.server_info().draining
        folder = server.state / "jobs" / running.id
        assert folder.exists()  # a running job's files stay
        for _ in range(200):
            if not folder.exists():
                break
            time.sleep(0.1)
        with pytest.raises(NotFoundError):
            client.job(running.id)
        assert not folder.exists()
        assert "0 jobs, draining" in server.run("admin", "--state", server.state, "queue").stdout


def test_reflection_names_the_service(server):
    with grpc.insecure_channel(server.address) as channel:
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
            ProtoReflectionDescriptorDatabase,
        )

        assert "segmatte.v1.Segmatte" in ProtoReflectionDescriptorDatabase(channel).get_services()
