import json
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenEXR
import OpenImageIO
import pytest

from server.errors import PlateError
from server.frames import Box, FrameRange, ModelImage, Plate, PlateSettings, open_plate
from tests.unit.frames.files import OIIOTOOL, samples, write_image, write_sequence

RAW = PlateSettings(colorspace="Raw")
"""Values pass through: what is stored is what the model sees."""


def red(plate: Plate, frame: int) -> int:
    return int(plate.read(frame).pixels[0, 0, 0])


def test_frame_numbers_are_the_plates_own(tmp_path):
    write_sequence(tmp_path, [-2, -1, 0, 1, 2])
    with open_plate(tmp_path / "plate.####.exr", settings=RAW) as plate:
        assert plate.frames == (-2, -1, 0, 1, 2)
        assert [image.frame for image in plate.images()] == [-2, -1, 0, 1, 2]
        assert [red(plate, frame) for frame in (-2, 2)] == [204, 51]


def test_a_range_with_a_step_takes_every_second_frame(tmp_path):
    write_sequence(tmp_path, range(1001, 1008))
    pattern = tmp_path / "plate.%04d.exr"
    with open_plate(pattern, frame_range=FrameRange.parse("1002-1007x2")) as plate:
        assert plate.frames == (1002, 1004, 1006)


def test_a_sequence_on_twos_has_no_gaps(tmp_path):
    write_sequence(tmp_path, [1001, 1003, 1005])
    with open_plate(tmp_path) as plate:
        assert plate.frames == (1001, 1003, 1005)


def test_all_gaps_are_named_in_one_error(tmp_path):
    write_sequence(tmp_path, [1001, 1002, 1005, 1007])
    with pytest.raises(PlateError) as caught:
        open_plate(tmp_path / "plate.####.exr")
    assert "Frames 1003-1004, 1006 (3 in all) are missing" in str(caught.value)
    assert "--gaps hold or --gaps skip" in str(caught.value)
    assert caught.value.frame == 1003
    with pytest.raises(PlateError, match="Frame 1006 is missing from plate"):
        open_plate(tmp_path, frame_range=FrameRange(1005, 1007))


def test_gaps_are_held_by_the_frame_before(tmp_path):
    write_sequence(tmp_path, [1002, 1005])
    settings = PlateSettings(colorspace="Raw", gaps="hold")
    with open_plate(tmp_path, frame_range=FrameRange(1001, 1005), settings=settings) as plate:
        assert plate.frames == (1001, 1002, 1003, 1004, 1005)
        assert [red(plate, frame) for frame in plate.frames] == [51, 51, 51, 51, 128]
        assert plate.read(1003).frame == 1003
        assert plate.describe()["held"] == {"1001": 1002, "1003": 1002, "1004": 1002}


def test_gaps_are_skipped_on_request(tmp_path):
    write_sequence(tmp_path, [1001, 1004])
    with open_plate(tmp_path, settings=PlateSettings(gaps="skip")) as plate:
        assert plate.frames == (1001, 1004)
        assert plate.describe()["skipped"] == [1002, 1003]


def test_a_range_outside_the_plate_says_what_there_is(tmp_path):
    write_sequence(tmp_path, [1001, 1002])
    with pytest.raises(PlateError, match=r"No frame of 1-10 exists .* which has 1001-1002"):
        open_plate(tmp_path, frame_range=FrameRange(1, 10), settings=PlateSettings(gaps="skip"))


def test_a_frame_that_was_not_asked_for_is_not_read(tmp_path):
    write_sequence(tmp_path, [1001, 1002])
    with open_plate(tmp_path, frame_range=FrameRange(1001, 1001)) as plate:
        with pytest.raises(PlateError, match="Frame 1002 is not among the frames") as caught:
            plate.read(1002)
        assert caught.value.frame == 1002


