"""The nodes that render: what they compute equals ``objectid.pick``."""

import numpy as np
import pytest

import objectid
from nuke_plugin import expression, names
from objectid.filter import compile_filter
from tests.nuke import nk
from tests.nuke.conftest import PLUGIN
from tests.nuke.graph import Deep, ExpressionError, Graph, Image, deep_expression
from tests.nuke.shots import NAMES, as_nuke_reads, write_shot

TOLERANCE = 1 / 1024
FILTERS = [
    "person",
    "**",
    "car, hero/dress",
    "person, -person_02",
    "-/hero",
    "nobody",
    "/hero",
    "person_0*",
]


def picker():
    return nk.load(PLUGIN / "gizmos" / "ObjectIdPicker.gizmo").nodes[0]


def compiled(ids, channel="other.id"):
    return {
        "filter": expression.filter_knobs(ids, channel=channel),
        "previewFilter": expression.preview_knobs(ids, channel=channel),
    }


def run(stream, ids, *, plate=None, **knobs):
    inputs = {0: stream} if plate is None else {0: stream, 1: plate}
    return Graph(picker(), inputs=inputs, knobs=knobs, inner=compiled(ids)).output()


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Random files: path and what the reference reader makes of them."""
    result = []
    for seed in range(4):
        folder = tmp_path_factory.mktemp(f"shot{seed}")
        pattern = write_shot(folder, seed=seed)
        path = objectid.frame_path(pattern, 1001)
        result.append((as_nuke_reads(path), objectid.read_frame(path)))
    return result


@pytest.mark.parametrize("text", FILTERS)
def test_the_matte_equals_the_reference(shots, text):
    for stream, file in shots:
        ids = compile_filter(text).select(file.manifest.ids)
        matte = objectid.pick(file.frame, ids)
        for output, expected in (
            (0, matte),
            (1, 1 - matte),
            (2, objectid.pick_others(file.frame, ids)),
        ):
            image = run(stream, ids, output=output)
            assert np.abs(image.channel("rgba.alpha") - expected).max() <= TOLERANCE
            assert image.channels.keys() <= {f"rgba.{c}" for c in ("red", "green", "blue", "alpha")}


def test_a_soft_edge_of_another_object_still_hides_what_lies_behind(shots):
    stream, file = shots[0]
    for name, number in file.manifest.ids.items():
        # Zeroing the alphas of the others, the obvious way, would give more than is visible.
        image = run(stream, [number])
        assert np.abs(image.channel("rgba.alpha") - objectid.pick(file.frame, [number])).max() <= (
            TOLERANCE
        ), name


def test_the_plate_passes_through_with_the_matte(shots):
    stream, file = shots[0]
    ids = compile_filter("person").select(file.manifest.ids)
    matte = objectid.pick(file.frame, ids)
    rgb = {f"rgba.{c}": np.full(stream.size, v, np.float32) for c, v in (("red", 0.3), ("blue", 2))}
    plate = Image(stream.size, {**rgb, "rgba.alpha": np.ones(stream.size, np.float32)})
    plain = run(stream, ids, plate=plate)
    assert np.array_equal(plain.channel("rgba.red"), plate.channel("rgba.red"))
    assert np.abs(plain.channel("rgba.alpha") - matte).max() <= TOLERANCE
    multiplied = run(stream, ids, plate=plate, premultiply=1)
    assert np.abs(multiplied.channel("rgba.blue") - 2 * matte).max() <= 2 * TOLERANCE


def test_without_a_plate_premultiply_does_not_square_the_matte(shots):
    stream, file = shots[0]
    ids = compile_filter("person").select(file.manifest.ids)
    image = run(stream, ids, premultiply=1)
    assert np.abs(image.channel("rgba.red") - objectid.pick(file.frame, ids)).max() <= TOLERANCE


def test_depth_gives_a_deep_card_at_the_distance(shots):
    stream, file = shots[0]
    ids = compile_filter("car").select(file.manifest.ids)
    deep = run(stream, ids, depth=1, distance=42.5)
    assert isinstance(deep, Deep)
    assert set(deep.channels["deep.front"]) == {42.5}
    matte = objectid.pick(file.frame, ids).ravel()
    assert np.abs(deep.channels["rgba.alpha"] - matte[deep.pixel]).max() <= TOLERANCE


def test_the_preview_shows_picked_objects_bright_and_never_renders(shots):
    stream, file = shots[0]
    everything = tuple(file.manifest.ids.values())
    bright = run(stream, everything, previewEnabled=1)
    dim = run(stream, [], previewEnabled=1)
    assert np.allclose(
        dim.channel("rgba.green"), expression.DIMMED * bright.channel("rgba.green"), atol=1e-3
    )
    render = Graph(
        picker(), inputs={0: stream}, knobs={"previewEnabled": 1}, inner=compiled([]), gui=False
    ).output()
    assert not render.channel("rgba.green").any()


def test_a_picker_as_shipped_picks_nothing(shots):
    image = Graph(picker(), inputs={0: shots[0][0]}).output()
    assert not image.channel("rgba.alpha").any()


def test_unknown_and_infinite_ids_are_never_picked(shots):
    stream, file = shots[0]
    ids = stream.channels["other.id"].copy()
    ids[::2] = np.inf
    image = run(stream.with_({"other.id": ids}), tuple(file.manifest.ids.values()))
    assert np.isfinite(image.channel("rgba.alpha")).all()
    assert not run(stream, [999]).channel("rgba.alpha").any()


def test_neighbouring_ids_fold_into_ranges_and_gaps_do_not():
    assert expression.ranges([9, 3, 4, 5, 7, 4]) == [(3, 5), (7, 7), (9, 9)]
    assert expression.id_test([3, 4, 5, 7], channel="other.id") == (
        "(other.id >= 3 && other.id <= 5) || other.id == 7"
    )
    assert expression.id_test([], channel="other.id") == "0"


def test_an_id_that_float32_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="between 1 and 16777215"):
        expression.id_test([1 << 24], channel="other.id")


@pytest.mark.parametrize("channel", ["objectid.id", "other.Id"])
def test_other_names_of_the_id_channel_work(shots, channel):
    stream, file = shots[1]
    renamed = {k: v for k, v in stream.channels.items() if k != "other.id"}
    renamed[channel] = stream.channels["other.id"]
    ids = compile_filter("person").select(file.manifest.ids)
    image = Graph(
        picker(),
        inputs={0: Deep(stream.size, stream.pixel, renamed)},
        inner=compiled(ids, channel),
    ).output()
    assert np.abs(image.channel("rgba.alpha") - objectid.pick(file.frame, ids)).max() <= TOLERANCE


def test_eight_mattes_at_once_equal_eight_picks(shots):
    stream, file = shots[2]
    group = nk.load(PLUGIN / "gizmos" / "ObjectIdMultiMatte.gizmo").nodes[0]
    inner: dict[str, dict[str, str]] = {}
    wanted = {}
    for index, text in enumerate(FILTERS):
        ids = compile_filter(text).select(file.manifest.ids)
        branch, slot = divmod(index, 3)
        colour = ("red", "green", "blue")[slot]
        inner.setdefault(f"filter{branch + 1}", {})[f"rgba.{colour}"] = expression.matte_knob(
            ids, channel="other.id"
        )
        wanted[f"mattes.m{index + 1}"] = objectid.pick(file.frame, ids)
    image = Graph(group, inputs={0: stream}, inner=inner).output()
    for channel, matte in wanted.items():
        assert np.abs(image.channel(channel) - matte).max() <= TOLERANCE


def test_two_merged_shots_are_both_picked_by_the_names_they_share(tmp_path):
    a = write_shot(tmp_path / "a", seed=1, names=NAMES[:2])
    b = write_shot(tmp_path / "b", seed=2, names=NAMES[1:4])
    shot = names.union([names.embedded_names(a), names.embedded_names(b)])
    assert set(shot.ids) == set(NAMES[:4])
    assert len(names.judge("person_02", shot).ids) == 1


def test_the_interpreter_refuses_what_is_no_expression(shots):
    stream = shots[0][0]
    node = nk.parse('DeepExpression {\n chans0 rgb\n rgba.red "nothing.here ? 1 : 0"\n}').nodes[0]
    with pytest.raises(ExpressionError, match="nothing"):
        deep_expression(node, stream)
