from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import objectid
from objectid.outputs import mattes
from tests.unit.objectid.drawn import coverages, encode, normalised, random_samples, write_shot


def frame_of(samples: dict, **changes) -> objectid.DeepFrame:
    height, width = samples["counts"].shape
    window = objectid.Window(0, 0, width, height)
    return objectid.DeepFrame(
        **samples, **{"data_window": window, "display_window": window, **changes}
    )


def slow_pick(frame: objectid.DeepFrame, wanted) -> np.ndarray:
    """The matte, pixel by pixel and sample by sample."""
    out = np.zeros(frame.counts.shape)
    position = 0
    for place in np.ndindex(*frame.counts.shape):
        remainder = 1.0
        for _ in range(frame.counts[place]):
            alpha = float(frame.alpha[position])
            share = alpha if frame.alpha_mode == "coverage" else alpha * remainder
            remainder *= 1 - alpha
            if wanted(int(frame.ids[position])):
                out[place] += share
            position += 1
        out[place] = min(out[place], 1)
    return out


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sets(st.integers(0, 25)),
    st.sampled_from(["over", "coverage"]),
    st.integers(0, 6),
)
def test_picks_are_what_a_slow_loop_says(seed, ids, mode, most):
    frame = frame_of(random_samples(seed=seed, size=(3, 5), most=most), alpha_mode=mode)

    picked = objectid.pick(frame, ids)
    others = objectid.pick_others(frame, ids)

    assert np.abs(picked - slow_pick(frame, lambda n: n in ids)).max() < 1e-5
    assert np.abs(others - slow_pick(frame, lambda n: n not in ids and n != 0)).max() < 1e-5
    assert picked.dtype == np.float32


def test_a_pick_covers_the_display_window():
    samples = random_samples()
    data, display = objectid.Window(3, -2, 12, 5), objectid.Window(0, 0, 10, 20)
    whole = objectid.pick(frame_of(samples), range(1, 20))

    matte = objectid.pick(frame_of(samples, data_window=data, display_window=display), range(1, 20))

    assert matte.shape == (20, 10)
    assert (matte[0:5, 3:10] == whole[2:7, 0:7]).all()
    assert matte.sum() == pytest.approx(whole[2:7, 0:7].sum())


def test_a_window_beside_the_display_window_picks_nothing():
    frame = frame_of(random_samples(), display_window=objectid.Window(100, 0, 110, 5))

    assert objectid.pick(frame, range(1, 20)).max() == 0


def test_picks_of_all_objects_one_by_one_add_up_to_the_pick_of_all():
    frame = encode(coverages()).frame

    total = sum(objectid.pick(frame, [number]) for number in frame.present)

    assert np.abs(total - objectid.pick(frame, frame.present)).max() < 1e-6
    assert (objectid.pick(frame, []) == 0).all()
    assert (objectid.pick(frame, [77]) == 0).all()


def test_others_are_everything_but_the_pick():
    found = coverages()
    ids = objectid.object_ids(found)
    name = "/person/person_01"
    frame = encode(found).frame

    others = objectid.pick_others(frame, [ids[name]])

    expected = sum(c for n, c in normalised(found).items() if n != name)
    assert np.abs(others - expected).max() < 3 / 512


def test_the_objects_of_a_pixel_come_strongest_first():
    found = {
        "/a": np.full((3, 4), 0.2, np.float32),
        "/b": np.full((3, 4), 0.7, np.float32),
    }
    ids = objectid.object_ids(found)
    frame = encode(found).frame

    there = objectid.ids_at(frame, x=2, y=1)

    assert [number for number, _ in there] == [ids["/b"], ids["/a"]]
    assert [share for _, share in there] == pytest.approx([0.7, 0.2], abs=1e-3)
    assert objectid.ids_at(frame, x=-1, y=1) == []
    assert objectid.ids_at(frame, x=50, y=1) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_a_sequence_streams_in_order_and_reports_every_frame(tmp_path, processes):
    ids = write_shot(tmp_path, frames=range(1001, 1006))
    result = objectid.find_result(tmp_path)
    reports = []

    found = list(
        mattes(
            result.frames,
            objectid.compile_filter("person"),
            processes=processes,
            report=reports.append,
        )
    )

    assert [frame for frame, _ in found] == [1001, 1002, 1003, 1004, 1005]
    assert [r.done for r in reports] == [0, 1, 2, 3, 4, 5]
    assert [r.frame for r in reports] == [None, 1001, 1002, 1003, 1004, 1005]
    wanted = [ids["/person/person_01"], ids["/person/person_02"]]
    for frame, matte in found:
        file = objectid.read_frame(result.frames[frame])
        assert (matte == objectid.pick(file.frame, wanted)).all()
        assert matte.max() > 0.9


def test_a_stream_can_be_left_early(tmp_path):
    write_shot(tmp_path, frames=range(1001, 1006))
    stream = mattes(objectid.find_result(tmp_path).frames, objectid.compile_filter("*"))

    frame, _ = next(stream)
    stream.close()

    assert frame == 1001


def test_when_a_frame_is_damaged_then_the_stream_says_which(tmp_path):
    write_shot(tmp_path)
    broken = tmp_path / "objectid" / "shot.1003.exr"
    broken.write_bytes(broken.read_bytes()[:-20])
    done = []

    with pytest.raises(objectid.DamagedFileError) as caught:
        done.extend(
            frame
            for frame, _ in mattes(
                objectid.find_result(tmp_path).frames,
                objectid.compile_filter("*"),
                processes=2,
            )
        )

    assert caught.value.path == broken
    assert str(broken) in str(caught.value)
