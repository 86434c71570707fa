"""Other people's programs on our files, and our reader on theirs."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import OpenEXR
import OpenImageIO
import pytest

import objectid
from tests.unit.objectid.drawn import coverages, encode, normalised, random_samples

HALF = 1 / 1024


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no program '{name}': apt-get install openexr openimageio-tools")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ours(folder: Path, kind: str) -> tuple[Path, objectid.DeepFrame]:
    """A file of ours of some kind, and what is in it."""
    found = coverages()
    ids = objectid.object_ids(found)
    if kind == "soft":
        frame = encode(found).frame
    elif kind == "empty":
        frame = encode({}, display_window=(0, 0, 96, 54)).frame
    elif kind == "coverage":
        frame = encode(found, alpha_mode="coverage").frame
    else:
        window = objectid.Window(-5, -4, 4, 3)
        display = objectid.Window(-2, -3, 30, 20)
        frame = objectid.DeepFrame(
            **random_samples(), data_window=window, display_window=display, pixel_aspect=2.0
        )
        ids = {f"/人/n_{number}": number for number in range(1, 20)}
    path = folder / f"{kind}.1001.exr"
    objectid.write_frame(path, frame, manifest=ids, attributes={"long_" * 10: "x"})
    return path, frame


KINDS = ["soft", "empty", "coverage", "cropped"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_openexr_package_reads_every_sample_every_id_and_the_manifest(tmp_path, kind):
    path, frame = ours(tmp_path, kind)

    part = OpenEXR.File(str(path), separate_channels=True).parts[0]

    header = part.header
    (low, high) = header["dataWindow"]
    assert (*low, high[0] + 1, high[1] + 1) == tuple(frame.data_window)
    assert header["pixelAspectRatio"] == frame.pixel_aspect
    columns = {}
    for name in ("id", "A", "Z", "R", "G", "B"):
        pixels = part.channels[name].pixels
        present = [p for p in pixels.ravel() if p is not None and len(p)]
        columns[name] = np.concatenate(present) if present else np.zeros(0)
        counts = [0 if p is None else len(p) for p in pixels.ravel()]
        assert counts == frame.counts.ravel().tolist()
    assert (columns["id"] == frame.ids).all()
    assert (columns["A"] == frame.alpha).all()
    assert (columns["Z"] == frame.ids).all()
    manifest = objectid.read_manifest(path)
    table = {int(entry.id()): entry.text()[0] for entry in header["idManifest"][0]}
    assert table == manifest.names
    assert objectid.Manifest.from_json(header["objectid/manifest"]).ids == manifest.ids
    assert objectid.Manifest.from_json(header["objectid/manifest"]).frame == frame.present


@pytest.mark.parametrize("kind", KINDS)
def test_exrheader_accepts_every_file(tmp_path, kind):
    path, _ = ours(tmp_path, kind)

    said = run(tool("exrheader"), str(path))

    assert 'type (type string): "deepscanline"' in said
    assert "objectid/manifest (type string)" in said


@pytest.mark.parametrize("kind", KINDS)
def test_exrinfo_accepts_every_file(tmp_path, kind):
    path, _ = ours(tmp_path, kind)

    # The exit code of exrinfo 3.1.5 is arbitrary, also for files of the OpenEXR project.
    done = subprocess.run(
        [tool("exrinfo"), "-v", str(path)], capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert "deepscanline" in done.stdout
    assert "'id': uint" in done.stdout


def flat_alpha(path: Path, frame: objectid.DeepFrame) -> np.ndarray:
    """(H, W) alpha of a flat file over the display window."""
    image = OpenImageIO.ImageBuf(str(path))
    spec = image.spec()
    pixels = image.get_pixels(OpenImageIO.FLOAT)[..., spec.channelnames.index("A")]
    out = np.zeros((frame.display_window.height, frame.display_window.width), np.float32)
    for row in range(spec.height):
        y = spec.y + row - frame.display_window.y0
        if 0 <= y < out.shape[0]:
            for column in range(spec.width):
                x = spec.x + column - frame.display_window.x0
                if 0 <= x < out.shape[1]:
                    out[y, x] = pixels[row, column]
    return out


@pytest.mark.parametrize("kind", ["soft", "cropped"])
def test_flattening_in_openimageio_gives_the_sum_of_coverages(tmp_path, kind):
    path, frame = ours(tmp_path, kind)
    deep = OpenImageIO.ImageBuf(str(path))
    deep.read(force=True)
    flat = OpenImageIO.ImageBufAlgo.flatten(deep)
    flat.write(str(tmp_path / "flat.exr"))

    alpha = flat_alpha(tmp_path / "flat.exr", frame)

    assert np.abs(alpha - objectid.pick(frame, frame.present)).max() < HALF
    if kind == "soft":
        assert np.abs(alpha - sum(normalised(coverages()).values())).max() < 3 / 512
    assert alpha.max() > 0.5


def test_flattening_with_oiiotool_gives_the_sum_of_coverages(tmp_path):
    path, frame = ours(tmp_path, "soft")

    run(tool("oiiotool"), str(path), "--flatten", "-o", str(tmp_path / "flat.exr"))

    alpha = flat_alpha(tmp_path / "flat.exr", frame)
    assert np.abs(alpha - objectid.pick(frame, frame.present)).max() < HALF


def test_a_deep_merge_of_two_files_keeps_all_ids(tmp_path):
    people = coverages(("/person/person_01", "/person/person_02"), seed=1)
    cars = coverages(("/car/car_01", "/car/car_02"), seed=2)
    ids = objectid.object_ids([*people, *cars])
    frames = {"p": encode(people, ids).frame, "c": encode(cars, ids).frame}
    for name, frame in frames.items():
        objectid.write_frame(tmp_path / f"{name}.exr", frame, manifest=ids)

    run(
        tool("oiiotool"),
        str(tmp_path / "p.exr"),
        str(tmp_path / "c.exr"),
        "--deepmerge",
        "-o",
        str(tmp_path / "m.exr"),
    )

    merged = objectid.read_frame(tmp_path / "m.exr")
    assert merged.frame.present == tuple(sorted(ids.values()))
    assert merged.manifest.ids == ids
    # By ascending id, each sample takes its alpha of what those before it have left.
    left = np.ones((54, 96), np.float32)
    for name, number in sorted(ids.items(), key=lambda item: item[1]):
        plain = dataclasses.replace(frames[name[1]], alpha_mode="coverage")
        alpha = objectid.pick(plain, [number])
        assert np.abs(objectid.pick(merged.frame, [number]) - alpha * left).max() < HALF
        left *= 1 - alpha


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_oiiotool_wrote_again_is_read(tmp_path, kind):
    path, frame = ours(tmp_path, kind)

    run(tool("oiiotool"), str(path), "-o", str(tmp_path / "again.exr"))

    again = objectid.read_frame(tmp_path / "again.exr")
    assert (
        np.abs(
            objectid.pick(again.frame, frame.present) - objectid.pick(frame, frame.present)
        ).max()
        < HALF
    )
    assert again.manifest.ids == objectid.read_manifest(path).ids


def test_a_file_that_another_program_cropped_is_read_leniently(tmp_path):
    found = {"/left": np.zeros((54, 96), np.float32), "/right": np.zeros((54, 96), np.float32)}
    found["/left"][10:20, 5:15] = 1
    found["/right"][10:20, 60:70] = 1
    ids = objectid.object_ids(found)
    objectid.write_frame(tmp_path / "a.exr", encode(found).frame, manifest=ids)
    part = OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True).parts[0]
    channels = {}
    for name, channel in part.channels.items():
        pixels = channel.pixels.copy()
        pixels[:, 40:] = None
        channels[name] = pixels
    header = {
        key: part.header[key]
        for key in ("type", "compression", "dataWindow", "displayWindow", "objectid/manifest")
    }
    OpenEXR.File(header, channels).write(str(tmp_path / "cropped.exr"))

    with pytest.raises(objectid.ManifestError, match=f"id {ids['/right']}.*leniently"):
        objectid.read_frame(tmp_path / "cropped.exr")
    file = objectid.read_frame(tmp_path / "cropped.exr", lenient=True)
    assert file.frame.present == (ids["/left"],)


def test_openimageio_sees_channels_types_and_names(tmp_path):
    path, _ = ours(tmp_path, "soft")

    source = OpenImageIO.ImageInput.open(str(path))
    spec = source.spec()
    source.close()

    assert spec.deep
    formats = {n: str(spec.channelformat(i)) for i, n in enumerate(spec.channelnames)}
    assert formats == {
        "R": "half",
        "G": "half",
        "B": "half",
        "A": "half",
        "Z": "float",
        "id": "uint",
    }
    assert spec.get_string_attribute("objectid/alpha") == "over"
