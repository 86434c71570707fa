from pathlib import Path

import numpy as np
import OpenEXR
import PyOpenColorIO
import pytest

from server.errors import PlateError
from server.frames import PlateSettings, open_plate
from server.frames.colour import BUILTIN_CONFIG, KNOWN_CHROMATICITIES, ColourConfig
from tests.unit.frames.files import scene, write_image

CONFIG = PyOpenColorIO.Config.CreateFromFile(f"ocio://{BUILTIN_CONFIG}")
DEFAULTS = PlateSettings()
SRGB = "sRGB - Display"
ACES_VIEW = "ACES 2.0 - SDR 100 nits (Rec.709)"
AP1 = (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767)
AP0 = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)


def converted(pixels: np.ndarray, transform: object) -> np.ndarray:
    result = np.array(pixels, np.float32)
    CONFIG.getProcessor(transform).getDefaultCPUProcessor().applyRGB(result)
    return result


def to_space(pixels: np.ndarray, space: str) -> np.ndarray:
    return converted(pixels, PyOpenColorIO.ColorSpaceTransform("ACEScg", space))


def seen(path: Path, settings: PlateSettings = DEFAULTS) -> np.ndarray:
    with open_plate(path, settings=settings) as plate:
        return plate.read(1).pixels.astype(int)


def described(path: Path, settings: PlateSettings = DEFAULTS) -> dict[str, object]:
    with open_plate(path, settings=settings) as plate:
        colour = plate.describe()["colour"]
        assert isinstance(colour, dict)
        return {**colour, "warnings": " ".join(plate.warnings)}


def test_one_scene_in_four_colour_spaces_is_one_picture_for_the_model(tmp_path):
    linear = scene()
    write_image(tmp_path / "cg.exr", linear, chromaticities=AP1)
    write_image(tmp_path / "aces.exr", to_space(linear, "ACES2065-1"), chromaticities=AP0)
    logarithmic = to_space(linear, "ARRI LogC3 (EI800)")
    write_image(tmp_path / "log.dpx", logarithmic, sample="uint16")
    look = PyOpenColorIO.DisplayViewTransform("ACEScg", SRGB, ACES_VIEW)
    write_image(tmp_path / "graded.png", converted(linear, look), sample="uint16")

    expected = seen(tmp_path / "cg.exr")
    assert expected.min() < 16  # the scene uses the whole range
    assert expected.max() > 200
    log = PlateSettings(colorspace="ARRI LogC3 (EI800)")
    for name, settings in (
        ("aces.exr", PlateSettings()),
        ("log.dpx", log),
        ("graded.png", PlateSettings(colorspace="srgb_display")),
    ):
        difference = np.abs(seen(tmp_path / name, settings) - expected)
        assert difference.mean() < 0.5, name
        assert np.percentile(difference, 99) <= 1, name
        assert difference.max() <= 3, name


def test_the_tabulated_view_stays_close_to_the_exact_one(tmp_path):
    random = np.random.default_rng(3)
    stops, saturation = random.uniform(-8, 6, (100, 100, 1)), random.uniform(0, 1, (100, 100, 1))
    colours = 0.18 * 2.0**stops * (1 - saturation + saturation * random.random((100, 100, 3)))
    write_image(tmp_path / "p.exr", colours, sample="float", chromaticities=AP1)
    look = PyOpenColorIO.DisplayViewTransform("ACEScg", SRGB, ACES_VIEW)
    exact = np.clip(converted(colours, look), 0, 1) * 255
    difference = np.abs(seen(tmp_path / "p.exr") - exact)
    assert np.percentile(difference, 99) < 1.0
    assert difference.mean() < 0.4  # rounding alone is 0.25


def test_views_without_tables_are_exact(tmp_path):
    linear = scene()
    write_image(tmp_path / "p.exr", linear, sample="float", chromaticities=AP1)
    look = PyOpenColorIO.DisplayViewTransform("ACEScg", SRGB, "Un-tone-mapped")
    exact = np.clip(converted(linear, look), 0, 1) * 255
    found = seen(tmp_path / "p.exr", PlateSettings(view="Un-tone-mapped"))
    assert np.abs(found - exact).max() < 0.51


def test_a_display_referred_picture_passes_unchanged(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (20, 30, 3))
    write_image(tmp_path / "p.png", pixels / 255, sample="uint8")
    assert np.array_equal(seen(tmp_path / "p.png"), pixels)


@pytest.mark.parametrize("colorspace", ["ACEScg", "ACES2065-1", "ARRI LogC3 (EI800)", SRGB, "Raw"])
def test_nan_infinities_and_negatives_harm_nobody_else(tmp_path, colorspace):
    clean = np.full((16, 16, 3), 0.3, np.float32)
    dirty = clean.copy()
    dirty[4, 4] = np.nan
    dirty[4, 5] = np.inf, -np.inf, np.nan
    dirty[5, 4] = -100.0, 1e30, 0.2
    dirty[5, 5] = -65504.0
    for name, pixels in (("clean", clean), ("dirty", dirty)):
        write_image(tmp_path / f"{name}.exr", pixels, sample="float")
    settings = PlateSettings(colorspace=colorspace)
    expected, found = seen(tmp_path / "clean.exr", settings), seen(tmp_path / "dirty.exr", settings)
    touched = np.zeros((16, 16), bool)
    touched[4:6, 4:6] = True
    assert np.array_equal(found[~touched], expected[~touched])
    assert found[4, 4].max() <= 40  # NaN is black, as near as the space has black
    assert found[5, 5].max() == 0


