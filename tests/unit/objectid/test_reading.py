"""Files that other programs write: legal, but not like ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest

import objectid
from objectid.deepscanline import DeepImage, encode_deep
from objectid.frame import decode_frame
from objectid.header import Attribute, Window
from tests.unit.objectid.drawn import random_samples

SAMPLES = Path(__file__).parents[4] / "shared" / "samples"
WINDOW = Window(0, 0, 9, 7)


def foreign(channels: dict, *, counts=None, window=WINDOW, **attributes) -> bytes:
    """A deep file with whatever channels."""
    counts = random_samples()["counts"] if counts is None else counts
    image = DeepImage(counts, channels, window)
    return b"".join(encode_deep(image, display_window=window, attributes=attributes))


def sample_channels(**changes) -> dict:
    samples = random_samples()
    channels = {
        "A": samples["alpha"],
        "Z": samples["ids"].astype(np.float32),
        "id": samples["ids"],
        **changes,
    }
    return {name: values for name, values in channels.items() if values is not None}


def expected_matte(ids=(3, 5, 7)) -> np.ndarray:
    return objectid.pick(decode_frame(foreign(sample_channels())).frame, ids)


@pytest.mark.parametrize("name", ["id", "Id", "objectid.id", "other.id"])
@pytest.mark.parametrize("dtype", [np.uint32, np.float32])
def test_ids_are_found_under_every_name_as_uint_and_as_float(name, dtype):
    ids = random_samples()["ids"].astype(dtype)
    frame = decode_frame(foreign(sample_channels(id=None) | {name: ids})).frame

    assert (objectid.pick(frame, [3, 5, 7]) == expected_matte()).all()
    assert frame.ids.dtype == np.uint32


@pytest.mark.parametrize(
    "extra", [{}, {"ZBack": 0}, {"R": 0, "G": 0, "B": 0}, {"z.long_name" * 5: 0}]
)
@pytest.mark.parametrize("alpha", [np.float16, np.float32])
@pytest.mark.parametrize("depth", [True, False])
def test_channels_may_be_more_or_fewer(extra, alpha, depth):
    samples = random_samples()
    channels = sample_channels(A=samples["alpha"].astype(alpha))
    channels.update({name: samples["ids"].astype(np.float16) for name in extra})
    if not depth:
        del channels["Z"]

    frame = decode_frame(foreign(channels)).frame

    assert frame.alpha.dtype == alpha
    assert (objectid.pick(frame, [3, 5, 7]) == expected_matte()).all()


def test_samples_that_do_not_stand_by_depth_are_put_in_order():
    samples = random_samples()
    counts = samples["counts"]
    ends = np.cumsum(counts)
    turned = np.concatenate(
        [np.arange(e - 1, e - n - 1, -1) for e, n in zip(ends.ravel(), counts.ravel(), strict=True)]
    )
    channels = {name: values[turned] for name, values in sample_channels().items()}

    frame = decode_frame(foreign(channels)).frame

    assert (frame.ids == samples["ids"]).all()
    assert (objectid.pick(frame, [3, 5, 7]) == expected_matte()).all()


def test_without_an_alpha_attribute_alphas_composite_with_over():
    frame = decode_frame(foreign(sample_channels())).frame

    assert frame.alpha_mode == "over"


def test_plain_coverage_is_summed():
    counts = np.array([[2]], np.int32)
    channels = {"A": np.array([0.75, 0.5], np.float16), "id": np.array([1, 2], np.uint32)}
    data = foreign(
        channels,
        counts=counts,
        window=Window(0, 0, 1, 1),
        **{"objectid/alpha": Attribute.of_text("coverage")},
    )

    frame = decode_frame(data).frame

    assert objectid.pick(frame, [1])[0, 0] == 0.75
    assert objectid.pick(frame, [2])[0, 0] == 0.5
    assert objectid.pick(frame, [1, 2])[0, 0] == 1


@pytest.mark.parametrize(
    ("channels", "reason"),
    [
        (lambda: sample_channels(id=random_samples()["ids"].astype(np.float16)), "at 16 bit"),
        (lambda: sample_channels(id=np.full(102, np.inf, np.float32)), "at 16 bit"),
        (lambda: sample_channels(id=random_samples()["alpha"].astype("f4")), "no object ids"),
        (lambda: sample_channels(id=-random_samples()["ids"].astype(np.float32)), "no object ids"),
        (lambda: sample_channels(id=None), "expected 'A' and one of"),
        (lambda: sample_channels(A=None), "expected 'A' and one of"),
        (lambda: sample_channels(A=random_samples()["ids"]), "not half or float"),
        (lambda: sample_channels(A=random_samples()["alpha"] * np.nan), "no numbers"),
        (lambda: sample_channels(Z=random_samples()["alpha"] * np.nan), "no numbers"),
    ],
)
def test_channels_that_cannot_be_used_say_why(channels, reason):
    with pytest.raises(objectid.ObjectIdError, match=reason):
        decode_frame(foreign(channels()), path=Path("x.exr"))


def test_an_unknown_alpha_mode_is_refused():
    data = foreign(sample_channels(), **{"objectid/alpha": Attribute.of_text("max")})

    with pytest.raises(objectid.UnsupportedFileError, match="'max'"):
        decode_frame(data)


def test_alphas_outside_0_and_1_are_clipped_when_used():
    counts = np.array([[2, 1]], np.int32)
    channels = {
        "A": np.array([-0.5, 0.25, 7.0], np.float32),
        "id": np.array([1, 2, 1], np.uint32),
    }

    frame = decode_frame(foreign(channels, counts=counts, window=Window(0, 0, 2, 1))).frame

    assert objectid.pick(frame, [1]).tolist() == [[0, 1]]
    assert objectid.pick(frame, [2]).tolist() == [[0.25, 0]]


def test_ids_of_32_bit_can_be_picked_by_number():
    counts = np.array([[2]], np.int32)
    channels = {"A": np.array([0.5, 1], np.float16), "id": np.array([4_000_000_000, 5], np.uint32)}

    frame = decode_frame(foreign(channels, counts=counts, window=Window(0, 0, 1, 1))).frame

    assert frame.present == (5, 4_000_000_000)
    assert objectid.pick(frame, [4_000_000_000])[0, 0] == 0.5


def test_a_text_that_is_not_utf_8_does_not_stop_the_reader():
    data = foreign(sample_channels(), owner=Attribute("string", b"caf\xe9"))

    assert decode_frame(data).attributes == {"owner": "caf\\xe9"}


# --- written by the OpenEXR package --------------------------------------------------------------


def binding_file(path: Path, samples: dict, **header) -> None:
    """Write samples through the OpenEXR package."""
    counts = samples["counts"]
    ends = np.cumsum(counts.ravel())
    channels = {}
    for name, values in {
        "A": samples["alpha"],
        "Z": samples["ids"].astype(np.float32),
        "id": samples["ids"],
    }.items():
        pixels = np.empty(counts.size, object)
        for index, (end, count) in enumerate(zip(ends, counts.ravel(), strict=True)):
            pixels[index] = values[end - count : end] if count else None
        channels[name] = pixels.reshape(counts.shape)
    given = {"type": OpenEXR.deepscanline, "compression": OpenEXR.ZIPS_COMPRESSION, **header}
    OpenEXR.File(given, channels).write(str(path))


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"compression": OpenEXR.RLE_COMPRESSION},
        {"compression": OpenEXR.NO_COMPRESSION},
        {"lineOrder": OpenEXR.DECREASING_Y},
        {"dataWindow": ((-4, -3), (4, 3)), "displayWindow": ((-10, -10), (20, 20))},
        {"compression": OpenEXR.ZSTD_COMPRESSION},
        {"type": OpenEXR.deeptile, "tiles": OpenEXR.TileDescription()},
        {
            "type": OpenEXR.deeptile,
            "tiles": OpenEXR.TileDescription(),
            "dataWindow": ((-4, -3), (4, 3)),
        },
    ],
    ids=["zips", "rle", "none", "decreasing", "cropped", "zstd", "tiled", "tiled cropped"],
)
@pytest.mark.parametrize("size", [(7, 9), (7, 9, "long")])
def test_files_of_the_openexr_package_are_read(tmp_path, header, size):
    samples = random_samples(most=3 if len(size) == 2 else 12)
    binding_file(tmp_path / "a.exr", samples, **header)

    frame = objectid.read_frame(tmp_path / "a.exr").frame

    assert (frame.counts == samples["counts"]).all()
    assert (frame.ids == samples["ids"]).all()
    assert (frame.alpha == samples["alpha"]).all()
    if "dataWindow" in header:
        assert frame.data_window == (-4, -3, 5, 4)


def test_a_tiled_file_keeps_its_manifests(tmp_path):
    manifest = OpenEXR.IDManifest()
    group = manifest.add("id")
    group.setComponents(["name"])
    group.insert(3, "/人/人_01")
    tiled = {"type": OpenEXR.deeptile, "tiles": OpenEXR.TileDescription()}
    binding_file(tmp_path / "a.exr", random_samples(), idManifest=manifest, **tiled)
    text = objectid.Manifest({"/a": 3}).to_json()
    texts = {"objectid/manifest": text, "objectid/alpha": "coverage", "note": "人"}
    binding_file(tmp_path / "b.exr", random_samples(), **tiled, **texts)

    assert objectid.read_frame(tmp_path / "a.exr").manifest.ids == {"/人/人_01": 3}
    file = objectid.read_frame(tmp_path / "b.exr")
    assert file.manifest.ids == {"/a": 3}
    assert file.frame.alpha_mode == "coverage"
    assert file.attributes == {"note": "人"}


def test_the_deep_part_of_several_is_read(tmp_path):
    samples = random_samples()
    binding_file(tmp_path / "deep.exr", samples)
    deep = OpenEXR.File(str(tmp_path / "deep.exr"), separate_channels=True).parts[0]
    deep.header["name"] = "deep"
    flat = OpenEXR.Part(
        {"type": OpenEXR.scanlineimage, "name": "beauty"}, {"Y": np.zeros((7, 9), np.float16)}
    )
    OpenEXR.File([flat, deep]).write(str(tmp_path / "both.exr"))

    frame = objectid.read_frame(tmp_path / "both.exr").frame

    assert (frame.ids == samples["ids"]).all()


def test_an_all_empty_tiled_file_is_read(tmp_path):
    samples = {
        "counts": np.zeros((3, 4), np.int32),
        "ids": np.zeros(0, np.uint32),
        "alpha": np.zeros(0, np.float16),
    }
    samples["counts"][0, 0] = 1
    samples["ids"], samples["alpha"] = np.ones(1, np.uint32), np.ones(1, np.float16)
    tiled = {"type": OpenEXR.deeptile, "tiles": OpenEXR.TileDescription()}
    binding_file(tmp_path / "a.exr", samples, **tiled)

    assert objectid.read_frame(tmp_path / "a.exr").frame.present == (1,)


def test_what_the_package_cannot_read_is_an_error_and_not_a_crash(tmp_path):
    tiled = {"type": OpenEXR.deeptile, "tiles": OpenEXR.TileDescription()}
    binding_file(tmp_path / "a.exr", random_samples(), **tiled)
    data = (tmp_path / "a.exr").read_bytes()
    for number, damaged in enumerate([data[:-40], data[: len(data) // 2]]):
        path = tmp_path / f"{number}.exr"
        path.write_bytes(damaged)
        with pytest.raises(objectid.DamagedFileError) as caught:
            objectid.read_frame(path)
        assert caught.value.path == path


def test_a_flat_file_is_refused(tmp_path):
    path = tmp_path / "flat.exr"
    OpenEXR.File({}, {"A": np.zeros((2, 2), np.float16)}).write(str(path))

    with pytest.raises(objectid.UnsupportedFileError, match="flat image"):
        objectid.read_frame(path)
    (tmp_path / "x.exr").write_bytes(b"not an image at all")
    with pytest.raises(objectid.UnsupportedFileError, match="not an EXR"):
        objectid.read_frame(tmp_path / "x.exr")
    with pytest.raises(objectid.StorageError, match="No such file"):
        objectid.read_frame(tmp_path / "none.exr")


# --- samples of public projects ------------------------------------------------------------------


def test_the_openexrid_sample_is_read_and_picked_by_name():
    path = SAMPLES / "openexrid" / "sample_motionblur_transparency.exr"
    if not path.exists():
        pytest.skip(f"no sample at {path}")

    file = objectid.read_frame(path)
    names = file.manifest.names

    assert [names[number] for number in file.frame.present] == ["Sphere2", "Sphere3", "Sphere6"]
    picked = objectid.compile_filter("Sphere*").select(file.manifest.ids)
    matte = objectid.pick(file.frame, picked)
    assert matte.shape == (200, 200)
    assert 15_000 < matte.sum() < 25_000
    assert (matte == objectid.pick(file.frame, file.frame.present)).all()


def test_the_flat_samples_are_refused_with_a_reason():
    paths = sorted((SAMPLES / "cryptomatte").glob("*.exr")) + sorted(
        (SAMPLES / "display_window").glob("*.exr")
    )
    if not paths:
        pytest.skip(f"no samples at {SAMPLES}")
    for path in paths:
        with pytest.raises(objectid.UnsupportedFileError):
            objectid.read_frame(path)
