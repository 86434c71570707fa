"""Shots through a real server: submit, watch, fetch, change, correct, and what comes back."""

import hashlib
import re
import threading

import pytest

from client.errors import (
    BusyError,
    CancelledError,
    InputError,
    NotFoundError,
    PlateError,
    PromptError,
    ResultError,
    SettingsError,
    StateError,
)
from client.library import safe_target
from client.shots import upload_source
from protos import segmatte_pb2 as wire
from tests.flat_plates import write_flat_plate
from tests.system.serving import RunningServer, fetch, health, request, result_bytes, until

FRAMES = 12


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    return write_flat_plate(tmp_path_factory.mktemp("plate"), frames=FRAMES)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RunningServer(
        tmp_path_factory.mktemp("server") / "state", environment={"STEP_SECONDS": "0.03"}
    ) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def done(client, plate):
    return client.wait(client.submit(request(plate)).id)


def test_info_says_who_asks_and_what_is_offered(client):
    info = client.server_info()
    assert (info.api_major, info.is_admin) == (1, True)
    assert {model.name for model in info.models} == {"fake"}
    assert [(device.name, device.worker) for device in info.devices] == [("cpu", "idle")]
    assert info.limits.message_bytes == 4 << 20


def test_health_and_reflection_answer_without_a_token(server):
    assert health(server.address) == 1


def test_a_shot_is_done_with_every_frame_and_file(client, done, tmp_path):
    assert done.progress.frames_done == done.progress.frames_total == FRAMES
    files = fetch(client, done.id, tmp_path)
    assert sum(name.startswith("objectid/") for name in files) == FRAMES
    assert {"flat.manifest.json", "contact_sheet.png"} <= set(files)
    assert client.results(done.id).complete


def test_the_result_is_byte_for_byte_that_of_a_run_without_server(
    server, client, done, plate, tmp_path
):
    served = fetch(client, done.id, tmp_path / "served")
    out = tmp_path / "local"
    server.run(
        *("run", plate, "--prompt", "person, car", "--out", out),
        *("--detector", "fake", "--segmenter", "fake"),
    )
    local = {name: data for name, data in result_bytes(out).items() if not name.startswith("work/")}
    frames = [name for name in local if name.startswith("objectid/")]
    assert len(frames) == FRAMES
    assert all(served[name] == local[name] for name in frames)


def test_a_watcher_that_reconnects_sees_every_event_once(client, plate):
    job = client.submit(request(plate))
    seen, stopping = [], threading.Event()
    for update in client.watch(job.id, stopping=stopping):
        seen += [event.number for event in update.events]
        if len(seen) > 4:
            break
    for update in client.watch(job.id, after_event=seen[-1]):
        seen += [event.number for event in update.events]
        job = update.job
    assert seen == list(range(1, job.last_event + 1))
    assert job.state == wire.DONE


def test_progress_never_falls_and_counts_frames_that_can_be_fetched(client, plate):
    job = client.submit(request(plate))
    before, stages = 0, []
    for update in client.watch(job.id):
        progress = update.job.progress
        assert progress.frames_done >= before
        before = progress.frames_done
        stages += [e.text for e in update.events if e.kind == wire.JobEvent.STAGE]
        if 0 < before < FRAMES:
            listed = [f.frame for f in client.results(job.id).files if f.has_frame]
            assert len(listed) >= before
            assert max(listed) == 1000 + FRAMES  # from the end of the shot
    assert stages == ["detect", "track forward", "track backward", "pictures"]
    assert before == FRAMES


def test_a_repeated_submit_is_one_job(client, plate):
    first = client.submit(request(plate, request_id="same"))
    assert client.submit(request(plate, request_id="same")).id == first.id
    with pytest.raises(StateError, match="was used for another shot"):
        client.submit(request(plate, request_id="same", prompts=wire.Prompts(text="bag")))
    client.wait(first.id)