def test_the_option_wins_over_everything(tmp_path):
    write_image(tmp_path / "p.exr", scene(), chromaticities=AP0, colorInteropID="lin_ap0_scene")
    found = described(tmp_path / "p.exr", PlateSettings(colorspace="lin_ap1"))
    assert (found["space"], found["space_from"]) == ("ACEScg", "option")


@pytest.mark.parametrize(
    ("metadata", "space", "reason"),
    [
        ({"colorInteropID": "lin_ap1_scene"}, "ACEScg", "colorInteropID lin_ap1_scene"),
        (
            {"colorInteropID": "lin_ap1_scene", "chromaticities": AP0},
            "ACEScg",
            "colorInteropID lin_ap1_scene",
        ),
        (
            {"colorInteropID": "arrilogc3_awg3_scene"},
            "ARRI LogC3 (EI800)",
            "colorInteropID arrilogc3_awg3_scene",
        ),
        ({"chromaticities": AP1}, "ACEScg", "chromaticities of lin_ap1_scene"),
        (
            {"chromaticities": (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)},
            "Linear Rec.709 (sRGB)",
            "chromaticities of lin_rec709_scene",
        ),
    ],
)
def test_what_the_file_says_comes_before_the_rules(tmp_path, metadata, space, reason):
    write_image(tmp_path / "p.exr", scene(), **metadata)
    found = described(tmp_path / "p.exr")
    assert (found["space"], found["space_from"]) == (space, f"metadata: {reason}")
    assert found["warnings"] == ""


def test_an_aces_container_is_known_by_its_flag(tmp_path):
    header = {"compression": OpenEXR.NO_COMPRESSION, "acesImageContainerFlag": 1}
    channels = {name: np.full((4, 4), 0.2, np.float16) for name in "RGB"}
    OpenEXR.File(header, channels).write(str(tmp_path / "p.exr"))
    found = described(tmp_path / "p.exr")
    assert found["space"] == "ACES2065-1"
    assert found["space_from"] == "metadata: acesImageContainerFlag"


def test_every_known_set_of_primaries_has_its_space_in_the_built_in_config():
    config = ColourConfig()
    spaces = [config.space(name) for _, name in KNOWN_CHROMATICITIES]
    assert len(set(spaces)) == len(spaces)
    assert all(config.is_scene_referred(space) for space in spaces)


