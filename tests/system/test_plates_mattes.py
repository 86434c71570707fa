"""Plates of every shape and colour space, through the whole pipeline to the matte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PyOpenColorIO
import pytest

import objectid
from server.frames import PlateSettings
from server.frames.colour import BUILTIN_CONFIG
from server.models.fake import PALETTE
from server.models.loading import ModelSet
from server.pipeline import ShotRequest, run_shot
from server.prompts import parse_prompts
from server.training.plates import draw_shot
from tests.unit.frames.files import write_image

FRAMES = range(1001, 1007)


def fake_models() -> ModelSet:
    return ModelSet(detector="fake", segmenter="fake")


def inside_ellipse(frame: int, *, size: tuple[int, int]) -> np.ndarray:
    """A figure that is round on square pixels, on stored pixels of aspect 2.0, moving right."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width] + 0.5
    centre_x, centre_y = 30 + 3 * (frame - 1001), 62
    inside: np.ndarray = ((x - centre_x) / 16) ** 2 + ((y - centre_y) / 32) ** 2 <= 1
    return inside


def write_figure(
    folder: Path,
    *,
    size: tuple[int, int],
    origin: tuple[int, int],
    display: tuple[int, int, int, int],
) -> None:
    for frame in FRAMES:
        pixels = np.full((*size, 3), 0.4, np.float32)
        pixels[inside_ellipse(frame, size=size)] = np.array(PALETTE["person"][0]) / 255
        write_image(
            folder / f"figure.{frame}.exr",
            pixels,
            origin=origin,
            display=display,
            PixelAspectRatio=2.0,
        )


def matte(out: Path, frame: int, pattern: str = "*") -> tuple[np.ndarray, objectid.FrameFile]:
    """The matte of all objects a pattern names, on the display window."""
    result = objectid.read_frame(next((out / "objectid").glob(f"*.{frame}.exr")))
    chosen = objectid.compile_filter(pattern).select(result.manifest.ids)
    return objectid.pick(result.frame, chosen), result


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    both = np.minimum(found, truth).sum()
    return float(both / np.maximum(found, truth).sum())


@pytest.mark.parametrize("window", ["display", "data"])
def test_a_figure_on_an_anamorphic_plate_with_overscan_is_found_where_it_is_stored(
    tmp_path, window
):
    # 120 x 160 stored pixels; the display window leaves 10 and 6 of them outside on each side.
    write_figure(tmp_path, size=(120, 160), origin=(-10, -6), display=(0, 0, 140, 108))
    request = ShotRequest(
        plate=str(tmp_path / "figure.####.exr"),
        prompt="person",
        plate_settings=PlateSettings(colorspace="Raw", window=window),
        detector="fake",
        segmenter="fake",
    )
    out = tmp_path / "out"
    result = run_shot(request, out, models=fake_models())
    assert len(result.names) == 1
    for frame in FRAMES:
        found, file = matte(out, frame)
        assert tuple(file.frame.display_window) == (0, 0, 140, 108)
        assert file.frame.pixel_aspect == pytest.approx(2.0)
        truth = inside_ellipse(frame, size=(120, 160))[6:114, 10:150]
        assert found.shape == truth.shape
        assert overlap(found, truth.astype(np.float32)) >= 0.94, frame


