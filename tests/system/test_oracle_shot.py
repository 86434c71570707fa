"""The method apart from any network: a drawn street answered by the oracle.

With no errors every loss is the method's own. The figures are J (IoU per object and frame, the
frames an object is in) against the drawn truth.
"""

from __future__ import annotations

import numpy as np
import pytest

import objectid
from server.commands.demo import demo_shot, write_plate
from server.models.oracle import OracleDetector, OracleErrors, OracleSegmenter, ShotTruth
from server.pipeline import ShotRequest, run_shot

SIZE, FRAMES = (180, 320), 40


class OracleModels:
    def __init__(self, truth, errors):
        self._detector = OracleDetector(truth, errors=errors)
        self._segmenter = OracleSegmenter(truth, errors=errors)

    def detector(self):
        return self._detector

    def segmenter(self):
        return self._segmenter

    def release_detector(self):
        pass


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    shot = demo_shot(size=SIZE, frames=FRAMES)
    plate = write_plate(shot, tmp_path_factory.mktemp("street"), name="street", first=1001)
    labels = np.stack([frame.labels() for frame in shot])
    return plate, shot, labels


def run_street(street, out, **errors):
    plate, shot, labels = street
    truth = ShotTruth.of(shot, first=1001)
    request = ShotRequest(
        plate=str(plate), prompt="person, car", detector="oracle", segmenter="oracle"
    )
    run_shot(request, out, models=OracleModels(truth, OracleErrors(**errors)))
    found = {}
    for index in range(FRAMES):
        file = objectid.read_frame(out / "objectid" / f"street.{1001 + index}.exr")
        for name, number in file.manifest.ids.items():
            matte = objectid.pick(file.frame, [number]) > 0.5
            found.setdefault(name, np.zeros(labels.shape, np.bool_))[index] = matte
    return found


def scores(found, labels, shot):
    """Object → (its best layer's name, J of that layer)."""
    result = {}
    for number, item in enumerate(shot.objects, 1):
        truth = labels == number
        seen = truth.any(axis=(1, 2))
        rated = {}
        for name, mask in found.items():
            inside = (mask & truth)[seen].sum(axis=(1, 2))
            union = (mask | truth)[seen].sum(axis=(1, 2))
            rated[name] = float(np.mean(inside / union))
        best = max(rated, key=rated.get)
        result[item.name] = (best, rated[best])
    return result


def test_without_errors_every_object_is_one_layer_and_nearly_exact(street, tmp_path):
    _, shot, labels = street
    found = run_street(street, tmp_path / "out")
    rated = scores(found, labels, shot)
    assert len(found) == len(shot.objects) == 5
    assert len({name for name, _ in rated.values()}) == 5
    assert {name.split("/")[1] for name in found} == {"person", "car"}
    assert min(j for _, j in rated.values()) > 0.95


def test_with_missed_detections_and_group_boxes_identities_hold(street, tmp_path):
    _, shot, labels = street
    found = run_street(
        street,
        tmp_path / "out",
        missed=0.2,
        group_boxes=0.5,
        score_spread=0.1,
        edge_pixels=1.0,
        drift_pixels=0.3,
        fade=0.01,
    )
    rated = scores(found, labels, shot)
    assert len({name for name, _ in rated.values()}) == 5
    assert min(j for _, j in rated.values()) > 0.75
