"""The measures the model cards report, on cases with known answers."""

import numpy as np
import pytest

from server.training.evaluate import box_iou, box_truth, mixed_shot, nms, score_shot, summary
from server.training.plates import draw_shot


def strip(*columns: int) -> np.ndarray:
    """(20, 40) label map: object k + 1 in the ten columns from columns[k] on; -1 for none."""
    labels = np.zeros((20, 40), np.uint8)
    for number, column in enumerate(columns):
        if column >= 0:
            labels[:, column : column + 10] = number + 1
    return labels


TRUTH = [strip(0, 20), strip(2, 22), strip(4, 24), strip(6, 26)]


def test_when_the_answer_is_the_truth_under_other_numbers_then_both_scores_are_one():
    swapped = [np.where(t == 1, 7, np.where(t == 2, 3, 0)) for t in TRUTH]
    score = score_shot(TRUTH, swapped)
    assert score.region == pytest.approx(1)
    assert score.identity == pytest.approx(1)


def test_when_ids_swap_half_way_then_identity_falls_to_a_half():
    swapped = [np.array([0, 2, 1], np.uint8)[t] for t in TRUTH[2:]]
    score = score_shot(TRUTH, TRUTH[:2] + swapped)
    assert score.identity == pytest.approx(0.5)
    assert score.region == pytest.approx(0.5)


def test_when_one_object_is_missed_then_identity_counts_it():
    only_first = [np.where(t == 1, 1, 0) for t in TRUTH]
    score = score_shot(TRUTH, only_first)
    assert score.identity == pytest.approx(2 * 4 / (8 + 4))
    assert score.region == pytest.approx(0.5)


def test_when_nothing_is_answered_then_both_scores_are_zero():
    score = score_shot(TRUTH, [np.zeros_like(t) for t in TRUTH])
    assert (score.region, score.identity) == (0, 0)


def test_when_a_layer_lies_on_an_object_too_small_to_count_then_it_is_not_held_against():
    speck = [t.copy() for t in TRUTH]
    for t in speck:
        t[0, 39] = 3
    score = score_shot(speck, speck, share=0.01)
    assert score.truth_instances == score.answer_instances == 8


def test_when_the_answer_is_smaller_than_the_plate_then_it_is_enlarged():
    small = [t[::2, ::2] for t in TRUTH]
    assert score_shot(TRUTH, small).region == pytest.approx(1)


def test_the_truth_itself_scores_one_on_drawn_shots():
    shots = [mixed_shot(number, shots=2, size=(64, 96), frames=4) for number in (0, 1)]
    truths = [[frame.labels() for frame in shot] for shot in shots]
    figures = summary([score_shot(truth, truth) for truth in truths])
    assert figures == {"J": 1.0, "IDF1": 1.0, "shots": 2.0}


def test_box_overlap_is_intersection_by_union():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    assert box_iou(boxes, boxes)[0] == pytest.approx([1, 1 / 3, 0])


def test_suppression_keeps_the_better_of_two_boxes_on_one_object():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    assert nms(boxes, np.array([0.5, 0.9, 0.2], np.float32), 0.7) == [1, 2]


def test_small_and_hidden_objects_need_not_be_found():
    shot = draw_shot(1, size=(90, 160), level=1.0)
    truth = box_truth(shot.frame(24), shot, smallest=1000)
    assert len(truth.boxes)
    assert not truth.required.any()
