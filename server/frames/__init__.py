"""Plates in, numbered model images out: the first stage of the flow.

``open_plate`` is the whole interface; the value types beside it are what later stages import.
"""

from server.frames.images import Box, PlateFormat
from server.frames.mask import read_mask
from server.frames.plate import ModelImage, Original, Plate, PlateSettings, open_plate
from server.frames.sequence import FrameRange, format_frames

__all__ = [
    "Box",
    "FrameRange",
    "ModelImage",
    "Original",
    "Plate",
    "PlateFormat",
    "PlateSettings",
    "format_frames",
    "open_plate",
    "read_mask",
]
