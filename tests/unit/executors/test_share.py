"""Who gets which key frames of a shared shot."""

from __future__ import annotations

import pytest

from server.executors.engine import Defaults
from server.executors.prepare import Order
from server.executors.share import Share


@pytest.fixture
def make_share(tmp_path):
    order = Order("{}", "someone", (), (), (), "", str(tmp_path), Defaults("", "", 1, 1))

    def make(frames, *, devices=2, batch=4):
        share = Share(order, owner="owner", devices=devices, changed=lambda: None)
        if frames:
            share.begin(range(frames), total=frames, batch=batch)
        return share

    return make


def drain(share, *, devices):
    """Frames of each turn's boxes and masks, one second a frame, and when the last is done."""
    now, idle, made, turns, busy = 0.0, [f"device {n}" for n in range(devices)], set(), [], []
    while True:
        for worker in list(idle):
            if chunk := share.take(worker):
                idle.remove(worker)
                boxes = [frame for frame in chunk.frames if frame not in made]
                masks = [] if chunk.boxes_only else list(chunk.frames)
                made.update(boxes)
                turns.append((boxes, masks))
                busy.append((now + len(boxes + masks), worker, chunk))
        if not busy:
            return turns, now
        busy.sort(key=lambda item: item[:2])
        now, worker, chunk = busy.pop(0)
        share.done(worker, chunk)
        idle.append(worker)


def test_boxes_are_made_once_in_whole_batches_and_masks_once(make_share):
    share = make_share(101)
    turns, _ = drain(share, devices=3)
    boxes = [boxes for boxes, _ in turns if boxes]
    assert [frame for frames in boxes for frame in frames] == list(range(101))
    assert all(len(frames) % 4 == 0 for frames in boxes[:-1])
    assert sorted(frame for _, masks in turns for frame in masks) == list(range(101))
    assert not share.is_going_on
    assert share.progress() == ("segment", 101)


def test_chunks_shrink_towards_the_end(make_share):
    turns, _ = drain(make_share(64), devices=2)
    sizes = [(len(boxes), len(masks)) for boxes, masks in turns]
    assert sizes[:4] == [(16, 16), (12, 12), (8, 8), (4, 4)]
    assert sizes[-3:] == [(0, 1)] * 3


@pytest.mark.parametrize("frames", [41, 101, 128, 150])
def test_no_device_waits_long_for_the_last_one_whatever_the_number_of_frames(make_share, frames):
    _, seconds = drain(make_share(frames, devices=8), devices=8)
    assert seconds <= 2 * frames / 8 + 1


def test_helpers_get_ready_once_while_the_shot_is_planned_and_nobody_waits_for_them(make_share):
    share = make_share(0)
    ready = [share.take("helper"), share.take("helper"), share.take("late")]
    assert [chunk and chunk.frames for chunk in ready] == [(), None, ()]
    share.done("helper", ready[0])
    share.begin(range(4), total=4, batch=4)
    assert share.take("helper").frames == (0, 1, 2, 3)
    share.back("late", ready[2], reason="It died.")
    assert share.take("late") is None
    assert share.take("owner") is None
    assert share.helpers == {"helper", "late"}


def test_a_chunk_given_back_goes_to_others_and_its_worker_gets_no_more(make_share):
    share = make_share(8)
    chunk = share.take("helper")
    share.back("helper", chunk, reason="It died.")
    assert share.take("helper") is None
    assert share.take("other").frames == chunk.frames
    assert share.remarks == ["helper left stages 1 and 2 to others: It died."]


def test_a_chunk_that_loses_two_workers_is_left_to_the_job_itself(make_share):
    share = make_share(4)
    for worker in ("one", "two"):
        share.back(worker, share.take(worker), reason="It died.")
    assert share.take("three") is None
    assert not share.is_going_on


def test_nothing_is_given_once_the_attempt_is_over(make_share):
    share = make_share(8)
    chunk = share.take("helper")
    share.close()
    share.back("helper", chunk)
    assert share.take("other") is None
    assert share.remarks == []


def test_progress_is_in_segment_only_when_every_key_frame_has_its_boxes(make_share):
    share = make_share(2)
    share.note("detect", 0)
    share.note("segment", 0)
    assert share.progress() == ("detect", 1)
    share.note("detect", 1)
    assert share.progress() == ("segment", 1)
