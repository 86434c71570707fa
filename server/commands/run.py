"""The command ``segmatte run``: one shot from plate to mattes, in this process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from server.commands.terminal import ProgressBars, interruptible, program, silence_packages
from server.progress import Cancellation

HELP = "plate in, named mattes out, on this machine"

NOTHING_FOUND = 6
"""Exit code of a run that finished and found no object."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    from server.commands.shot_options import add_shot_arguments

    add_shot_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="result folder")
    going_on = parser.add_mutually_exclusive_group()
    going_on.add_argument(
        "--resume", action="store_true", help="go on with a stopped run; the result is the same"
    )
    going_on.add_argument("--overwrite", action="store_true", help="replace an earlier result")


def run(arguments: argparse.Namespace) -> int:
    """Run the shot.

    Returns:
        The exit code; errors are raised.

    Raises:
        ServerError: as drawn in ``server.errors``.
    """
    from server.commands.shot_options import model_set, shot_request
    from server.pipeline import run_shot

    silence_packages()
    request = shot_request(arguments)
    bars, cancellation = ProgressBars(), Cancellation()
    print(f"segmatte run: {request.plate} → {arguments.out}", flush=True)
    with interruptible(cancellation, bars):
        result = run_shot(
            request,
            arguments.out,
            models=model_set(arguments, request),
            report=bars,
            cancellation=cancellation,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
        )
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    folder = result.folder
    if not result.names:
        print(
            f"Nothing was found for {request.prompt!r}. The result in {folder.path} is valid and "
            "empty. Try another prompt, a lower --threshold, or --exposure for a dark plate; "
            "report.json lists what was rejected."
        )
        return NOTHING_FOUND
    print(f"{len(result.names)} objects: {', '.join(result.names)}")
    print(f"mattes         {folder.objectid / (folder.name + '.####.exr')}")
    print(f"contact sheet  {folder.contact_sheet}")
    print(f"overlay video  {folder.overlay}")
    print(f"report         {folder.report}")
    print(f"next: {program()} pick {folder.path} '{result.names[0]}' -o matte.####.exr")
    return 0
