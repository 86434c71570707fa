"""A shot through both passes: schedule, key frames, late and short objects, resuming, artists."""

from __future__ import annotations

import numpy as np
import pytest

from server.errors import ResultError, SettingsError
from server.track import (
    ArtistObject,
    MaskCache,
    ShotTracker,
    TrackSettings,
    key_indices,
    layers_left_out,
    prompt_from_labels,
)
from tests.unit.track.shots import SIZE, Scene, Wobbly, moving, plain_tracking, stream

PEOPLE = [
    ("person", 4, 4, 14, 30, 0, 99),
    ("person", 14, 10, 14, 30, 0, 99),  # overlaps the first a little
    ("person", -30, 20, 16, 26, 35, 99),  # enters mid-shot
]
CAR = ("car", 20, 26, 40, 18, 0, 99)


def tracked(tmp_path, scene, count, *, categories=("person",), model=None, **settings):
    artist = settings.pop("artist_objects", ())
    shot = ShotTracker(
        model or Wobbly(),
        frames=range(1001, 1001 + count),
        size=SIZE,
        categories=categories,
        artist_objects=artist,
        settings=TrackSettings(**settings),
        folder=tmp_path,
    )
    for _ in shot.forward(stream, scene):
        pass
    caches = dict(shot.backward(stream, scene))
    return shot, [caches[index] for index in range(count)]


def foreground(caches):
    return np.mean([(cache.layer > 0).any(axis=0).mean() for cache in caches])


def same(a: MaskCache, b: MaskCache):
    return all(
        np.array_equal(getattr(a, plane), getattr(b, plane))
        for plane in ("layer", "probability", "claim_layer", "claim_probability", "background")
    ) and (a.known == b.known)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 27, 48])
def test_lockstep_equals_window_after_window(tmp_path, count):
    settings = TrackSettings()
    scene = Scene([*PEOPLE, CAR])
    shot, caches = tracked(tmp_path, scene, count, categories=("person", "car"))
    expected, births = plain_tracking(
        Wobbly(),
        scene,
        frames=range(1001, 1001 + count),
        categories=("person", "car"),
        settings=settings,
        key=key_indices(count, 5),
    )
    assert 0.05 < foreground(expected) < 0.6
    assert [(layer.number, layer.group, layer.index) for layer in shot.layers] == births
    for index, (ours, plain) in enumerate(zip(caches, expected, strict=True)):
        assert np.array_equal(ours.layer, plain.layer), index
        assert np.array_equal(ours.probability, plain.probability), index


def test_stage_2_is_read_at_key_frames_only_and_backward_at_the_last(tmp_path):
    scene = Scene(PEOPLE)
    tracked(tmp_path, scene, 23)
    assert scene.asked == [0, 5, 10, 15, 20, 22]


def test_key_frames_are_every_step_the_last_and_the_artists():
    assert key_indices(12, 5) == (0, 5, 10, 11)
    assert key_indices(11, 5, [7, 3]) == (0, 3, 5, 7, 10)
    assert key_indices(1, 5) == (0,)
    assert key_indices(0, 5) == ()


def test_a_shot_without_detections_opens_no_window_and_is_empty(tmp_path):
    model = Wobbly()
    shot, caches = tracked(tmp_path, Scene([]), 12, model=model)
    assert not model.calls
    assert not shot.layers
    assert not any(cache.layer.any() for cache in caches)


def test_on_a_one_frame_shot_the_prompt_is_the_matte_and_reported_untracked(tmp_path):
    shot, caches = tracked(tmp_path, Scene(PEOPLE[:1]), 1)
    assert np.array_equal(caches[0].layer[0] == 1, moving(4, 4, 14, 30, 0))
    assert shot.untracked == {1001: (1,)}


def test_a_newcomer_on_the_last_frame_keeps_its_prompt_there(tmp_path):
    late = ("person", 60 - 21, 5, 12, 20, 21, 99)
    shot, caches = tracked(tmp_path, Scene([PEOPLE[0], late]), 22)
    assert [layer.index for layer in shot.layers] == [0, 21]
    assert shot.untracked == {1022: (2,)}
    assert (caches[21].layer[0] == 2).any()
    assert (caches[20].layer[0] == 2).any()  # tracked backward from there


