"""The command ``segmatte stage``: one stage of a shot, from the files of the stage before it.

A farm starts it again when a machine is lost: what is there already is not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from server.commands.terminal import ProgressBars, interruptible, silence_packages
from server.errors import ServerError
from server.progress import Cancellation, Progress

HELP = "one stage of a shot, for a render farm: detect, segment, track, deliver"

_PARTS = {
    "detect": ("detect",),
    "segment": ("segment",),
    "track": ("track forward", "track backward"),
    "deliver": ("deliver", "pictures"),
}
"""What a stage reports, in order, all of it for a whole shot; a chunk ends with the first."""


class OpenJDLines:
    """Progress as a farm's agent reads it on stdout: a line for every whole percent."""

    def __init__(self, parts: Sequence[str]) -> None:
        """Take what will be reported.

        Args:
            parts: stages in order; each is an equal share of the whole.
        """
        self._parts = list(parts)
        self._part = ""
        self._percent = -1

    def __call__(self, progress: Progress) -> None:
        """Take one report."""
        share = progress.done / progress.total if progress.total else 1.0
        percent = int(100 * (self._parts.index(progress.stage) + share) / len(self._parts))
        if progress.stage != self._part:
            self._part = progress.stage
            print(f"openjd_status: {progress.stage}, {progress.total} frames", flush=True)
        if percent > self._percent:
            self._percent = percent
            print(f"openjd_progress: {percent}", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's actions."""
    from server.commands.shot_options import add_device_arguments, add_shot_arguments

    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    detect = stages.add_parser("detect", help="start a shot and find boxes on its key frames")
    add_shot_arguments(detect)
    for name, text in (
        ("segment", "masks of the boxes, cleaned up"),
        ("track", "both passes over the shot"),
        ("deliver", "ObjectId files; without --chunk also sidecar, report and pictures"),
    ):
        add_device_arguments(stages.add_parser(name, help=text))
    for stage in stages.choices.values():
        stage.add_argument("--out", type=Path, required=True, metavar="DIR", help="result folder")
        stage.add_argument(
            "--openjd", action="store_true", help="tell progress in Open Job Description's lines"
        )
    for name in ("detect", "segment", "deliver"):
        stages.choices[name].add_argument(
            "--chunk",
            metavar="RANGE",
            help="work on these frames of the shot only: 1001-1050, or a farm's 1001-1009:2,1015 "
            "(default: all)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Run one stage; what is there already is not done again.

    Returns:
        The exit code; errors are raised.

    Raises:
        ServerError: as drawn in ``server.errors``.
    """
    try:
        return _run(arguments)
    except ServerError as error:
        if arguments.openjd:
            print(f"openjd_fail: {' '.join(str(error).split())}", flush=True)
        raise


def _run(arguments: argparse.Namespace) -> int:
    from server.commands.shot_options import model_set, shot_request
    from server.pipeline import ShotRequest, read_request, run_stage

    silence_packages()
    request: ShotRequest
    if arguments.stage == "detect":
        request = shot_request(arguments)
    else:
        request = read_request(arguments.out)
    chunk = getattr(arguments, "chunk", None)
    bars, cancellation = ProgressBars(), Cancellation()
    lines = OpenJDLines(_PARTS[arguments.stage][: 1 if chunk else None])
    with interruptible(cancellation, bars):
        result = run_stage(
            arguments.stage,
            arguments.out,
            models=model_set(arguments, request),
            request=request,
            frames=_frames(chunk) if chunk else None,
            report=lines if arguments.openjd else bars,
            cancellation=cancellation,
        )
    if result is not None:
        print(f"{len(result.names)} objects: {', '.join(result.names) or 'none'}")
    return 0


def _frames(chunk: str) -> list[int]:
    """Frame numbers of a chunk, in our notation of steps or a farm's."""
    from server.frames import FrameRange

    parts = [FrameRange.parse(part.replace(":", "x")) for part in chunk.split(",")]
    return [frame for part in parts for frame in part]
