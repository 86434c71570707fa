"""The oracle: exact without errors, wrong by the stated amount with them, the same every time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from server.errors import SettingsError
from server.frames import ModelImage
from server.models.oracle import OracleDetector, OracleErrors, OracleSegmenter, ShotTruth
from server.segment import SegmentPrompt

SIZE = (60, 200)


def crossing() -> ShotTruth:
    """Two people who walk through each other and a car that stands apart; 41 frames."""
    labels = np.zeros((41, *SIZE), np.uint8)
    for index in range(41):
        labels[index, 40:56, 170:196] = 3
        labels[index, 10:50, 10 + 3 * index : 24 + 3 * index] = 1
        labels[index, 12:52, 130 - 3 * index : 144 - 3 * index] = 2
    return ShotTruth(
        frames=tuple(range(1001, 1042)), labels=labels, categories=("person",) * 2 + ("car",)
    )


def picture(position: int) -> ModelImage:
    return ModelImage(frame=1001 + position, pixels=np.zeros((*SIZE, 3), np.uint8))


def masks(truth: ShotTruth, position: int, *items: int) -> np.ndarray:
    return np.stack([truth.labels[position] == item + 1 for item in items])


def boxes_of(detector: OracleDetector, position: int, *categories: str) -> set[tuple[float, ...]]:
    (answer,) = detector.score([picture(position)], categories)
    return {tuple(box.tolist()) for box in answer.boxes}


def test_without_errors_every_object_has_its_exact_box() -> None:
    detector = OracleDetector(crossing())

    assert boxes_of(detector, 0, "person") == {(10, 10, 24, 50), (130, 12, 144, 52)}
    assert boxes_of(detector, 0, "car") == {(170, 40, 196, 56)}


def test_without_errors_masks_and_tracks_are_the_truth() -> None:
    truth = crossing()
    segmenter = OracleSegmenter(truth)
    features = [segmenter.encode(picture(position)) for position in range(41)]
    prompt = SegmentPrompt(box=(9.0, 11.0, 25.0, 51.0))
    found = segmenter.segment(features[0], [prompt], size=SIZE)[0] > 32768
    np.testing.assert_array_equal(found, truth.labels[0] == 1)

    window = segmenter.open_window(features[0], masks(truth, 0, 0, 1, 2), reverse=False)
    for position in range(1, 41):
        answer = np.concatenate(list(window.step(features[position])))
        np.testing.assert_array_equal(answer > 32768, masks(truth, position, 0, 1, 2))


def test_missed_detections_come_in_the_stated_share() -> None:
    detector = OracleDetector(crossing(), errors=OracleErrors(missed=0.3))
    found = sum(len(boxes_of(detector, position, "car")) for position in range(41))

    assert 0.5 <= found / 41 <= 0.9


def test_group_boxes_appear_only_where_objects_touch() -> None:
    detector = OracleDetector(crossing(), errors=OracleErrors(group_boxes=1.0))

    assert len(boxes_of(detector, 0, "person")) == 2
    # Frame 18: the first ends at column 78, the second begins at 76 behind it.
    assert (64.0, 10.0, 90.0, 52.0) in boxes_of(detector, 18, "person")
    assert len(boxes_of(detector, 18, "person")) == 3


def test_a_group_box_is_answered_with_both_objects() -> None:
    truth = crossing()
    segmenter = OracleSegmenter(truth)
    prompt = SegmentPrompt(box=(64.0, 10.0, 90.0, 52.0))
    found = segmenter.segment(segmenter.encode(picture(18)), [prompt], size=SIZE)[0] > 32768

    np.testing.assert_array_equal(found, np.isin(truth.labels[18], [1, 2]))


def test_a_tracked_mask_drifts_further_with_every_frame() -> None:
    truth = crossing()
    segmenter = OracleSegmenter(truth, errors=OracleErrors(drift_pixels=5.0))
    features = [segmenter.encode(picture(position)) for position in range(15)]
    window = segmenter.open_window(features[0], masks(truth, 0, 0), reverse=False)
    overlaps = []
    for position in range(1, 15):
        found = next(window.step(features[position]))[0] > 0
        expected = truth.labels[position] == 1
        overlaps.append((found & expected).sum() / (found | expected).sum())

    assert overlaps[0] > 0.8
    assert overlaps[-1] < 0.5
    assert all(later <= earlier for earlier, later in itertools.pairwise(overlaps))


def test_probability_fades_with_age() -> None:
    truth = crossing()
    segmenter = OracleSegmenter(truth, errors=OracleErrors(fade=0.05))
    features = segmenter.encode(picture(0))
    window = segmenter.open_window(features, masks(truth, 0, 0), reverse=False)
    values = [int(next(window.step(features)).max()) for _ in range(12)]

    assert values[0] == round(0.93 * 65535)
    assert values[-1] == round(0.55 * 65535)


@pytest.mark.parametrize(("chance", "swapped"), [(0.0, False), (1.0, True)])
def test_a_crossing_swaps_two_objects_by_the_stated_chance(chance: float, swapped: bool) -> None:
    truth = crossing()
    segmenter = OracleSegmenter(truth, errors=OracleErrors(swaps=chance))
    features = [segmenter.encode(picture(position)) for position in range(41)]
    window = segmenter.open_window(features[0], masks(truth, 0, 0, 1, 2), reverse=False)
    for position in range(1, 41):
        answer = np.concatenate(list(window.step(features[position]))) > 0

    expected = masks(truth, 40, *((1, 0, 2) if swapped else (0, 1, 2)))
    np.testing.assert_array_equal(answer, expected)


def test_a_mask_over_background_is_followed_nowhere() -> None:
    truth = crossing()
    segmenter = OracleSegmenter(truth)
    features = segmenter.encode(picture(0))
    nothing = np.zeros((1, *SIZE), np.bool_)
    nothing[0, :8, :8] = True
    window = segmenter.open_window(features, nothing, reverse=False)

    assert not next(window.step(features)).any()


def test_errors_do_not_depend_on_the_order_of_calls() -> None:
    errors = OracleErrors(missed=0.3, box_jitter=0.1, score_spread=0.1, edge_pixels=5.0)
    first, second = (OracleDetector(crossing(), errors=errors, seed=4) for _ in range(2))
    forward = [boxes_of(first, position, "person", "car") for position in range(10)]
    backward = [boxes_of(second, position, "person", "car") for position in range(9, -1, -1)]

    assert forward == backward[::-1]
    assert forward != [
        boxes_of(OracleDetector(crossing(), errors=errors, seed=5), position, "person", "car")
        for position in range(10)
    ]


def test_what_the_oracle_answers_from_is_in_its_sha256() -> None:
    truth = crossing()
    names = {
        OracleSegmenter(truth).weights_sha256,
        OracleSegmenter(truth, seed=1).weights_sha256,
        OracleSegmenter(truth, errors=OracleErrors(fade=0.1)).weights_sha256,
    }

    assert len(names) == 3
    assert OracleDetector(truth).weights_sha256 in names


@pytest.mark.parametrize("wrong", [{"missed": 1.5}, {"swaps": -0.1}, {"drift_pixels": -1.0}])
def test_errors_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        OracleErrors(**wrong)


def test_the_truth_of_a_drawn_shot_has_its_labels_and_categories() -> None:
    from server.training.plates import draw_shot

    shot = draw_shot(1, size=(90, 160), frames=3, level=0.0)
    truth = ShotTruth.of(shot, first=101)

    assert truth.frames == (101, 102, 103)
    assert truth.categories == tuple(item.category for item in shot.objects)
    np.testing.assert_array_equal(truth.labels[2], shot.frame(2).labels())