def test_cancel_stops_within_a_frame_keeps_frames_and_resume_goes_on(client, plate, done, tmp_path):
    job = client.submit(request(plate))
    until(client, job.id, lambda j: j.progress.frames_done >= 3)
    at_cancel = client.cancel(job.id).progress.frames_done
    with pytest.raises(CancelledError):
        client.wait(job.id)
    kept = client.job(job.id).progress.frames_done
    assert at_cancel <= kept <= at_cancel + 2
    assert len([f for f in client.results(job.id).files if f.has_frame]) == kept
    client.resume(job.id)
    client.wait(job.id)
    assert fetch(client, job.id, tmp_path / "a") == fetch(client, done.id, tmp_path / "b")


def test_retry_and_delete_fit_the_jobs_state(client, plate, done):
    with pytest.raises(StateError, match="is done; only a failed or cancelled job"):
        client.retry(done.id)
    job = client.submit(request(plate))
    client.cancel(job.id)
    with pytest.raises(CancelledError):
        client.wait(job.id)
    client.retry(job.id)
    assert client.wait(job.id).progress.frames_done == FRAMES
    client.delete(job.id)
    with pytest.raises(NotFoundError):
        client.job(job.id)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"plate": wire.PlateSource()}, InputError, "needs a plate"),
        ({"plate": wire.PlateSource(path="/no/such.####.exr")}, PlateError, "/no"),
        ({"plate": wire.PlateSource(path="rel.####.exr")}, PlateError, "absolute path"),
        ({"prompts": wire.Prompts()}, PromptError, "Nothing is asked for"),
        ({"settings": wire.ShotSettings(step=0, working_size=7)}, SettingsError, "Working size"),
        ({"settings": wire.ShotSettings(detector="oracle:/etc/x")}, SettingsError, "not offer"),
        ({"range": wire.FrameRange(first=9, last=1)}, PlateError, "ends before it begins"),
        ({"priority": 101}, InputError, "lies in -100..100"),
        ({"outputs": [99]}, SettingsError, "output number 99"),
        ({"reference_job_id": "none"}, NotFoundError, "no job 'none'"),
        (
            {"prompts": wire.Prompts(objects=[wire.PromptedObject(name="x")])},
            PromptError,
            "looks like /hero",
        ),
    ],
)
def test_a_request_that_cannot_work_is_refused_at_once(client, plate, change, kind, message):
    with pytest.raises(kind, match=message):
        client.submit(request(plate, **change))


def test_nothing_found_is_a_valid_result_with_a_note(client, plate):
    job = client.wait(client.submit(request(plate, prompts=wire.Prompts(text="zebra"))).id)
    assert "Nothing was found for 'zebra'" in job.result_note
    assert job.progress.frames_done == FRAMES


def test_artists_prompts_of_every_kind_arrive(client, plate, tmp_path):
    import numpy as np
    from PIL import Image

    mask = np.zeros((180, 320), np.uint8)
    mask[120:160, 90:180] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    sha256 = hashlib.sha256((tmp_path / "mask.png").read_bytes()).digest()
    corners = [(20, 40), (60, 40), (60, 85), (20, 85)]
    objects = [
        wire.PromptedObject(
            name="/hero/body",
            keyframes=[
                wire.Keyframe(
                    frame=1003,
                    polygons=[wire.Polygon(points=[wire.Vertex(x=x, y=y) for x, y in corners])],
                )
            ],
        ),
        wire.PromptedObject(
            name="/box",
            keyframes=[
                wire.Keyframe(frame=1001, mask=wire.MaskPrompt(sha256=sha256, suffix="png"))
            ],
        ),
    ]
    shot = request(plate, prompts=wire.Prompts(objects=objects))
    with pytest.raises(StateError, match="1 of 1 uploaded files are missing"):
        client.submit(shot)
    client.upload({sha256: tmp_path / "mask.png"})
    job = client.wait(client.submit(shot).id)
    assert list(job.object_names) == ["/hero/body", "/box"]
    files = fetch(client, job.id, tmp_path / "out")
    assert b'"/hero/body"' in files["flat.manifest.json"]
    assert b'"/box"' in files["flat.manifest.json"]


