"""Click sessions: one encoded frame, several objects, each with its prompts to go back over."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from server.errors import PromptError
from server.executors.engine import FrameSession, GreyImage
from server.jobs.errors import StateError
from server.prompts import Point

_MOST_STEPS = 500
_MOST_OBJECTS = 200


@dataclass(frozen=True)
class _Prompt:
    """What an object was asked for at one time; nothing at all at first."""

    points: tuple[Point, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: GreyImage | None = field(default=None, repr=False)


@dataclass
class _History:
    prompts: list[_Prompt] = field(default_factory=lambda: [_Prompt()])
    position: int = 0


class ClickSession:
    """Prompts and answers on one frame."""

    def __init__(self, frame: FrameSession) -> None:
        """Start with no object."""
        self._frame = frame
        self._objects: dict[str, _History] = {}

    def change(self, name: str, prompt: Mapping[str, Any]) -> None:
        """Give an object a new prompt, as JSON values; what was undone is forgotten.

        Raises:
            PromptError: the mask is no grey picture of the session's mask size.
        """
        if name not in self._objects and len(self._objects) >= _MOST_OBJECTS:
            raise PromptError(f"A session holds {_MOST_OBJECTS} objects. Open another one.")
        history = self._objects.setdefault(name, _History())
        mask = self._read_mask(prompt["mask"]) if prompt["mask"] else None
        box = tuple(prompt["box"]) if prompt["box"] else None
        points = tuple(Point(x, y, positive) for x, y, positive in prompt["points"])
        del history.prompts[history.position + 1 :]
        history.prompts.append(_Prompt(points, box, mask))
        del history.prompts[:-_MOST_STEPS]
        history.position = len(history.prompts) - 1

    def step(self, name: str, by: int) -> None:
        """Go one prompt back (-1) or forward (1).

        Raises:
            StateError: there is none that way.
        """
        history = self._objects.get(name)
        if history is None or not 0 <= history.position + by < len(history.prompts):
            raise StateError(f"There is nothing to {'undo' if by < 0 else 'do again'} on {name}.")
        history.position += by

    def answer(self, name: str) -> dict[str, Any]:
        """The object's mask now, and the prompt that gave it, as JSON values."""
        history = self._objects[name]
        prompt = history.prompts[history.position]
        mask = prompt.mask
        if mask is None:
            mask = self._frame.mask(prompt.points, prompt.box)
        return {
            "object": name,
            "mask": _png(mask),
            "points": [[p.x, p.y, p.positive] for p in prompt.points],
            "box": list(prompt.box) if prompt.box else None,
            "can_undo": history.position > 0,
            "can_redo": history.position < len(history.prompts) - 1,
        }

    def _read_mask(self, text: str) -> GreyImage:
        from PIL import Image, UnidentifiedImageError

        height, width = self._frame.shown.size
        try:
            with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as image:
                if image.size != (width, height):
                    raise PromptError(
                        f"Expected a mask of {width}×{height} pixels, found {image.size[0]}×"
                        f"{image.size[1]}."
                    )
                return np.asarray(image.convert("L"))
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise PromptError(f"Expected the mask as a grey PNG, found none: {error}.") from error


def _png(pixels: GreyImage) -> str:
    from PIL import Image

    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "png", compress_level=1)
    return base64.b64encode(body.getvalue()).decode()
