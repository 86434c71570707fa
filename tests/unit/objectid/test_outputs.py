from __future__ import annotations

import numpy as np
import OpenEXR
import pytest

import objectid
from objectid.outputs import (
    MOST_LAYERS,
    layer_names,
    matte_of,
    write_layers,
    write_matte,
    write_objects,
)
from tests.unit.objectid.drawn import NAMES, coverages, encode, write_shot


def channels(path) -> dict[str, np.ndarray]:
    file = OpenEXR.File(str(path), separate_channels=True)
    return {name: channel.pixels for name, channel in file.channels().items()}


def one_file(tmp_path) -> objectid.FrameFile:
    write_shot(tmp_path / "shot", frames=range(1001, 1002))
    return objectid.read_frame(tmp_path / "shot" / "objectid" / "shot.1001.exr")


@pytest.mark.parametrize(("kind", "names"), [("alpha", "A"), ("rgba", "RGBA")])
def test_a_matte_file_holds_the_pick_as_half(tmp_path, kind, names):
    file = one_file(tmp_path)
    matte = objectid.pick(file.frame, file.frame.present)

    write_matte(tmp_path / "m.exr", matte, frame=file.frame, channels=kind)

    found = channels(tmp_path / "m.exr")
    assert set(found) == set(names)
    for pixels in found.values():
        assert pixels.dtype == np.float16
        assert (pixels == matte.astype(np.float16)).all()


def test_a_matte_file_keeps_window_and_aspect(tmp_path):
    frame = encode(
        {"/a": np.ones((3, 4), np.float32)}, display_window=(-2, 5, 20, 40), pixel_aspect=2.0
    ).frame

    write_matte(tmp_path / "m.exr", objectid.pick(frame, frame.present), frame=frame)

    header = OpenEXR.File(str(tmp_path / "m.exr")).header()
    for name in ("displayWindow", "dataWindow"):
        low, high = header[name]
        assert (*low, *high) == (-2, 5, 19, 39)
    assert header["pixelAspectRatio"] == 2.0


@pytest.mark.parametrize("size", [(1, 1), (16, 3), (17, 5), (33, 40)])
def test_flat_files_of_any_size_are_read_by_the_openexr_package(tmp_path, size):
    from objectid.flat import write_flat

    random = np.random.default_rng(1)
    given = {
        "a.A": random.random(size).astype(np.float16),
        "b.Z": random.random(size).astype(np.float32),
        "n": random.integers(0, 2**32, size, dtype=np.uint32),
    }

    write_flat(tmp_path / "f.exr", given, window=objectid.Window(0, 0, size[1], size[0]))

    found = channels(tmp_path / "f.exr")
    assert set(found) == set(given)
    for name, pixels in given.items():
        assert found[name].dtype == pixels.dtype
        assert (found[name] == pixels).all()


@pytest.mark.parametrize(
    "given", [{}, {"A": np.zeros((2, 2), np.float64)}, {"A": np.zeros((3, 2), np.float16)}]
)
def test_a_flat_file_of_another_shape_is_refused(tmp_path, given):
    from objectid.flat import write_flat

    with pytest.raises(objectid.RequestError, match=r"[Cc]hannel"):
        write_flat(tmp_path / "f.exr", given, window=objectid.Window(0, 0, 2, 2))


def test_kinds_of_mattes(tmp_path):
    file = one_file(tmp_path)
    wanted = objectid.compile_filter("person")
    ids = wanted.select(file.manifest.ids)

    assert (matte_of(file, wanted) == objectid.pick(file.frame, ids)).all()
    assert (matte_of(file, wanted, kind="inverse") == 1 - objectid.pick(file.frame, ids)).all()
    assert (matte_of(file, wanted, kind="others") == objectid.pick_others(file.frame, ids)).all()


def test_a_layered_file_has_one_named_layer_per_object_and_leaves_rgba_alone(tmp_path):
    file = one_file(tmp_path)

    write_layers(tmp_path / "l.exr", file, layers=layer_names(file.manifest))

    found = channels(tmp_path / "l.exr")
    assert set(found) == {"person_01.A", "person_02.A", "car_01.A"}
    for name in NAMES:
        pixels = found[f"{name.rpartition('/')[2]}.A"]
        expected = objectid.pick(file.frame, [file.manifest.ids[name]])
        assert expected.max() > 0.9
        assert np.abs(pixels - expected).max() <= 1 / 2048


def test_objects_that_are_not_in_the_frame_have_an_empty_layer(tmp_path):
    ids = objectid.object_ids(["/a", "/b"])
    frame = encode({"/a": np.ones((8, 8), np.float32)}, ids).frame
    file = objectid.FrameFile(frame, objectid.Manifest(ids))

    write_layers(tmp_path / "l.exr", file, layers=layer_names(file.manifest))

    found = channels(tmp_path / "l.exr")
    assert found["a.A"].min() == 1
    assert found["b.A"].max() == 0


def test_objects_become_files_of_their_own(tmp_path):
    file = one_file(tmp_path)
    paths = {name: tmp_path / f"{index}.exr" for index, name in enumerate(NAMES)}

    write_objects(paths, file)

    for name, path in paths.items():
        found = channels(path)
        assert set(found) == {"A"}
        expected = objectid.pick(file.frame, [file.manifest.ids[name]])
        assert np.abs(found["A"] - expected).max() <= 1 / 2048
        assert OpenEXR.File(str(path)).header()["objectid/name"] == name


def test_crops_that_reach_out_of_the_display_window_are_cut(tmp_path):
    found = coverages(("/a", "/b"))
    frame = encode(found, display_window=(20, 10, 60, 30)).frame
    file = objectid.FrameFile(frame, objectid.Manifest(objectid.object_ids(found)))

    write_layers(tmp_path / "l.exr", file, layers=layer_names(file.manifest))

    for name, number in file.manifest.ids.items():
        pixels = channels(tmp_path / "l.exr")[f"{name[1:]}.A"]
        assert pixels.shape == (20, 40)
        assert np.abs(pixels - objectid.pick(frame, [number])).max() <= 1 / 2048


@pytest.mark.parametrize(
    ("names", "layers"),
    [
        (["/person/person_01"], ["person_01"]),
        (["/hero/dress"], ["hero_dress"]),
        (["/hero"], ["hero"]),
        (["/a b/c-d"], ["a_b_c_d"]),
        (["/01"], ["object_01"]),
        (["/人"], ["object"]),
        (["/a_b", "/a/b"], ["a_b_{id}", "a_b_{id}"]),
        (["/A", "/a"], ["A_{id}", "a_{id}"]),
    ],
)
def test_layers_are_letters_digits_and_underscores_and_distinct(names, layers):
    ids = objectid.object_ids(names)

    found = layer_names(objectid.Manifest(ids))

    expected = [text.format(id=f"{ids[n]:06x}") for n, text in zip(names, layers, strict=True)]
    assert [found[name] for name in names] == expected


@pytest.mark.parametrize("number", [0, MOST_LAYERS + 1])
def test_no_or_too_many_layers_are_refused(tmp_path, number):
    file = one_file(tmp_path)

    with pytest.raises(objectid.RequestError, match="layers, not"):
        write_layers(tmp_path / "l.exr", file, layers={f"/{i}": f"l{i}" for i in range(number)})