@pytest.mark.parametrize("suffix", ["exr", "dpx", "tif", "png", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.6, 0.98])
def test_a_truncated_frame_is_named_whatever_its_format(tmp_path, suffix, share):
    noise = np.random.default_rng(1).random((64, 96, 3)).astype(np.float32)
    for frame in (1001, 1002):
        sample = {"exr": "half", "jpg": "uint8"}.get(suffix, "uint16")
        write_image(tmp_path / f"plate.{frame}.{suffix}", noise, sample=sample)
    damaged = tmp_path / f"plate.1002.{suffix}"
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PlateError, match=r"Frame 1002 of the plate .*copy it again") as caught:
        with open_plate(tmp_path) as plate:
            list(plate.images())
    assert caught.value.frame == 1002
    assert caught.value.path == damaged


def test_a_frame_of_another_size_is_found_before_the_work_begins(tmp_path):
    write_sequence(tmp_path, [1001, 1002])
    write_sequence(tmp_path, [1003], size=(6, 9))
    with pytest.raises(PlateError) as caught:
        open_plate(tmp_path)
    assert "Frame 1003" in str(caught.value)
    assert "9 x 6" in str(caught.value)
    assert "expected display window 8 x 6" in str(caught.value)
    assert caught.value.frame == 1003


def test_a_frame_that_vanishes_during_the_work_is_named(tmp_path):
    write_sequence(tmp_path, range(1, 13))
    with open_plate(tmp_path, settings=RAW) as plate:
        images = plate.images(read_ahead=2)
        next(images)
        for frame in range(6, 13):  # far beyond what may have been read ahead
            (tmp_path / f"plate.{frame:04d}.exr").unlink()
        with pytest.raises(PlateError, match=r"Frame 6 of the plate .* is missing") as caught:
            list(images)
    assert caught.value.frame == 6


def test_reading_ahead_keeps_order_and_leaves_no_thread_behind(tmp_path):
    write_sequence(tmp_path, range(1, 13))
    with open_plate(tmp_path, settings=RAW) as plate:
        backwards = list(reversed(plate.frames))
        assert [image.frame for image in plate.images(backwards)] == backwards
        images = plate.images()
        assert next(images).frame == 1
        images.close()
        assert list(plate.images([])) == []
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]


def test_files_that_are_no_plates_are_refused_with_a_reason(tmp_path):
    (tmp_path / "plate.1001.exr").write_bytes(b"not an image at all")
    with pytest.raises(PlateError, match=r"Frame 1001 .* cannot be opened as an image \(19 bytes"):
        open_plate(tmp_path)


def test_the_model_image_is_no_larger_than_asked_and_never_enlarged(tmp_path):
    write_image(tmp_path / "large.png", np.zeros((300, 500, 3)), sample="uint8")
    with open_plate(tmp_path / "large.png", settings=PlateSettings(longest_side=256)) as plate:
        assert plate.model_size == (154, 256)
        assert plate.read(1).pixels.shape == (154, 256, 3)
    with open_plate(tmp_path / "large.png") as plate:
        assert plate.model_size == (300, 500)
    assert PlateSettings().longest_side == 2048


def test_shrinking_averages_in_float_before_quantising(tmp_path):
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[:, ::2] = 1.0
    write_image(tmp_path / "stripes.exr", stripes)
    settings = PlateSettings(colorspace="Raw", longest_side=16)
    with open_plate(tmp_path / "stripes.exr", settings=settings) as plate:
        first, again = plate.read(1), plate.read(1)
    assert np.all(first.pixels == 128)
    assert np.array_equal(first.pixels, again.pixels)


