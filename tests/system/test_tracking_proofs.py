"""The tracking of a whole shot against plain versions of it, with the real demo models.

One shot of the network's own size, read from JPEG files, so that the official predictors see the
very same pixels.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from PIL import Image

from server.frames import ModelImage
from server.models.demo import build_demo_sam2
from server.models.sam2 import Sam2
from server.segment import Mask, Segmentation, SegmentPrompt, SegmentSettings, clean_up
from server.track import FULL, ShotTracker, TrackSettings, key_indices
from server.training.plates import draw_shot
from tests.unit.track.shots import plain_tracking

torch.set_num_threads(1)

FRAMES = 26
CATEGORIES = ("person", "car")
SETTINGS = TrackSettings()
KEY = key_indices(FRAMES, SETTINGS.step)
NUMBERS = range(1001, 1001 + FRAMES)


@pytest.fixture(scope="module")
def network():
    return build_demo_sam2()


@pytest.fixture(scope="module")
def shot(tmp_path_factory, network):
    """(JPEG folder, images, boxes by position): a drawn shot kept out of training."""
    folder = tmp_path_factory.mktemp("frames")
    side = network.image_size
    drawn = draw_shot(9052, size=(side, side), frames=FRAMES, level=0.1, categories=CATEGORIES)
    images, boxes = [], []
    for index, frame in enumerate(drawn):
        path = folder / f"{index:05d}.jpg"
        Image.fromarray(frame.pixels).save(path, quality=95)
        images.append(ModelImage(1001 + index, np.array(Image.open(path))))
        boxes.append([(drawn.objects[i - 1].category, box) for i, box in frame.boxes().items()])
    return folder, images, boxes


@pytest.fixture(scope="module")
def adapter(network):
    return Sam2(network, name="demo-sam2", weights_sha256="", objects_per_batch=2)


def stage_2(segmenter, image_boxes, features, size):
    """Masks of truth boxes: the detector is not what is proved here."""
    prompts = [SegmentPrompt(box=box) for _, box in image_boxes]
    if not prompts:
        return Segmentation((), ())
    answers = segmenter.segment(features, prompts, size=size)
    masks = [
        Mask(category, 0.9 - 0.01 * i, box, answer >= 32768)
        for i, ((category, box), answer) in enumerate(zip(image_boxes, answers, strict=True))
    ]
    return clean_up(masks, frame=0, settings=SegmentSettings())


@pytest.fixture(scope="module")
def encoded(adapter, shot):
    return functools.cache(lambda index: adapter.encode(shot[1][index]))


@pytest.fixture(scope="module")
def ours(adapter, shot, encoded, tmp_path_factory):
    size = shot[1][0].pixels.shape[:2]

    def masks_at(index, features):
        return stage_2(adapter, shot[2][index], features, size)

    tracker = ShotTracker(
        adapter,
        frames=NUMBERS,
        size=size,
        categories=CATEGORIES,
        settings=SETTINGS,
        folder=tmp_path_factory.mktemp("work"),
    )
    stream = lambda order: map(encoded, order)  # noqa: E731
    for _ in tracker.forward(stream, masks_at):
        pass
    caches = dict(tracker.backward(stream, masks_at))
    return [caches[index] for index in range(FRAMES)], masks_at


def foreground(caches):
    return [float((cache.layer > 0).any(axis=0).mean()) for cache in caches]


def test_lockstep_is_bit_identical_to_window_after_window(adapter, shot, ours, encoded):
    caches, masks_at = ours
    expected, births = plain_tracking(
        adapter,
        masks_at,
        frames=NUMBERS,
        categories=CATEGORIES,
        settings=SETTINGS,
        key=KEY,
        size=shot[1][0].pixels.shape[:2],
        features=encoded,
    )
    assert len(births) >= 2
    assert 0.05 < min(foreground(expected)) <= max(foreground(expected)) < 0.6
    for index, (ours_at, plain) in enumerate(zip(caches, expected, strict=True)):
        assert np.array_equal(ours_at.layer, plain.layer), index
        assert np.array_equal(ours_at.probability, plain.probability), index


class OfficialTracker:
    """The package's own video predictor behind the windows of the plain schedule."""

    name = "official"

    def __init__(self, folder):
        self.network = build_demo_sam2()
        self.state = self.network.init_state(str(folder))

    def open_window(self, features, masks, *, reverse):
        return OfficialWindow(self, features, masks, reverse)


class OfficialWindow:
    def __init__(self, tracker, start, masks, reverse):
        network, state = tracker.network, tracker.state
        network.reset_state(state)
        for number, mask in enumerate(masks, 1):
            network.add_new_mask(state, start, number, mask)
        self.answers = {}
        for at, _, logits in network.propagate_in_video(
            state, start, SETTINGS.interval, reverse=reverse
        ):
            probability = torch.sigmoid(logits[:, 0].float()) * FULL
            self.answers[at] = probability.round().to(torch.int32).numpy().astype(np.uint16)

    def step(self, position):
        yield self.answers[position]


def test_a_whole_shot_equals_a_plain_one_on_the_official_predictors(shot, ours):
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    caches, _ = ours
    folder, images, boxes = shot
    side = images[0].pixels.shape[0]
    predictor = SAM2ImagePredictor(build_demo_sam2())
    predictor._bb_feat_sizes = [(side // 4,) * 2, (side // 8,) * 2, (side // 16,) * 2]

    def masks_at(index, features):
        predictor.set_image(images[index].pixels)
        masks = []
        for i, (category, box) in enumerate(boxes[index]):
            logits = predictor.predict(
                box=np.array(box), multimask_output=False, return_logits=True
            )[0][0]
            masks.append(Mask(category, 0.9 - 0.01 * i, box, logits > 0))
        return clean_up(masks, frame=0, settings=SegmentSettings())

    distances = []
    expected, _ = plain_tracking(
        OfficialTracker(folder),
        masks_at,
        frames=NUMBERS,
        categories=CATEGORIES,
        settings=SETTINGS,
        key=KEY,
        size=(side, side),
        features=lambda index: index,
        judge=lambda cached, masks: distances.extend(decision_distances(cached, masks)),
    )
    assert 0.05 < min(foreground(expected)) <= max(foreground(expected)) < 0.6
    assert len(distances) > 10
    assert min(distances) > 1e-3
    differing = np.mean(
        [(a.layer != b.layer).mean() for a, b in zip(caches, expected, strict=True)]
    )
    assert differing < 1e-4


def decision_distances(cached, masks):
    """How far every comparison of the prompt rule lies from its threshold."""
    match = SETTINGS.match
    for mask in masks:
        for layer in np.unique(cached[cached > 0]):
            own = cached == layer
            inside = np.count_nonzero(own & mask.pixels)
            if not inside:
                continue
            iou = inside / np.count_nonzero(own | mask.pixels)
            overlap = max(inside / mask.area, inside / np.count_nonzero(own))
            yield abs(iou - match.direct)
            yield abs(overlap - match.overlap)
            yield abs(overlap - match.partial)