def test_an_uploaded_plate_gives_the_same_mattes_and_a_second_submit_moves_nothing(
    client, plate, done, tmp_path
):
    source, contents = upload_source(str(plate))
    assert len(source.upload.frames) == FRAMES
    assert client.upload(contents) == sum(path.stat().st_size for path in contents.values())
    job = client.wait(client.submit(request(plate, plate=source)).id)
    theirs, ours = fetch(client, job.id, tmp_path / "a"), fetch(client, done.id, tmp_path / "b")
    frames = [name for name in ours if name.startswith("objectid/")]
    assert all(theirs[name] == ours[name] for name in frames)
    assert client.upload(contents) == 0
    assert client.find_missing(contents) == {}


def test_a_download_goes_on_where_it_broke_off_and_is_checked(client, done, tmp_path):
    file = next(f for f in client.results(done.id).files if f.name == "contact_sheet.png")
    target = tmp_path / "sheet.png"
    assert client.download(done.id, file, target)
    whole = target.read_bytes()
    assert not client.download(done.id, file, target)
    target.unlink()
    partial = target.with_name(f".sheet.png.{file.sha256.hex()[:12]}.part")
    partial.write_bytes(whole[:1000])
    moved = []
    client.download(done.id, file, target, report=lambda have, _: moved.append(have))
    assert target.read_bytes() == whole
    assert moved[0] > 1000
    target.unlink()
    partial.write_bytes(b"x" * 1000)  # damaged on the way
    client.download(done.id, file, target)
    assert target.read_bytes() == whole


@pytest.mark.parametrize("name", ["../../../token", "/etc/passwd", "work/shot.json", ""])
def test_a_file_the_job_does_not_have_cannot_be_asked_for(client, done, tmp_path, name):
    with pytest.raises(NotFoundError, match="has no file"):
        client.download(done.id, wire.ResultFile(name=name, sha256=b"x" * 32), tmp_path / "x")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a\\x", "C:x", ""])
def test_a_hostile_server_cannot_choose_where_files_go(name, tmp_path):
    with pytest.raises(ResultError, match="no name for a result"):
        safe_target(tmp_path, name)


def test_names_are_inherited_from_a_reference(client, plate, done, tmp_path):
    job = client.wait(client.submit(request(plate, reference_job_id=done.id)).id)
    files = fetch(client, job.id, tmp_path)
    assert b"inherited" in files["flat.manifest.json"]


def test_a_correction_is_a_job_whose_other_frames_are_the_same_bytes(client, plate, tmp_path):
    reach = wire.ShotSettings(step=2, interval=2)
    done = client.wait(client.submit(request(plate, settings=reach)).id)
    corners = [(30, 40), (50, 40), (50, 80), (30, 80)]
    keyframe = wire.Keyframe(
        frame=1002, polygons=[wire.Polygon(points=[wire.Vertex(x=x, y=y) for x, y in corners])]
    )
    before = fetch(client, done.id, tmp_path / "before")
    name = next(
        n
        for n in ("/person/person_01", "/car/car_01")
        if n.encode() in before["flat.manifest.json"]
    )
    asked = wire.CorrectShotRequest(job_id=done.id, object=name, keyframe=keyframe)
    job = client.wait(client.correct(asked).id)
    assert (job.kind, job.source_job_id) == ("correction", done.id)
    after = fetch(client, job.id, tmp_path / "after")
    first, last = map(int, re.search(r"Frames (\d+)-(\d+) may", job.result_note).groups())
    assert first <= 1002 <= last
    assert last < 1000 + FRAMES
    assert after["objectid/flat.1002.exr"] != before["objectid/flat.1002.exr"]
    for frame in set(range(1001, 1001 + FRAMES)) - set(range(first, last + 1)):
        name = f"objectid/flat.{frame}.exr"
        assert after[name] == before[name]
    assert fetch(client, done.id, tmp_path / "again") == before
    with pytest.raises(InputError, match=r"/nobody"):
        client.wait(
            client.correct(
                wire.CorrectShotRequest(job_id=done.id, object="/nobody", keyframe=keyframe)
            ).id
        )