@pytest.mark.parametrize(
    "prompt",
    [
        {"box": [14, 30, 46, 94]},
        {"points": [{"x": 40, "y": 62}, {"x": 90, "y": 20, "positive": False}]},
        {"mask": {"path": "figure-mask.exr"}},
        {"polygons": [{"points": [[30, 30], [46, 62], [30, 94], [14, 62]]}]},
    ],
    ids=lambda prompt: next(iter(prompt)),
)
def test_an_artists_prompt_on_an_anamorphic_plate_is_in_stored_pixels(tmp_path, prompt):
    plate, size = tmp_path / "plate", (108, 140)
    plate.mkdir()
    write_figure(plate, size=size, origin=(5, -7), display=(5, -7, 140, 108))
    figure = inside_ellipse(1001, size=size).astype(np.float32)
    write_image(tmp_path / "figure-mask.exr", figure[..., None])
    prompts = {
        "version": 1,
        "objects": [{"name": "/hero", "keyframes": [{"frame": 1001, **prompt}]}],
    }
    request = ShotRequest(
        plate=str(plate / "figure.####.exr"),
        artist=parse_prompts(prompts, folder=tmp_path),
        plate_settings=PlateSettings(colorspace="Raw"),
        detector="fake",
        segmenter="fake",
    )
    out = tmp_path / "out"
    run_shot(request, out, models=fake_models())
    y, x = np.mgrid[0:108, 0:140] + 0.5
    diamond = (np.abs(x - 30) / 16 + np.abs(y - 62) / 32 <= 1).astype(np.float32)
    found, _ = matte(out, 1001)
    assert overlap(found, diamond if "polygons" in prompt else figure) >= 0.93
    later, _ = matte(out, 1006)
    assert overlap(later, inside_ellipse(1006, size=size).astype(np.float32)) >= 0.93


SCENE_FRAMES = range(1001, 1004)
SPACES = {
    "ACEScg": ("exr", "half"),
    "ACES2065-1": ("exr", "half"),
    "ARRI LogC3 (EI800)": ("dpx", "uint16"),
    "sRGB - Display": ("png", "uint8"),
}


def write_scene(folder: Path, *, space: str) -> None:
    """The scene whose view is a drawn shot, in a colour space."""
    suffix, sample = SPACES[space]
    inverse_view = PyOpenColorIO.DisplayViewTransform(
        src="ACEScg",
        display="sRGB - Display",
        view="Un-tone-mapped",
        direction=PyOpenColorIO.TRANSFORM_DIR_INVERSE,
    )
    to_space = PyOpenColorIO.ColorSpaceTransform("ACEScg", space)
    config = PyOpenColorIO.Config.CreateFromFile(f"ocio://{BUILTIN_CONFIG}")
    processor = config.getProcessor(PyOpenColorIO.GroupTransform([inverse_view, to_space]))
    shot = draw_shot(11, size=(180, 320), frames=len(SCENE_FRAMES), level=0.2)
    for frame, drawn in zip(SCENE_FRAMES, shot, strict=True):
        pixels = drawn.pixels.astype(np.float32) / 255
        if space != "sRGB - Display":
            processor.getDefaultCPUProcessor().applyRGB(pixels)
        write_image(folder / f"scene.{frame}.{suffix}", pixels, sample=sample)


def scene_mattes(folder: Path, *, space: str) -> dict[tuple[str, int], np.ndarray]:
    """Mattes of everything the demo models find, by object and frame."""
    folder.mkdir()
    write_scene(folder, space=space)
    detector, segmenter = "demo-groundingdino", "demo-sam2"
    request = ShotRequest(
        plate=str(folder / f"scene.####.{SPACES[space][0]}"),
        prompt="person, car, dog, ball",
        plate_settings=PlateSettings(colorspace=space, view="Un-tone-mapped"),
        detector=detector,
        segmenter=segmenter,
    )
    models = ModelSet(detector=detector, segmenter=segmenter)
    result = run_shot(request, folder / "out", models=models)
    return {
        (name, frame): matte(folder / "out", frame, name)[0]
        for name in result.names
        for frame in SCENE_FRAMES
    }


def test_one_scene_in_four_colour_spaces_gives_the_same_mattes(tmp_path):
    found = {space: scene_mattes(tmp_path / space, space=space) for space in SPACES}
    expected = found.pop("ACEScg")
    assert len(expected) >= 2 * len(SCENE_FRAMES)
    for space, mattes in found.items():
        assert mattes.keys() == expected.keys(), space
        for key, coverage in expected.items():
            difference = np.abs(mattes[key] - coverage).sum()
            assert difference <= 0.01 * coverage.sum(), (space, key)