def test_a_round_figure_on_an_anamorphic_plate_is_round_for_the_model(tmp_path):
    # Stored pixels are twice as wide as high: a circle is stored 40 wide and 80 high.
    y, x = np.mgrid[0:120, 0:100] + 0.5
    inside = ((x - 60) / 20) ** 2 + ((y - 50) / 40) ** 2 <= 1
    write_image(
        tmp_path / "p.exr",
        np.repeat(inside[..., None], 3, 2),
        PixelAspectRatio=2.0,
        origin=(10, -5),
    )
    with open_plate(tmp_path / "p.exr", settings=RAW) as plate:
        image = plate.read(1).pixels[..., 0] > 127
        assert plate.format.pixel_aspect == 2.0
        assert plate.model_size == (120, 200)
        rows, columns = np.nonzero(image)
        assert np.ptp(columns) == pytest.approx(np.ptp(rows), abs=2)
        height, width = plate.model_size
        # Back to stored pixels: a scale and an offset of the window, axis by axis.
        left = plate.window.x0 + columns.min() * plate.window.width / width
        right = plate.window.x0 + (columns.max() + 1) * plate.window.width / width
        top = plate.window.y0 + rows.min() * plate.window.height / height
        assert left == pytest.approx(10 + 40, abs=1)
        assert right == pytest.approx(10 + 80, abs=1)
        assert top == pytest.approx(-5 + 10, abs=1)


def test_pixels_higher_than_wide_and_a_corrected_aspect(tmp_path):
    write_image(tmp_path / "p.exr", np.zeros((20, 40, 3)), PixelAspectRatio=0.5)
    with open_plate(tmp_path / "p.exr") as plate:
        assert plate.model_size == (40, 40)
    with open_plate(tmp_path / "p.exr", settings=PlateSettings(pixel_aspect=2.0)) as plate:
        assert plate.model_size == (20, 80)
    with pytest.raises(PlateError, match="pixel aspect between"):
        open_plate(tmp_path / "p.exr", settings=PlateSettings(pixel_aspect=50.0))


def cropped(stored: OpenImageIO.ImageBuf, roi: OpenImageIO.ROI) -> np.ndarray:
    pixels = OpenImageIO.ImageBufAlgo.crop(stored, roi).get_pixels(OpenImageIO.FLOAT, roi)
    return np.asarray(np.rint(np.clip(np.asarray(pixels), 0, 1) * 255), np.uint8)


@pytest.mark.parametrize("number", range(1, 17))
def test_every_relation_of_data_and_display_window(number):
    path = samples("display_window") / f"t{number:02d}.exr"
    stored = OpenImageIO.ImageBuf(str(path))
    roi = stored.roi_full
    with open_plate(path, settings=PlateSettings(colorspace="Raw", pixel_aspect=1.0)) as plate:
        assert plate.format.display_window == Box(roi.xbegin, roi.ybegin, roi.xend, roi.yend)
        assert plate.window == plate.format.display_window
        found = plate.read(number).pixels
    assert np.array_equal(found, cropped(stored, roi))


@pytest.mark.parametrize("number", range(1, 17))
def test_the_overscan_is_segmented_on_request(number):
    path = samples("display_window") / f"t{number:02d}.exr"
    stored = OpenImageIO.ImageBuf(str(path))
    roi = OpenImageIO.union(stored.roi, stored.roi_full)
    settings = PlateSettings(colorspace="Raw", pixel_aspect=1.0, window="data")
    with open_plate(path, settings=settings) as plate:
        assert plate.window == Box(roi.xbegin, roi.ybegin, roi.xend, roi.yend)
        assert plate.format.display_window != plate.format.data_window or number == 1
        found = plate.read(number).pixels
    assert np.array_equal(found, cropped(stored, roi))


def test_data_windows_may_change_from_frame_to_frame(tmp_path):
    full = (0, 0, 20, 10)
    write_image(tmp_path / "p.1.exr", np.ones((4, 4, 3)), origin=(2, 2), display=full)
    write_image(tmp_path / "p.2.exr", np.ones((6, 9, 3)), origin=(15, 6), display=full)
    with open_plate(tmp_path, settings=RAW) as plate:
        first, second = (image.pixels[..., 0] for image in plate.images())
        assert plate.window == Box(0, 0, 20, 10)
        assert first.sum() == 16 * 255
        assert np.all(first[2:6, 2:6] == 255)
        assert second.sum() == 4 * 5 * 255
    settings = PlateSettings(colorspace="Raw", window="data")
    with open_plate(tmp_path, settings=settings) as plate:
        assert plate.window == Box(0, 0, 24, 12)
        assert plate.read(2).pixels[..., 0].sum() == 6 * 9 * 255