def test_preview_shows_boxes_masks_and_the_picture(client, plate):
    from io import BytesIO

    from PIL import Image

    asked = wire.PreviewFrameRequest(
        plate=wire.PlateSource(path=str(plate)),
        frame=1003,
        prompts=wire.Prompts(text="person, car"),
        with_image=True,
    )
    head, image, candidates = client.preview(asked)
    assert (head.width, head.height, head.candidates) == (320, 180, len(candidates))
    assert Image.open(BytesIO(image)).size == (320, 180)
    kept = [c for c in candidates if not c.reason]
    assert {c.category for c in kept} == {"person", "car"}
    mask = Image.open(BytesIO(kept[0].mask_png))
    assert mask.size == (head.mask_width, head.mask_height)
    x0, y0, x1, y1 = mask.getbbox()
    box = kept[0].box
    assert max(abs(x0 - box.x0), abs(y0 - box.y0), abs(x1 - box.x1), abs(y1 - box.y1)) <= 1
    with pytest.raises(PlateError, match="9999"):
        client.preview(
            wire.PreviewFrameRequest(plate=asked.plate, prompts=asked.prompts, frame=9999)
        )


def test_clicks_are_answered_undone_and_done_again(client, plate):
    head, _ = client.open_session(
        wire.OpenSessionRequest(plate=wire.PlateSource(path=str(plate)), frame=1001)
    )

    def click(*points):
        return client.prompt_session(
            wire.PromptSessionRequest(
                session_id=head.session_id,
                object="hero",
                points=[wire.PointPrompt(x=x, y=y, negative=not p) for x, y, p in points],
            )
        )

    person = click((30, 60, True))
    other = click((1, 1, True))
    assert person.mask_png != other.mask_png
    assert other.can_undo
    back = client.undo_session(head.session_id, "hero")
    assert (back.mask_png, len(back.points), back.can_redo) == (person.mask_png, 1, True)
    assert client.undo_session(head.session_id, "hero", redo=True).mask_png == other.mask_png
    with pytest.raises(StateError, match="nothing to do again"):
        client.undo_session(head.session_id, "hero", redo=True)
    client.close_session(head.session_id)
    with pytest.raises(NotFoundError, match="session has ended"):
        click((30, 60, True))


def test_folders_and_plates_are_listed(client, plate):
    folder = client.list_folder(str(plate.parent))
    assert [(p.name, p.first_frame, p.frame_count) for p in folder.plates] == [
        ("flat.####.png", 1001, FRAMES)
    ]
    assert list(client.list_folder().folders) == ["/"]


def test_a_server_that_is_not_there_says_so():
    from client.connection import Server
    from client.library import Client

    with (
        Client(Server("127.0.0.1:1", "t")) as client,
        pytest.raises(BusyError, match="No server answers at 127"),
    ):
        client.connection.call(
            client._stub.GetServerInfo, wire.GetServerInfoRequest(), timeout_seconds=3
        )


def test_a_server_without_its_usual_model_says_so_at_once_and_its_jobs_fail(plate, tmp_path):
    server = RunningServer(
        tmp_path / "state",
        models=("groundingdino-swin-t", "fake"),
        environment={"SEGMATTE_MODELS": str(tmp_path / "models")},
    )
    with server:
        done = server.run("submit", plate, "--prompt", "person", "--watch", check=False)
        assert done.returncode == 3
        assert "segmatte models fetch groundingdino-swin-t" in done.stderr
        job = done.stdout.split()[0]
        assert "job failed: fetch again" in server.run("fetch", job, tmp_path / "out").stderr
    log = "".join(server.log)
    assert log.count("the usual model groundingdino-swin-t is not on this machine") == 1
    assert "--detector demo-groundingdino" in log


def test_the_command_line_does_it_all(server, plate, tmp_path):
    out = tmp_path / "out"
    done = server.run("submit", plate, "--prompt", "person", "--out", out)
    job = done.stdout.split()[0]
    assert len(list((out / "objectid").iterdir())) == FRAMES
    assert job in server.run("jobs").stdout
    assert "done" in server.run("watch", job).stdout
    assert "0 of" in server.run("fetch", job, out).stderr
    preview = server.run("preview", plate, "--frame", "1001", "--prompt", "person, car")
    assert "kept" in preview.stdout
    assert server.run("cancel", "nothere", check=False).returncode == 2
    assert "idle" in server.run("admin", "--state", server.state, "workers").stdout


def test_no_token_is_ever_logged(server):
    text = "".join(server.log)
    assert "SubmitShot" in text
    assert server.token not in text
