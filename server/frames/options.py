"""The command-line options of every command that reads a plate."""

from __future__ import annotations

import argparse
from typing import Literal

from server.errors import PlateError
from server.frames.plate import PlateSettings
from server.frames.sequence import FrameRange

_DEFAULTS = PlateSettings()


def add_plate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which frames of a plate are read, and how."""
    group = parser.add_argument_group("plate")
    group.add_argument(
        "--range",
        dest="frame_range",
        type=_frame_range,
        metavar="RANGE",
        help="frames to work on: 1001, 1001-1100 or 1001-1100x2; --range=-5-20 below zero "
        "(default: all found)",
    )
    group.add_argument(
        "--gaps",
        choices=("error", "hold", "skip"),
        default=_DEFAULTS.gaps,
        help="missing frames: stop, show the frame before, or leave out (default: error)",
    )
    group.add_argument(
        "--window",
        choices=("display", "data"),
        default=_DEFAULTS.window,
        help="segment the full image, or the stored overscan too (default: display)",
    )
    group.add_argument(
        "--colorspace",
        metavar="NAME",
        help="colour space of the plate as the OCIO config calls it (default: from the file, then "
        "the config's file rules)",
    )
    group.add_argument(
        "--exposure",
        type=_exposure,
        default=_DEFAULTS.exposure,
        metavar="STOPS|auto",
        help="brighten what the model sees, for dark or overexposed plates (default: 0)",
    )
    group.add_argument("--display", metavar="NAME", help="OCIO display (default: the sRGB one)")
    group.add_argument(
        "--view", metavar="NAME", help="OCIO view for scene-referred plates (default: the first)"
    )
    group.add_argument(
        "--ocio-config",
        metavar="PATH",
        help="OCIO config (default: $OCIO, else the built-in ACES studio config)",
    )
    group.add_argument("--part", metavar="NAME", help="part of a multi-part EXR, by name or number")
    group.add_argument("--eye", metavar="NAME", help="stereo view, like left or right")
    group.add_argument("--layer", metavar="NAME", help="channel layer that holds the colour")
    group.add_argument(
        "--pixel-aspect",
        type=float,
        metavar="RATIO",
        help="pixel width over height, where the files have it wrong: 2.0 for anamorphic",
    )
    group.add_argument(
        "--movie-start",
        type=int,
        default=_DEFAULTS.first_movie_frame,
        metavar="FRAME",
        help="frame number of a movie's first picture (default: 1)",
    )


def plate_settings(arguments: argparse.Namespace) -> PlateSettings:
    """The settings a command line asks for; the range is ``arguments.frame_range``.

    Raises:
        PlateError: a value is out of range.
    """
    return PlateSettings(
        colorspace=arguments.colorspace,
        display=arguments.display,
        view=arguments.view,
        ocio_config=arguments.ocio_config,
        exposure=arguments.exposure,
        window=arguments.window,
        gaps=arguments.gaps,
        part=arguments.part,
        eye=arguments.eye,
        layer=arguments.layer,
        pixel_aspect=arguments.pixel_aspect,
        first_movie_frame=arguments.movie_start,
    )


def _frame_range(text: str) -> FrameRange:
    try:
        return FrameRange.parse(text)
    except PlateError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _exposure(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected a number of stops or 'auto', found {text!r}"
        ) from error