def test_a_real_sequence_reads_from_its_folder():
    with open_plate(samples("car")) as plate:
        assert plate.frames == tuple(range(1001, 1049))
        assert plate.model_size == (1080, 1920)
        assert plate.name == "car.####.jpg"
        image = plate.read(1024)
    assert image.frame == 1024
    assert 60 < image.pixels.mean() < 200


@pytest.mark.parametrize("compression", ["none", "rle", "zip", "zips", "piz", "pxr24", "dwaa"])
@pytest.mark.parametrize("sample", ["half", "float"])
def test_every_compression_and_number_format(tmp_path, compression, sample):
    pixels = np.linspace(0, 1, 40 * 50 * 3, dtype=np.float32).reshape(40, 50, 3)
    write_image(tmp_path / "p.exr", pixels, sample=sample, compression=compression)
    with open_plate(tmp_path / "p.exr", settings=RAW) as plate:
        found = plate.read(1).pixels.astype(int)
    assert np.abs(found - np.rint(pixels * 255)).max() <= 1


def test_files_written_by_oiiotool_read_as_they_are_meant(tmp_path):
    def run(*arguments: object) -> None:
        subprocess.run([OIIOTOOL, *map(str, arguments)], check=True, capture_output=True)

    fill = ["--pattern", "constant:color=.25,.5,.75", "64x32", "3"]
    run(*fill, "--origin", "-10-20", "--fullsize", "44x12+0-10", "-d", "half", "-o",
        tmp_path / "window.1001.exr")  # fmt: skip
    run(*fill, "-d", "uint10", "-o", tmp_path / "film.1001.dpx")
    run(*fill, "-d", "uint16", "--tile", "16", "16", "-o", tmp_path / "tiled.1001.tif")
    run(*fill, "-d", "half", "--tile", "16", "16", "-o", tmp_path / "tiled.1001.exr")
    for name in ("film.1001.dpx", "tiled.1001.tif", "tiled.1001.exr"):
        with open_plate(tmp_path / name, settings=RAW) as plate:
            assert plate.read(1001).pixels.reshape(-1, 3).tolist() == [[64, 128, 191]] * 64 * 32
    with open_plate(tmp_path / "window.1001.exr", settings=RAW) as plate:
        assert plate.format.display_window == Box(0, -10, 44, 2)
        assert plate.format.data_window == Box(-10, -20, 54, 12)
        assert plate.read(1001).pixels.shape == (12, 44, 3)
        assert np.all(plate.read(1001).pixels == (64, 128, 191))


