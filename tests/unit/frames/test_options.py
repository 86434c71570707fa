import argparse

import pytest

from server.frames import FrameRange, PlateSettings
from server.frames.options import add_plate_arguments, plate_settings


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_plate_arguments(parser)
    return parser


def test_no_option_gives_the_default_settings(parser):
    arguments = parser.parse_args([])
    assert arguments.frame_range is None
    assert plate_settings(arguments) == PlateSettings()


def test_every_option_reaches_its_setting(parser):
    arguments = parser.parse_args(
        "--range=-5-1100x2 --gaps hold --window data --colorspace ACEScg --exposure -1.5 "
        "--display D --view V --ocio-config C --part P --eye left --layer beauty "
        "--pixel-aspect 2 --movie-start 1001".split()
    )
    assert arguments.frame_range == FrameRange(-5, 1100, 2)
    assert plate_settings(arguments) == PlateSettings(
        gaps="hold",
        window="data",
        colorspace="ACEScg",
        exposure=-1.5,
        display="D",
        view="V",
        ocio_config="C",
        part="P",
        eye="left",
        layer="beauty",
        pixel_aspect=2.0,
        first_movie_frame=1001,
    )
    assert plate_settings(parser.parse_args(["--exposure", "auto"])).exposure == "auto"


@pytest.mark.parametrize("option", [["--range", "x"], ["--exposure", "bright"]])
def test_a_wrong_value_says_what_was_expected(parser, option, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(option)
    assert "xpected" in capsys.readouterr().err
