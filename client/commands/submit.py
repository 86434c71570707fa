"""The command ``segmatte submit``: send a shot to a server."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from client.commands.server import (
    Line,
    add_server_arguments,
    add_upload_arguments,
    connect,
    exit_code,
    plate_to_upload,
)

HELP = "send a shot to a server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "plate", help="a sequence (plate.####.exr), folder, picture or movie the server can read"
    )
    add_upload_arguments(parser)
    parser.add_argument("--prompt", metavar="TEXT", help='what to find, like "person, car"')
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="artists' prompts (JSON)")
    parser.add_argument("--frames", "--range", metavar="RANGE", help="1001-1100 (default: all)")
    parser.add_argument("--colorspace", metavar="NAME", help="colour space of the plate")
    parser.add_argument(
        "--exposure", metavar="STOPS|auto", default="0", help="brighten what the models see"
    )
    parser.add_argument("--detector", default="", metavar="MODEL")
    parser.add_argument("--segmenter", default="", metavar="MODEL")
    parser.add_argument("--working-size", type=int, default=0, metavar="PIXELS")
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="least score of a box")
    parser.add_argument(
        "--reference", default="", metavar="JOB", help="finished job whose names are inherited"
    )
    parser.add_argument(
        "--outputs",
        default="",
        metavar="LIST",
        help="also make these, beside the ObjectId EXRs: cryptomatte, masks (a sequence of flat "
        "mattes per object)",
    )
    parser.add_argument("--priority", type=int, default=0, help="-100..100, higher first")
    parser.add_argument(
        "--output", default="", metavar="FOLDER", help="let the server write the result there, too"
    )
    parser.add_argument("--request-id", default="", metavar="ID", help="the same id is one job")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--watch", action="store_true", help="follow it until it ends")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="follow it and write the result there"
    )
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Submit, and follow and fetch if asked to.

    Returns:
        The exit code; errors are raised.
    """
    with tempfile.TemporaryDirectory(prefix="segmatte-", ignore_cleanup_errors=True) as folder:
        job_id = _submit(arguments, Path(folder))
    if not (arguments.watch or arguments.out):
        return 0
    from client.commands.fetch import fetch
    from client.commands.watch import follow

    with connect(arguments) as client:
        job = follow(client, job_id)
        if job.result_note:
            print(job.result_note, file=sys.stderr)
        if arguments.out:
            fetch(client, job_id, arguments.out)
    return exit_code(job)


def _submit(arguments: argparse.Namespace, folder: Path) -> str:
    from client.shots import parse_outputs, parse_range, read_prompts
    from protos import segmatte_pb2 as wire

    request = wire.SubmitShotRequest(
        request_id=arguments.request_id,
        reference_job_id=arguments.reference,
        outputs=parse_outputs(arguments.outputs),
        priority=arguments.priority,
        output_folder=arguments.output,
    )
    contents: dict[bytes, Path] = {}
    request.options.colorspace = arguments.colorspace or ""
    if arguments.exposure == "auto":
        request.options.auto_exposure = True
    else:
        request.options.exposure_stops = float(arguments.exposure)
    if arguments.frames:
        request.range.CopyFrom(parse_range(arguments.frames))
    if arguments.upload or arguments.upload_files:
        source, contents = plate_to_upload(
            arguments, folder, frames=arguments.frames or "", options=request.options
        )
        request.plate.CopyFrom(source)
    else:
        looks_foreign = ":" in arguments.plate or "\\" in arguments.plate
        plate = arguments.plate if looks_foreign else str(Path(arguments.plate).absolute())
        request.plate.path = plate
    request.prompts.text = arguments.prompt or ""
    if arguments.prompts is not None:
        objects, masks = read_prompts(arguments.prompts)
        request.prompts.objects.extend(objects)
        contents.update(masks)
    elif not arguments.prompt:
        request.prompts.text = "person"
    settings = request.settings
    settings.detector, settings.segmenter = arguments.detector, arguments.segmenter
    settings.working_size = arguments.working_size
    if arguments.threshold is not None:
        settings.detect_threshold = arguments.threshold
    for label in arguments.label:
        key, _, value = label.partition("=")
        request.labels[key] = value
    with connect(arguments) as client:
        if contents:
            line = Line()
            client.upload(
                contents,
                report=lambda done, total: line.draw("upload", f"{done >> 20}/{total >> 20} MiB"),
            )
            line.end()
        job = client.submit(request)
        print(job.id, flush=True)
    return str(job.id)
