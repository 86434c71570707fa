"""Plates as model images and outputs beside the mattes, through a real server."""

import threading
from io import BytesIO

import numpy as np
import OpenImageIO
import pytest
from PIL import Image

from client.bridge.remote import RemoteService
from client.errors import InputError, PlateError
from client.shots import picture_source
from objectid import read_frame
from protos import segmatte_pb2 as wire
from tests.flat_plates import CAST, picture, write_flat_plate
from tests.system.serving import RunningServer, fetch, read_json, request
from tests.unit.frames.files import write_image

FRAMES = 6
DISPLAY = (320, 180)
OVERSCAN = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RunningServer(tmp_path_factory.mktemp("server") / "state") as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def anamorphic(tmp_path_factory):
    """A 2:1 anamorphic plate with overscan on all sides."""
    folder = tmp_path_factory.mktemp("anamorphic")
    width, height = DISPLAY
    for index in range(FRAMES):
        pixels = picture(CAST, index, (height + 2 * OVERSCAN, width + 2 * OVERSCAN))
        write_image(
            folder / f"wide.{1001 + index}.exr",
            pixels.astype(np.float32) / 255,
            origin=(-OVERSCAN, -OVERSCAN),
            display=(0, 0, width, height),
            PixelAspectRatio=2.0,
        )
    return folder / "wide.####.exr"


def test_model_images_of_an_anamorphic_plate_give_the_mattes_of_the_plate(
    client, anamorphic, tmp_path
):
    by_path = client.submit(request(anamorphic, options=wire.PlateOptions(colorspace="Raw")))
    source, contents = picture_source(str(anamorphic), tmp_path, colorspace="Raw")
    assert source.upload.kind == wire.UploadedPlate.MODEL_IMAGE
    first = OpenImageIO.ImageBuf(str(next(iter(contents.values())))).spec()
    assert (first.width, first.height) == (2 * DISPLAY[0], DISPLAY[1])
    assert client.upload(contents) > 0
    job = client.wait(client.submit(request(anamorphic, plate=source)).id)
    ours = fetch(client, job.id, tmp_path / "ours")
    theirs = fetch(client, client.wait(by_path.id).id, tmp_path / "theirs")
    frames = [name for name in theirs if name.startswith("objectid/")]
    assert len(frames) == FRAMES
    assert all(ours[name] == theirs[name] for name in frames)
    frame = read_frame(tmp_path / "ours" / frames[0]).frame
    window = frame.display_window
    assert (window.x0, window.y0, window.width, window.height) == (0, 0, *DISPLAY)
    assert frame.pixel_aspect == 2.0
    again, same = picture_source(str(anamorphic), tmp_path, colorspace="Raw")
    assert again == source
    assert client.upload(same) == 0


def test_a_correction_of_model_images_is_in_the_plates_pixels(client, anamorphic, tmp_path):
    source, contents = picture_source(str(anamorphic), tmp_path, colorspace="Raw")
    client.upload(contents)
    done = client.wait(client.submit(request(anamorphic, plate=source)).id)
    corners = [(30, 60), (50, 60), (50, 100), (30, 100)]
    keyframe = wire.Keyframe(
        frame=1002, polygons=[wire.Polygon(points=[wire.Vertex(x=x, y=y) for x, y in corners])]
    )
    name = "/person/person_01"
    asked = wire.CorrectShotRequest(job_id=done.id, object=name, keyframe=keyframe)
    job = client.wait(client.correct(asked).id)
    fetch(client, job.id, tmp_path / "out")
    file = read_frame(tmp_path / "out" / "objectid" / "wide.1002.exr")
    columns = np.flatnonzero((file.frame.counts > 0).any(axis=0))
    assert file.frame.display_window.width == DISPLAY[0]
    assert len(columns)


def test_pictures_of_another_shape_than_the_plate_are_refused(client, anamorphic, tmp_path):
    source, contents = picture_source(str(anamorphic), tmp_path, colorspace="Raw")
    client.upload(contents)
    source.upload.format.pixel_aspect = 1.0
    job = client.submit(request(anamorphic, plate=source))
    with pytest.raises(PlateError, match=r"Expected model images of 320 x 180 .* found 640 x 180"):
        client.wait(job.id)


def test_a_small_picture_cannot_ask_for_mattes_larger_than_the_limit(client, anamorphic, tmp_path):
    source, contents = picture_source(str(anamorphic), tmp_path, colorspace="Raw", frames="1001")
    client.upload(contents)
    for window in (source.upload.format.display_window, source.upload.window):
        window.x1, window.y1 = 1000 * DISPLAY[0], 1000 * DISPLAY[1]
    asked = wire.PreviewFrameRequest(
        plate=source, frame=1001, prompts=wire.Prompts(text="person"), boxes_only=True
    )
    with pytest.raises(InputError, match="57600000000 pixels, this server takes"):
        client.preview(asked)


def test_what_nuke_rendered_comes_back_in_nukes_format(
    server, client, anamorphic, tmp_path, monkeypatch
):
    monkeypatch.setenv("SEGMATTE_TOKEN", server.token)
    _, contents = picture_source(str(anamorphic), tmp_path, colorspace="Raw")
    paths = sorted(contents.values())
    shot = {
        "request_id": "rendered",
        "plate": {
            "name": "comp.####.png",
            "format": [*DISPLAY, 2.0],
            "frames": [{"frame": n, "path": str(path)} for n, path in enumerate(paths)],
        },
        "range": [0, FRAMES - 1],
        "text": "person, car",
        "objects": [],
        "outputs": ["objectid", "cryptomatte"],
    }
    submitted = RemoteService().submit(
        emit=lambda _: None, stopping=threading.Event(), shot=shot, server=server.address
    )
    job = client.wait(submitted["job"]["id"])
    files = fetch(client, job.id, tmp_path / "out")
    assert {f"cryptomatte/comp.{n:04d}.exr" for n in range(FRAMES)} <= set(files)
    frame = read_frame(tmp_path / "out" / "objectid" / "comp.0003.exr").frame
    window = frame.display_window
    assert (window.width, window.height, frame.pixel_aspect) == (*DISPLAY, 2.0)
    assert len(frame.present) >= 3


