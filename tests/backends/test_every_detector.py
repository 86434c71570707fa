"""What every detector has to hold, the fake first."""

from __future__ import annotations

import numpy as np

from server.detect import DetectSettings, detect
from tests.backends.conftest import Shot

CATEGORIES = ("person", "car", "bag")
# Networks compute a batch by other kernels than a single image: float noise, nothing else.
NOISE = 1e-3


def test_an_answer_has_one_score_per_box_and_category(detector, coloured_shot: Shot) -> None:
    (answer,) = detector.score(coloured_shot.images[:1], CATEGORIES)

    assert answer.boxes.dtype == answer.scores.dtype == np.float32
    assert answer.scores.shape == (len(answer.boxes), len(CATEGORIES))
    assert len(answer.boxes) > 0
    assert 0 <= answer.scores.min() <= answer.scores.max() <= 1


def test_boxes_lie_inside_the_model_image(detector, coloured_shot: Shot) -> None:
    image = coloured_shot.images[0]
    height, width = image.pixels.shape[:2]
    (answer,) = detector.score([image], CATEGORIES)

    assert answer.boxes.min() >= 0
    assert answer.boxes[:, [0, 2]].max() <= width
    assert answer.boxes[:, [1, 3]].max() <= height
    assert (answer.boxes[:, 2:] >= answer.boxes[:, :2]).all()


def test_a_batch_answers_like_single_images(detector, coloured_shot: Shot) -> None:
    images = coloured_shot.images[:3]
    together = detector.score(images, CATEGORIES)
    alone = [detector.score([image], CATEGORIES)[0] for image in images]

    assert len(together) == len(images)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=NOISE)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=100 * NOISE)


def test_the_same_image_has_the_same_answer_twice(detector, coloured_shot: Shot) -> None:
    first, second = (detector.score(coloured_shot.images[:1], CATEGORIES)[0] for _ in range(2))

    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_one_category_gives_one_column(detector, coloured_shot: Shot) -> None:
    (answer,) = detector.score(coloured_shot.images[:1], ("car",))

    assert answer.scores.shape[1] == 1


def test_calls_are_counted(detector, coloured_shot: Shot) -> None:
    before = detector.calls["detector"]
    detector.score(coloured_shot.images[:2], CATEGORIES)

    assert detector.calls["detector"] > before
    assert set(detector.calls) == {"detector"}


def test_stage_one_runs_on_it(detector, coloured_shot: Shot) -> None:
    settings = DetectSettings(threshold=detector.usual_threshold)
    answers = detect(detector, coloured_shot.images[:2], CATEGORIES, settings=settings)

    assert len(answers) == 2
    assert {found.category for answer in answers for found in answer} <= set(CATEGORIES)


def test_a_model_says_what_it_is(detector) -> None:
    assert detector.name
    assert isinstance(detector.weights_sha256, str)
    assert detector.notes == []
