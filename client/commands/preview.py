"""The command ``segmatte preview``: try a prompt on one frame before submitting."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from client.commands.server import (
    add_server_arguments,
    add_upload_arguments,
    connect,
    plate_to_upload,
)

HELP = "try a prompt on one frame: boxes, masks, and what is discarded and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("plate", help="path on the server, or with --upload on this machine")
    parser.add_argument("--frame", type=int, required=True)
    parser.add_argument("--prompt", default="person", metavar="TEXT")
    add_upload_arguments(parser)
    parser.add_argument("--colorspace", default="", metavar="NAME")
    parser.add_argument("--detector", default="", metavar="MODEL")
    parser.add_argument("--segmenter", default="", metavar="MODEL")
    parser.add_argument("--threshold", type=float, metavar="SCORE")
    parser.add_argument("--boxes", action="store_true", help="boxes alone, faster")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write picture and masks as PNG")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask and print.

    Returns:
        0, or 6 when nothing was found; errors are raised.
    """
    from protos import segmatte_pb2 as wire

    request = wire.PreviewFrameRequest(
        frame=arguments.frame,
        prompts=wire.Prompts(text=arguments.prompt),
        options=wire.PlateOptions(colorspace=arguments.colorspace),
        settings=wire.ShotSettings(detector=arguments.detector, segmenter=arguments.segmenter),
        boxes_only=arguments.boxes,
        with_image=arguments.out is not None,
    )
    if arguments.threshold is not None:
        request.settings.detect_threshold = arguments.threshold
    with connect(arguments) as client:
        if arguments.upload or arguments.upload_files:
            with tempfile.TemporaryDirectory(prefix="segmatte-") as folder:
                source, contents = plate_to_upload(
                    arguments, Path(folder), frames=str(arguments.frame), options=request.options
                )
                client.upload(contents)
            request.plate.CopyFrom(source)
        else:
            request.plate.path = str(Path(arguments.plate).absolute())
        head, image, candidates = client.preview(request)
    print(f"model image {head.width}×{head.height}, {head.seconds:.1f} s")
    for number, item in enumerate(candidates, 1):
        box = f"{item.box.x0:.0f} {item.box.y0:.0f} {item.box.x1:.0f} {item.box.y1:.0f}"
        print(f"{number:3} {item.category:<16} {item.score:.2f}  {box}  {item.reason or 'kept'}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "image.png").write_bytes(image)
        for number, item in enumerate(candidates, 1):
            if item.mask_png:
                (arguments.out / f"mask_{number:03}.png").write_bytes(item.mask_png)
    return 0 if any(not item.reason for item in candidates) else 6
