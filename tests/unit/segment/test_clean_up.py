"""The clean-up of stage 2 on masks drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from server.segment import Mask, SegmentSettings, clean_up

SIZE = (120, 200)


def box_mask(x0, y0, x1, y1, *, score=0.5, category="person") -> Mask:
    pixels = np.zeros(SIZE, np.bool_)
    pixels[y0:y1, x0:x1] = True
    return Mask(category, score, (x0, y0, x1, y1), pixels)


def clean(masks, **settings):
    answer = clean_up(masks, frame=1001, settings=SegmentSettings(**settings))
    kept = [masks.index(next(m for m in masks if m.box == k.box)) for k in answer.masks]
    return sorted(kept), {r.reason.split(":")[0]: r for r in answer.rejections}, answer


def test_when_one_object_is_found_twice_then_the_better_box_stays():
    kept, rejected, _ = clean([box_mask(10, 10, 60, 100, score=0.6), box_mask(10, 10, 61, 100)])
    assert kept == [0]
    assert rejected["duplicate"].score == 0.5


def test_a_group_box_around_two_people_goes_and_both_stay():
    group = box_mask(0, 0, 100, 100, score=0.9)
    kept, rejected, _ = clean([group, box_mask(0, 0, 45, 100), box_mask(55, 0, 100, 100)])
    assert kept == [1, 2]
    assert rejected["group"].score == 0.9
    assert rejected["group"].frame == 1001


def test_a_box_around_twelve_people_goes_although_it_covers_no_tenth_of_itself_with_any_one():
    people = [box_mask(2 + 16 * i, 5, 16 + 16 * i, 105, score=0.4) for i in range(12)]
    touching = [
        box_mask(2 + 16 * i, 5, 19 + 16 * i, 105, score=0.4) if i < 11 else people[i]
        for i in range(12)
    ]
    for crowd in (people, touching):
        kept, rejected, _ = clean([*crowd, box_mask(0, 0, 200, 115, score=0.9)])
        assert 12 not in kept
        assert rejected["group"].score == 0.9
    assert clean([*people, box_mask(0, 0, 200, 115, score=0.9)])[0] == list(range(12))


def test_hands_found_beside_a_person_are_merged_into_it():
    person = box_mask(20, 10, 80, 110, score=0.8)
    kept, _, answer = clean([person, box_mask(16, 50, 28, 60), box_mask(72, 50, 84, 60)])
    assert kept == [0]
    assert [r.reason.split(":")[0] for r in answer.rejections] == ["merged", "merged"]
    assert answer.masks[0].pixels[55, 16]
    assert answer.masks[0].pixels[55, 83]


def test_a_parent_that_barely_touches_two_children_stays_with_both():
    parent = box_mask(60, 10, 120, 110)
    kept, rejected, _ = clean([parent, box_mask(30, 50, 63, 110), box_mask(117, 50, 150, 110)])
    assert kept == [0, 1, 2]
    assert not rejected


def test_a_part_inside_a_whole_becomes_the_whole():
    kept, _, answer = clean([box_mask(20, 10, 80, 110, score=0.3), box_mask(30, 20, 60, 60)])
    assert kept == [0]
    assert answer.masks[0].score == 0.3


def test_of_three_people_who_overlap_each_other_only_the_worst_goes():
    masks = [
        box_mask(10, 10, 60, 80, score=0.9),
        box_mask(50, 10, 100, 80, score=0.8),
        box_mask(30, 60, 80, 118, score=0.7),
    ]
    sims = [
        np.count_nonzero(a.pixels & b.pixels) / a.area for a in masks for b in masks if a is not b
    ]
    assert min(sims) >= 0.1  # the drawing is what the sentence says
    kept, rejected, _ = clean(masks)
    assert len(kept) == 2
    assert set(rejected) == {"group"}


def test_empty_and_tiny_masks_go():
    kept, _, answer = clean(
        [box_mask(5, 5, 5, 5), box_mask(10, 10, 13, 15), box_mask(20, 20, 40, 40)]
    )
    assert kept == [2]
    assert [r.reason.split(":")[0] for r in answer.rejections] == ["tiny", "tiny"]


@pytest.mark.parametrize(
    ("first", "second"), [("person", "bag"), ("car", "person")], ids=["bag", "driver"]
)
def test_an_object_inside_one_of_another_category_stays(first, second):
    masks = [box_mask(10, 10, 150, 110, category=first), box_mask(60, 30, 90, 70, category=second)]
    assert clean(masks)[0] == [0, 1]


def test_adding_a_category_changes_nothing_in_the_others():
    people = [
        box_mask(0, 0, 100, 100, score=0.9),
        box_mask(0, 0, 45, 100, score=0.7),
        box_mask(55, 0, 100, 100, score=0.6),
        box_mask(120, 5, 124, 8),
    ]
    cars = [
        box_mask(30, 40, 190, 110, score=0.95, category="car"),
        box_mask(40, 50, 90, 100, score=0.5, category="car"),
    ]
    alone = clean_up(people, frame=1, settings=SegmentSettings())
    together = clean_up([*people, *cars], frame=1, settings=SegmentSettings())

    def person(masks):
        return [(m.box, m.score, m.pixels.tobytes()) for m in masks if m.category == "person"]

    assert person(together.masks) == person(alone.masks)
    assert [r for r in together.rejections if r.category == "person"] == list(alone.rejections)


def test_one_object_found_under_two_categories_is_named_by_the_higher_score():
    masks = [
        box_mask(10, 10, 60, 60, category="car", score=0.6),
        box_mask(10, 10, 60, 61, category="truck", score=0.7),
    ]
    kept, rejected, _ = clean(masks)
    assert kept == [1]
    assert rejected["renamed"].category == "car"
    assert "truck" in rejected["renamed"].reason


def test_the_papers_reading_decides_all_at_once_and_across_categories():
    group = box_mask(0, 0, 100, 100, score=0.9)
    pair = [box_mask(0, 0, 52, 100), box_mask(40, 0, 100, 100, category="car")]
    # All three overlap two others: the literal rule throws every one of them away.
    assert clean([group, *pair], clean_up="paper")[0] == []
    assert clean([group, *pair])[0] == [0, 2]


def test_masks_come_out_by_falling_score():
    masks = [box_mask(10 * i, 0, 10 * i + 8, 40, score=s) for i, s in enumerate((0.3, 0.9, 0.6))]
    answer = clean_up(masks, frame=1, settings=SegmentSettings())
    assert [m.score for m in answer.masks] == [0.9, 0.6, 0.3]