def test_an_object_that_comes_late_is_filled_in_by_the_backward_pass(tmp_path):
    # Seen by stage 2 from 20 on only, it is tracked backward to the frames before.
    late = ("person", 20, 5, 12, 20, 18, 99)
    _, caches = tracked(tmp_path, Scene([late]), 40)
    present = [index for index, cache in enumerate(caches) if cache.layer.any()]
    assert present[0] < 20
    assert 20 in present


def test_an_object_missed_at_some_key_frames_keeps_its_layer(tmp_path):
    scene = Scene(PEOPLE[:1], missed={(0, 5), (0, 10)})
    shot, caches = tracked(tmp_path, scene, 30)
    assert len(shot.layers) == 1
    assert all(cache.layer.any() for cache in caches)


def test_when_an_object_leaves_and_another_comes_then_its_layer_is_not_reused(tmp_path):
    first = ("person", 4, 4, 14, 30, 0, 10)
    second = ("person", -34, 4, 14, 30, 45, 99)
    shot, _ = tracked(tmp_path, Scene([first, second]), 60)
    assert len({layer.number for layer in shot.layers}) == len(shot.layers) >= 2


def test_adding_a_category_changes_no_layer_of_the_others(tmp_path):
    _, alone = tracked(tmp_path / "a", Scene(PEOPLE), 30)
    _, both = tracked(tmp_path / "b", Scene([*PEOPLE, CAR]), 30, categories=("person", "car"))
    assert 0.05 < foreground(alone) < 0.6
    assert any(cache.layer[1].any() for cache in both)
    for a, b in zip(alone, both, strict=True):
        assert np.array_equal(a.layer[0] > 0, b.layer[0] > 0)
        assert np.array_equal(a.probability[0], b.probability[0])


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("stop", [0, 3, 5, 6, 17, 26, 33])
def test_a_stopped_shot_goes_on_to_the_same_bytes(tmp_path, direction, stop):
    hero = ArtistObject("/hero", {12: moving(40, 2, 10, 20, 12), 25: moving(44, 2, 10, 20, 25)})
    count, given = 34, {"categories": ("person", "car"), "artist_objects": (hero,)}
    whole, expected = tracked(tmp_path / "whole", Scene([*PEOPLE, CAR]), count, **given)
    assert 0.05 < foreground(expected) < 0.7

    def shot():
        return ShotTracker(
            Wobbly(),
            frames=range(1001, 1001 + count),
            size=SIZE,
            settings=TrackSettings(),
            folder=tmp_path / "stopped",
            **given,
        )

    broken, scene = shot(), Scene([*PEOPLE, CAR])
    steps = 0
    for _ in broken.forward(stream, scene):
        steps += 1
        if direction == "forward" and steps > stop:
            break
    if direction == "backward":
        for steps, _ in enumerate(broken.backward(stream, scene)):
            if steps >= stop:
                break
    again = shot()
    for _ in again.forward(stream, scene):
        pass
    caches = dict(again.backward(stream, scene))
    assert sorted(caches) == list(range(count))
    for index in range(count):
        assert same(caches[index], expected[index]), index
        name = f"{1001 + index}.cache"
        assert (tmp_path / "stopped" / "backward" / name).read_bytes() == (
            tmp_path / "whole" / "backward" / name
        ).read_bytes()
    assert again.layers == whole.layers
    assert again.rejections == whole.rejections
    assert again.untracked == whole.untracked


def test_a_finished_shot_is_restored_without_a_model(tmp_path):
    whole, _ = tracked(tmp_path, Scene(PEOPLE), 23)
    again = ShotTracker(
        Wobbly(),
        frames=range(1001, 1024),
        size=SIZE,
        categories=("person",),
        settings=TrackSettings(),
        folder=tmp_path,
    )
    again.restore()
    assert again.layers == whole.layers
    (tmp_path / "backward" / "1011.cache").unlink()
    with pytest.raises(ResultError, match="expected frame 1011"):
        again.restore()


