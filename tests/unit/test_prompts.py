"""Artists' prompts: their file form, their errors, and their coverages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import PromptError
from server.frames import Box
from server.prompts import (
    ArtistPrompts,
    Keyframe,
    MaskFile,
    Point,
    Polygon,
    PromptedObject,
    as_data,
    fit_mask,
    keyframe_indices,
    load_prompts,
    parse_prompts,
    polygon_coverage,
    segment_prompt,
    working_mask,
)

HD = Box(0, 0, 64, 48)
SQUARE = ((10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0))


def rectangle(x0, y0, x1, y1, **more):
    return Polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), **more)


def cover(*polygons, display=HD, window=HD):
    return polygon_coverage(polygons, display=display, window=window)


coordinate = st.floats(-1e4, 1e4, allow_nan=False)
pairs = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=6).map(tuple)
keyframes = st.builds(
    lambda frame, kind: Keyframe(frame, **kind),
    st.integers(-100, 2000),
    st.one_of(
        st.builds(
            lambda points: {"points": points},
            st.lists(st.builds(Point, coordinate, coordinate, st.booleans()), min_size=1).map(
                tuple
            ),
        ),
        st.builds(
            lambda shapes: {"polygons": shapes},
            st.lists(
                st.builds(
                    Polygon,
                    pairs,
                    operation=st.sampled_from(["add", "subtract", "intersect"]),
                    opacity=st.floats(0, 1),
                ),
                min_size=1,
                max_size=3,
            ).map(tuple),
        ),
    ),
)


@given(st.lists(keyframes, min_size=1, max_size=4, unique_by=lambda k: k.frame).map(tuple))
def test_prompts_come_back_from_their_file_form(tmp_path_factory, given_keyframes):
    prompts = ArtistPrompts((PromptedObject("/hero/dress", given_keyframes),))
    text = json.dumps(as_data(prompts))
    assert parse_prompts(json.loads(text), folder=tmp_path_factory.getbasetemp()) == prompts


def test_mask_paths_start_at_the_file(tmp_path):
    file = tmp_path / "set" / "prompts.json"
    file.parent.mkdir()
    mask = {"frame": 7, "mask": {"path": "a.exr", "channel": "matte.red"}}
    file.write_text(json.dumps({"version": 1, "objects": [{"name": "/a", "keyframes": [mask]}]}))
    keyframe = load_prompts(file).objects[0].keyframes[0]
    assert keyframe.mask == MaskFile(file.parent / "a.exr", "matte.red")


def good():
    return {
        "version": 1,
        "objects": [
            {"name": "/hero", "keyframes": [{"frame": 1001, "points": [{"x": 3, "y": 4}]}]}
        ],
    }


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: d.update(version=2), "version must be 1, found 2"),
        (lambda d: d.pop("version"), "the file lacks 'version'"),
        (lambda d: d.update(extra=1), "the file has the unknown key 'extra'"),
        (lambda d: d["objects"][0].update(name="hero"), "looks like /hero"),
        (lambda d: d["objects"][0].update(name="/a//b"), "looks like /hero"),
        (lambda d: d["objects"][0].update(keyframes=[]), "/hero has no keyframe"),
        (lambda d: d["objects"].append(d["objects"][0]), "/hero is given twice"),
        (lambda d: d["objects"][0]["keyframes"][0].update(frame="x"), "frame must be int"),
        (lambda d: d["objects"][0]["keyframes"][0].update(frame=True), "frame must be int"),
        (lambda d: d["objects"][0]["keyframes"][0].update(box=[1, 2, 3]), "four numbers"),
        (lambda d: d["objects"][0]["keyframes"][0].update(box=[5, 5, 1, 9]), "x0 < x1"),
        (
            lambda d: d["objects"][0]["keyframes"][0].update(mask={"path": "a.exr"}),
            "exactly one kind",
        ),
        (lambda d: d["objects"][0]["keyframes"][0]["points"][0].pop("y"), r"points\[0\] lacks 'y'"),
        (
            lambda d: d["objects"][0]["keyframes"].append(d["objects"][0]["keyframes"][0]),
            "two keyframes on one frame",
        ),
        (
            lambda d: d["objects"][0]["keyframes"][0].update(
                points=[], polygons=[{"points": [[0, 0], [1, 1]]}]
            ),
            "at least 3 points",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, spoil, words):
    data = good()
    spoil(data)
    with pytest.raises(PromptError, match=words):
        parse_prompts(data, folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{", "is not JSON: .* in line 1, column 2"), (b"\xff\xfe", "not UTF-8"), (b"[]", "object")],
)
def test_a_file_that_is_no_prompt_file(tmp_path, content, words):
    file = tmp_path / "p.json"
    file.write_bytes(content)
    with pytest.raises(PromptError, match=words):
        load_prompts(file)
    with pytest.raises(PromptError, match="cannot be read"):
        load_prompts(tmp_path / "none.json")


def test_a_keyframe_outside_of_the_shot_is_named():
    prompts = ArtistPrompts((PromptedObject("/a", (Keyframe(999, points=(Point(1, 1),)),)),))
    with pytest.raises(PromptError, match=r"keyframe on 999.*1001-1010"):
        keyframe_indices(prompts, range(1001, 1011))


# Coverages


def test_a_polygon_covers_what_it_encloses_to_a_quarter_pixel():
    found = cover(rectangle(10, 10, 30.5, 30.25))
    assert found[20, 20] == 1
    assert found[20, 30] == pytest.approx(0.5)
    assert found[30, 20] == pytest.approx(0.25)
    assert found.sum() == pytest.approx(20.5 * 20.25, rel=1e-3)


def test_a_circle_has_its_area_wherever_it_lies():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    for x, y in ((32, 24), (31.3, 23.7)):
        points = tuple((x + 15 * np.cos(a), y + 15 * np.sin(a)) for a in angle)
        found = cover(Polygon(points))
        assert found.sum() == pytest.approx(np.pi * 225, rel=2e-3)
        columns = (found.sum(axis=0) * (np.arange(64) + 0.5)).sum() / found.sum()
        assert columns == pytest.approx(x, abs=0.05)


def test_operations_combine_in_order_and_opacity_scales():
    whole, hole = rectangle(0, 0, 40, 40), rectangle(10, 10, 20, 20, operation="subtract")
    assert cover(whole, hole)[15, 15] == 0
    assert cover(whole, hole)[5, 5] == 1
    assert cover(hole, whole)[15, 15] == 1
    kept = cover(whole, rectangle(30, 0, 60, 40, operation="intersect"))
    assert (kept[20, 20], kept[20, 35], kept[20, 50]) == (0, 1, 0)
    assert cover(rectangle(0, 0, 40, 40, opacity=0.25))[20, 20] == 0.25


def test_a_feather_falls_from_the_outline_to_the_outer_one():
    found = cover(rectangle(20, 10, 44, 38, feather=((10, 0), (54, 0), (54, 48), (10, 48))))
    row = found[24, :33]
    assert row[25] == 1
    assert row[9] == 0
    assert (np.diff(row[10:21]) >= 0).all()
    assert row[15] == pytest.approx(0.5, abs=0.1)


def test_coordinates_are_the_display_windows_whatever_is_segmented():
    display, overscan = Box(0, 0, 64, 48), Box(-8, -4, 72, 52)
    plain = cover(rectangle(10, 10, 30, 30), display=display, window=display)
    wide = cover(rectangle(10, 10, 30, 30), display=display, window=overscan)
    assert wide.shape == (56, 80)
    assert np.array_equal(wide[4:52, 8:72], plain)
    shifted = Box(100, 50, 164, 98)
    assert np.array_equal(cover(rectangle(10, 10, 30, 30), display=shifted, window=shifted), plain)


def test_points_and_boxes_go_to_working_pixels():
    keyframe = Keyframe(1, points=(Point(32, 24, False),), box=(0, 0, 64, 48))
    prompt = segment_prompt(keyframe, display=HD, window=Box(-16, 0, 64, 48), size=(24, 40))
    assert prompt.points == ((24.0, 12.0, False),)
    assert prompt.box == (8.0, 0.0, 40.0, 24.0)


def test_a_mask_of_another_size_is_placed_and_cleaned():
    pixels = np.full((10, 10), 2.0, np.float32)
    pixels[0, 0] = np.nan
    placed = fit_mask(pixels, origin=(60, -4), window=HD)
    assert placed.shape == (48, 64)
    assert placed[:6, 60:].min() == 1
    assert placed.sum() == 24


def test_the_working_mask_is_what_is_covered_by_half():
    coverage = np.zeros((48, 64), np.float32)
    coverage[:, 31:] = 1
    assert working_mask(coverage, (24, 32)).sum(axis=1).tolist() == [17] * 24
