"""Names of objects, and what becomes of them in a repeated run."""

from __future__ import annotations

import numpy as np
import pytest

from server.deliver.names import Likeness, Reference, name_layers, slug, taking_order
from server.track import FULL, Layer, MaskCache


def layer(number, category="person", *, group=0, artist=False, index=0, left=0, taken_by=0):
    return Layer(number, group, category, artist, index, 0.5, left, 0, taken_by)


def test_objects_are_numbered_by_key_frame_and_then_from_left_to_right():
    layers = [
        layer(1, left=50),
        layer(2, left=10),
        layer(3, index=5, left=0),
        layer(4, "car", group=1),
    ]
    assert name_layers(layers).names == {
        2: "/person/person_01",
        1: "/person/person_02",
        3: "/person/person_03",
        4: "/car/car_01",
    }


def test_an_artists_object_has_the_artists_name_and_takes_the_detected_ones_place():
    layers = [layer(1, "/hero/dress", artist=True), layer(2, taken_by=1), layer(3, left=9)]
    assert name_layers(layers).names == {1: "/hero/dress", 3: "/person/person_02"}


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("person", "person"),
        ("Red car", "red_car"),
        ("st. bernard!", "st_bernard"),
        ("犬", "犬"),
        ("...", "object"),
    ],
)
def test_slugs(category, expected):
    assert slug(category) == expected


def reference(*names, **used):
    return Reference(names, used)


def test_layers_inherit_one_to_one_by_the_greatest_likeness():
    layers = [layer(1, left=0), layer(2, left=20), layer(3, left=40)]
    similarity = np.array([[0.1, 0.9], [0.8, 0.7], [0.0, 0.2]])
    naming = name_layers(
        layers,
        reference=reference("/person/person_01", "/person/person_02", person=2),
        similarity=similarity,
    )
    assert naming.names == {2: "/person/person_01", 1: "/person/person_02", 3: "/person/person_03"}
    assert naming.used_numbers == {"person": 3}
    fates = {row.name: row.fate for row in naming.inheritance}
    assert fates == {
        "/person/person_01": "inherited",
        "/person/person_02": "inherited",
        "/person/person_03": "new",
    }


def test_numbers_once_used_are_never_given_again():
    naming = name_layers(
        [layer(1)],
        reference=reference("/person/person_01", person=7),
        similarity=np.array([[0.1]]),
    )
    assert naming.names == {1: "/person/person_08"}
    assert [(r.name, r.fate) for r in naming.inheritance] == [
        ("/person/person_01", "lost"),
        ("/person/person_08", "new"),
    ]


def test_a_lost_name_that_may_be_a_new_object_is_uncertain():
    naming = name_layers(
        [layer(1)],
        reference=reference("/person/person_01", person=1),
        similarity=np.array([[0.4]]),
    )
    uncertain = naming.inheritance[0]
    assert (uncertain.name, uncertain.fate) == ("/person/person_01", "uncertain")
    assert uncertain.other == "/person/person_02"


def test_nothing_is_inherited_across_categories():
    naming = name_layers(
        [layer(1, "car")],
        reference=reference("/person/person_01", person=1),
        similarity=np.array([[0.95]]),
    )
    assert naming.names == {1: "/car/car_01"}


def test_an_artists_name_that_was_there_before_is_inherited():
    naming = name_layers(
        [layer(1, "/hero", artist=True)],
        reference=reference("/hero"),
        similarity=np.array([[0.7]]),
    )
    assert [(r.name, r.fate) for r in naming.inheritance] == [("/hero", "inherited")]


def test_likeness_is_the_mean_iou_over_frames_in_which_either_is_seen():
    cache = MaskCache.empty(1, (4, 8))
    cache.layer[0, :, :4] = 1
    labels = np.zeros((4, 8), np.uint16)
    labels[:, 2:6] = 1
    likeness = Likeness(1, 2)
    likeness.add(cache, [layer(1)], labels)
    likeness.add(MaskCache.empty(1, (4, 8)), [layer(1)], np.zeros((4, 8), np.uint16))
    likeness.add(MaskCache.empty(1, (4, 8)), [layer(1)], labels)
    assert likeness.mean() == pytest.approx(np.array([[(8 / 24 + 0) / 2, 0]]), abs=1e-6)


def test_a_part_takes_its_coverage_before_the_whole_and_the_surer_before_the_rest():
    cache = MaskCache.empty(3, (20, 20))
    for group, number, area, p in (
        (0, 1, np.s_[0:20, 0:10], 0.9),
        (1, 2, np.s_[5:10, 2:8], 0.6),  # inside 1
        (2, 3, np.s_[0:20, 12:20], 0.95),
        (2, 4, np.s_[0:20, 10:12], 0.8),
    ):
        cache.layer[group][area] = number
        cache.probability[group][area] = round(p * FULL)
    layers = [layer(n, group=g) for n, g in ((1, 0), (2, 1), (3, 2), (4, 2))]
    order = taking_order([cache], layers)
    assert sorted(order, key=order.get) == [2, 3, 1, 4]
