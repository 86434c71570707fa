from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import objectid
from objectid.frame import decode_frame, encode_frame, tidied
from tests.unit.objectid.drawn import (
    NAMES,
    coverages,
    disc,
    encode,
    normalised,
    random_samples,
)

HALF = 1 / 2048
"""Rounding of a coverage by a half-float alpha."""


def full_size(crop, size, window=(0, 0)) -> np.ndarray:
    image = np.zeros(size, np.float32)
    y, x = crop.y0 - window[1], crop.x0 - window[0]
    image[y : y + crop.coverage.shape[0], x : x + crop.coverage.shape[1]] = crop.coverage
    return image


# --- coverages to samples ------------------------------------------------------------------------


def test_decoded_coverages_are_the_encoded_ones_within_the_rounding_of_half():
    found = coverages()
    ids = objectid.object_ids(found)
    encoded = encode(found)

    decoded = {number: crop for number, crop in objectid.decode_coverages(encoded.frame)}

    assert sorted(decoded) == sorted(ids.values())
    for name, expected in normalised(found).items():
        image = full_size(decoded[ids[name]], expected.shape)
        stored = found[name] > 1 / 512
        assert np.abs(image - expected)[stored].max() <= HALF
        assert image[~stored].max() == 0


def test_pixels_whose_coverages_exceed_one_are_divided_and_counted():
    half, full = np.full((2, 3), 0.5, np.float32), np.ones((2, 3), np.float32)
    encoded = encode({"/a": half, "/b": full})

    assert encoded.normalised_pixels == 6
    assert encoded.largest_sum == 1.5
    shares = dict(objectid.decode_coverages(encoded.frame))
    ids = objectid.object_ids(["/a", "/b"])
    assert shares[ids["/a"]].coverage == pytest.approx(1 / 3, abs=HALF)
    assert shares[ids["/b"]].coverage == pytest.approx(2 / 3, abs=HALF)


def test_complementary_coverages_add_up_to_one():
    soft = np.linspace(0, 1, 1001, dtype=np.float32)[None]
    encoded = encode({"/a": soft, "/b": 1 - soft})

    total = sum(full_size(c, (1, 1001)) for _, c in objectid.decode_coverages(encoded.frame))

    assert encoded.normalised_pixels == 0
    assert np.abs(total - 1).max() <= 1 / 512


def test_samples_stand_in_ascending_order_of_their_ids_whatever_the_order_of_crops():
    found = coverages()
    turned = dict(reversed(found.items()))

    one, other = encode(found).frame, encode(turned).frame

    assert (one.ids == other.ids).all()
    assert (one.alpha == other.alpha).all()
    position = 0
    for count in one.counts.ravel():
        pixel = one.ids[position : position + count]
        assert (np.diff(pixel.astype(np.int64)) > 0).all()
        position += count


def test_faint_coverage_is_left_out():
    faint = np.array([[0.001, 1 / 512, 0.003]], np.float32)

    assert encode({"/a": faint}).frame.counts.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert encode({"/a": faint}, smallest_coverage=0.0).frame.counts.sum() == 3


def test_plain_coverage_keeps_overlap_and_is_stored_as_it_is():
    half, full = np.full((2, 3), 0.5, np.float32), np.ones((2, 3), np.float32)
    encoded = encode({"/a": half, "/b": full}, alpha_mode="coverage")

    assert encoded.normalised_pixels == 0
    assert sorted(set(encoded.frame.alpha.tolist())) == [0.5, 1.0]
    assert dict(objectid.decode_coverages(encoded.frame)).keys() == set(
        objectid.object_ids(["/a", "/b"]).values()
    )


def test_the_data_window_is_the_box_of_pixels_and_one_more():
    coverage = np.zeros((20, 30), np.float32)
    coverage[5:9, 7] = 1

    frame = encode({"/a": coverage}).frame

    assert frame.data_window == (6, 4, 9, 10)
    assert frame.display_window == (0, 0, 30, 20)


