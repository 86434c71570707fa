"""The merge rule of the mask cache and the prompt rule of a key frame, branch by branch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from server.errors import ResultError
from server.segment import HALF, Mask
from server.track import FULL, CacheFolder, MaskCache, MatchSettings, build_prompt

SIZE = (40, 60)
EPSILON = round(0.1 * FULL)


def plane(value):
    return round(value * FULL)


def merged(cached, answers, *, margins=None):
    """One pixel: (layer, p) before; answers {layer: V}; returns (layer, p) after."""
    cache = MaskCache.empty(1, (1, 1))
    cache.layer[0, 0, 0], cache.probability[0, 0, 0] = cached[0], plane(cached[1])
    layers = list(answers)
    values = np.array([plane(v) for v in answers.values()], np.uint16).reshape(-1, 1, 1)
    cache.merge(
        [values],
        layers=layers,
        groups=[0] * len(layers),
        margins=margins or [EPSILON] * len(layers),
    )
    return int(cache.layer[0, 0, 0]), cache.probability[0, 0, 0] / FULL


@pytest.mark.parametrize(
    ("cached", "answers", "layer", "probability"),
    [
        ((0, 0.0), {3: 0.5001}, 3, 0.5),  # a free pixel is taken from one half on
        ((0, 0.0), {3: 0.4999}, 0, 0.0),  # and not below
        ((2, 0.6), {3: 0.7001}, 3, 0.7),  # a held one by a margin
        ((2, 0.6), {3: 0.699}, 2, 0.6),
        ((2, 0.95), {3: 1.0}, 2, 0.95),  # nothing is ahead of 0.9 by the margin
        ((2, 0.6), {2: 0.8}, 2, 0.8),  # a layer can grow surer of its own pixel
        ((2, 0.6), {2: 0.1}, 2, 0.6),  # a window that lost the layer leaves it where it is
        ((0, 0.0), {3: 0.6, 4: 0.8}, 4, 0.8),  # the strongest of a window enters
        ((0, 0.0), {4: 0.8, 3: 0.6}, 4, 0.8),
        ((2, 0.6), {3: 0.65, 2: 0.9}, 2, 0.9),
    ],
)
def test_the_merge_rule(cached, answers, layer, probability):
    assert merged(cached, answers) == (layer, pytest.approx(probability, abs=1e-3))


def test_the_merge_rule_equals_its_formula_on_random_frames():
    rng = np.random.default_rng(1)
    for _ in range(20):
        cache = MaskCache.empty(1, SIZE)
        cache.layer[0] = rng.integers(0, 4, SIZE)
        cache.probability[0] = np.where(cache.layer[0] > 0, rng.integers(HALF, FULL, SIZE), 0)
        cache.background[0] = rng.integers(0, 256, SIZE) * (rng.random(SIZE) < 0.5)
        cache.known = {1, 7}
        before = cache.layer[0].copy(), cache.probability[0].astype(int)
        held = cache.background[0].astype(int)
        answers = rng.integers(0, FULL + 1, (5, *SIZE)).astype(np.uint16)
        answers[rng.random(answers.shape) < 0.3] = 0
        layers = [7, 2, 9, 1, 3]
        for layer in (1, 2):  # these two the window sees where they are
            answers[layers.index(layer)][before[0] != layer] //= 2
        agreed = []
        counted = answers.copy()
        for layer, answer in zip(layers, counted, strict=True):
            if layer in (1, 7):
                blocked = (before[0] == 0) & (held * 257 + EPSILON > answer) & (answer >= HALF)
                answer[blocked] = HALF - 1
            seen = answer >= HALF
            if (before[0][seen] == layer).mean() >= 0.6:
                agreed.append(layer)
        assert agreed == [2, 1]
        cache.merge(
            [answers[:2], answers[2:]], layers=layers, groups=[0] * 5, margins=[EPSILON] * 5
        )
        for y, x in itertools.product(range(SIZE[0]), range(SIZE[1])):
            values = counted[:, y, x].astype(int)
            best = int(values.argmax())
            layer, p = before[0][y, x], before[1][y, x]
            if values[best] >= 0.5 * FULL and p + EPSILON <= values[best]:
                layer, p = layers[best], values[best]
            elif (
                values[best] < 0.5 * FULL and layer in agreed and p + EPSILON <= FULL - values[best]
            ):
                layer, p = 0, 0
            remembered = held[y, x]
            if layer == 0 and values[best] < 0.5 * FULL:
                remembered = max(remembered, (FULL - values[best]) // 256)
            assert (cache.layer[0, y, x], cache.probability[0, y, x]) == (layer, p)
            assert cache.background[0, y, x] == remembered
        assert cache.known == {1, 2, 7}


def taken_back(answer, *, probability=0.7, layer=1):
    """A layer on columns 0 to 9 of a row of 20; what is left of it after a window's answer."""
    cache = MaskCache.empty(1, (1, 20))
    cache.layer[0, 0, :10], cache.probability[0, 0, :10] = 1, plane(probability)
    cache.claim(0, 1, np.where(cache.layer[0] == 1, plane(probability), 0))
    answers = np.array(answer, np.uint16).reshape(1, 1, 20)
    cache.merge([answers], layers=[layer], groups=[0], margins=[EPSILON])
    return cache


