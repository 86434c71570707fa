"""The command ``segmatte correct``: one object of a finished shot, tracked anew."""

from __future__ import annotations

import argparse
from pathlib import Path

from server.commands.terminal import ProgressBars, interruptible, silence_packages
from server.errors import PromptError
from server.progress import Cancellation

HELP = "re-track one object of a finished shot from a new keyframe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    from server.commands.shot_options import add_device_arguments

    parser.add_argument("result", type=Path, metavar="DIR", help="result folder of the shot")
    parser.add_argument(
        "--prompts",
        type=Path,
        required=True,
        metavar="FILE.json",
        help="one object of the shot by name, with the keyframes to correct",
    )
    add_device_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Correct the shot, keyframe by keyframe.

    Returns:
        The exit code; errors are raised.

    Raises:
        ServerError: as drawn in ``server.errors``.
    """
    from server.commands.shot_options import model_set
    from server.pipeline import correct_shot, read_request
    from server.prompts import load_prompts

    silence_packages()
    prompts = load_prompts(arguments.prompts)
    if len(prompts.objects) != 1:
        raise PromptError(
            f"Expected one object in {arguments.prompts}, found {len(prompts.objects)}. Correct "
            "one object at a time."
        )
    corrected = prompts.objects[0]
    models = model_set(arguments, read_request(arguments.result))
    bars, cancellation = ProgressBars(), Cancellation()
    with interruptible(cancellation, bars):
        for keyframe in corrected.keyframes:
            _, (first, last) = correct_shot(
                arguments.result,
                corrected.name,
                keyframe,
                models=models,
                report=bars,
                cancellation=cancellation,
            )
            print(f"{corrected.name} on {keyframe.frame}: frames {first}-{last} may have changed")
    return 0