def test_without_objects_the_data_window_is_one_pixel_without_samples():
    frame = encode({}, display_window=(-3, 2, 10, 12)).frame

    assert frame.data_window == (-3, 2, -2, 3)
    assert frame.counts.tolist() == [[0]]
    assert frame.present == ()
    assert encode({"/a": np.zeros((4, 4), np.float32)}).frame.counts.sum() == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ids": [0]}, "not within"),
        ({"ids": [2**24]}, "not within"),
        ({"ids": [1, 2]}, "one distinct id per crop"),
        ({"crops": [(0, 0, np.ones((2, 2), np.float64))]}, "float32"),
        ({"crops": [(0, 0, np.ones(4, np.float32))]}, r"\(h, w\)"),
        ({"crops": [(0, 0, np.full((2, 2), 1.5, np.float32))]}, "not 0..1"),
        ({"crops": [(0, 0, np.full((2, 2), np.nan, np.float32))]}, "not 0..1"),
    ],
)
def test_a_bad_crop_says_why(change, reason):
    call = {"crops": [(0, 0, np.ones((2, 2), np.float32))], "ids": [1], **change}

    with pytest.raises(objectid.RequestError, match=reason):
        objectid.encode_coverages(call["crops"], ids=call["ids"], display_window=(0, 0, 4, 4))


@st.composite
def many_coverages(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    found = {}
    for number in range(draw(st.integers(0, 6))):
        steps = draw(st.sampled_from([1, 2, 255, 10_000]))
        found[f"/o/o_{number}"] = (random.integers(0, steps + 1, size) / steps).astype(np.float32)
    return found


@settings(max_examples=200, deadline=None)
@given(many_coverages())
def test_any_coverages_survive_encoding_and_the_file(found):
    ids = objectid.object_ids(found)
    frame = encode(found).frame
    data = b"".join(encode_frame(frame, manifest=ids))

    back = decode_frame(data).frame

    assert (back.counts == frame.counts).all()
    assert (back.ids == frame.ids).all()
    assert (back.alpha == frame.alpha).all()
    for name, expected in normalised(found).items() if found else ():
        assert np.abs(objectid.pick(back, [ids[name]]) - expected).max() <= 1 / 512 + HALF
    assert objectid.pick(back, ids.values()).max(initial=0) <= 1


@settings(max_examples=60, deadline=None)
@given(many_coverages())
def test_encoding_what_was_decoded_changes_no_bit(found):
    frame = encode(found).frame
    pairs = list(objectid.decode_coverages(frame))

    again = objectid.encode_coverages(
        [crop for _, crop in pairs],
        ids=[number for number, _ in pairs],
        display_window=frame.display_window,
        smallest_coverage=0.0,
    ).frame

    assert (again.counts == frame.counts).all() or again.counts.sum() == frame.counts.sum()
    assert (again.ids == frame.ids).all()
    assert np.abs(again.visible() - frame.visible()).max(initial=0) <= HALF


# --- frames and files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "display", "aspect"),
    [
        ((0, 0, 9, 7), (0, 0, 9, 7), 1.0),
        ((3, 4, 12, 11), (0, 0, 40, 30), 2.0),
        ((-20, -10, -11, -3), (-30, -30, 30, 30), 0.5),
        ((100, 100, 109, 107), (0, 0, 10, 10), 1.0),
    ],
)
def test_windows_and_aspect_survive_the_file(tmp_path, data, display, aspect):
    frame = objectid.DeepFrame(
        **random_samples(),
        data_window=objectid.Window(*data),
        display_window=objectid.Window(*display),
        pixel_aspect=aspect,
    )
    ids = {f"/n_{n}": n for n in range(1, 20)}

    objectid.write_frame(tmp_path / "a.exr", frame, manifest=ids)
    back = objectid.read_frame(tmp_path / "a.exr")

    assert back.frame.data_window == data
    assert back.frame.display_window == display
    assert back.frame.pixel_aspect == aspect
    assert back.frame.alpha_mode == "over"
    assert (back.frame.counts == frame.counts).all()
    assert (back.frame.ids == frame.ids).all()
    assert (back.frame.alpha == frame.alpha).all()
    assert back.manifest.ids == ids
    assert back.manifest.frame == frame.present


