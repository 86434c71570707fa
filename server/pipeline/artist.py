"""Artists' prompts made ready for tracking.

Each keyframe becomes a working mask; the artist's soft coverage is kept beside it and delivered
on that frame as it is.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.errors import PromptError
from server.frames import Plate, read_mask
from server.prompts import (
    ArtistPrompts,
    Keyframe,
    fit_mask,
    keyframe_indices,
    polygon_coverage,
    segment_prompt,
    working_mask,
)
from server.segment import HALF, BoolImage, Segmenter
from server.track import ArtistObject
from server.track.cache import save_atomically

FloatImage = NDArray[np.float32]


class ArtistFolder:
    """Prepared keyframes on disk: ``artist/LAYER.FRAME.npz``; artists' layers count from 1."""

    def __init__(self, folder: Path, prompts: ArtistPrompts, plate: Plate, size: tuple[int, int]):
        """Look at a shot's artists' prompts.

        Args:
            folder: of the files.
            prompts: all of them.
            plate: the shot's.
            size: (H, W) of the working image.

        Raises:
            PromptError: a keyframe lies outside of the shot.
        """
        self._folder = folder
        self._plate = plate
        self._size = size
        self._names = [item.name for item in prompts.objects]
        self.keyframes = keyframe_indices(prompts, plate.frames)

    def prepare(self, segmenter: Segmenter | None) -> list[ArtistObject]:
        """Objects ready for tracking; what is prepared already is read.

        Args:
            segmenter: answers points and boxes; None if all is prepared.

        Raises:
            PromptError: a prompt gives an empty mask, or a mask file cannot be read.
        """
        return [
            ArtistObject(
                name,
                {
                    index: self._mask(number, index, keyframe, segmenter)
                    for index, keyframe in self.keyframes[name].items()
                },
            )
            for number, name in enumerate(self._names, 1)
        ]

    def locked(self, index: int) -> dict[int, FloatImage]:
        """Layer → coverage the artist gave for this 0-based position."""
        result = {}
        for path in self._folder.glob(f"*.{self._plate.frames[index]}.npz"):
            with np.load(path) as stored:
                if "coverage" in stored:
                    result[int(path.name.split(".")[0])] = stored["coverage"].astype(np.float32)
        return result

    def add(self, layer: int, index: int, keyframe: Keyframe, segmenter: Segmenter) -> BoolImage:
        """Prepare a keyframe that comes later, as a correction; replaces one on the same frame.

        Args:
            layer: number of any layer.
            index: 0-based position of the keyframe.
            keyframe: the prompt.
            segmenter: answers points and boxes.

        Returns:
            (H, W) working mask.

        Raises:
            PromptError: as ``prepare``.
        """
        return self._make(layer, index, keyframe, segmenter)

    def _path(self, number: int, index: int) -> Path:
        return self._folder / f"{number}.{self._plate.frames[index]}.npz"

    def _mask(
        self, number: int, index: int, keyframe: Keyframe, segmenter: Segmenter | None
    ) -> BoolImage:
        path = self._path(number, index)
        if path.exists():
            with np.load(path) as stored:
                return np.asarray(stored["mask"])
        return self._make(number, index, keyframe, segmenter)

    def _make(
        self, number: int, index: int, keyframe: Keyframe, segmenter: Segmenter | None
    ) -> BoolImage:
        arrays: dict[str, NDArray[np.generic]] = {}
        if keyframe.is_soft:
            coverage = self._coverage(keyframe)
            arrays["coverage"] = coverage.astype(np.float16)
            mask = working_mask(coverage, self._size)
        else:
            mask = self._answer(index, keyframe, segmenter)
        if not mask.any():
            raise PromptError(
                f"The prompt on keyframe {keyframe.frame} gives an empty mask: nothing of it lies "
                "inside the segmented window, or it finds nothing there. Move it or remove the "
                "keyframe."
            )
        arrays["mask"] = mask
        body = io.BytesIO()
        np.savez_compressed(body, **arrays)  # type: ignore[arg-type]
        save_atomically(self._path(number, index), body.getvalue())
        return mask

    def _coverage(self, keyframe: Keyframe) -> FloatImage:
        display, window = self._plate.format.display_window, self._plate.window
        if keyframe.mask is None:
            return polygon_coverage(keyframe.polygons, display=display, window=window)
        pixels, origin = read_mask(keyframe.mask.path, channel=keyframe.mask.channel)
        # A mask's own display window starts where the plate's does.
        x, y = origin[0] + display.x0, origin[1] + display.y0
        return fit_mask(pixels, origin=(x, y), window=window)

    def _answer(self, index: int, keyframe: Keyframe, segmenter: Segmenter | None) -> BoolImage:
        if segmenter is None:
            raise PromptError(
                f"Keyframe {keyframe.frame} needs a segmenter to answer its points or box."
            )
        prompt = segment_prompt(
            keyframe,
            display=self._plate.format.display_window,
            window=self._plate.window,
            size=self._size,
        )
        features = segmenter.encode(self._plate.read(self._plate.frames[index]))
        return np.asarray(segmenter.segment(features, [prompt], size=self._size)[0] >= HALF)