def columns(*parts):
    """A row of 20 made of (count, probability)."""
    return [plane(value) for count, value in parts for _ in range(count)]


def test_a_layer_gives_up_what_a_window_that_sees_it_calls_background():
    cache = taken_back(columns((6, 0.9), (14, 0.0)))
    assert cache.layer[0, 0].tolist() == [1] * 6 + [0] * 14
    assert not cache.probability[0, 0, 6:].any()
    assert not cache.claim_probability[:, 0, 6:].any()


@pytest.mark.parametrize(
    ("answer", "probability", "layer"),
    [
        (columns((6, 0.9), (14, 0.0)), 0.95, 1),  # nothing is ahead of 0.9 by the margin
        (columns((6, 0.9), (4, 0.3), (10, 0.0)), 0.65, 1),  # background at 0.7 is not far enough
        (columns((20, 0.0)), 0.7, 1),  # the window lost the layer
        (columns((10, 0.4), (10, 0.0)), 0.55, 1),  # hardly better
        (columns((5, 0.9), (5, 0.0), (5, 0.9), (5, 0.0)), 0.7, 1),  # half of its mask is elsewhere
        (columns((6, 0.3), (14, 0.0)), 0.7, 2),  # it does not track the layer
    ],
)
def test_a_layer_keeps_its_place_from_any_other_window(answer, probability, layer):
    cache = taken_back(answer, probability=probability, layer=layer)
    assert (cache.layer[0, 0, :10] == 1).all()


def after(cache, answer, *, layer=1):
    """Who holds column 8 after one more window."""
    answers = np.array(answer, np.uint16).reshape(1, 1, 20)
    cache.merge([answers], layers=[layer], groups=[0], margins=[EPSILON])
    return int(cache.layer[0, 0, 8])


def test_a_layer_does_not_come_back_for_what_it_gave_up_unless_a_window_is_surer():
    cache = taken_back(columns((6, 0.9), (14, 0.15)))  # 0.85 sure of background
    assert after(cache, columns((6, 0.9), (4, 0.94), (10, 0.0))) == 0
    assert after(cache, columns((6, 0.9), (4, 0.96), (10, 0.0))) == 1


def test_background_holds_nothing_against_a_layer_it_was_not_told_against():
    cache = taken_back(columns((6, 0.9), (14, 0.0)))
    assert after(cache, columns((6, 0.0), (4, 0.6), (10, 0.0)), layer=2) == 2


def test_a_window_that_lost_the_layer_is_not_believed_about_background():
    cache = taken_back(columns((5, 0.9), (5, 0.0), (5, 0.9), (5, 0.0)))
    cache.layer[0, 0, 8] = cache.probability[0, 0, 8] = 0
    assert after(cache, columns((6, 0.9), (4, 0.6), (10, 0.0))) == 1


def test_a_claim_given_up_falls_behind_the_other():
    cache = MaskCache.empty(1, (1, 20))
    cache.layer[0, 0, :10], cache.probability[0, 0, :10] = 1, plane(0.7)
    for layer, claim in ((1, 0.7), (2, 0.4)):
        cache.claim(0, layer, np.full((1, 20), plane(claim)))
    answers = np.array(columns((6, 0.9), (14, 0.1)), np.uint16).reshape(1, 1, 20)
    cache.merge([answers], layers=[1], groups=[0], margins=[EPSILON])
    assert cache.claim_layer[:, 0, 8].tolist() == [2, 1]
    assert cache.claim_probability[:, 0, 8].tolist() == [plane(0.4), plane(0.1)]
    assert cache.claim_layer[:, 0, 15].tolist() == [1, 2]  # not a pixel of the layer


