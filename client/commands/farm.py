"""The command ``segmatte farm``: a shot as a job for a render farm.

The job is described once, in ``farm.template.json``: five steps over ``segmatte stage``. A farm
that knows Open Job Description takes it as it is; any other can read its command lines there.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = "a shot as a job for a render farm: openjd"
TEMPLATE = Path(__file__).with_name("farm.template.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the kinds of job and their options."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    openjd = kinds.add_parser(
        "openjd",
        help="an Open Job Description bundle, as Deadline Cloud takes it",
        description="Writes template.json, parameter_values.json and asset_references.json. "
        "Submit the folder: deadline bundle submit BUNDLE",
    )
    openjd.add_argument("plate", help="sequence or movie: plate.####.exr")
    openjd.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="result folder all machines see"
    )
    openjd.add_argument(
        "--bundle", type=Path, required=True, metavar="DIR", help="where the bundle is written"
    )
    openjd.add_argument("--prompt", default="person", metavar="TEXT", help="default: person")
    openjd.add_argument(
        "--frames",
        "--range",
        metavar="RANGE",
        help="1001-1100 or 1001-1100x2 (default: all on disk; a movie needs it)",
    )
    openjd.add_argument(
        "--frames-per-chunk", type=int, default=100, metavar="N", help="default: 100"
    )
    openjd.add_argument("--models", choices=("official", "demo"), default="official")
    openjd.add_argument("--device", default="auto", help="cpu: the job asks for no GPU")
    openjd.add_argument(
        "--program", default="segmatte", help="the program, or a wrapper, on the farm's machines"
    )
    openjd.add_argument(
        "--shot-options",
        default="",
        metavar="TEXT",
        help="more options of `segmatte stage detect`: '--colorspace ACEScg --threshold 0.3'",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle.

    Returns:
        0; errors are raised.

    Raises:
        ClientError: there is no such plate, or the bundle cannot be written.
    """
    from client.errors import InputError, ResourceError
    from client.shots import find_pictures

    plate = Path(arguments.plate).absolute()
    files: list[Path] = []
    if arguments.frames:
        numbers = _numbers(arguments.frames)
    else:
        pictures = find_pictures(str(plate))
        numbers, files = list(pictures), list(pictures.values())
    more = shlex.split(arguments.shot_options)
    if "hold" in more:  # of --gaps: missing frames are worked on, too
        numbers = list(range(numbers[0], numbers[-1] + 1))
    if arguments.frames:
        more.append(f"--range={arguments.frames}")
    if any("{{" in text for text in more):
        raise InputError("An option with '{{' cannot be put into a job template. Leave it out.")
    values = {
        "Title": plate.name.split(".")[0] or "shot",
        "Plate": str(plate),
        "Output": str(arguments.out.absolute()),
        "Prompt": arguments.prompt,
        "Frames": range_expression(numbers),
        "FramesPerChunk": arguments.frames_per_chunk,
        "Models": arguments.models,
        "Device": arguments.device,
        "Program": arguments.program,
    }
    bundle = {
        "template": job_template(more=more, gpu=arguments.device != "cpu"),
        "parameter_values": {
            "parameterValues": [{"name": name, "value": value} for name, value in values.items()]
        },
        "asset_references": {
            "assetReferences": {
                "inputs": {"filenames": [str(file) for file in files], "directories": []},
                "outputs": {"directories": [values["Output"]]},
                "referencedPaths": [],
            }
        },
    }
    try:
        arguments.bundle.mkdir(parents=True, exist_ok=True)
        for name, data in bundle.items():
            (arguments.bundle / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n")
    except OSError as error:
        raise ResourceError(f"{arguments.bundle} cannot be written: {error.strerror}.") from error
    print(f"{arguments.bundle}: {len(numbers)} frames, {values['Frames']}")
    here = ["openjd", "run", str(arguments.bundle / "template.json"), "-p", json.dumps(values)]
    print(f"submit         deadline bundle submit {shlex.quote(str(arguments.bundle))}")
    print(f"or run here    {shlex.join([*here, '--step', 'Finish', '--run-dependencies'])}")
    return 0


def job_template(*, more: Sequence[str] = (), gpu: bool = True) -> dict[str, Any]:
    """The job template.

    Args:
        more: further options of the first step, which settles what the shot is made with.
        gpu: whether its models' steps ask for a GPU.
    """
    template: dict[str, Any] = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    template["steps"][0]["script"]["actions"]["onRun"]["args"] += more
    if not gpu:
        for step in template["steps"]:
            step.pop("hostRequirements", None)
    return template


def range_expression(frames: Sequence[int]) -> str:
    """Ascending frame numbers as Open Job Description writes them: ``1001-1003,1010-1020:2``."""
    parts: list[str] = []
    start = 0
    while start < len(frames):
        end = start + 1
        step = frames[end] - frames[start] if end < len(frames) else 1
        while end < len(frames) and frames[end] - frames[end - 1] == step:
            end += 1
        if end - start == 2 and step > 1:  # two numbers are no rhythm
            end = start + 1
        first, last = frames[start], frames[end - 1]
        stride = f":{step}" if step > 1 else ""
        parts.append(str(first) if first == last else f"{first}-{last}{stride}")
        start = end
    return ",".join(parts)


def _numbers(text: str) -> list[int]:
    from client.shots import parse_range

    wanted = parse_range(text)
    return list(range(wanted.first, wanted.last + 1, wanted.step))
