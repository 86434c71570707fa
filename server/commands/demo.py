"""The command ``segmatte demo``: draws a plate and runs the main job on it with the demo models."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.commands.terminal import program

if TYPE_CHECKING:
    from server.training.plates import DrawnShot

HELP = "draw a plate, run everything on it with the demo models, show what came out"

FIRST_FRAME = 1001
FRAMES = 48
_NAME = "street"
_PROMPT = "person, car"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo_output"),
        metavar="DIR",
        help="where plate and result go; replaced if there (default: demo_output)",
    )
    parser.add_argument(
        "--plate-only", action="store_true", help="draw the plate, run nothing on it"
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw the plate and run the shot; returns the exit code, errors are raised."""
    plate_folder = arguments.out / "plate"
    print(f"Drawing {FRAMES} frames of a street with four people and a car …", flush=True)
    pattern = write_plate(demo_shot(), plate_folder, name=_NAME, first=FIRST_FRAME)
    print(f"plate          {pattern}")
    if arguments.plate_only:
        return 0
    from client.__main__ import main

    result = arguments.out / "result"
    code = main(
        [
            "run",
            str(pattern),
            "--prompt",
            _PROMPT,
            "--models",
            "demo",
            "--threads",
            "1",
            "--out",
            str(result),
            "--overwrite",
        ]
    )
    if code != 0:
        return code
    mattes = arguments.out / "matte" / "person_01.####.exr"
    code = main(["pick", str(result), "person_01", "-o", str(mattes)])
    if code != 0:
        return code
    print(
        f"""
One matte picked by name: {mattes}

Look at  {result / "contact_sheet.png"}
         {result / "overlay.webm"}
Then try
  {program()} inspect {result}
  {program()} pick {result} 'person*, -person_02' -o {arguments.out / "matte" / "others.####.exr"}
  {program()} run YOUR_PLATE.####.exr --prompt 'person' --out result
The demo models know drawn plates only. For real ones fetch the official models once:
  {program()} models fetch sam2.1-large && {program()} models fetch groundingdino-swin-t"""
    )
    return 0


def demo_shot(*, size: tuple[int, int] = (360, 640), frames: int = FRAMES) -> DrawnShot:
    """A street: two people cross, a third waits, a fourth enters mid-shot, a car drives by.

    Args:
        size: (H, W) in pixels.
        frames: length.
    """
    import numpy as np

    from server.training.plates import (
        MARGIN,
        TRAINING_STYLE,
        DrawnSprite,
        Look,
        Path2D,
        Role,
        Scene,
        staged,
    )

    rng = np.random.default_rng([2026, 6])
    height, width = size
    set_size = round(height * (1 + 2 * MARGIN)), round(width * (1 + 2 * MARGIN))
    background = TRAINING_STYLE.background(rng, size=set_size, level=0.25)

    def cast(number: int, category: str, unit: float, path: Path2D, *, seed: int) -> Role:
        sprite = DrawnSprite(TRAINING_STYLE.actors[category](np.random.default_rng([seed, 5])))
        phase = float(rng.uniform(0, 2 * math.pi))
        return Role(number, sprite, path, unit, phase, flip=path.vx < 0, shadow=0.4)

    enters = 24
    roles = (
        cast(5, "car", 0.5, Path2D(0.34, 0.66, vx=0.004), seed=21),
        cast(3, "person", 0.50, Path2D(0.9, 0.8, sway=0.01, sway_period=40), seed=3),
        cast(1, "person", 0.58, Path2D(0.14, 0.90, vx=0.0125), seed=1),
        cast(2, "person", 0.62, Path2D(0.72, 0.96, vx=-0.009), seed=2),
        cast(4, "person", 0.54, Path2D(-0.12 - 0.014 * enters, 0.92, vx=0.014), seed=4),
    )
    look = Look(pan=(0.0012, 0.0), shutter=0.3, softness=0.5 * max(1.0, height / 360), grain=2.0)
    return staged(Scene(size, (2026, 13), background, roles, look), frames=frames)


def write_plate(shot: DrawnShot, folder: Path, *, name: str, first: int) -> Path:
    """Write a drawn shot as a scene-linear half-float EXR sequence.

    Args:
        shot: the shot.
        folder: made if missing.
        name: of the files.
        first: number of the first frame.

    Returns:
        The sequence as ``open_plate`` takes it.

    Raises:
        ResourceError: a file cannot be written.
    """
    from server.errors import ResourceError

    oiio = _openimageio()
    folder.mkdir(parents=True, exist_ok=True)
    height, width = shot.size
    spec = oiio.ImageSpec(width, height, 3, oiio.HALF)
    spec.attribute("colorInteropID", "lin_rec709_scene")
    spec.attribute("compression", "zip")
    for index in range(len(shot)):
        path = folder / f"{name}.{first + index:04d}.exr"
        output = oiio.ImageOutput.create(str(path))
        if output is None or not output.open(str(path), spec):
            raise ResourceError(f"{path} cannot be written: {oiio.geterror().strip()}.")
        written = output.write_image(shot.frame(index).linear())
        output.close()
        if not written:
            raise ResourceError(f"{path} cannot be written: {output.geterror().strip()}.")
    return folder / f"{name}.####.exr"


def _openimageio() -> Any:
    import OpenImageIO

    return OpenImageIO
