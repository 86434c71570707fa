"""Model images as files: what is uploaded in place of a plate that stays where it is.

A few megabytes a frame instead of the plate's own tens. They are what ``open_plate`` would have
given on the other side, so mattes made from them are those of the plate, in its format.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from server.frames.images import Box, PlateFormat
from server.frames.plate import PlateSettings, open_plate
from server.frames.sequence import FrameRange


@dataclass(frozen=True)
class ModelImageFiles:
    """Model images of a plate, and what is needed to get back to it."""

    name: str
    """The plate's, ``plate.####.exr``."""
    files: dict[int, Path]
    """Frame number → PNG."""
    format: PlateFormat
    """Of the plate."""
    window: Box
    """The part of the plate shown."""


def write_model_images(
    path: str,
    folder: Path,
    *,
    frame_range: FrameRange | None,
    settings: PlateSettings,
) -> ModelImageFiles:
    """Write what the models see of a plate, without loss; the same plate gives the same bytes.

    Args:
        path: the plate, as ``open_plate`` takes it.
        folder: where the pictures go.
        frame_range: frames wanted; None: all.
        settings: how the plate is read; colour and exposure end up in the pictures.

    Raises:
        PlateError: the plate cannot be read, or a picture cannot be written.
    """
    from PIL import Image

    files = {}
    with open_plate(path, frame_range=frame_range, settings=settings) as plate:
        for image in plate.images():
            target = folder / f"{image.frame}.png"
            Image.fromarray(image.pixels).save(target, compress_level=1)
            files[image.frame] = target
        return ModelImageFiles(plate.name, files, plate.format, plate.window)