def test_groups_do_not_see_each_other():
    cache = MaskCache.empty(2, (1, 1))
    cache.merge(
        [np.full((2, 1, 1), FULL, np.uint16)], layers=[1, 2], groups=[0, 1], margins=[EPSILON] * 2
    )
    assert cache.layer[:, 0, 0].tolist() == [1, 2]


def test_claims_are_the_two_strongest_layers_and_their_greatest_probability():
    rng = np.random.default_rng(5)
    cache = MaskCache.empty(1, (6, 7))
    greatest = {}
    for _ in range(12):
        layers = rng.permutation(np.arange(1, 6))[:3].tolist()
        answers = rng.integers(2000, FULL + 1, (3, 6, 7)).astype(np.uint16)
        cache.merge([answers], layers=layers, groups=[0] * 3, margins=[0] * 3)
        for layer, answer in zip(layers, answers, strict=True):
            greatest[layer] = np.maximum(greatest.get(layer, 0), answer)
    for y, x in itertools.product(range(6), range(7)):
        ranked = sorted(((v[y, x], k) for k, v in greatest.items()), reverse=True)
        found = [(cache.claim_probability[i, y, x], cache.claim_layer[i, y, x]) for i in range(2)]
        assert [f[0] for f in found] == [r[0] for r in ranked[:2]]
        if ranked[0][0] > ranked[1][0] > ranked[2][0]:
            assert [f[1] for f in found] == [r[1] for r in ranked[:2]]


def test_no_decision_reads_the_claims():
    rng = np.random.default_rng(6)
    with_claims, without = MaskCache.empty(1, SIZE), MaskCache.empty(1, SIZE)
    for step in range(8):
        answers = rng.integers(0, FULL + 1, (3, *SIZE)).astype(np.uint16)
        layers = [1 + (step + i) % 5 for i in range(3)]
        for cache in (with_claims, without):
            cache.merge([answers], layers=layers, groups=[0] * 3, margins=[EPSILON] * 3)
        without.claim_layer[:] = rng.integers(0, 9, without.claim_layer.shape)
        without.claim_probability[:] = rng.integers(0, FULL, without.claim_probability.shape)
    assert 0.05 < (with_claims.layer > 0).mean()
    assert np.array_equal(with_claims.layer, without.layer)
    assert np.array_equal(with_claims.probability, without.probability)


def test_a_locked_layer_is_exactly_its_mask_and_beyond_any_merge():
    cache = MaskCache.empty(1, SIZE)
    answers = np.zeros((1, *SIZE), np.uint16)
    answers[0, 5:15, 5:15] = FULL
    cache.merge([answers], layers=[1], groups=[0], margins=[0])
    pixels = np.zeros(SIZE, np.bool_)
    pixels[10:20, 10:30] = True
    cache.lock(0, 1, pixels)
    assert np.array_equal(cache.mask(0, 1), pixels)
    cache.merge([np.full((1, *SIZE), FULL, np.uint16)], layers=[2], groups=[0], margins=[EPSILON])
    assert np.array_equal(cache.mask(0, 1), pixels)
    assert np.array_equal(cache.mask(0, 2), ~pixels)


def test_a_cache_comes_back_from_disk_as_it_was(tmp_path):
    rng = np.random.default_rng(2)
    cache = MaskCache.empty(2, SIZE)
    for group in range(2):
        answers = np.zeros((2, *SIZE), np.uint16)
        answers[:, 8:30, 10:50] = rng.integers(0, FULL, (2, 22, 40))
        for _ in range(2):
            cache.merge([answers], layers=[1, 2], groups=[group] * 2, margins=[0] * 2)
    assert cache.background.any()
    folder = CacheFolder(tmp_path, groups=2, size=SIZE)
    folder.write(-7, cache)
    folder.write(1001, MaskCache.empty(2, SIZE))
    back = folder.read(-7)
    for name in ("layer", "probability", "claim_layer", "claim_probability", "background"):
        assert np.array_equal(getattr(back, name), getattr(cache, name)), name
    assert back.known == cache.known == {1, 2}
    assert not folder.read(1001).layer.any()


