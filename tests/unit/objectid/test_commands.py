from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import OpenEXR
import pytest

import objectid
from objectid.__main__ import main
from tests.unit.objectid.drawn import NAMES, write_shot


def alpha(path) -> np.ndarray:
    return OpenEXR.File(str(path), separate_channels=True).channels()["A"].pixels


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def test_pick_writes_a_matte_per_frame(tmp_path, capsys):
    ids = write_shot(tmp_path / "shot")

    code = run("pick", tmp_path / "shot", "person, -person_02", "-o", tmp_path / "m" / "m.####.exr")

    assert code == 0
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        f"m.{frame}.exr" for frame in range(1001, 1005)
    ]
    file = objectid.read_frame(tmp_path / "shot" / "objectid" / "shot.1003.exr")
    expected = objectid.pick(file.frame, [ids["/person/person_01"]])
    assert (alpha(tmp_path / "m" / "m.1003.exr") == expected.astype(np.float16)).all()
    header = OpenEXR.File(str(tmp_path / "m" / "m.1003.exr")).header()
    assert header["objectid/filter"] == "person, -person_02"
    assert header["segmatte/models"] == "drawn"
    assert "4 mattes" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--invert", "--others"])
def test_pick_inverse_and_others(tmp_path, option):
    ids = write_shot(tmp_path / "shot", frames=range(1001, 1002))
    source = tmp_path / "shot" / "objectid" / "shot.1001.exr"

    assert run("pick", source, "person", "-o", tmp_path / "m.exr", option, "--rgba") == 0

    frame = objectid.read_frame(source).frame
    wanted = [ids["/person/person_01"], ids["/person/person_02"]]
    expected = (
        1 - objectid.pick(frame, wanted)
        if option == "--invert"
        else objectid.pick_others(frame, wanted)
    )
    assert (alpha(tmp_path / "m.exr") == expected.astype(np.float16)).all()


def test_pick_takes_a_range_and_processes(tmp_path):
    write_shot(tmp_path / "shot")

    code = run(
        "pick", tmp_path / "shot", "*", "-o", tmp_path / "m.####.exr",
        "--range", "1002-1004x2", "--processes", 2,
    )  # fmt: skip

    assert code == 0
    assert sorted(p.name for p in tmp_path.glob("m.*")) == ["m.1002.exr", "m.1004.exr"]


def test_pick_warns_of_a_term_that_finds_nothing_and_refuses_an_empty_pick(tmp_path, capsys):
    write_shot(tmp_path / "shot")

    assert run("pick", tmp_path / "shot", "person, dgo", "-o", tmp_path / "m.####.exr") == 0
    assert "no object for 'dgo'" in capsys.readouterr().err
    assert run("pick", tmp_path / "shot", "dgo", "-o", tmp_path / "n.####.exr") == 2
    assert "picks nothing from 3 objects" in capsys.readouterr().err
    assert run("pick", tmp_path / "shot", 'a "', "-o", tmp_path / "n.####.exr") == 2
    assert "character 3" in capsys.readouterr().err
    assert not list(tmp_path.glob("n.*"))


def test_where_a_file_has_no_names_the_sidecar_counts_and_ids_always_do(tmp_path, capsys):
    ids = write_shot(tmp_path / "shot", frames=range(1001, 1002))
    source = tmp_path / "shot" / "objectid" / "shot.1001.exr"
    part = OpenEXR.File(str(source), separate_channels=True).parts[0]
    kept = ("type", "compression", "dataWindow", "displayWindow")
    channels = {name: channel.pixels for name, channel in part.channels.items()}
    expected = objectid.pick(objectid.read_frame(source).frame, [ids["/car/car_01"]])
    OpenEXR.File({key: part.header[key] for key in kept}, channels).write(str(source))

    assert run("pick", tmp_path / "shot", "car", "-o", tmp_path / "m.exr") == 0
    assert (alpha(tmp_path / "m.exr") == expected.astype(np.float16)).all()
    assert run("inspect", tmp_path / "shot") == 0
    assert "/car/car_01" in capsys.readouterr().out
    (tmp_path / "shot" / "shot.manifest.json").unlink()
    assert run("pick", tmp_path / "shot", "car", "-o", tmp_path / "n.exr") == 2
    raw = f"<{ids['/car/car_01']}>"
    assert run("pick", tmp_path / "shot", raw, "-o", tmp_path / "n.exr") == 0
    assert (alpha(tmp_path / "n.exr") == expected.astype(np.float16)).all()
    assert run("inspect", tmp_path / "shot") == 0
    assert "(no name)" in capsys.readouterr().out


def test_pick_never_replaces_its_source(tmp_path, capsys):
    write_shot(tmp_path / "shot")
    pattern = tmp_path / "shot" / "objectid" / "shot.####.exr"
    before = pattern.with_name("shot.1001.exr").read_bytes()

    assert run("pick", tmp_path / "shot", "*", "-o", pattern) == 2
    assert run("convert", tmp_path / "shot", "--to", "layers", "-o", pattern) == 2

    assert pattern.with_name("shot.1001.exr").read_bytes() == before


def test_inspect_lists_names_ids_frames_and_coverage(tmp_path, capsys):
    ids = write_shot(tmp_path)

    assert run("inspect", tmp_path) == 0

    out = capsys.readouterr().out
    assert "4 frames, 1001-1004, 96 x 54" in out
    assert "segmatte/models: drawn" in out
    for name in NAMES:
        assert any(
            line.startswith(name) and str(ids[name]) in line and "0.50" in line
            for line in out.splitlines()
        )


