from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

import objectid
from objectid.cryptomatte import (
    cryptomatte_id,
    write_cryptomatte,
    write_cryptomatte_sidecar,
)
from objectid.header import read_header
from tests.unit.objectid.drawn import coverages, encode, normalised

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from cryptomatte_api import Cryptomatte

SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "cryptomatte"
NAMES = (*tuple(f"/人/n_{i:02d}" for i in range(5)), "/person/a b, c", '/car/"quoted"')


def loaded(path: Path):
    found = Cryptomatte.load(str(path), load_preview=False)
    return found[0] if isinstance(found, list) else found


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        # From manifests of the sample images of the Cryptomatte project.
        ("default_333", "64fdaf51"),
        ("rightAsset", "8f3ccbde"),
        ("name, with, comma", "62fa4db8"),
        ("name_containing/slash", "b0a04231"),
        ("равнина", "9623511e"),
    ],
)
def test_ids_are_those_of_the_cryptomatte_project(name, bits):
    assert f"{cryptomatte_id(name):08x}" == bits


def test_an_id_is_a_number_whatever_the_hash():
    bits = np.array([cryptomatte_id(f"/a_{i}") for i in range(5000)], np.uint32)
    plain = np.array([objectid.murmur3_32(f"/a_{i}".encode()) for i in range(5000)], np.uint32)

    assert np.isfinite(bits.view(np.float32)).all()
    assert (np.abs(bits.view(np.float32)) >= np.finfo(np.float32).tiny).all()
    assert 0 < np.count_nonzero(bits != plain) < 100


def test_the_manifests_of_the_sample_images_have_our_hashes():
    paths = sorted(SAMPLES.glob("*.exr"))
    if not paths:
        pytest.skip(f"no samples at {SAMPLES}")
    seen = 0
    for path in paths:
        header = read_header(path)
        for key in header.attributes:
            if key.startswith("cryptomatte/") and key.endswith("/manifest"):
                table = json.loads(header.text(key))
                assert table == {name: f"{cryptomatte_id(name):08x}" for name in table}
                seen += len(table)
    assert seen > 400


@pytest.mark.parametrize("where", ["embedded", "sidecar"])
@pytest.mark.parametrize("mode", ["over", "coverage"])
def test_the_decoder_gets_every_mask_back(tmp_path, where, mode):
    found = coverages(NAMES, seed=3)
    ids = objectid.object_ids(NAMES)
    frame = encode(found, ids, alpha_mode=mode).frame
    manifest = objectid.Manifest(ids)
    sidecar = None
    if where == "sidecar":
        sidecar = "shot.CryptoObject.json"
        write_cryptomatte_sidecar(tmp_path / sidecar, manifest)

    write_cryptomatte(
        tmp_path / "shot.1001.exr", frame, manifest=manifest, ranks=8, sidecar=sidecar
    )

    decoded = loaded(tmp_path / "shot.1001.exr")
    for name, expected in normalised(found).items():
        mask = np.asarray(decoded.mask(name))
        exact = objectid.pick(frame, [ids[name]]) if mode == "over" else expected
        assert np.abs(mask - exact).max() <= (1 / 1024 if mode == "over" else 3 / 512)


def test_masks_equal_picks_within_a_1024th_at_six_ranks(tmp_path):
    found = coverages(seed=4)
    frame = encode(found).frame
    ids = objectid.object_ids(found)

    write_cryptomatte(tmp_path / "c.exr", frame, manifest=objectid.Manifest(ids))

    decoded = loaded(tmp_path / "c.exr")
    for name, number in ids.items():
        mask = np.asarray(decoded.mask(name))
        assert mask.max() > 0.9
        assert np.abs(mask - objectid.pick(frame, [number])).max() <= 1 / 1024


def test_layers_types_and_metadata_follow_the_specification(tmp_path):
    found = coverages()
    ids = objectid.object_ids(found)
    write_cryptomatte(tmp_path / "c.exr", encode(found).frame, manifest=objectid.Manifest(ids))

    file = OpenEXR.File(str(tmp_path / "c.exr"), separate_channels=True)

    expected = {f"CryptoObject{n:02d}.{c}" for n in range(3) for c in "RGBA"}
    assert set(file.channels()) == expected
    assert {str(channel.pixels.dtype) for channel in file.channels().values()} == {"float32"}
    texts = {k: v for k, v in file.header().items() if k.startswith("cryptomatte/")}
    keys = {key.split("/")[1] for key in texts}
    assert len(keys) == 1
    (key,) = keys
    assert len(key) == 7
    assert texts[f"cryptomatte/{key}/name"] == "CryptoObject"
    assert texts[f"cryptomatte/{key}/hash"] == "MurmurHash3_32"
    assert texts[f"cryptomatte/{key}/conversion"] == "uint32_to_float32"
    table = json.loads(texts[f"cryptomatte/{key}/manifest"])
    assert table == {name: f"{cryptomatte_id(name):08x}" for name in ids}


def test_ranks_fall_and_add_up_to_at_most_one(tmp_path):
    found = coverages(NAMES, seed=5)
    ids = objectid.object_ids(NAMES)
    frame = encode(found, ids, alpha_mode="coverage").frame
    write_cryptomatte(tmp_path / "c.exr", frame, manifest=objectid.Manifest(ids), ranks=8)

    channels = OpenEXR.File(str(tmp_path / "c.exr"), separate_channels=True).channels()

    ranks = np.stack([channels[f"CryptoObject{n:02d}.{c}"].pixels for n in range(4) for c in "GA"])
    assert (np.diff(ranks, axis=0) <= 0).all()
    assert ranks.sum(axis=0).max() <= 1 + 1e-6
    assert (ranks[1] > 0).any()


def test_a_pixel_with_more_objects_than_ranks_loses_the_weakest(tmp_path):
    shares = {f"/o/o_{i}": np.full((1, 1), share) for i, share in enumerate([0.1, 0.4, 0.3])}
    found = {name: share.astype(np.float32) for name, share in shares.items()}
    ids = objectid.object_ids(found)

    write_cryptomatte(
        tmp_path / "c.exr", encode(found).frame, manifest=objectid.Manifest(ids), ranks=2
    )

    channels = OpenEXR.File(str(tmp_path / "c.exr"), separate_channels=True).channels()
    assert channels["CryptoObject00.G"].pixels[0, 0] == pytest.approx(0.4, abs=1e-3)
    assert channels["CryptoObject00.A"].pixels[0, 0] == pytest.approx(0.3, abs=1e-3)


def test_a_frame_without_objects_gives_empty_ranks(tmp_path):
    frame = encode({}, display_window=(0, 0, 8, 5)).frame

    write_cryptomatte(tmp_path / "c.exr", frame, manifest=objectid.Manifest({"/a": 1}))

    channels = OpenEXR.File(str(tmp_path / "c.exr"), separate_channels=True).channels()
    assert all(channel.pixels.shape == (5, 8) for channel in channels.values())
    assert not any(channel.pixels.any() for channel in channels.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ranks": 3}, "even number"),
        ({"ranks": 0}, "even number"),
        ({"layer": "a.b"}, "Layer name"),
        ({"layer": ""}, "Layer name"),
        ({"manifest": objectid.Manifest({})}, "does not name"),
    ],
)
def test_what_cannot_be_a_cryptomatte_says_why(tmp_path, change, reason):
    found = coverages()
    call = {"manifest": objectid.Manifest(objectid.object_ids(found)), **change}

    with pytest.raises(objectid.RequestError, match=reason):
        write_cryptomatte(tmp_path / "c.exr", encode(found).frame, **call)
    assert list(tmp_path.iterdir()) == []
