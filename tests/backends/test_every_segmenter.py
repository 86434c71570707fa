"""What every segmenter and tracker has to hold, the fake first."""

from __future__ import annotations

import numpy as np
import pytest

from server.segment import SegmentPrompt
from tests.backends.conftest import Shot

SIZE = (54, 96)  # a working size that is neither the model image's nor the network's
# Networks compute a batch by other kernels than a single object; memories are kept in bf16, which
# may round the other way.
NOISE = 0.02


def prompts(shot: Shot, position: int = 0) -> list[SegmentPrompt]:
    scale = SIZE[1] / shot.labels.shape[2]
    found = []
    for mask in shot.masks(position):
        rows, columns = np.nonzero(mask)
        x0, y0, x1, y1 = (
            float(value * scale)
            for value in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        )
        found.append(SegmentPrompt(box=(x0, y0, x1, y1)))
    return found


def small_masks(shot: Shot, position: int = 0) -> np.ndarray:
    rows = (np.arange(SIZE[0]) * shot.labels.shape[1] / SIZE[0]).astype(int)
    columns = (np.arange(SIZE[1]) * shot.labels.shape[2] / SIZE[1]).astype(int)
    return np.ascontiguousarray(shot.masks(position)[:, rows][:, :, columns])


def probabilities(steps) -> np.ndarray:
    return np.concatenate(list(steps)) / 65535


@pytest.fixture
def features(segmenter, coloured_shot: Shot):
    return [segmenter.encode(image) for image in coloured_shot.images[:5]]


def test_features_say_how_much_memory_they_hold(features) -> None:
    assert features[0].size_bytes > 0


def test_every_prompt_has_one_map_of_the_working_size(
    segmenter, features, coloured_shot: Shot
) -> None:
    answer = segmenter.segment(features[0], prompts(coloured_shot), size=SIZE)

    assert answer.dtype == np.uint16
    assert answer.shape == (4, *SIZE)
    assert answer.any()


def test_no_prompt_gives_no_map(segmenter, features) -> None:
    assert segmenter.segment(features[0], [], size=SIZE).shape == (0, *SIZE)


def test_prompts_are_answered_independently(segmenter, features, coloured_shot: Shot) -> None:
    asked = prompts(coloured_shot)
    together = segmenter.segment(features[0], asked, size=SIZE) / 65535
    alone = [segmenter.segment(features[0], [prompt], size=SIZE)[0] / 65535 for prompt in asked]

    np.testing.assert_allclose(together, np.stack(alone), atol=1e-3)


def test_boxes_and_points_can_be_mixed(segmenter, features, coloured_shot: Shot) -> None:
    box = prompts(coloured_shot)[0]
    assert box.box is not None
    middle = ((box.box[0] + box.box[2]) / 2, (box.box[1] + box.box[3]) / 2)
    point = SegmentPrompt(points=((*middle, True),))
    both = SegmentPrompt(points=((*middle, True), (1.0, 50.0, False)))
    mixed = segmenter.segment(features[0], [box, point, box, both], size=SIZE)

    np.testing.assert_allclose(mixed[0] / 65535, mixed[2] / 65535, atol=1e-3)
    alone = segmenter.segment(features[0], [point], size=SIZE)[0]
    np.testing.assert_allclose(mixed[1] / 65535, alone / 65535, atol=1e-3)


def test_a_step_answers_for_every_object_in_order(segmenter, features, coloured_shot: Shot) -> None:
    masks = small_masks(coloured_shot)
    window = segmenter.open_window(features[0], masks, reverse=False)
    answers = list(window.step(features[1]))

    assert all(answer.dtype == np.uint16 for answer in answers)
    assert all(answer.shape[1:] == SIZE for answer in answers)
    assert sum(len(answer) for answer in answers) == len(masks)


def test_windows_that_advance_together_do_not_disturb_each_other(
    segmenter, features, coloured_shot: Shot
) -> None:
    masks = small_masks(coloured_shot)
    alone = segmenter.open_window(features[0], masks, reverse=False)
    expected = [probabilities(alone.step(features[age])) for age in (1, 2, 3)]

    first = segmenter.open_window(features[0], masks, reverse=False)
    found = [probabilities(first.step(features[1]))]
    second = segmenter.open_window(features[1], small_masks(coloured_shot, 1), reverse=False)
    for age in (2, 3):
        found.append(probabilities(first.step(features[age])))
        list(second.step(features[age]))

    np.testing.assert_array_equal(found, expected)


def test_a_dropped_object_answers_zeros_and_the_others_go_on(
    segmenter, features, coloured_shot: Shot
) -> None:
    masks = small_masks(coloured_shot)
    whole = segmenter.open_window(features[0], masks, reverse=False)
    fewer = segmenter.open_window(features[0], masks, reverse=False)
    fewer.drop(1)
    fewer.drop(1)
    for age in (1, 2):
        expected = probabilities(whole.step(features[age]))
        found = probabilities(fewer.step(features[age]))

        assert not found[1].any()
        np.testing.assert_allclose(found[[0, 2, 3]], expected[[0, 2, 3]], atol=NOISE)


def test_a_window_without_objects_left_costs_no_call(
    segmenter, features, coloured_shot: Shot
) -> None:
    window = segmenter.open_window(features[0], small_masks(coloured_shot)[:2], reverse=False)
    window.drop(0)
    window.drop(1)
    before = segmenter.calls.copy()
    answer = probabilities(window.step(features[1]))

    assert answer.shape == (2, *SIZE)
    assert not answer.any()
    assert segmenter.calls == before


def test_a_window_can_go_back_in_time(segmenter, features, coloured_shot: Shot) -> None:
    window = segmenter.open_window(features[4], small_masks(coloured_shot, 4), reverse=True)
    for age in (3, 2, 1):
        answer = probabilities(window.step(features[age]))

    assert answer.shape == (4, *SIZE)


def test_calls_are_counted_by_part(segmenter, coloured_shot: Shot) -> None:
    before = segmenter.calls.copy()
    features = segmenter.encode(coloured_shot.images[0])
    segmenter.segment(features, prompts(coloured_shot), size=SIZE)
    window = segmenter.open_window(features, small_masks(coloured_shot), reverse=False)
    list(window.step(segmenter.encode(coloured_shot.images[1])))
    spent = segmenter.calls - before
    batches = -(-4 // segmenter.objects_per_batch)

    assert spent["image_encoder"] == 2
    assert spent["memory_attention"] == batches
    assert spent["mask_decoder"] == 3 * batches


def test_a_model_says_what_it_is(segmenter) -> None:
    assert segmenter.name
    assert isinstance(segmenter.weights_sha256, str)
    assert segmenter.notes == []