def test_inspect_json_is_for_programs(tmp_path, capsys):
    ids = write_shot(tmp_path)

    assert run("inspect", tmp_path, "--json") == 0

    content = json.loads(capsys.readouterr().out)
    assert {entry["name"]: entry["id"] for entry in content["objects"]} == ids
    assert content["frames"] == [[1001, 1004]]
    file = objectid.read_frame(tmp_path / "objectid" / "shot.1001.exr")
    assert content["display_window"] == list(file.frame.display_window)
    for entry in content["objects"]:
        areas = [
            objectid.pick(objectid.read_frame(path).frame, [entry["id"]]).sum()
            for path in objectid.find_result(tmp_path).frames.values()
        ]
        assert entry["mean_coverage_pixels"] == pytest.approx(np.mean(areas), rel=1e-2)

    assert run("inspect", tmp_path, "--json", "--quick") == 0
    quick = json.loads(capsys.readouterr().out)
    assert [e["frames"] for e in quick["objects"]] == [e["frames"] for e in content["objects"]]


def test_inspect_report_reads_whatever_report_there_is(tmp_path, capsys):
    report = {
        "schema": 1,
        "seconds": {"track": {"wall": 1.25, "cpu": 2.5}},
        "rejected": [{"frame": 1}],
        "new": "x",
    }
    (tmp_path / "report.json").write_text(json.dumps(report))

    assert run("inspect", tmp_path, "--report") == 0

    out = capsys.readouterr().out
    assert "track: wall 1.25, cpu 2.5" in out
    assert "rejected: 1 entries" in out
    (tmp_path / "report.json").write_text("{")
    assert run("inspect", tmp_path, "--report") == 2
    assert run("inspect", tmp_path / "none", "--report") == 4


def test_inspect_of_a_damaged_file_says_path_and_reason(tmp_path, capsys):
    write_shot(tmp_path)
    broken = tmp_path / "objectid" / "shot.1002.exr"
    broken.write_bytes(broken.read_bytes()[:-5])

    assert run("inspect", tmp_path) == 5

    assert str(broken) in capsys.readouterr().err


def test_objects_are_renamed_merged_moved_deleted_and_brought_back(tmp_path, capsys):
    write_shot(tmp_path)

    def names():
        return set(objectid.read_manifest(tmp_path / "objectid" / "shot.1001.exr").ids)

    assert run("objects", "rename", tmp_path, NAMES[0], "/hero", "--dry-run") == 0
    assert names() == set(NAMES)
    assert run("objects", "rename", tmp_path, NAMES[0], "/hero") == 0
    assert "/person/person_01 -> /hero" in capsys.readouterr().out
    assert names() == {"/hero", "/person/person_02", "/car/car_01"}
    assert run("objects", "move", tmp_path, "hero, car_01", "/set") == 0
    assert names() == {"/set/hero", "/person/person_02", "/set/car_01"}
    assert run("objects", "merge", tmp_path, "set", "--into", "/thing") == 0
    assert names() == {"/thing", "/person/person_02"}
    assert run("objects", "delete", tmp_path, "thing") == 0
    assert names() == {"/person/person_02"}
    assert run("objects", "undo", tmp_path) == 0
    assert names() == {"/thing", "/person/person_02"}
    assert run("objects", "delete", tmp_path, "nobody") == 2


def test_objects_combine(tmp_path, capsys):
    write_shot(tmp_path / "a")
    write_shot(tmp_path / "b", ("/dog/dog_01",), seed=3)

    code = run("objects", "combine", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "c")

    assert code == 0
    assert set(objectid.read_sidecar(tmp_path / "c" / "shot.manifest.json").ids) == {
        *NAMES,
        "/dog/dog_01",
    }


@pytest.mark.parametrize("manifest", ["embedded", "sidecar"])
def test_convert_to_cryptomatte(tmp_path, manifest):
    write_shot(tmp_path / "shot")

    code = run(
        "convert", tmp_path / "shot", "--to", "cryptomatte", "-o", tmp_path / "c.####.exr",
        "--manifest", manifest, "--range", "1001-1002",
    )  # fmt: skip

    assert code == 0
    header = OpenEXR.File(str(tmp_path / "c.1002.exr")).header()
    texts = {key.rpartition("/")[2]: v for key, v in header.items() if key.startswith("cryptom")}
    if manifest == "sidecar":
        assert texts["manif_file"] == "c.CryptoObject.json"
        text = (tmp_path / "c.CryptoObject.json").read_text()
    else:
        text = texts["manifest"]
    assert set(json.loads(text)) == set(NAMES)


def test_convert_to_layers_and_to_objects(tmp_path):
    write_shot(tmp_path / "shot", frames=range(1001, 1003))
    out = tmp_path / "o.####.exr"

    assert run("convert", tmp_path / "shot", "--to", "layers", "-o", out, "--filter", "car") == 0
    assert run("convert", tmp_path / "shot", "--to", "objects", "-o", out) == 0

    found = OpenEXR.File(str(tmp_path / "o.1001.exr"), separate_channels=True).channels()
    assert set(found) == {"car_01.A"}
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("*_0?/*.exr")) == [
        f"{name}/{name}.o.{frame}.exr"
        for name in ("car_01", "person_01", "person_02")
        for frame in (1001, 1002)
    ]
    assert run("convert", tmp_path / "shot", "--to", "layers", "-o", out, "--filter", "x") == 2


def test_the_package_runs_as_a_program(tmp_path):
    write_shot(tmp_path, frames=range(1001, 1002))

    done = subprocess.run(
        [sys.executable, "-m", "objectid", "inspect", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "/car/car_01" in done.stdout