def test_a_damaged_or_missing_cache_says_what_to_do(tmp_path):
    folder = CacheFolder(tmp_path, groups=1, size=SIZE)
    with pytest.raises(ResultError, match=r"Expected the tracked frame .*12\.cache, found none"):
        folder.read(12)
    folder.write(12, MaskCache.empty(1, SIZE))
    whole = folder.path(12).read_bytes()
    folder.path(12).write_bytes(whole[: len(whole) - 9])
    with pytest.raises(ResultError, match="Delete the work folder"):
        folder.read(12)


# The prompt rule


def mask_of(x0, y0, x1, y1, *, score=0.5):
    pixels = np.zeros(SIZE, np.bool_)
    pixels[y0:y1, x0:x1] = True
    return Mask("person", score, (x0, y0, x1, y1), pixels)


def prompt(cached_boxes, masks, *, artist=None, least_area=64):
    cached = np.zeros(SIZE, np.uint16)
    for layer, (x0, y0, x1, y1) in cached_boxes.items():
        cached[y0:y1, x0:x1] = layer
    numbers = itertools.count(10)
    answer = build_prompt(
        cached,
        masks,
        frame=1001,
        settings=MatchSettings(least_area=least_area),
        number=lambda: next(numbers),
        artist=artist,
    )
    return cached, answer, [r.reason.split(":")[0] for r in answer.rejections]


def test_a_mask_that_is_the_layer_changes_nothing_but_free_pixels():
    cached, answer, reasons = prompt({1: (10, 10, 30, 30)}, [mask_of(10, 10, 30, 31)])
    assert not reasons
    assert not answer.new
    assert (answer.labels == 1).sum() == 20 * 21
    assert (answer.labels[cached == 1] == 1).all()


def test_a_mask_touching_two_layers_is_dropped():
    cached, answer, reasons = prompt(
        {1: (10, 10, 20, 30), 2: (20, 10, 30, 30)}, [mask_of(10, 10, 30, 30)]
    )
    assert reasons == ["several"]
    assert np.array_equal(answer.labels, cached)


def test_a_direct_match_wins_over_touching_several():
    # The mask covers layer 1 wholly and a little layer 2 wholly: still nearly all of it is layer 1.
    _, answer, reasons = prompt({1: (10, 0, 30, 39), 2: (30, 0, 32, 39)}, [mask_of(10, 0, 32, 39)])
    assert not reasons
    assert (answer.labels == 1).sum() == 20 * 39


@pytest.mark.parametrize("box", [(10, 10, 16, 30), (10, 10, 30, 39)], ids=["part", "whole"])
def test_a_partial_match_adds_only_what_is_free(box):
    cached, answer, reasons = prompt({1: (10, 10, 22, 30)}, [mask_of(*box)])
    assert not reasons
    assert not answer.new
    union = (cached == 1) | mask_of(*box).pixels
    assert np.array_equal(answer.labels == 1, union)


def test_a_mask_that_is_neither_new_nor_the_layer_is_ambiguous():
    cached, answer, reasons = prompt({1: (10, 10, 30, 30)}, [mask_of(24, 10, 44, 30)])
    assert reasons == ["ambiguous"]
    assert np.array_equal(answer.labels, cached)


def test_a_mask_apart_from_all_layers_is_new_and_takes_only_free_pixels():
    cached, answer, reasons = prompt({1: (10, 10, 30, 30)}, [mask_of(29, 10, 50, 30, score=0.7)])
    assert not reasons
    assert [(n.number, n.score, n.left, n.top) for n in answer.new] == [(10, 0.7, 29, 10)]
    assert np.array_equal(answer.labels == 1, cached == 1)
    assert (answer.labels == 10).sum() == 20 * 20


def test_several_masks_may_match_one_layer():
    _, answer, reasons = prompt(
        {1: (10, 10, 20, 30)}, [mask_of(8, 10, 18, 30), mask_of(12, 10, 23, 30)]
    )
    assert not reasons
    assert (answer.labels == 1).sum() == 15 * 20


def test_a_layer_of_few_pixels_is_not_prompted_and_no_new_one_is_made_of_few():
    _, answer, reasons = prompt({1: (10, 10, 17, 19)}, [mask_of(40, 10, 47, 19)])
    assert not answer.labels.any()
    assert reasons == ["hidden"]


def test_a_mask_of_an_artists_object_prompts_nothing():
    hero = mask_of(10, 10, 30, 30).pixels
    _, answer, reasons = prompt({}, [mask_of(10, 10, 30, 30)], artist={1: hero})
    assert reasons == ["taken"]
    assert not answer.labels.any()
