from __future__ import annotations

from pathlib import Path

import pytest

import objectid
from tests.unit.objectid.drawn import write_shot


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_a_result_folder_its_inner_folder_a_pattern_and_a_file_mean_the_same(tmp_path):
    write_shot(tmp_path)
    inner = tmp_path / "objectid"

    for path in (tmp_path, inner, inner / "shot.####.exr", inner / "shot.%04d.exr"):
        result = objectid.find_result(path)
        assert result.name == "shot"
        assert list(result.frames) == [1001, 1002, 1003, 1004]
        assert result.sidecar in (tmp_path / "shot.manifest.json", None) or path == inner

    alone = objectid.find_result(inner / "shot.1003.exr")
    assert list(alone.frames) == [1003]
    assert alone.sidecar == tmp_path / "shot.manifest.json"


@pytest.mark.parametrize(
    ("files", "name", "frames"),
    [
        (["a.0001.exr", "a.0010.exr"], "a", [1, 10]),
        (["a_v02.0001.exr"], "a_v02", [1]),
        (["a-0001.exr", "a-0002.exr"], "a", [1, 2]),
        (["a.-001.exr", "a.0000.exr"], "a", [-1, 0]),
        (["1001.exr", "1002.exr"], "", [1001, 1002]),
        (["still.exr"], "still", [0]),
        (["a.1.exr", "a.manifest.json", "notes.txt", ".a.2.exr"], "a", [1]),
    ],
)
def test_frame_numbers_stand_before_the_suffix(tmp_path, files, name, frames):
    touch(tmp_path, *files)

    result = objectid.find_result(tmp_path)

    assert (result.name, list(result.frames)) == (name, frames)


def test_several_sequences_in_a_folder_have_to_be_told_apart(tmp_path):
    touch(tmp_path, "a.0001.exr", "b.0001.exr")

    with pytest.raises(objectid.RequestError, match="several: a, b"):
        objectid.find_result(tmp_path)
    assert list(objectid.find_result(tmp_path / "b.####.exr").frames) == [1]


@pytest.mark.parametrize("path", ["none", "none.####.exr", "empty"])
def test_where_nothing_is_there_is_an_error_with_the_path(tmp_path, path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(objectid.RequestError) as caught:
        objectid.find_result(tmp_path / path)

    assert str(tmp_path / path) in str(caught.value)


def test_a_frame_without_a_file_is_named(tmp_path):
    write_shot(tmp_path)

    with pytest.raises(objectid.RequestError, match=r"Frame 1010 has no file.*1001-1004"):
        objectid.find_result(tmp_path).chosen([1002, 1010])


@pytest.mark.parametrize(
    ("pattern", "frame", "expected"),
    [
        ("m.####.exr", 7, "m.0007.exr"),
        ("m.####.exr", 123456, "m.123456.exr"),
        ("m.####.exr", -7, "m.-0007.exr"),
        ("m.@@.exr", 7, "m.07.exr"),
        ("m.%05d.exr", 7, "m.00007.exr"),
        ("m.%d.exr", 7, "m.7.exr"),
        ("m.exr", 7, "m.0007.exr"),
        ("a#b.##.exr", 7, "a#b.07.exr"),
    ],
)
def test_patterns_take_frame_numbers(pattern, frame, expected):
    assert objectid.frame_path(Path("x") / pattern, frame) == Path("x") / expected


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("1001", [1001]),
        ("1001-1003", [1001, 1002, 1003]),
        ("1-9x4, 5", [1, 5, 9]),
        ("-2-1", [-2, -1, 0, 1]),
    ],
)
def test_frame_ranges_are_read(text, frames):
    assert objectid.parse_frames(text) == frames


@pytest.mark.parametrize("text", ["", "a", "5-1", "1-9x0", "1--", "1-99999999999"])
def test_what_is_no_frame_range_says_so(text):
    with pytest.raises(objectid.RequestError, match="range"):
        objectid.parse_frames(text)