def test_strange_metadata_is_reported_and_the_next_source_decides(tmp_path):
    odd = (0.5, 0.3, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
    write_image(tmp_path / "p.exr", scene(), colorInteropID="made_up", chromaticities=odd)
    found = described(tmp_path / "p.exr")
    assert found["space_from"] == "file rule EXR"
    assert "chromaticities 0.5, 0.3" in str(found["warnings"])


def test_a_guess_is_a_warning_that_names_the_option(tmp_path):
    write_image(tmp_path / "p.exr", scene())
    write_image(tmp_path / "p.tif", scene(), sample="float")
    write_image(tmp_path / "p.dpx", scene(), sample="uint16")
    for name, space, reason in (
        ("p.exr", "ACES2065-1", "file rule EXR"),
        ("p.tif", "ACEScg", "assumed: float samples"),
        ("p.dpx", SRGB, "assumed: integer samples"),
    ):
        found = described(tmp_path / name)
        assert (found["space"], found["space_from"]) == (space, reason)
        assert "--colorspace" in str(found["warnings"])


def site_config(folder: Path, *, displays: tuple[str, ...] = ("sRGB screen",)) -> Path:
    """A small config of a studio with its own names."""
    config = PyOpenColorIO.Config()
    config.setVersion(2, 0)
    config.addColorSpace(PyOpenColorIO.ColorSpace(name="studio linear", aliases=["lin_ap1"]))
    log = PyOpenColorIO.ColorSpace(name="studio log")
    log.setTransform(
        PyOpenColorIO.LogTransform(base=2.0, direction=PyOpenColorIO.TRANSFORM_DIR_INVERSE),
        PyOpenColorIO.COLORSPACE_DIR_TO_REFERENCE,
    )
    config.addColorSpace(log)
    screen = PyOpenColorIO.ColorSpace(name="screen")
    screen.setTransform(
        PyOpenColorIO.ExponentTransform(value=[2.2, 2.2, 2.2, 1.0]),
        PyOpenColorIO.COLORSPACE_DIR_TO_REFERENCE,
    )
    config.addColorSpace(screen)
    for name in displays:
        config.addDisplayView(name, "Film", "screen")
    config.setRole("scene_linear", "studio linear")
    config.setRole("default", "studio log")
    rules = PyOpenColorIO.FileRules()
    rules.insertRule(0, "Logs", "studio log", "*_log*", "exr")
    rules.setDefaultRuleColorSpace("studio linear")
    config.setFileRules(rules)
    path = folder / "config.ocio"
    path.write_text(config.serialize())
    return path


def test_a_sites_own_config_and_rules_are_used(tmp_path, monkeypatch):
    path = site_config(tmp_path)
    grey = np.full((4, 4, 3), 0.5, np.float32)
    write_image(tmp_path / "a_log.exr", grey)
    write_image(tmp_path / "b.exr", grey)
    write_image(tmp_path / "c.exr", grey, colorInteropID="lin_ap1_scene")
    monkeypatch.setenv("OCIO", str(path))
    found = described(tmp_path / "a_log.exr")
    assert (found["space"], found["space_from"]) == ("studio log", "file rule Logs")
    assert found["warnings"] == ""
    assert (found["display"], found["view"]) == ("sRGB screen", "Film")
    assert found["config"] == str(path)
    found = described(tmp_path / "b.exr")
    assert found["space_from"] == f"assumed: default rule of {path}"
    assert "studio linear" in str(found["warnings"])
    # The file's name for the space is not the site's, but the ACES config knows both.
    found = described(tmp_path / "c.exr")
    assert found["space"] == "studio linear"
    assert seen(tmp_path / "c.exr")[0, 0, 0] == round(255 * 0.5 ** (1 / 2.2))


def test_a_config_without_an_srgb_display_is_used_with_a_warning(tmp_path):
    path = site_config(tmp_path, displays=("Projector",))
    write_image(tmp_path / "p.exr", scene())
    found = described(tmp_path / "p.exr", PlateSettings(ocio_config=str(path)))
    assert found["display"] == "Projector"
    assert "no display with sRGB in its name" in str(found["warnings"])


@pytest.mark.parametrize(
    ("settings", "near"),
    [
        (PlateSettings(colorspace="logc3"), "ARRI LogC3 (EI800)"),
        (PlateSettings(colorspace="ACEScgg"), "ACEScg"),
        (PlateSettings(colorspace="sRGB"), "sRGB - Display"),
        (PlateSettings(view="tone-mapped"), "Un-tone-mapped"),
        (PlateSettings(display="srgb"), "sRGB - Display"),
    ],
)
def test_a_name_the_config_lacks_lists_near_names(tmp_path, settings, near):
    write_image(tmp_path / "p.exr", scene())
    with pytest.raises(PlateError) as caught:
        open_plate(tmp_path / "p.exr", settings=settings)
    assert repr(near) in str(caught.value)
    assert "ocio://" in str(caught.value)


def test_a_config_that_cannot_be_read_says_where_it_came_from(tmp_path, monkeypatch):
    with pytest.raises(PlateError, match=r"--ocio-config.*leave it out for the built-in"):
        ColourConfig(str(tmp_path / "missing.ocio"))
    (tmp_path / "broken.ocio").write_text("not a config")
    monkeypatch.setenv("OCIO", str(tmp_path / "broken.ocio"))
    with pytest.raises(PlateError, match=r"\$OCIO"):
        ColourConfig()


def test_exposure_brightens_what_the_model_sees_alike_in_every_space(tmp_path):
    linear = scene() * 0.25
    write_image(tmp_path / "dark.exr", linear, chromaticities=AP1)
    write_image(tmp_path / "bright.exr", linear * 4, chromaticities=AP1)
    expected = seen(tmp_path / "bright.exr")
    found = seen(tmp_path / "dark.exr", PlateSettings(exposure=2.0))
    assert np.abs(found - expected).max() <= 1
    write_image(tmp_path / "dark.png", np.full((4, 4, 3), 0.2), sample="uint16")
    # sRGB 0.2 is 0.0331 linear; a stop more is 0.0662, which is sRGB 0.286.
    assert seen(tmp_path / "dark.png", PlateSettings(exposure=1.0))[0, 0, 0] == 73
    with pytest.raises(PlateError, match="between -20 and 20 stops"):
        open_plate(tmp_path / "dark.exr", settings=PlateSettings(exposure=40.0))


def test_automatic_exposure_brings_a_dark_plate_to_middle_grey_once_for_the_whole_plate(tmp_path):
    from server.frames import FrameRange

    for frame in range(1, 6):
        dark = np.full((32, 32, 3), 0.18 / 16 * 2.0 ** (0.1 * frame), np.float32)
        write_image(tmp_path / f"p.{frame}.exr", dark, chromaticities=AP1)
    automatic = PlateSettings(exposure="auto")
    whole = described(tmp_path, automatic)
    assert whole["exposure_stops"] == pytest.approx(3.75)
    assert whole["exposure_from"] == "auto"
    with open_plate(tmp_path, frame_range=FrameRange(5, 5), settings=automatic) as plate:
        part = plate.describe()["colour"]
        assert isinstance(part, dict)
        assert part["exposure_stops"] == whole["exposure_stops"]
    write_image(tmp_path / "grey.png", np.full((16, 16, 3), 0.2), sample="uint16")
    found = described(tmp_path / "grey.png", automatic)
    assert found["exposure_stops"] == pytest.approx(2.5)
