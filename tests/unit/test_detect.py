"""Stage 1's decisions: category, threshold, suppression, order; whatever the detector."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from server.detect import BoxScores, DetectSettings, detect, parse_prompt
from server.errors import PromptError, SettingsError
from server.frames import ModelImage

IMAGE = ModelImage(1001, np.zeros((40, 60, 3), np.uint8))


class Scripted:
    """Answers with given boxes and scores per category."""

    name, usual_threshold = "scripted", 0.3

    def __init__(self, boxes, scores):
        self.boxes, self.scores = np.array(boxes, np.float32), scores
        self.calls = Counter()
        self.asked = []

    def score(self, images, categories):
        self.asked.append(tuple(categories))
        rows = [[row[c] for c in categories] for row in self.scores]
        table = np.array(rows, np.float32).reshape(-1, len(categories))
        return [BoxScores(self.boxes, table) for _ in images]


A, B, C = [0, 0, 20, 20], [1, 0, 21, 20], [30, 0, 50, 20]


def found(detector, categories=("person", "car"), **settings):
    answer = detect(detector, [IMAGE], categories, settings=DetectSettings(**settings))[0]
    return [(d.category, d.box[0], round(d.score, 2)) for d in answer]


def test_each_box_gets_the_category_it_scores_best_for():
    detector = Scripted([A, C], [{"person": 0.5, "car": 0.4}, {"person": 0.35, "car": 0.6}])
    assert found(detector) == [("car", 30, 0.6), ("person", 0, 0.5)]


def test_boxes_below_the_models_usual_threshold_go_unless_it_is_set():
    detector = Scripted([A, C], [{"person": 0.29, "car": 0}, {"person": 0.31, "car": 0}])
    assert found(detector) == [("person", 30, 0.31)]
    assert len(found(detector, threshold=0.2)) == 2


def test_a_box_over_a_better_one_goes_only_in_its_own_category():
    scores = [{"person": 0.9, "car": 0}, {"person": 0.8, "car": 0}]
    assert found(Scripted([A, B], scores)) == [("person", 0, 0.9)]
    scores = [{"person": 0.9, "car": 0}, {"person": 0, "car": 0.8}]
    assert len(found(Scripted([A, B], scores))) == 2


def test_equal_scores_are_ordered_from_left_to_right():
    scores = [{"person": 0.5, "car": 0}] * 3
    detector = Scripted([C, A, [25, 0, 29, 20]], scores)
    assert [x for _, x, _ in found(detector)] == [0, 25, 30]


def test_separate_captions_ask_for_each_category_apart():
    detector = Scripted([A, C], [{"person": 0.5, "car": 0.45}, {"person": 0.1, "car": 0.6}])
    assert found(detector, joint_caption=False) == [
        ("car", 30, 0.6),
        ("person", 0, 0.5),
        ("car", 0, 0.45),
    ]
    assert detector.asked == [("person",), ("car",)]


def test_no_boxes_and_no_images_are_fine():
    assert found(Scripted(np.zeros((0, 4)), [])) == []
    assert detect(Scripted([A], []), [], ("person",), settings=DetectSettings()) == []


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("person, car", ("person", "car")),
        (" Person ,  red   CAR,person", ("person", "red car")),
        ("person. car?", ("person", "car")),
        ("dog", ("dog",)),
    ],
)
def test_a_prompt_is_cleaned(text, categories):
    assert parse_prompt(text) == categories


@pytest.mark.parametrize("text", ["", " , ", "..?"])
def test_a_prompt_that_names_nothing_is_refused(text):
    with pytest.raises(PromptError, match="names nothing"):
        parse_prompt(text)


@pytest.mark.parametrize("bad", [{"threshold": 0}, {"suppress_iou": 0}, {"batch": 0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SettingsError):
        DetectSettings(**bad)


def test_answers_of_wrong_shape_say_what_was_expected():
    with pytest.raises(ValueError, match=r"expected \(Q, 4\), got \(3,\)"):
        BoxScores(np.zeros(3, np.float32), np.zeros((3, 1), np.float32))
    with pytest.raises(ValueError, match=r"expected \(2, K\), got \(3, 1\)"):
        BoxScores(np.zeros((2, 4), np.float32), np.zeros((3, 1), np.float32))
