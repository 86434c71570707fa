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
        return Share(
            order,
            owner="owner",
            frames=range(frames),
            total=frames,
            batch=batch,
            devices=devices,
            changed=lambda: None,
        )

    return make


def chunks(share, worker="owner"):
    while chunk := share.take(worker):
        yield chunk


def test_every_key_frame_is_given_once_in_whole_batches(make_share):
    sizes, frames = [], []
    for chunk in chunks(make_share(101)):
        sizes.append(len(chunk.frames))
        frames += chunk.frames
    assert frames == list(range(101))
    assert all(size % 4 == 0 for size in sizes[:-1])


def test_chunks_shrink_towards_the_end_so_that_no_device_waits_long(make_share):
    sizes = [len(chunk.frames) for chunk in chunks(make_share(64, devices=2))]
    assert sizes == [16, 12, 8, 4, 4, 4, 4, 4, 4, 4]


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
    assert not share.is_helped


def test_nothing_is_given_once_the_attempt_is_over(make_share):
    share = make_share(8)
    chunk = share.take("helper")
    share.close()
    share.back("helper", chunk)
    assert share.take("other") is None
    assert share.remarks == []


def test_progress_is_in_segment_only_when_every_key_frame_has_its_boxes(make_share):
    share = make_share(2)
    share.note("detect")
    share.note("segment")
    assert share.progress() == ("detect", 1)
    share.note("detect")
    assert share.progress() == ("segment", 1)
