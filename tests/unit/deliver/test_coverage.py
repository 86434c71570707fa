"""Soft edges: where the contour lies, how wide the ramp is, and that neighbours add up."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from server.deliver.coverage import EdgeSettings, coverages
from server.track import FULL, MaskCache

WORKING = 1024
PLATES = {"1K": (576, 1024), "2K": (1152, 2048), "4K": (2304, 4096)}


def soft_disc(size, x, y, radius, slope=0.8):
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32) + 0.5
    inside = np.clip((radius - np.hypot(columns - x, rows - y)) * slope, -30, 30)
    return np.round(FULL / (1 + np.exp(-inside))).astype(np.uint16)


def cache_of(answers, *, size, groups=None):
    groups = groups or [0] * len(answers)
    cache = MaskCache.empty(max(groups) + 1, size)
    cache.merge(
        [np.array(answers)],
        layers=list(range(1, len(answers) + 1)),
        groups=groups,
        margins=[0] * len(answers),
    )
    return cache


def full(found, size):
    result = {}
    for one in found:
        image = np.zeros(size, np.float32)
        h, w = one.pixels.shape
        image[one.y : one.y + h, one.x : one.x + w] = one.pixels
        result[one.layer] = image
    return result


def two_people(size=(576, 1024)):
    return cache_of([soft_disc(size, 380, 280, 150), soft_disc(size, 600, 300, 130)], size=size)


@pytest.mark.parametrize("plate", PLATES.values(), ids=PLATES)
@pytest.mark.parametrize("width", [2.0, 4.0])
def test_the_ramp_has_the_stated_width(plate, width):
    radius, size = 200.0, (576, 1024)
    cache = cache_of([soft_disc(size, 500, 290, radius)], size=size)
    found = full(coverages(cache, plate_size=plate, settings=EdgeSettings(width), rank={}), plate)[
        1
    ]
    # For a Gaussian ramp the integral of c (1 − c) across it is σ / √π; around a disc, times 2πr.
    perimeter = 2 * np.pi * radius * plate[1] / WORKING
    sigma = (found * (1 - found)).sum() / perimeter * np.sqrt(np.pi)
    wanted = width * plate[1] / 2048
    assert 2.563 * sigma == pytest.approx(wanted, rel=0.25)


@pytest.mark.parametrize("plate", PLATES.values(), ids=PLATES)
def test_half_coverage_is_the_contour_of_the_layer_map(plate):
    cache = two_people()
    found = full(coverages(cache, plate_size=plate, settings=EdgeSettings(), rank={}), plate)
    scale = plate[1] / WORKING
    for layer, image in found.items():
        at = cv2.resize(image, (WORKING, 576), interpolation=cv2.INTER_AREA)
        mask = cache.mask(0, layer)
        wrong = (at > 0.5 + 0.05) & ~mask | (at < 0.5 - 0.05) & mask
        assert mask.mean() > 0.05
        assert wrong.sum() < 0.01 * 4 * np.sqrt(mask.sum())  # of the pixels along the contour
        # Area agrees too: the contour is placed between pixels, not beside them.
        assert image.sum() / scale**2 == pytest.approx(mask.sum(), rel=0.005)


@pytest.mark.parametrize("plate", PLATES.values(), ids=PLATES)
def test_neighbours_are_complementary_and_nothing_exceeds_one(plate):
    cache = two_people()
    found = full(coverages(cache, plate_size=plate, settings=EdgeSettings(), rank={}), plate)
    total = sum(found.values())
    assert total.max() <= 1 + 1e-5
    border = (found[1] > 0.05) & (found[2] > 0.05)
    assert border.sum() > 50
    free = np.kron(cache.layer[0] == 0, np.ones((plate[1] // WORKING,) * 2)) > 0
    rows, columns = np.nonzero(border)
    reach = int(6 * plate[1] / WORKING)
    inner = [
        total[y, x]
        for y, x in zip(rows, columns, strict=True)
        if not free[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach].any()
    ]
    assert len(inner) > 30
    assert min(inner) >= 0.98


def test_layers_that_are_equally_sure_of_the_same_pixels_still_add_up():
    size = (100, 160)
    answers = [np.zeros(size, np.uint16) for _ in range(2)]
    answers[0][20:80, 20:100] = FULL
    answers[1][20:80, 60:140] = FULL
    cache = cache_of(answers, size=size)
    plate = (400, 640)
    found = full(coverages(cache, plate_size=plate, settings=EdgeSettings(8), rank={}), plate)
    total = sum(found.values())
    assert total.max() <= 1 + 1e-5
    assert total[100:300, 100:540].min() >= 0.98


def test_a_mask_without_claims_keeps_its_contour():
    size = (60, 80)
    cache = MaskCache.empty(1, size)
    cache.layer[0, 20:40, 20:60] = 1
    cache.probability[0, 20:40, 20:60] = 32768
    plate = (240, 320)
    image = full(coverages(cache, plate_size=plate, settings=EdgeSettings(), rank={}), plate)[1]
    assert (image >= 0.5).sum() == pytest.approx(20 * 40 * 16, rel=0.06)


def test_anamorphic_plates_get_their_own_scale_on_each_axis():
    size = (100, 200)
    cache = cache_of([soft_disc(size, 100, 50, 30)], size=size)
    plate = (200, 200)  # pixel aspect 2: twice as many rows as working pixels, as many columns
    image = full(coverages(cache, plate_size=plate, settings=EdgeSettings(), rank={}), plate)[1]
    rows, columns = np.nonzero(image > 0.5)
    assert np.ptp(rows) + 1 == pytest.approx(120, abs=2)
    assert np.ptp(columns) + 1 == pytest.approx(60, abs=2)


def test_where_groups_overlap_the_part_takes_its_coverage_first():
    size = (100, 160)
    person, bag = soft_disc(size, 80, 50, 40), soft_disc(size, 80, 50, 12)
    cache = cache_of([person, bag], size=size, groups=[0, 1])
    found = full(
        coverages(cache, plate_size=size, settings=EdgeSettings(), rank={2: 0, 1: 1}), size
    )
    assert found[2][50, 80] == pytest.approx(1)
    assert found[1][50, 80] == pytest.approx(0)
    assert (found[1] + found[2]).max() <= 1 + 1e-5
    assert (found[1] + found[2])[50, 45:115].min() >= 0.98


def test_an_artists_coverage_is_delivered_as_it_is_and_others_get_what_is_left():
    size = (60, 80)
    cache = cache_of([soft_disc(size, 30, 30, 18), soft_disc(size, 50, 30, 18)], size=size)
    given = np.zeros(size, np.float32)
    given[10:50, 30:60] = np.linspace(0, 1, 30, dtype=np.float32)
    found = full(
        coverages(cache, plate_size=size, settings=EdgeSettings(), rank={}, locked={2: given}),
        size,
    )
    assert np.array_equal(found[2], given)
    assert (found[1] + found[2]).max() <= 1 + 1e-5


def test_an_empty_frame_has_no_coverage():
    cache = MaskCache.empty(1, (20, 30))
    assert coverages(cache, plate_size=(40, 60), settings=EdgeSettings(), rank={}) == []


def test_the_bytes_do_not_depend_on_where_the_planes_lie_in_memory():
    cache, apart, made = two_people((180, 320)), [], set()
    for number in range(12):
        apart.append(np.empty(1000 + 37 * number))  # moves what is allocated next
        found = coverages(cache, plate_size=(180, 320), settings=EdgeSettings(), rank={})
        made.add(b"".join(one.pixels.tobytes() for one in found))
    assert len(made) == 1
