"""One channel of any image file, as a mask made by another tool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.errors import PromptError
from server.frames.images import one_line, openimageio


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
    oiio = openimageio()
    opened = oiio.ImageInput.open(str(path)) if path.is_file() else None
    if opened is None:
        reason = one_line(oiio.geterror()) if path.is_file() else "no such file"
        raise PromptError(
            f"Expected a mask in {path}, found no image ({reason}). Write it again or correct the "
            "path."
        )
    try:
        spec = opened.spec()
        if spec.deep:
            raise PromptError(f"The mask {path} holds deep samples. Flatten it first.")
        names = list(spec.channelnames)
        if channel and channel not in names:
            raise PromptError(
                f"The mask {path} has no channel {channel!r}; it has {', '.join(names)}. Name one "
                "of these."
            )
        chosen = names.index(channel) if channel else max(spec.alpha_channel, 0)
        pixels = opened.read_image(0, 0, chosen, chosen + 1, oiio.FLOAT)
        complaint = opened.geterror()
        if pixels is None or complaint:
            raise PromptError(
                f"The mask {path} is truncated or damaged ({one_line(complaint)}). Write it again."
            )
        shape = (spec.height, spec.width)
        return (
            np.asarray(pixels, np.float32).reshape(shape),
            (spec.x - spec.full_x, spec.y - spec.full_y),
        )
    finally:
        opened.close()
