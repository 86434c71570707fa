import numpy as np
import pytest

from server.errors import PromptError
from server.frames import read_mask
from tests.unit.frames.files import samples, write_image


def test_a_mask_keeps_its_values_and_its_place_in_the_display_window(tmp_path):
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4, 1)
    write_image(
        tmp_path / "m.exr", values, sample="float", origin=(12, 5), display=(10, 10, 50, 40)
    )
    pixels, origin = read_mask(tmp_path / "m.exr")
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels, values[..., 0])
    assert origin == (2, -5)


def test_the_alpha_is_the_mask_unless_a_channel_is_named(tmp_path):
    four = np.stack([np.full((2, 2), value) for value in (0.2, 0.4, 0.6, 0.8)], axis=-1)
    write_image(tmp_path / "m.png", four, sample="uint8")
    assert read_mask(tmp_path / "m.png")[0][0, 0] == pytest.approx(0.8)
    write_image(tmp_path / "m.exr", four)
    assert read_mask(tmp_path / "m.exr", channel="B")[0][0, 0] == pytest.approx(0.6, abs=1e-3)
    write_image(tmp_path / "m.jpg", four[..., :3], sample="uint8")
    assert read_mask(tmp_path / "m.jpg")[0][0, 0] == pytest.approx(0.2, abs=0.02)


def test_a_mask_that_cannot_be_used_says_why(tmp_path):
    with pytest.raises(PromptError, match="no such file"):
        read_mask(tmp_path / "missing.exr")
    (tmp_path / "text.exr").write_text("not an image")
    with pytest.raises(PromptError, match="found no image"):
        read_mask(tmp_path / "text.exr")
    write_image(tmp_path / "m.exr", np.random.default_rng(1).random((64, 64, 3)))
    with pytest.raises(PromptError, match="has no channel 'A'; it has R, G, B"):
        read_mask(tmp_path / "m.exr", channel="A")
    content = (tmp_path / "m.exr").read_bytes()
    (tmp_path / "m.exr").write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(PromptError, match="truncated or damaged"):
        read_mask(tmp_path / "m.exr")


def test_a_deep_mask_is_refused():
    with pytest.raises(PromptError, match="deep samples"):
        read_mask(samples("openexrid") / "sample_motionblur_transparency.exr")
