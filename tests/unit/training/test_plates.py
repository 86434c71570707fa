"""The plate generator: deterministic, and true about what it has drawn."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import server.training
from server.errors import InputError
from server.training import figures
from server.training.plates import (
    CATEGORIES,
    DrawnShot,
    DrawnSprite,
    Look,
    Path2D,
    Role,
    Scene,
    SpritePool,
    draw_shot,
    make_pool,
    staged,
)
from server.training.plates_heldout import HELD_OUT_STYLE

SIZE = (90, 160)


def two_balls(first: Path2D, second: Path2D, *, look: Look | None = None) -> DrawnShot:
    """Ball 1 behind ball 2 on a grey set, half a frame high each."""
    rng = np.random.default_rng(3)
    roles = tuple(
        Role(number, DrawnSprite(figures.ball(rng)), path, 0.5, 0.0)
        for number, path in ((1, first), (2, second))
    )
    grey = np.full((126, 224, 3), 90, np.uint8)
    return staged(Scene(SIZE, (1, 2), grey, roles, look or Look()), frames=48)


def test_when_drawn_twice_then_the_shot_is_the_same():
    first, second = (draw_shot(5, size=SIZE, level=1.0) for _ in range(2))
    for index in (31, 4):
        one, other = first.frame(index), second.frame(index)
        assert np.array_equal(one.pixels, other.pixels)
        assert np.array_equal(one.labels(), other.labels())
    assert first.objects == second.objects


def test_when_the_seed_differs_then_the_shot_does():
    assert not np.array_equal(
        draw_shot(5, size=SIZE).frame(0).pixels, draw_shot(6, size=SIZE).frame(0).pixels
    )


@pytest.mark.parametrize("style", [None, HELD_OUT_STYLE])
def test_coverages_stay_in_range_and_add_up_to_at_most_one(style):
    for seed in range(4):
        shot = draw_shot(seed, size=SIZE, level=1.0, **({"style": style} if style else {}))
        frame = shot.frame(20)
        matte = np.stack([frame.coverage(item.id) for item in shot.objects])
        assert matte.min() >= 0
        assert matte.sum(0).max() <= 1 + 1e-5


def test_labels_boxes_and_coverage_tell_the_same():
    shot = draw_shot(8, size=SIZE, level=0.6)
    frame = shot.frame(24)
    labels = frame.labels()
    boxes = frame.boxes()
    assert set(boxes) == set(np.unique(labels[labels > 0]).tolist())
    for object_id, (x0, y0, x1, y1) in boxes.items():
        rows, columns = np.nonzero(frame.mask(object_id))
        assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert frame.coverage(object_id)[labels == object_id].min() > 0.2
        assert frame.truths[object_id - 1].visibility > 0


def test_when_one_object_is_nearer_then_it_hides_the_other():
    middle = Path2D(0.5, 0.75)
    frame = two_balls(middle, replace(middle, x=0.55)).frame(0)
    hidden, near = frame.truths
    assert near.visibility == pytest.approx(1.0, abs=0.01)
    assert 0.1 < hidden.visibility < 0.6
    both = (frame.coverage(1) > 0) & (frame.coverage(2) > 0.99)
    assert not frame.labels()[both].tolist().count(1)


def test_when_a_ball_is_drawn_then_its_coverage_has_the_area_of_a_disk():
    frame = two_balls(Path2D(0.25, 0.75), Path2D(0.75, 0.75)).frame(0)
    radius = 0.25 * SIZE[0]
    assert frame.coverage(1).sum() == pytest.approx(np.pi * radius**2, rel=0.03)


def test_when_an_object_leaves_and_returns_then_it_keeps_its_id():
    away = Path2D(0.5, 0.75, sway=1.2, sway_period=40, start=0)
    shot = two_balls(Path2D(0.1, 0.75), away)
    seen = [2 in shot.frame(index).boxes() for index in (0, 10, 20)]
    assert seen == [True, False, True]
    assert [item.name for item in shot.objects] == ["ball_01", "ball_02"]


def test_when_the_shutter_is_open_then_edges_soften_and_area_stays():
    fast = Path2D(0.2, 0.75, vx=0.02)
    sharp = two_balls(fast, Path2D(0.9, 0.75)).frame(10)
    blurred = two_balls(fast, Path2D(0.9, 0.75), look=Look(shutter=1.0)).frame(10)
    soft = [((c > 0.02) & (c < 0.98)).sum() for c in (sharp.coverage(1), blurred.coverage(1))]
    assert soft[1] > 1.5 * soft[0]
    assert blurred.coverage(1).sum() == pytest.approx(sharp.coverage(1).sum(), rel=0.02)


def test_when_pixels_are_anamorphic_then_figures_are_squeezed():
    wide = draw_shot(12, size=(90, 160), level=0.0, categories=["ball"])
    narrow = draw_shot(12, size=(90, 80), level=0.0, categories=["ball"], pixel_aspect=2.0)
    pairs = [(wide.frame(0).boxes(), narrow.frame(0).boxes())]
    shared = set(pairs[0][0]) & set(pairs[0][1])
    assert shared
    for object_id in shared:
        a, b = pairs[0][0][object_id], pairs[0][1][object_id]
        assert (a[2] - a[0]) / 2 == pytest.approx(b[2] - b[0], abs=2)
        assert a[3] - a[1] == pytest.approx(b[3] - b[1], abs=2)


def test_when_linear_light_is_asked_for_then_it_is_the_inverse_of_srgb():
    frame = draw_shot(1, size=SIZE).frame(0)
    linear = frame.linear()
    back = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert linear.dtype == np.float32
    assert np.abs(back * 255 - frame.pixels).max() < 0.01


def test_shots_of_every_level_hold_every_category():
    for level in (0.0, 1.0):
        found = {
            item.category
            for seed in range(12)
            for item in draw_shot(seed, size=(48, 80), level=level).objects
        }
        assert found == set(CATEGORIES)


@pytest.mark.parametrize(
    "change",
    [{"frames": 0}, {"level": 1.5}, {"size": (4, 400)}, {"categories": ["cat"]}, {"seed": -1}],
)
def test_when_an_argument_is_out_of_range_then_the_error_says_what_is_expected(change):
    arguments = {"seed": 1, "size": SIZE, **change}
    with pytest.raises(InputError, match=r"Expected seed >= 0.*Change the argument"):
        draw_shot(arguments.pop("seed"), **arguments)


def test_when_a_frame_is_outside_the_shot_then_the_error_names_the_range():
    with pytest.raises(InputError, match="from 0 to 47, found 48"):
        draw_shot(1, size=SIZE).frame(48)


def test_scenes_from_a_pool_are_deterministic_and_true(tmp_path: Path):
    make_pool(tmp_path, sprites=40, backgrounds=4, seed=2)
    pool = SpritePool(tmp_path)
    one, other = (pool.scene([3, 4], size=(64, 64), level=1.0) for _ in range(2))
    assert np.array_equal(one.draw(7.0).pixels, other.draw(7.0).pixels)
    frame = one.draw(7.0)
    assert sum(frame.coverage(truth.id) for truth in frame.truths).max() <= 1 + 1e-5
    assert not np.array_equal(
        frame.pixels, pool.scene([3, 5], size=(64, 64), level=1.0).draw(7.0).pixels
    )


def test_when_there_is_no_pool_then_the_error_says_how_to_draw_one(tmp_path: Path):
    with pytest.raises(InputError, match="plates"):
        SpritePool(tmp_path / "nothing")


def test_training_never_imports_the_style_kept_out_of_it():
    folder = Path(server.training.__file__).parent
    free = {folder / "plates_heldout.py", folder / "__main__.py"}
    for path in set(folder.rglob("*.py")) - free:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)] + [
            a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names
        ]
        assert not [module for module in imported if module and "heldout" in module], path
