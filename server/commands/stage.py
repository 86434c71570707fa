"""The command ``segmatte stage``: one stage of a shot, from the files of the stage before it."""

from __future__ import annotations

import argparse
from pathlib import Path

from server.commands.terminal import ProgressBars, interruptible, silence_packages
from server.progress import Cancellation

HELP = "one stage of a shot, for a render farm: detect, segment, track, deliver"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's actions."""
    from server.commands.shot_options import add_device_arguments, add_shot_arguments

    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    detect = stages.add_parser("detect", help="start a shot and find boxes on its key frames")
    add_shot_arguments(detect)
    for name, text in (
        ("segment", "masks of the boxes, cleaned up"),
        ("track", "both passes over the shot"),
        ("deliver", "ObjectId files; the last chunk adds sidecar, report and pictures"),
    ):
        add_device_arguments(stages.add_parser(name, help=text))
    for stage in stages.choices.values():
        stage.add_argument("--out", type=Path, required=True, metavar="DIR", help="result folder")
    for name in ("detect", "segment", "deliver"):
        stages.choices[name].add_argument(
            "--chunk",
            metavar="RANGE",
            help="work on these frames of the shot only: 1001-1050 (default: all)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Run one stage; what is there already is not done again.

    Returns:
        The exit code; errors are raised.

    Raises:
        ServerError: as drawn in ``server.errors``.
    """
    from server.commands.shot_options import model_set, shot_request
    from server.frames import FrameRange
    from server.pipeline import ShotRequest, read_request, run_stage

    silence_packages()
    request: ShotRequest
    if arguments.stage == "detect":
        request = shot_request(arguments)
    else:
        request = read_request(arguments.out)
    chunk = getattr(arguments, "chunk", None)
    bars, cancellation = ProgressBars(), Cancellation()
    with interruptible(cancellation, bars):
        result = run_stage(
            arguments.stage,
            arguments.out,
            models=model_set(arguments, request),
            request=request,
            frames=list(FrameRange.parse(chunk)) if chunk else None,
            report=bars,
            cancellation=cancellation,
        )
    if result is not None:
        print(f"{len(result.names)} objects: {', '.join(result.names) or 'none'}")
    return 0
