"""What a look at a folder finds, and what the journal keeps, without any server."""

import os
import threading
from pathlib import Path

import pytest

from client.errors import CancelledError, InputError, ResultError
from client.ingest import Asked, Journal, find_plates


def write(folder, *numbers, name="sh010.{:04d}.exr", text="pixels"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / name.format(number)).write_text(text)
    return folder


def seen(root, **options):
    return {Path(p.path).relative_to(root).as_posix(): p for p in find_plates(root, **options)}


@pytest.mark.parametrize(
    ("name", "numbers", "pattern"),
    [
        ("sh010_v02.{:04d}.exr", [1001, 1002], "sh010_v02.####.exr"),
        ("sh010_{:06d}.dpx", [1, 2, 3], "sh010_######.dpx"),
        ("sh010.{}.png", [8, 9, 10, 11], "sh010.#.png"),
        ("{:04d}.tif", [998, 999, 1000], "####.tif"),
        ("a-{:04d}.EXR", [1, 2], "a-####.EXR"),
        ("a.{:04d}.jpg", [-1, 0, 1], "a.###.jpg"),
    ],
)
def test_sequences_are_found_by_their_pattern(tmp_path, name, numbers, pattern):
    write(tmp_path, *numbers, name=name)
    (plate,) = find_plates(tmp_path)
    assert Path(plate.path).name == pattern
    assert [p.frame for p in plate.pictures] == numbers
    assert plate.lacks == ""


def test_what_is_no_complete_plate_says_what_it_lacks(tmp_path):
    write(tmp_path / "gap", 1001, 1002, 1007, 1009)
    write(tmp_path / "one_gap", 1001, 1003)
    write(tmp_path / "single", 1001)
    write(tmp_path / "twice", 1, 2)
    write(tmp_path / "twice", 2, name="sh010.{}.exr")
    write(tmp_path / "empty", 1001, 1002)
    (tmp_path / "empty" / "sh010.1002.exr").write_text("")
    lacks = {Path(p.path).parent.name: p.lacks for p in find_plates(tmp_path)}
    assert lacks == {
        "gap": "frames 1003-1006 are missing",
        "one_gap": "frame 1002 is missing",
        "single": "a single picture, not a sequence",
        "twice": "two files of frame 2",
        "empty": "frame 1002 is empty",
    }


def test_hidden_files_links_and_results_are_passed_by(tmp_path):
    write(tmp_path / "plates", 1, 2)
    write(tmp_path / "plates", 3, name=".sh010.{:04d}.exr.x7")
    write(tmp_path / ".copying", 1, 2)
    write(tmp_path / "result" / "objectid", 1, 2)
    (tmp_path / "result" / "sh010.manifest.json").write_text("{}")
    (tmp_path / "latest").symlink_to(tmp_path / "plates")
    assert list(seen(tmp_path)) == ["plates/sh010.####.exr"]


def test_a_wildcard_and_a_sentinel_narrow_the_choice(tmp_path):
    write(tmp_path / "a" / "plates", 1, 2)
    write(tmp_path / "a" / "refs", 1, 2)
    options = {"match": "*/plates/*", "sentinel": "{name}.ready"}
    assert [p.lacks for p in seen(tmp_path, **options).values()] == ["waits for sh010.ready"]
    (tmp_path / "a" / "plates" / "sh010.ready").touch()
    assert [p.lacks for p in seen(tmp_path, **options).values()] == [""]


def test_a_hook_looks_only_where_its_wildcard_begins(tmp_path):
    write(tmp_path / "a" / "plates" / "v1", 1, 2)
    write(tmp_path / "a" / "plates" / "v2", 1, 2)
    assert list(seen(tmp_path, match="a/plates/v2/*")) == ["a/plates/v2/sh010.####.exr"]
    assert len(seen(tmp_path, match="a/plates/*")) == 2
    assert list(seen(tmp_path, match="gone/*")) == []


def test_any_changed_file_is_another_version(tmp_path):
    write(tmp_path, 1, 2)
    (before,) = find_plates(tmp_path)
    os.utime(tmp_path / "sh010.0002.exr", ns=(5, 5))
    (after,) = find_plates(tmp_path)
    assert before.fingerprint != after.fingerprint
    assert before.path == after.path


def test_a_folder_that_is_away_is_no_empty_folder(tmp_path):
    with pytest.raises(InputError, match="Mount it"):
        list(find_plates(tmp_path / "share"))


def test_the_template_says_its_fields_when_it_cannot_be_filled_in(tmp_path):
    for out in ("/mattes/{shot}", "/mattes/{", "/mattes/{name:q}", "/mattes/{}"):
        with pytest.raises(InputError, match=r"\{relative\} \{folder\}|\{relative\}, \{folder\}"):
            Asked(tmp_path, out=out)
    write(tmp_path / "sh" / "010", 1, 2)
    (plate,) = find_plates(tmp_path)
    asked = Asked(tmp_path, out="/mattes/{relative}/{name}_{suffix}/v{version:03}")
    assert asked.folder_of(plate, number=2) == Path("/mattes/sh/010/sh010_exr/v002")


def test_the_journal_tells_only_what_is_new(tmp_path):
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.set_waiting({"a": "x", "b": "y"}) == {"a": "x", "b": "y"}
        assert journal.set_waiting({"a": "x", "c": "z"}) == {"c": "z"}
        assert {plate: reason for plate, (reason, _) in journal.waiting().items()} == {
            "a": "x",
            "c": "z",
        }


def test_a_damaged_journal_says_how_to_begin_anew(tmp_path):
    (tmp_path / "j.sqlite").write_text("no database at all, by no means" * 9)
    with pytest.raises(ResultError, match="--pass-by"):
        Journal(tmp_path / "j.sqlite")


def test_who_waits_for_a_turn_can_be_stopped(tmp_path):
    stopping, entered = threading.Event(), []
    with Journal(tmp_path / "j.sqlite") as first, first.turn(threading.Event()):
        threading.Timer(0.2, stopping.set).start()
        with (
            Journal(tmp_path / "j.sqlite") as second,
            pytest.raises(CancelledError),
            second.turn(stopping),
        ):
            entered.append("second")
    assert entered == []
    with Journal(tmp_path / "j.sqlite") as third, third.turn(threading.Event()):
        entered.append("third")
    assert entered == ["third"]