# Artists' prompts


def test_on_an_artists_keyframe_the_layer_is_exactly_the_artists_mask(tmp_path):
    masks = {7: moving(30, 5, 14, 30, 7), 21: moving(33, 6, 14, 30, 21)}
    _, caches = tracked(tmp_path, Scene(PEOPLE), 30, artist_objects=(ArtistObject("/hero", masks),))
    for index, mask in masks.items():
        assert np.array_equal(caches[index].layer[1] == 1, mask)


def test_artists_objects_track_both_ways_from_their_keyframes(tmp_path):
    hero = ArtistObject("/hero", {15: moving(20, 5, 14, 30, 15)})
    _, caches = tracked(tmp_path, Scene([]), 31, categories=(), artist_objects=(hero,))
    assert all(cache.layer[0].any() for cache in caches)


def test_nothing_older_tracks_an_artists_object_past_its_keyframe(tmp_path):
    # Frame 10 says the object is somewhere else altogether; what was tracked before must end.
    early, late = moving(4, 4, 14, 20, 0), moving(50, 24, 14, 20, 10)
    hero = ArtistObject("/hero", {0: early, 10: late})
    _, caches = tracked(tmp_path, Scene([]), 30, categories=(), artist_objects=(hero,))
    for index in range(11, 30):
        left_half = caches[index].layer[0][:22, :30]
        assert not left_half.any(), index


def test_a_detected_layer_that_is_the_artists_object_is_taken_over(tmp_path):
    person = PEOPLE[0]
    hero = ArtistObject("/hero", {12: moving(5, 4, 14, 30, 12)})
    shot, caches = tracked(tmp_path, Scene([person]), 40, artist_objects=(hero,))
    detected = [layer for layer in shot.layers if not layer.artist]
    assert [layer.taken_by for layer in detected] == [1]
    assert not any(cache.layer[0].any() for cache in caches)
    assert any(r.reason.startswith("taken") for r in shot.rejections)


def test_a_person_around_an_artists_part_is_not_taken_over(tmp_path):
    dress = ArtistObject("/hero/dress", {10: moving(6, 14, 8, 10, 10)})
    shot, caches = tracked(tmp_path, Scene(PEOPLE[:1]), 30, artist_objects=(dress,))
    assert [layer.taken_by for layer in shot.layers] == [0, 0]
    assert all(cache.layer[0].any() and cache.layer[1].any() for cache in caches)


# Windows and settings


def test_a_full_window_keeps_the_largest_layers_and_reports_the_rest(tmp_path):
    scene = Scene(
        [
            ("person", 2, 2, 10, 30, 0, 9),
            ("person", 20, 2, 12, 30, 0, 9),
            ("person", 40, 2, 14, 30, 0, 9),
        ]
    )
    shot, _ = tracked(tmp_path, scene, 7, max_objects=2)
    assert shot.left_out[1001] == (1,)


def test_layers_come_apart_into_one_mask_each():
    labels = np.zeros((2, *SIZE), np.uint16)
    labels[0, 0:10, 0:10], labels[0, 20:40, 20:40], labels[1, 5:10, 5:10] = 4, 2, 3
    prompt = prompt_from_labels(labels)
    assert (prompt.layers, prompt.groups) == ((2, 3, 4), (0, 1, 0))
    assert prompt.masks.sum(axis=(1, 2)).tolist() == [400, 25, 100]


def test_the_smallest_layers_are_left_out_unless_they_come_first():
    labels = np.zeros((2, *SIZE), np.uint16)
    labels[0, 0:10, 0:10], labels[0, 20:40, 20:40], labels[1, 5:10, 5:10] = 4, 2, 3
    assert layers_left_out(labels, most=2) == (3,)
    assert layers_left_out(labels, most=2, first=frozenset({3})) == (4,)
    assert layers_left_out(labels, most=3) == ()


@pytest.mark.parametrize("bad", [{"step": 0}, {"interval": 0}, {"margin": 1.0}, {"max_objects": 0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SettingsError):
        TrackSettings(**bad)
