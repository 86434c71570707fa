"""One channel of any image file, as a mask made by another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.errors import PromptError


def read_mask(path: Path, *, channel: str = "") -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Read one channel.

    Args:
        path: EXR, PNG, TIFF or whatever OpenImageIO reads.
        channel: its name; by default the alpha, else the first.

    Returns:
        (h, w) float32 as stored (integers as 0..1), and (x, y) of its first pixel relative to the
        file's display window.

    Raises:
        PromptError: the file cannot be read or has no such channel.
    """
    oiio = _openimageio()
    opened = oiio.ImageInput.open(str(path))
    if opened is None:
        raise PromptError(f"The mask {path} cannot be read: {oiio.geterror().strip()}.")
    try:
        spec = opened.spec()
        names = list(spec.channelnames)
        if channel and channel not in names:
            raise PromptError(
                f"The mask {path} has no channel {channel!r}. It has: {', '.join(names)}."
            )
        chosen = names.index(channel) if channel else max(spec.alpha_channel, 0)
        pixels = opened.read_image(0, 0, chosen, chosen + 1, oiio.FLOAT)
        if pixels is None:
            raise PromptError(f"The mask {path} cannot be read: {opened.geterror().strip()}.")
        shape = (spec.height, spec.width)
        return (
            np.asarray(pixels, np.float32).reshape(shape),
            (spec.x - spec.full_x, spec.y - spec.full_y),
        )
    finally:
        opened.close()


def _openimageio() -> Any:
    import OpenImageIO

    return OpenImageIO