def test_the_command_line_sends_model_images_or_files(server, tmp_path):
    plate = write_flat_plate(tmp_path / "plate", frames=2, size=(150, 280))

    def submitted(*more):
        done = server.run("submit", plate, *more, "--prompt", "person, car")
        return done.stdout.split()[0], done.stderr

    pictures, told = submitted("--upload")
    assert "upload" in told
    assert submitted("--upload")[1] == ""  # nothing was sent
    files, _ = submitted("--upload-files")
    with server.client() as client:
        client.wait(pictures)
        client.wait(files)
        ours = fetch(client, pictures, tmp_path / "a")
        theirs = fetch(client, files, tmp_path / "b")
    for frame in ("objectid/flat.1001.exr", "objectid/flat.1002.exr"):
        assert ours[frame] == theirs[frame]
    told = read_json(tmp_path / "a" / "report.json")["plate"]
    assert (told["name"], told["from_model_images"]) == ("flat.####.png", True)


def test_a_preview_shows_the_plates_own_pixels_when_asked(client, tmp_path):
    plate = write_flat_plate(tmp_path / "large", frames=1, size=(40, 2400))
    point = wire.Keyframe(frame=1001, points=[wire.PointPrompt(x=5, y=5)])

    def seen(size):
        asked = wire.PreviewFrameRequest(
            plate=wire.PlateSource(path=str(plate)),
            frame=1001,
            prompts=wire.Prompts(objects=[wire.PromptedObject(name="/a", keyframes=[point])]),
            boxes_only=True,
            with_image=True,
            image_size=size,
        )
        head, image, _ = client.preview(asked)
        assert Image.open(BytesIO(image)).size == (head.width, head.height)
        return head.width, head.height, head.mask_width

    assert seen(0) == (2048, 34, 1024)
    assert seen(100_000) == (2400, 40, 1024)
    assert seen(240) == (240, 4, 1024)


def test_the_report_and_the_file_rules_know_the_artists_path(client, tmp_path):
    plate = write_flat_plate(tmp_path / "log_scans", frames=2)
    config = tmp_path / "config.ocio"
    config.write_text(CONFIG)
    options = wire.PlateOptions(ocio_config=str(config))
    job = client.wait(client.submit(request(plate, options=options)).id)
    fetch(client, job.id, tmp_path / "out")
    told = read_json(tmp_path / "out" / "report.json")["plate"]
    assert told["path"] == str(plate)
    assert told["colour"]["space_from"] == "file rule Scans"


def test_cryptomatte_and_masks_are_made_when_asked_for(server, client, tmp_path):
    plate = write_flat_plate(tmp_path / "plate", frames=3)
    out = tmp_path / "out"
    server.run(
        *("submit", plate, "--prompt", "person, car"),
        *("--outputs", "cryptomatte, masks", "--out", out),
    )
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.exr"))
    assert [n for n in names if n.startswith("cryptomatte/")] == [
        f"cryptomatte/flat.{frame}.exr" for frame in (1001, 1002, 1003)
    ]
    assert "masks/person_01/person_01.flat.1002.exr" in names
    job = client.jobs(limit=1)[0]
    listed = client.results(job.id, first=1002, last=1002).files
    assert {f.name.split("/")[0] for f in listed if f.frame == 1002} == {
        "objectid",
        "cryptomatte",
        "masks",
    }
    mask = OpenImageIO.ImageBuf(str(out / "masks/person_01/person_01.flat.1002.exr"))
    pixels = mask.get_pixels(OpenImageIO.FLOAT)
    file = read_frame(out / "objectid" / "flat.1002.exr")
    from objectid.mattes import pick

    matte = pick(file.frame, {file.manifest.ids["/person/person_01"]})
    assert np.abs(pixels[..., -1] - matte).max() < 1e-3


def test_a_worker_killed_while_it_makes_outputs_changes_no_byte(client, tmp_path):
    plate = write_flat_plate(tmp_path / "plate", frames=3)
    wanted = [wire.OUTPUT_CRYPTOMATTE, wire.OUTPUT_MASKS]
    undisturbed = client.wait(client.submit(request(plate, outputs=wanted)).id)
    accident = {"ACCIDENT": "kill:outputs:2"}
    with (
        RunningServer(tmp_path / "state", environment=accident) as other,
        other.client() as killed,
    ):
        job = killed.wait(killed.submit(request(plate, outputs=wanted)).id)
        assert job.attempt == 2
        ours = fetch(killed, job.id, tmp_path / "a")
    assert ours == fetch(client, undisturbed.id, tmp_path / "b")


CONFIG = """\
ocio_profile_version: 2
roles: {default: lin, scene_linear: lin}
file_rules:
  - !<Rule> {name: Scans, colorspace: log, regex: ".*/log_scans/.*"}
  - !<Rule> {name: Default, colorspace: lin}
displays:
  sRGB:
    - !<View> {name: Show, colorspace: display}
colorspaces:
  - !<ColorSpace> {name: lin}
  - !<ColorSpace> {name: log}
  - !<ColorSpace> {name: display, isdata: false}
"""
