"""The main job by its command line, on flat plates with the fake models: what a user gets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import objectid
import server.pipeline
from client.__main__ import main
from tests.flat_plates import CAST, SIZE, Actor, visible, write_flat_plate

FAKES = ["--detector", "fake", "--segmenter", "fake", "--colorspace", "sRGB - Display"]


def segmatte(*arguments, code=0):
    assert main([str(a) for a in arguments]) == code


def run_shot(plate, out, *extra, prompt="person, car", code=0):
    segmatte("run", plate, "--prompt", prompt, *FAKES, "--out", out, *extra, code=code)


@pytest.fixture(scope="module")
def shot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shot")
    plate = write_flat_plate(folder / "plate", frames=32)
    run_shot(plate, folder / "out")
    return plate, folder / "out"


def frame_bytes(out):
    return {path.name: path.read_bytes() for path in sorted((out / "objectid").iterdir())}


def mattes(out, frame):
    """Name → (H, W) matte of one delivered frame."""
    file = objectid.read_frame(out / "objectid" / f"flat.{frame}.exr")
    return {name: objectid.pick(file.frame, [number]) for name, number in file.manifest.ids.items()}


def iou(matte, mask):
    inside = matte > 0.5
    return (inside & mask).sum() / max(1, (inside | mask).sum())


def test_every_object_is_named_and_matted_on_every_frame(shot):
    _, out = shot
    names = {
        0: "/person/person_01",
        1: "/person/person_02",
        2: "/person/person_03",
        3: "/car/car_01",
    }
    for index in (0, 7, 16, 25, 31):
        found = mattes(out, 1001 + index)
        assert set(found) == set(names.values())
        for which, name in names.items():
            truth = visible(CAST, which, index)
            if truth.sum() > 200:
                assert iou(found[name], truth) > 0.93, (name, index)
            assert (found[name][~truth] > 0.6).sum() < 0.05 * max(400, truth.sum())


def test_frames_keep_the_plates_numbers_and_shape(shot):
    _, out = shot
    assert list(frame_bytes(out)) == [f"flat.{1001 + i}.exr" for i in range(32)]
    file = objectid.read_frame(out / "objectid" / "flat.1001.exr")
    assert file.frame.display_window == (0, 0, SIZE[1], SIZE[0])
    assert file.attributes["segmatte/models"] == "fake, fake"


def test_the_report_follows_its_schema_and_counts_calls(shot):
    _, out = shot
    report = json.loads((out / "report.json").read_text())
    schema = Path(server.pipeline.__file__).with_name("report.schema.json")
    jsonschema.validate(report, json.loads(schema.read_text()))
    assert report["frames"] == 32
    # Key frames 0, 5 … 30 and 31, in batches of four; every frame encoded once, features kept.
    assert report["calls"]["detector"] == 2
    assert report["calls"]["image_encoder"] == 32
    assert {"detect", "segment", "track forward", "track backward", "deliver", "pictures"} <= set(
        report["seconds"]
    )
    assert {layer["name"] for layer in report["layers"]} == set(mattes(out, 1001))


def test_the_sidecar_lists_objects_with_their_frames(shot):
    _, out = shot
    sidecar = objectid.read_sidecar(out / "flat.manifest.json")
    by_name = {record.name: record for record in sidecar.objects}
    assert by_name["/person/person_01"].frames == ((1001, 1032),)
    assert by_name["/person/person_03"].frames[0][0] > 1010
    assert by_name["/car/car_01"].category == "car"


def test_the_pictures_are_there(shot):
    _, out = shot
    assert (out / "contact_sheet.png").stat().st_size > 5000
    assert (out / "overlay.webm").read_bytes()[:4] == b"\x1aE\xdf\xa3"


def test_a_matte_is_picked_by_name(shot, tmp_path):
    _, out = shot
    segmatte("pick", out, "car*", "-o", tmp_path / "car.####.exr")
    assert len(list(tmp_path.glob("car.*.exr"))) == 32


def test_a_second_run_into_the_same_folder_is_refused(shot, capsys):
    plate, out = shot
    before = frame_bytes(out)
    run_shot(plate, out, code=2)
    assert "already holds a result" in capsys.readouterr().err
    assert frame_bytes(out) == before


def test_resuming_a_finished_run_changes_nothing(shot):
    plate, out = shot
    before = frame_bytes(out)
    run_shot(plate, out, "--resume")
    assert frame_bytes(out) == before


def test_resuming_with_other_settings_names_the_difference(shot, capsys):
    plate, out = shot
    run_shot(plate, out, "--resume", "--interval", "10", code=2)
    assert "interval" in capsys.readouterr().err


def test_stages_one_by_one_give_the_same_bytes(shot, tmp_path):
    plate, out = shot
    target = tmp_path / "staged"
    asked = ["--prompt", "person, car", *FAKES, "--out", target]
    segmatte("stage", "detect", plate, *asked, "--chunk", "1001-1012")
    segmatte("stage", "detect", plate, *asked, "--chunk", "1010-1032")
    segmatte("stage", "segment", "--out", target, "--chunk", "1020-1032")
    segmatte("stage", "segment", "--out", target)
    segmatte("stage", "track", "--out", target)
    segmatte("stage", "deliver", "--out", target, "--chunk", "1001-1016")
    segmatte("stage", "deliver", "--out", target, "--chunk", "1017-1032")
    assert not (target / "report.json").exists()
    segmatte("stage", "deliver", "--out", target)
    assert frame_bytes(target) == frame_bytes(out)
    assert (target / "flat.manifest.json").read_bytes() == (out / "flat.manifest.json").read_bytes()


def test_a_stage_without_its_predecessor_says_so(tmp_path, capsys):
    segmatte("stage", "track", "--out", tmp_path / "nothing", code=5)
    assert "Expected" in capsys.readouterr().err


def start(plate, out, *extra):
    command = [
        sys.executable,
        "-m",
        "client",
        "run",
        str(plate),
        "--prompt",
        "person, car",
        *FAKES,
        "--out",
        str(out),
        *extra,
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(path, count, process):
    deadline = time.monotonic() + 60
    while len(list(path.glob("*"))) < count:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(("folder", "files"), [("detect", 3), ("forward", 14), ("backward", 9)])
def test_a_killed_run_resumes_to_the_same_bytes(shot, tmp_path, folder, files):
    plate, whole = shot
    out = tmp_path / "killed"
    process = start(plate, out)
    wait_for(out / "work" / folder, files, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / "report.json").exists()
    run_shot(plate, out, "--resume")
    assert frame_bytes(out) == frame_bytes(whole)
    assert (out / "flat.manifest.json").read_bytes() == (whole / "flat.manifest.json").read_bytes()


def test_ctrl_c_keeps_what_is_finished_and_says_so(shot, tmp_path):
    plate, whole = shot
    out = tmp_path / "stopped"
    process = start(plate, out)
    wait_for(out / "work" / "forward", 6, process)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "Traceback" not in text
    assert "resume to go on" in text
    run_shot(plate, out, "--resume")
    assert frame_bytes(out) == frame_bytes(whole)


def test_a_prompt_that_finds_nothing_is_a_valid_empty_result(tmp_path, capsys):
    plate = write_flat_plate(tmp_path / "plate", frames=7, actors=())
    run_shot(plate, tmp_path / "out", code=6)
    assert "Try another prompt" in capsys.readouterr().out
    file = objectid.read_frame(tmp_path / "out" / "objectid" / "flat.1004.exr")
    assert file.manifest.ids == {}
    assert file.frame.present == ()


def test_a_one_frame_shot_has_its_mattes(tmp_path):
    plate = write_flat_plate(tmp_path / "plate", frames=1)
    run_shot(plate, tmp_path / "out")
    assert iou(mattes(tmp_path / "out", 1001)["/person/person_01"], visible(CAST, 0, 0)) > 0.9
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert all(layer["untracked"] == [1001] for layer in report["layers"])


# Errors: one sentence with what was expected, found and to do


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda d: d / "none.####.png", 2, "no such file"),
        (lambda d: (d / "empty").mkdir(parents=True) or d / "empty", 2, "folder"),
    ],
    ids=["no such file", "empty folder"],
)
def test_a_plate_that_is_not_there(tmp_path, capsys, make, code, words):
    run_shot(make(tmp_path), tmp_path / "out", code=code)
    error = capsys.readouterr().err
    assert error.startswith("segmatte run: ")
    assert words.lower() in error.lower()
    assert not (tmp_path / "out").exists()


def test_a_missing_frame_is_named(tmp_path, capsys):
    plate = write_flat_plate(tmp_path / "plate", frames=9)
    (tmp_path / "plate" / "flat.1005.png").unlink()
    run_shot(plate, tmp_path / "out", code=2)
    assert "1005" in capsys.readouterr().err


def test_a_truncated_frame_stops_the_run_and_keeps_the_rest(tmp_path, capsys):
    plate = write_flat_plate(tmp_path / "plate", frames=12)
    damaged = tmp_path / "plate" / "flat.1008.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    run_shot(plate, tmp_path / "out", code=2)
    assert "1008" in capsys.readouterr().err
    assert not (tmp_path / "out" / "objectid").exists()
    damaged.write_bytes(whole)
    run_shot(plate, tmp_path / "out", "--resume")
    assert len(frame_bytes(tmp_path / "out")) == 12


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--range", "2001-2010"], "2001-2010"),
        (["--step", "0"], "at least 1"),
        (["--threshold", "1.5"], "between 0 and 1"),
        (["--edge-width", "-1"], "0..64"),
        (["--detector", "nope"], "nope"),
        (["--device", "cuda:9"], "cuda:9"),
        (["--resume"], "no started run"),
    ],
)
def test_what_cannot_be_done_is_said(shot, tmp_path, capsys, extra, words):
    plate, _ = shot
    if "--device" in extra:
        extra = [*extra, "--segmenter", "demo-sam2"]
    run_shot(plate, tmp_path / "out", *extra, code=2)
    assert words in capsys.readouterr().err


def test_a_model_that_is_not_fetched_names_the_command(shot, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SEGMATTE_MODELS", str(tmp_path / "models"))
    plate, _ = shot
    segmatte("run", plate, "--prompt", "person", "--out", tmp_path / "out", code=3)
    assert "segmatte models fetch groundingdino-swin-t" in capsys.readouterr().err


def test_an_unknown_key_in_a_prompt_file_is_named(shot, tmp_path, capsys):
    plate, _ = shot
    file = tmp_path / "prompts.json"
    file.write_text('{"version": 1, "objects": [{"name": "/hero", "keyframes": [], "colour": 3}]}')
    segmatte("run", plate, "--prompts", file, *FAKES, "--out", tmp_path / "out", code=2)
    error = capsys.readouterr().err
    assert "objects[0]" in error
    assert "'colour'" in error


def test_a_full_disk_is_said_and_nothing_half_written_stays(shot, tmp_path, monkeypatch, capsys):
    plate, _ = shot
    out = tmp_path / "out"
    real = os.fsync
    written = []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 12:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    run_shot(plate, out, code=4)
    assert "No space left on device" in capsys.readouterr().err
    assert not list(out.rglob("*.part"))
    monkeypatch.setattr(os, "fsync", real)
    run_shot(plate, out, "--resume")


# Artists' prompts, corrections, names


def prompts_file(path, objects):
    path.write_text(json.dumps({"version": 1, "objects": objects}))
    return path


def box_polygon(x0, y0, x1, y1, **more):
    return {"polygons": [{"points": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], **more}]}


def test_an_artists_keyframe_is_delivered_as_drawn(tmp_path):
    plate = write_flat_plate(tmp_path / "plate", frames=16)
    file = prompts_file(
        tmp_path / "p.json",
        [
            {
                "name": "/hero/coat",
                "keyframes": [{"frame": 1008, **box_polygon(36.5, 42, 70, 138, opacity=0.8)}],
            }
        ],
    )
    segmatte("run", plate, "--prompts", file, *FAKES, "--out", tmp_path / "out")
    matte = mattes(tmp_path / "out", 1008)["/hero/coat"]
    assert matte[90, 50] == pytest.approx(0.8, abs=2e-3)
    assert matte[90, 36] == pytest.approx(0.4, abs=2e-3)  # half a pixel covered
    assert matte[90, 30] == 0
    assert (mattes(tmp_path / "out", 1002)["/hero/coat"] > 0.5).sum() > 1000


def test_a_correction_changes_only_its_range(tmp_path):
    plate = write_flat_plate(tmp_path / "plate", frames=60)
    out = tmp_path / "out"
    run_shot(plate, out)
    before, sheet = frame_bytes(out), (out / "report.json").read_text()
    file = prompts_file(
        tmp_path / "fix.json",
        [
            {
                "name": "/person/person_01",
                "keyframes": [{"frame": 1030, **box_polygon(78, 40, 118, 100)}],
            }
        ],
    )
    segmatte("correct", out, "--prompts", file)
    after = frame_bytes(out)
    changed = [name for name in before if before[name] != after[name]]
    assert "flat.1030.exr" in changed
    assert all(1010 <= int(name.split(".")[1]) <= 1050 for name in changed)
    matte = mattes(out, 1030)["/person/person_01"]
    assert matte[60, 100] == 1
    assert matte[120, 100] == 0
    assert json.loads(sheet)["layers"] != json.loads((out / "report.json").read_text())["layers"]


def test_correcting_an_object_that_is_not_there_lists_those_that_are(shot, tmp_path, capsys):
    _, out = shot
    file = prompts_file(
        tmp_path / "fix.json",
        [{"name": "/person/person_99", "keyframes": [{"frame": 1010, **box_polygon(1, 1, 9, 9)}]}],
    )
    segmatte("correct", out, "--prompts", file, code=2)
    assert "/person/person_01" in capsys.readouterr().err


def test_a_rerun_with_a_reference_keeps_names_and_ids(shot, tmp_path):
    _, out = shot
    # One more person stands at the far left from the start, so plain numbering would shift.
    early = Actor("person", 3, 2, 20, 14, 60)
    plate = write_flat_plate(tmp_path / "plate", frames=32, actors=(early, *CAST))
    run_shot(plate, tmp_path / "plain")
    run_shot(plate, tmp_path / "kept", "--reference", out)
    old = objectid.read_sidecar(out / "flat.manifest.json")
    new = objectid.read_sidecar(tmp_path / "kept" / "flat.manifest.json")
    assert {name: new.ids[name] for name in old.ids} == old.ids
    assert set(new.ids) - set(old.ids) == {"/person/person_04"}
    for index in (3, 30):
        found = mattes(tmp_path / "kept", 1001 + index)
        assert iou(found["/person/person_01"], visible(CAST, 0, index)) > 0.9
    shifted = mattes(tmp_path / "plain", 1004)
    assert iou(shifted["/person/person_01"], visible(CAST, 0, 3)) < 0.5
    fates = {row["name"]: row["fate"] for row in new.extra["inheritance"]}
    assert fates["/person/person_01"] == "inherited"
    assert fates["/person/person_04"] == "new"


def test_a_rerun_with_another_prompt_and_range_tells_what_was_lost(shot, tmp_path):
    plate, out = shot
    run_shot(plate, tmp_path / "cars", "--reference", out, "--range", "1005-1020", prompt="car")
    new = objectid.read_sidecar(tmp_path / "cars" / "flat.manifest.json")
    old = objectid.read_sidecar(out / "flat.manifest.json")
    assert new.ids == {"/car/car_01": old.ids["/car/car_01"]}
    fates = {row["name"]: row["fate"] for row in new.extra["inheritance"]}
    assert fates == {
        "/car/car_01": "inherited",
        "/person/person_01": "lost",
        "/person/person_02": "lost",
        "/person/person_03": "lost",
    }


def test_a_second_runs_result_is_combined_without_rendering_again(shot, tmp_path):
    plate, out = shot
    file = prompts_file(
        tmp_path / "p.json",
        [{"name": "/sky", "keyframes": [{"frame": 1001, **box_polygon(0, 0, 320, 20)}]}],
    )
    segmatte("run", plate, "--prompts", file, *FAKES, "--out", tmp_path / "sky")
    segmatte("objects", "combine", out, tmp_path / "sky", "-o", tmp_path / "both")
    before, sky = mattes(out, 1001), mattes(tmp_path / "sky", 1001)["/sky"]
    both = mattes(tmp_path / "both", 1001)
    assert set(both) == {*before, "/sky"}
    assert np.abs(both["/sky"] - sky).max() < 2e-3
    assert np.abs(both["/person/person_01"] - before["/person/person_01"]).max() < 2e-3


def test_a_second_category_changes_no_person(shot, tmp_path):
    plate, out = shot
    run_shot(plate, tmp_path / "people", prompt="person")
    for index in (0, 12, 31):
        alone = mattes(tmp_path / "people", 1001 + index)
        both = mattes(out, 1001 + index)
        for which in range(3):
            name = f"/person/person_{which + 1:02d}"
            assert np.array_equal(
                alone[name] > 0.5, (both[name] + both["/car/car_01"] > 0.5) & (alone[name] > 0.5)
            )


def test_the_first_line_comes_before_anything_heavy_is_imported(tmp_path):
    code = (
        "import sys, client.__main__ as program\n"
        "import server.commands.run\n"
        "heavy = {'torch', 'numpy', 'cv2', 'OpenImageIO', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