def part(name: str, values: dict[str, float], **attributes: object) -> OpenEXR.Part:
    pixels = {channel: np.full((4, 6), value, np.float16) for channel, value in values.items()}
    header = attributes | {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    return OpenEXR.Part(header, pixels, name=name)


def rgb(value: float, prefix: str = "") -> dict[str, float]:
    return {f"{prefix}{channel}": value for channel in "RGB"}


def first_pixel(
    path: Path, *, part: str | None = None, eye: str | None = None, layer: str | None = None
) -> list[int]:
    settings = replace(RAW, part=part, eye=eye, layer=layer)
    with open_plate(path, settings=settings) as plate:
        return list(map(int, plate.read(plate.frames[0]).pixels[0, 0]))


def test_the_first_part_with_colour_is_the_plate_unless_one_is_named(tmp_path):
    path = tmp_path / "p.1001.exr"
    parts = [part("depth", {"Z": 1.0}), part("rgba", rgb(0.2)), part("matte", {"A": 0.4})]
    OpenEXR.File(parts).write(str(path))
    assert first_pixel(path) == [51] * 3
    assert first_pixel(path, part="depth") == [255] * 3
    assert first_pixel(path, part="2") == [102] * 3
    with pytest.raises(PlateError, match=r"no part 'beauty'; it has depth, rgba, matte"):
        first_pixel(path, part="beauty")


def test_stereo_views_in_parts_and_in_channels(tmp_path):
    parts = [part("l", rgb(0.2), view="left"), part("r", rgb(0.4), view="right")]
    OpenEXR.File(parts).write(str(tmp_path / "parts.1001.exr"))
    values = rgb(0.2) | rgb(0.4, "right.") | rgb(0.6, "diffuse.") | rgb(0.8, "diffuse.right.")
    mixed = part("", values, multiView=["left", "right"])
    OpenEXR.File(mixed.header, mixed.channels).write(str(tmp_path / "mixed.1001.exr"))
    for name in ("parts.1001.exr", "mixed.1001.exr"):
        assert first_pixel(tmp_path / name) == [51] * 3
        assert first_pixel(tmp_path / name, eye="left") == [51] * 3
        assert first_pixel(tmp_path / name, eye="right") == [102] * 3
        with pytest.raises(PlateError, match="no view 'middle'; it has left, right"):
            first_pixel(tmp_path / name, eye="middle")
    assert first_pixel(tmp_path / "mixed.1001.exr", layer="diffuse", eye="right") == [204] * 3


def test_colour_in_layers_is_found_or_asked_for(tmp_path):
    def write(values: dict[str, float]) -> None:
        only = part("", values)
        OpenEXR.File(only.header, only.channels).write(str(tmp_path / "p.1001.exr"))

    path = tmp_path / "p.1001.exr"
    write(rgb(0.2, "graded.") | {"depth.Z": 1.0})
    assert first_pixel(path) == [51] * 3
    write(rgb(0.2, "diffuse.") | rgb(0.4, "specular."))
    assert first_pixel(path, layer="specular") == [102] * 3
    with pytest.raises(PlateError, match=r"no red, green and blue.*diffuse\.R.*--layer"):
        first_pixel(path)
    write({"Y": 0.6})
    assert first_pixel(path) == [153] * 3
    write({"Y": 0.6, "RY": 0.0, "BY": 0.0})
    with pytest.raises(PlateError, match="no red, green and blue"):
        first_pixel(path)


def test_a_deep_file_is_refused_with_the_way_out():
    path = samples("openexrid") / "sample_motionblur_transparency.exr"
    with pytest.raises(PlateError, match=r"holds deep samples.*flatten it first"):
        open_plate(path)


def test_a_header_that_claims_absurd_sizes_is_refused(tmp_path):
    write_image(tmp_path / "p.exr", np.zeros((4, 4, 3)), display=(0, 0, 1 << 20, 1 << 20))
    with pytest.raises(
        PlateError, match="claims 1048576 x 1048576 pixels, more than any plate has"
    ):
        open_plate(tmp_path / "p.exr")


def test_the_description_is_json_and_complete(tmp_path):
    write_sequence(tmp_path, [1001, 1002], sample="half")
    with open_plate(tmp_path, settings=PlateSettings(colorspace="ACEScg")) as plate:
        described = json.loads(json.dumps(plate.describe()))
    assert described["frames"] == "1001-1002"
    assert described["display_window"] == [0, 0, 8, 6]
    assert described["model_size"] == [6, 8]
    assert described["colour"]["space"] == "ACEScg"
    assert described["colour"]["space_from"] == "option"
    assert described["colour"]["view"].startswith("ACES")
    assert described["colour"]["config"].startswith("ocio://")
    assert described["warnings"] == []


def test_settings_and_values_are_checked_at_birth():
    for wrong in (
        {"window": "format"},
        {"gaps": "ignore"},
        {"longest_side": 4},
        {"exposure": "bright"},
    ):
        with pytest.raises(PlateError, match="Expected"):
            PlateSettings(**wrong)
    with pytest.raises(PlateError, match=r"Expected \(H, W, 3\) uint8"):
        ModelImage(frame=1, pixels=np.zeros((4, 4), np.float32))
    with pytest.raises(PlateError, match="at least one pixel"):
        Box(0, 0, 0, 5)
