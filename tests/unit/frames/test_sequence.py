import pytest

from server.errors import PlateError
from server.frames import FrameRange, open_plate
from server.frames.sequence import find_frames, format_frames
from tests.unit.frames.files import write_sequence


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("1001", [1001]),
        ("1001-1003", [1001, 1002, 1003]),
        ("1001-1006x2", [1001, 1003, 1005]),
        ("-3--1", [-3, -2, -1]),
        ("-2-2x2", [-2, 0, 2]),
        (" 5 - 6 ", [5, 6]),
    ],
)
def test_a_range_is_read_as_artists_write_it(text, frames):
    found = FrameRange.parse(text)
    assert list(found) == frames
    assert len(found) == len(frames)
    assert FrameRange.parse(str(found)) == found


@pytest.mark.parametrize("text", ["", "a-b", "1001-", "1-2x", "1001,1003", "1.5"])
def test_text_that_is_no_range_says_what_one_looks_like(text):
    with pytest.raises(PlateError, match="Expected a frame range like 1001-1100"):
        FrameRange.parse(text)


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(PlateError, match="ends before it begins"):
        FrameRange.parse("1100-1001")
    with pytest.raises(PlateError, match="step of 1 or more"):
        FrameRange(1, 2, 0)


def test_frame_numbers_are_written_briefly():
    assert format_frames([1001, 1002, 1003, 1007]) == "1001-1003, 1007"
    assert "(40 frames in 40 runs)" in format_frames(list(range(0, 80, 2)))


@pytest.mark.parametrize(
    "pattern",
    ["plate.%04d.exr", "plate.####.exr", "plate.@@@@.exr", "plate.#.exr", "plate.$F4.exr"],
)
def test_every_common_pattern_finds_the_sequence(tmp_path, pattern):
    for name in ("plate.-002", "plate.0000", "plate.1001", "plate.10000", "other.0001"):
        (tmp_path / f"{name}.exr").touch()
    found = find_frames(tmp_path / pattern)
    assert list(found.files) == [-2, 0, 1001, 10000]
    assert found.files[-2].name == "plate.-002.exr"
    assert found.files[10000].name == "plate.10000.exr"
    assert all(path.is_file() for path in found.files.values())


def test_a_pattern_can_hold_its_range(tmp_path):
    for frame in range(1001, 1007):
        (tmp_path / f"plate.{frame}.exr").touch()
    found = find_frames(tmp_path / "plate.1001-1005x2####.exr")
    assert found.declared == FrameRange(1001, 1005, 2)
    assert list(found.files) == [1001, 1002, 1003, 1004, 1005, 1006]


def test_a_folder_holds_one_sequence_and_other_files_do_not_count(tmp_path):
    for name in ("plate.1001.exr", "plate.1002.exr", "notes.txt", ".plate.0001.exr"):
        (tmp_path / name).touch()
    found = find_frames(tmp_path)
    assert found.name == "plate.####.exr"
    assert list(found.files) == [1001, 1002]


def test_a_folder_with_a_dash_before_the_number_has_positive_frames(tmp_path):
    for name in ("plate-0001.exr", "plate-0002.exr"):
        (tmp_path / name).touch()
    assert list(find_frames(tmp_path).files) == [1, 2]
    assert list(find_frames(tmp_path / "plate-####.exr").files) == [1, 2]


def test_a_folder_with_two_plates_asks_which(tmp_path):
    for name in ("left.1001.exr", "right.1001.exr"):
        (tmp_path / name).touch()
    with pytest.raises(PlateError, match=r"found 2: left\.####\.exr, right\.####\.exr") as caught:
        find_frames(tmp_path)
    assert caught.value.path == tmp_path


def test_an_empty_folder_and_a_wrong_path_say_what_is_there(tmp_path):
    with pytest.raises(PlateError, match="found none"):
        find_frames(tmp_path)
    (tmp_path / "plate.1001.exr").touch()
    with pytest.raises(PlateError, match=r"The folder has plate\.####\.exr"):
        find_frames(tmp_path / "plat.####.exr")
    with pytest.raises(PlateError, match="does not exist"):
        find_frames(tmp_path / "nowhere" / "plate.####.exr")


def test_a_single_file_keeps_its_number(tmp_path):
    write_sequence(tmp_path, [1001, 1002])
    with open_plate(tmp_path / "plate.1002.exr") as plate:
        assert plate.frames == (1002,)
    with pytest.raises(PlateError, match=r"name the sequence with #### \(plate\.####\.exr\)"):
        open_plate(tmp_path / "plate.1002.exr", frame_range=FrameRange(1001, 1001))