def test_texts_alpha_mode_and_unknown_keys_survive_the_file(tmp_path):
    frame = encode(coverages(), alpha_mode="coverage").frame
    manifest = objectid.Manifest(objectid.object_ids(NAMES), extra={"later": True})
    texts = {"segmatte/models": "demo-sam2", "x" * 40: "人"}

    objectid.write_frame(tmp_path / "a.exr", frame, manifest=manifest, attributes=texts)
    back = objectid.read_frame(tmp_path / "a.exr")

    assert back.attributes == texts
    assert back.frame.alpha_mode == "coverage"
    assert back.manifest.extra == {"later": True}


def test_the_same_frame_gives_the_same_bytes():
    found = coverages()
    ids = objectid.object_ids(found)

    one = b"".join(encode_frame(encode(found).frame, manifest=ids))
    other = b"".join(encode_frame(encode(found).frame, manifest=dict(reversed(ids.items()))))

    assert one == other


def test_a_sample_without_a_name_is_not_written(tmp_path):
    frame = encode(coverages()).frame

    with pytest.raises(objectid.ManifestError, match="does not name") as caught:
        objectid.write_frame(tmp_path / "a.exr", frame, manifest={"/a": 1})
    assert caught.value.path == tmp_path / "a.exr"
    assert list(tmp_path.iterdir()) == []


def test_samples_out_of_order_are_not_written_but_can_be_tidied(tmp_path):
    window = objectid.Window(0, 0, 2, 1)
    messy = objectid.DeepFrame(
        np.array([[3, 1]], np.int32),
        np.array([7, 5, 7, 0], np.uint32),
        np.array([0.5, 0.5, 0.5, 1.0], np.float32),
        window,
        window,
    )

    with pytest.raises(objectid.RequestError, match="ascending"):
        objectid.write_frame(tmp_path / "a.exr", messy, manifest={"/a": 5, "/b": 7})
    tidy = tidied(messy)
    assert tidy.ids.tolist() == [5, 7]
    assert objectid.pick(tidy, [7])[0, 0] == pytest.approx(0.5 + 0.125, abs=HALF)
    assert objectid.pick(tidy, [5])[0, 0] == pytest.approx(0.25, abs=HALF)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"counts": np.zeros((3, 3), np.int32)}, r"\(H, W\)"),
        ({"counts": np.zeros((7, 9), np.int64)}, "int32"),
        ({"ids": np.zeros(3, np.uint32)}, "ids of uint32"),
        ({"alpha": np.zeros(3, np.float16)}, "alphas of"),
        ({"alpha_mode": "sum"}, "Alpha mode"),
    ],
)
def test_a_frame_of_another_shape_says_expected_and_got(change, reason):
    window = objectid.Window(0, 0, 9, 7)

    with pytest.raises(objectid.RequestError, match=reason):
        objectid.DeepFrame(
            **{**random_samples(), "data_window": window, "display_window": window, **change}
        )


def test_when_the_disk_is_full_then_no_file_appears(tmp_path):
    def parts():
        yield b"begin"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(objectid.StorageError, match="No space left"):
        objectid.write_atomically(tmp_path / "a.exr", parts())
    assert list(tmp_path.iterdir()) == []


def test_when_a_write_is_interrupted_then_the_old_file_stays(tmp_path):
    (tmp_path / "a.exr").write_bytes(b"old")

    def parts():
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        objectid.write_atomically(tmp_path / "a.exr", parts())
    assert (tmp_path / "a.exr").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_colours_are_those_of_the_names_and_premultiplied():
    from objectid.deepscanline import decode_deep

    found = {"/a": disc(y=20, x=30, radius=9)}
    frame = encode(found).frame
    _, image = decode_deep(b"".join(encode_frame(frame, manifest=objectid.object_ids(found))))
    _, white = decode_deep(
        b"".join(encode_frame(frame, manifest=objectid.object_ids(found), colours="white"))
    )

    for name, part in zip("RGB", objectid.object_colour("/a"), strict=True):
        expected = frame.alpha.astype(np.float32) * np.float32(part)
        assert (image.channels[name] == expected.astype(np.float16)).all()
        assert (white.channels[name] == frame.alpha).all()
    assert (image.channels["Z"] == frame.ids).all()
