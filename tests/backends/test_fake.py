"""The fakes: exact answers from flat colours."""

from __future__ import annotations

import numpy as np

from server.frames import ModelImage
from server.models.fake import PALETTE, TOLERANCE, FakeDetector, FakeSegmenter
from server.segment import SegmentPrompt
from tests.backends.conftest import Shot


def test_every_colour_is_one_box_of_its_category(coloured_shot: Shot) -> None:
    (answer,) = FakeDetector().score(coloured_shot.images[:1], ("bag", "person"))
    found = {
        tuple(box): tuple(score) for box, score in zip(answer.boxes, answer.scores, strict=True)
    }

    assert found == {
        (8, 4, 24, 16): (0.0, np.float32(0.9)),
        (28, 20, 44, 32): (0.0, np.float32(0.9)),
        (48, 36, 64, 48): (0.0, 0.0),
        (68, 52, 84, 64): (np.float32(0.9), 0.0),
    }


def test_a_box_gives_the_mask_of_the_colour_in_it(coloured_shot: Shot) -> None:
    segmenter = FakeSegmenter()
    features = segmenter.encode(coloured_shot.images[0])
    prompt = SegmentPrompt(box=(26.0, 18.0, 46.0, 34.0))
    (mask,) = segmenter.segment(features, [prompt], size=(72, 128))

    np.testing.assert_array_equal(mask > 32768, coloured_shot.masks(0)[1])


def test_a_negative_point_on_the_same_colour_takes_the_answer_away(coloured_shot: Shot) -> None:
    segmenter = FakeSegmenter()
    features = segmenter.encode(coloured_shot.images[0])
    prompt = SegmentPrompt(points=((10.0, 6.0, True), (20.0, 12.0, False)))

    assert not segmenter.segment(features, [prompt], size=(72, 128)).any()


def test_a_window_follows_its_colours_to_the_last_frame(coloured_shot: Shot) -> None:
    segmenter = FakeSegmenter(objects_per_batch=3)
    window = segmenter.open_window(
        segmenter.encode(coloured_shot.images[0]), coloured_shot.masks(0), reverse=False
    )
    for position in range(1, len(coloured_shot.images)):
        batches = list(window.step(segmenter.encode(coloured_shot.images[position])))
        found = np.concatenate(batches)

        assert [len(batch) for batch in batches] == [3, 1]
        np.testing.assert_array_equal(found > 32768, coloured_shot.masks(position))


def test_an_object_that_left_has_no_pixel_and_comes_back(coloured_shot: Shot) -> None:
    segmenter = FakeSegmenter()
    window = segmenter.open_window(
        segmenter.encode(coloured_shot.images[0]), coloured_shot.masks(0)[:1], reverse=False
    )
    empty = ModelImage(frame=1, pixels=np.full((72, 128, 3), 90, np.uint8))

    assert not next(window.step(segmenter.encode(empty))).any()
    assert next(window.step(segmenter.encode(coloured_shot.images[1]))).any()


def test_probability_can_fade_with_age(coloured_shot: Shot) -> None:
    segmenter = FakeSegmenter(fade=0.1)
    features = segmenter.encode(coloured_shot.images[0])
    window = segmenter.open_window(features, coloured_shot.masks(0)[:1], reverse=False)
    values = [int(next(window.step(features)).max()) for _ in range(6)]

    np.testing.assert_allclose(np.array(values[:3]) / 65535, (0.85, 0.75, 0.65), atol=1e-4)
    assert values[4] == values[5] == round(0.55 * 65535)


def test_colours_are_far_enough_apart_to_survive_rounding() -> None:
    colours = np.array([colour for group in PALETTE.values() for colour in group])
    distance = np.abs(colours[:, None] - colours[None]).max(axis=2)
    np.fill_diagonal(distance, 255)

    assert distance.min() > 2 * TOLERANCE
