"""The plain reference: the pipeline told literally, on the packages' official predictors.

Stages 1 and 2 on every frame (``SAM2ImagePredictor.set_image`` each), then window after window over
a JPEG folder (``init_state``, ``add_new_mask`` per object, ``propagate_in_video``), forward and
backward, all caches in memory. The rules of clean-up, prompt and merge are the product's, so that
outputs can be compared; none of its scheduling, sharing or storage is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from server.detect import Detection, DetectSettings, detect
from server.frames import ModelImage
from server.segment import Mask, Segmentation, SegmentSettings, clean_up
from server.track import FULL, MaskCache, TrackSettings, key_indices
from tests.unit.track.shots import plain_tracking

SETTINGS = TrackSettings()


def run_plain(
    folder: Path,
    frames: tuple[int, ...],
    *,
    detector: Any,
    image_network: Any,
    video_network: Any,
    category: str,
) -> tuple[list[MaskCache], Counter[str]]:
    """A whole shot of one category.

    Args:
        folder: ``00000.jpg`` and on, square and of the network's size.
        frames: their frame numbers.
        detector: stage 1.
        image_network: for stage 2.
        video_network: for stage 3, with the same weights.
        category: the prompt.

    Returns:
        The cache of every frame, and model calls as the networks' own modules saw them.
    """
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    calls: Counter[str] = Counter()
    handles = [h for n in (image_network, video_network) for h in count_calls(n, calls)]
    predictor = SAM2ImagePredictor(image_network)
    side = image_network.image_size
    predictor._bb_feat_sizes = [(side // 4,) * 2, (side // 8,) * 2, (side // 16,) * 2]
    stage_2 = []
    for index, frame in enumerate(frames):
        pixels = np.array(Image.open(folder / f"{index:05d}.jpg"))
        image = ModelImage(frame, pixels)
        found = detect(detector, [image], [category], settings=DetectSettings())[0]
        calls["detector"] += 1
        predictor.set_image(pixels)
        masks = [_mask(predictor, one) for one in found]
        stage_2.append(clean_up(masks, frame=frame, settings=SegmentSettings()))

    def masks_at(index: int, features: object) -> Segmentation:
        return stage_2[index]

    caches, _ = plain_tracking(
        _Official(video_network, folder),
        masks_at,
        frames=frames,
        categories=(category,),
        settings=SETTINGS,
        key=key_indices(len(frames), SETTINGS.step),
        size=(side, side),
        features=lambda index: index,
    )
    for handle in handles:
        handle.remove()
    return caches, calls


def count_calls(network: Any, calls: Counter[str]) -> list[Any]:
    """Count what a network's modules are called; returns handles to stop it."""

    def hook(name: str) -> Any:
        return lambda *_: calls.update([name])

    return [
        getattr(network, module).register_forward_hook(hook(name))
        for module, name in (
            ("image_encoder", "image_encoder"),
            ("memory_attention", "memory_attention"),
            ("sam_mask_decoder", "mask_decoder"),
            ("memory_encoder", "memory_encoder"),
        )
    ]


def _mask(predictor: Any, one: Detection) -> Mask:
    with torch.inference_mode():
        logits = predictor.predict(
            box=np.array(one.box), multimask_output=False, return_logits=True
        )[0][0]
    return Mask(one.category, one.score, one.box, logits > 0)


class _Official:
    """The package's video predictor behind the windows of the plain schedule."""

    name = "official"

    def __init__(self, network: Any, folder: Path) -> None:
        self.network = network
        self.state = network.init_state(str(folder))

    def open_window(
        self, features: int, masks: NDArray[np.bool_], *, reverse: bool
    ) -> _OfficialWindow:
        return _OfficialWindow(self, features, masks, reverse)


class _OfficialWindow:
    def __init__(
        self, tracker: _Official, start: int, masks: NDArray[np.bool_], reverse: bool
    ) -> None:
        network, state = tracker.network, tracker.state
        network.reset_state(state)
        for number, mask in enumerate(masks, 1):
            network.add_new_mask(state, start, number, mask)
        self._answers = network.propagate_in_video(state, start, SETTINGS.interval, reverse=reverse)
        next(self._answers)  # the prompt frame

    def step(self, position: int) -> Iterator[NDArray[np.uint16]]:
        at, _, logits = next(self._answers)
        if at != position:
            raise ValueError(f"official predictor answered frame {at}, asked was {position}")
        probability = torch.sigmoid(logits[:, 0].float()) * FULL
        yield probability.round().to(torch.int32).numpy().astype(np.uint16)
