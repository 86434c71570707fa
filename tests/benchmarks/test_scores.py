"""The suite's own scores: known answers, and the same figures as other implementations."""

from __future__ import annotations

import numpy as np
import pytest

from server.training.evaluate import score_shot
from tests.benchmarks.scores import frame_table, hota, idf1, score, switches


def squares(*places, size=(60, 80), side=20):
    labels = np.zeros(size, np.uint8)
    for number, (x, y) in enumerate(places, 1):
        if x >= 0:
            labels[y : y + side, x : x + side] = number
    return labels


def random_shot(seed):
    """Truth of moving squares, and an answer with shifts, exchanges, gaps and inventions."""
    rng = np.random.default_rng(seed)
    truth, answer = [], []
    for index in range(24):
        true = squares(*[(5 * n + index, 20 * (n % 3)) for n in range(4)], side=16)
        found = np.roll(true, rng.integers(-3, 4, 2), (0, 1)).copy()
        if index > 12:
            found = np.array([0, 2, 1, 3, 4, 5], np.uint8)[found]
        if rng.random() < 0.2:
            found[found == 3] = 0
        if rng.random() < 0.3:
            found[50:58, 60:78] = 5
        truth.append(true)
        answer.append(found)
    return truth, answer


def test_the_truth_itself_is_perfect():
    truth = [squares((i, 5), (40, 30)) for i in range(10)]
    found = score(truth, [t * 3 for t in truth])
    assert (found.j, found.f, found.idf1, found.hota) == pytest.approx((1, 1, 1, 1))
    assert (found.switches, found.edge, found.flicker, found.touch_up) == (0, 0, 0, 0)
    assert (found.area, found.layers) == (1, 1)


def test_an_exchange_of_names_costs_two_switches_and_identity_but_no_region_at_first():
    truth = [squares((5, 5), (40, 30)) for _ in range(10)]
    answer = [t if i < 6 else np.array([0, 2, 1], np.uint8)[t] for i, t in enumerate(truth)]
    found = score(truth, answer)
    assert found.switches == 2
    assert found.idf1 == pytest.approx(0.6)
    assert found.j == pytest.approx(0.6)


def test_a_shift_by_one_pixel_is_an_edge_error_of_its_size_at_1024():
    truth = [squares((10, 10), size=(512, 1024), side=200)] * 3
    answer = [np.roll(t, 4, axis=1) for t in truth]
    assert 1.5 < score(truth, answer).edge < 2.5  # two of four sides are off by four


def test_objects_too_small_to_count_cost_nothing_on_either_side():
    truth = squares((5, 5), size=(600, 800), side=200)
    truth[500:505, 700:705] = 2
    answer = truth.copy()
    answer[500:502, 700:705] = 0
    table = frame_table(truth, answer)
    assert table.objects.tolist() == [1]
    assert table.layers.tolist() == [1]


@pytest.mark.parametrize("seed", range(4))
def test_region_and_identity_agree_with_the_training_code(seed):
    truth, answer = random_shot(seed)
    theirs = score_shot(truth, answer)
    ours = score(truth, answer)
    assert ours.idf1 == pytest.approx(theirs.identity)
    assert ours.j == pytest.approx(theirs.region)


@pytest.mark.parametrize("seed", range(8))
def test_identity_switches_and_hota_agree_with_trackeval(seed):
    trackeval = pytest.importorskip("trackeval", exc_type=ImportError)
    truth, answer = random_shot(seed)
    tables = [frame_table(t, a) for t, a in zip(truth, answer, strict=True)]
    objects = sorted({int(n) for table in tables for n in table.objects})
    layers = sorted({int(n) for table in tables for n in table.layers})
    data = {
        "gt_ids": [np.searchsorted(objects, table.objects) for table in tables],
        "tracker_ids": [np.searchsorted(layers, table.layers) for table in tables],
        "similarity_scores": [table.iou for table in tables],
        "num_gt_ids": len(objects),
        "num_tracker_ids": len(layers),
        "num_gt_dets": sum(len(table.objects) for table in tables),
        "num_tracker_dets": sum(len(table.layers) for table in tables),
        "num_timesteps": len(tables),
    }
    quiet = {"PRINT_CONFIG": False}
    assert hota(tables) == pytest.approx(
        float(np.mean(trackeval.metrics.HOTA().eval_sequence(data)["HOTA"]))
    )
    assert idf1(tables) == pytest.approx(
        trackeval.metrics.Identity(quiet).eval_sequence(data)["IDF1"]
    )
    assert switches(tables) == trackeval.metrics.CLEAR(quiet).eval_sequence(data)["IDSW"]
