import json
from dataclasses import asdict

import numpy as np
import pytest

from server.errors import PlateError
from server.frames import Box, FrameRange, Original, PlateSettings, open_plate
from server.frames.pictures import write_model_images
from tests.unit.frames.files import scene, write_image


@pytest.fixture
def plate(tmp_path):
    """Three scene-linear frames with overscan and wide pixels."""
    folder = tmp_path / "plate"
    folder.mkdir()
    for frame in (1001, 1002, 1003):
        pixels = scene() * np.float32(frame - 1000)
        write_image(
            folder / f"wide.{frame}.exr",
            pixels,
            origin=(-8, -4),
            display=(0, 0, 80, 46),
            PixelAspectRatio=2.0,
        )
    return folder / "wide.####.exr"


@pytest.mark.parametrize("window", ["display", "data"])
def test_model_images_read_back_are_what_the_plate_gives(plate, tmp_path, window):
    settings = PlateSettings(colorspace="ACEScg", window=window, longest_side=100, exposure=-1.0)
    chosen = FrameRange(1002, 1003)
    made = write_model_images(str(plate), tmp_path, frame_range=chosen, settings=settings)
    assert sorted(made.files) == [1002, 1003]
    stand_in = PlateSettings(stands_for=Original(made.format, made.window), known_as=made.name)
    with (
        open_plate(plate, settings=settings) as original,
        open_plate(tmp_path / "####.png", settings=stand_in) as pictures,
    ):
        assert pictures.name == original.name == "wide.####.exr"
        assert (pictures.format, pictures.window) == (original.format, original.window)
        assert pictures.model_size == original.model_size
        for frame in pictures.frames:
            assert np.array_equal(pictures.read(frame).pixels, original.read(frame).pixels)
        assert pictures.describe()["colour"]["space_from"] == "model images"


def test_the_same_plate_gives_the_same_files(plate, tmp_path):
    bytes_of = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made = write_model_images(
            str(plate), tmp_path / name, frame_range=None, settings=PlateSettings()
        )
        bytes_of.append([path.read_bytes() for path in made.files.values()])
    assert bytes_of[0] == bytes_of[1]


def test_settings_come_back_from_json(plate):
    with open_plate(plate) as opened:
        settings = PlateSettings(stands_for=Original(opened.format, Box(-8, -4, 88, 50)))
    assert PlateSettings(**json.loads(json.dumps(asdict(settings)))) == settings


def test_model_images_with_a_colour_setting_are_refused(plate, tmp_path):
    made = write_model_images(str(plate), tmp_path, frame_range=None, settings=PlateSettings())
    settings = PlateSettings(stands_for=Original(made.format, made.window), exposure=1.0)
    with pytest.raises(PlateError, match="whose colour is settled: leave out colour space,"):
        open_plate(tmp_path / "####.png", settings=settings)
