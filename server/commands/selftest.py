"""The command ``segmatte selftest``: what this installation can do, and a tiny timed job."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from server.commands.terminal import duration, silence_packages

HELP = "devices, models, versions and a tiny timed job"

_FRAMES = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    from server.commands.shot_options import add_model_arguments

    add_model_arguments(parser, default="demo")


def run(arguments: argparse.Namespace) -> int:
    """Print what is here and run a drawn shot of a few frames through both models.

    Returns:
        The exit code; errors are raised.

    Raises:
        ServerError: as drawn in ``server.errors``.
    """
    import torch

    from server.commands.demo import demo_shot, write_plate
    from server.commands.shot_options import model_names, model_set
    from server.models.store import states
    from server.pipeline import ShotRequest, run_shot
    from server.pipeline.report import versions

    silence_packages()
    for package, version in versions().items():
        print(f"{package:<24} {version}")
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_name(i) for i in range(count)]
    gpus = "".join(f", cuda:{i} {name}" for i, name in enumerate(names))
    print(f"{'devices':<24} cpu ({torch.get_num_threads()} threads){gpus}")
    here = [state.model.name for state in states() if state.state == "fetched"]
    print(f"{'official models here':<24} {', '.join(here) or 'none (segmatte models fetch NAME)'}")

    detector, segmenter = model_names(arguments)
    with tempfile.TemporaryDirectory(prefix="segmatte-selftest-") as folder:
        plate = write_plate(
            demo_shot(frames=_FRAMES), Path(folder) / "plate", name="selftest", first=1001
        )
        request = ShotRequest(
            plate=str(plate), prompt="person", detector=detector, segmenter=segmenter
        )
        models = model_set(arguments, request)
        start = time.monotonic()
        models.detector()
        models.segmenter()
        loaded = time.monotonic()
        result = run_shot(request, Path(folder) / "out", models=models)
        done = time.monotonic()
    print(
        f"{'tiny job':<24} {detector} and {segmenter}: loaded in {duration(loaded - start)}, "
        f"{_FRAMES} frames in {duration(done - loaded)}, {len(result.names)} objects"
    )
    return 0
