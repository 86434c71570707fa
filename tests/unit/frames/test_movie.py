from pathlib import Path

import cv2
import numpy as np
import pytest

from server.errors import PlateError
from server.frames import FrameRange, PlateSettings, open_plate

COUNT = 40


def numbered(number: int) -> np.ndarray:
    """A picture whose white bars spell a number in binary."""
    picture = np.full((64, 160, 3), 90, np.uint8)
    for bit in range(8):
        picture[16:48, bit * 20 + 2 : bit * 20 + 18] = 255 if number >> bit & 1 else 0
    return picture


def number_in(pixels: np.ndarray) -> int:
    return sum(
        1 << bit for bit in range(8) if pixels[20:44, bit * 20 + 6 : bit * 20 + 14].mean() > 128
    )


@pytest.fixture(params=[("p.mov", "mp4v"), ("p.mp4", "mp4v"), ("p.mkv", "FFV1")])
def movie(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    name, codec = request.param
    path: Path = tmp_path / name
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 24.0, (160, 64))
    assert writer.isOpened()
    for index in range(COUNT):
        writer.write(numbered(index))
    writer.release()
    return path


def test_a_movie_is_numbered_from_one_and_exact_in_any_order(movie):
    with open_plate(movie) as plate:
        assert plate.frames == tuple(range(1, COUNT + 1))
        forward = [number_in(image.pixels) for image in plate.images()]
        backward = [number_in(image.pixels) for image in plate.images(reversed(plate.frames))]
        jumps = [number_in(plate.read(frame).pixels) for frame in (37, 3, 20, 19, 40, 1)]
    assert forward == list(range(COUNT))
    assert backward == list(reversed(range(COUNT)))
    assert jumps == [36, 2, 19, 18, 39, 0]


def test_a_movie_can_start_at_the_shots_first_frame(movie):
    settings = PlateSettings(first_movie_frame=1001)
    with open_plate(movie, frame_range=FrameRange(1003, 1007, 2), settings=settings) as plate:
        assert plate.frames == (1003, 1005, 1007)
        assert [number_in(image.pixels) for image in plate.images()] == [2, 4, 6]


def test_a_range_beyond_the_movie_names_what_is_missing(movie):
    with pytest.raises(PlateError, match=r"Frames 41-42 \(2 in all\) are missing"):
        open_plate(movie, frame_range=FrameRange(39, 42))


def test_a_movie_that_is_none_is_refused(tmp_path):
    path = tmp_path / "p.mov"
    path.write_bytes(bytes(5000))
    with pytest.raises(PlateError, match="cannot be decoded as a movie") as caught:
        open_plate(path)
    assert caught.value.path == path


def test_a_movie_that_ends_early_names_the_frame(tmp_path):
    whole = tmp_path / "whole.avi"
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(whole), cv2.CAP_FFMPEG, fourcc, 24.0, (160, 64))
    for index in range(COUNT):
        writer.write(numbered(index))
    writer.release()
    content = whole.read_bytes()
    short = tmp_path / "short.avi"
    short.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        PlateError, match=r"announces frame \d+ but can be decoded only to"
    ) as caught:
        with open_plate(short) as plate:
            list(plate.images())
    assert caught.value.path == short
    assert 1 < (caught.value.frame or 0) <= COUNT
