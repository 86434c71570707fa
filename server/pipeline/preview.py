"""One frame through stages 1 and 2, to look at before a shot is run."""

from __future__ import annotations

from dataclasses import dataclass

from server.detect import Detection, detect, parse_prompt
from server.errors import PromptError
from server.frames import ModelImage, open_plate
from server.pipeline.request import Models, ShotRequest, working_size
from server.segment import Segmentation, segment


@dataclass(frozen=True)
class FramePreview:
    """What stages 1 and 2 make of a frame."""

    image: ModelImage
    size: tuple[int, int]
    """(H, W) of the working image, which masks and rejections are given in."""
    detections: tuple[Detection, ...]
    """In pixels of the model image."""
    segmentation: Segmentation


def preview_frame(request: ShotRequest, frame: int, *, models: Models) -> FramePreview:
    """Boxes, masks and what was discarded with its reason, as a run would find them there.

    Args:
        request: the shot; its text prompt is what is tried.
        frame: the plate's frame number.
        models: both models are used.

    Raises:
        PromptError: the request has no text prompt.
        ServerError: as drawn in ``server.errors``.
    """
    if request.prompt is None:
        raise PromptError("A preview tries a text prompt. Give one, for example: person")
    categories = parse_prompt(request.prompt)
    with open_plate(
        request.plate, frame_range=request.frame_range, settings=request.plate_settings
    ) as plate:
        image = plate.read(frame)
        size = working_size(plate.model_size, request.working_size)
        found = detect(models.detector(), [image], categories, settings=request.detect)[0]
        segmenter = models.segmenter()
        segmentation = segment(
            segmenter,
            segmenter.encode(image),
            found,
            frame=frame,
            model_size=plate.model_size,
            size=size,
            settings=request.segment,
        )
    return FramePreview(image, size, found, segmentation)
