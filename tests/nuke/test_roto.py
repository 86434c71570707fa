"""Roto shapes as prompts, checked against an independent way to draw splines."""

import math

import numpy as np
import pytest

from nuke_plugin import outlines, roto
from nuke_plugin.outlines import Knot, Spline
from server.frames import Box
from server.prompts import Polygon, polygon_coverage
from tests.nuke import fake_roto

W, H = 200, 120


def splines(seed):
    """A random closed Bezier, B-spline, or either under rotation and perspective."""
    random = np.random.default_rng(seed)
    count = int(random.integers(3, 9))
    angles = np.sort(random.uniform(0, 2 * math.pi, count))
    radius = random.uniform(15, 45, count)
    knots = []
    for angle, r in zip(angles, radius, strict=True):
        tangent = random.uniform(2, 14) * np.array([-math.sin(angle), math.cos(angle)])
        centre = (100 + r * math.cos(angle), 60 + r * math.sin(angle))
        knots.append(Knot(centre, tuple(-tangent), tuple(tangent)))
    matrix = outlines.IDENTITY
    if seed % 3:
        a, s = random.uniform(-1, 1), random.uniform(0.7, 1.3)
        c, n = s * math.cos(a), s * math.sin(a)
        x, y = 100 - c * 100 + n * 60, 60 - n * 100 - c * 60
        matrix = (c, -n, x, n, c, y, 0.0, 0.0, 1.0)
    if seed % 3 == 2:
        matrix = (*matrix[:6], 8e-4, -5e-4, 1.0)
    return Spline("s", tuple(knots), is_bspline=seed % 2 == 1, matrix=matrix)


def true_curve(spline, per_segment=2000):
    """The spline by its own definition: Bernstein and B-spline basis functions, in numpy."""
    t = np.linspace(0, 1, per_segment, endpoint=False)[:, None]
    centres = np.array([k.centre for k in spline.knots])
    out = []
    for i in range(len(centres)):
        j = (i + 1) % len(centres)
        if spline.is_bspline:
            four = np.array([centres[(i + k) % len(centres)] for k in (-1, 0, 1, 2)])
            basis = np.hstack(
                [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
            )
            out.append(basis @ four / 6)
        else:
            four = np.array(
                [centres[i], centres[i] + spline.knots[i].right,
                 centres[j] + spline.knots[j].left, centres[j]]
            )  # fmt: skip
            basis = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
            out.append(basis @ four)
    points = np.hstack([np.concatenate(out), np.ones((len(centres) * per_segment, 1))])
    placed = points @ np.array(spline.matrix).reshape(3, 3).T
    return placed[:, :2] / placed[:, 2:]


def distance_to_polygon(points, polygon):
    """Distance of each point to the nearest edge."""
    best = np.full(len(points), np.inf)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        edge = b - a
        t = np.clip((points - a) @ edge / max(edge @ edge, 1e-12), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - t[:, None] * edge, axis=1))
    return best


def scanline_coverage(curve, size, per_pixel=40):
    """Exact horizontal spans on fine scanlines, even-odd: a rasteriser of its own."""
    h, w = size
    out = np.zeros((h, w))
    x0, y0 = curve.T
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    edges = np.arange(w + 1.0)
    for row in range(h):
        for sub in range(per_pixel):
            y = row + (sub + 0.5) / per_pixel
            crosses = (y0 <= y) != (y1 <= y)
            xs = np.sort(x0[crosses] + (y - y0[crosses]) / (y1 - y0)[crosses] * (x1 - x0)[crosses])
            for left, right in zip(xs[::2], xs[1::2], strict=True):
                cut = np.clip(edges, left, right)
                out[row] += np.diff(cut) / per_pixel
    return out


@pytest.mark.parametrize("seed", range(12))
def test_the_polygon_stays_within_the_chord_error(seed):
    spline = splines(seed)
    points, feather = outlines.sample(spline)
    assert not feather
    worst = distance_to_polygon(true_curve(spline, 300), np.array(points)).max()
    assert worst <= outlines.CHORD_ERROR


@pytest.mark.parametrize("seed", range(6))
def test_an_independent_rasteriser_agrees_within_a_tenth_of_a_pixel(seed):
    spline = splines(seed)
    (outline,), notices = outlines.combine([spline], width=W, height=H)
    assert not notices
    ours = scanline_coverage(np.array(outline.points), (H, W))
    curve = true_curve(spline, 250) * [1, -1] + [0, H]
    truth = scanline_coverage(curve, (H, W))
    # Along an edge, a shift by d pixels changes a row's coverage by at most d per crossing.
    assert np.abs(ours - truth).max() <= 0.1


def test_fewer_points_are_sent_where_the_shape_is_straight():
    square = Spline("s", tuple(Knot(p) for p in ((10, 10), (90, 10), (90, 90), (10, 90))))
    assert len(outlines.sample(square)[0]) == 4


def test_y_is_flipped_once():
    square = Spline("s", tuple(Knot(p) for p in ((10, 20), (30, 20), (30, 50), (10, 50))))
    (outline,), _ = outlines.combine([square], width=W, height=H)
    assert {y for _, y in outline.points} == {H - 20, H - 50}


def coverage(items):
    polygons = [Polygon(**{**o.as_data(), "points": o.points, "feather": o.feather}) for o in items]
    box = Box(0, 0, W, H)
    return polygon_coverage(polygons, display=box, window=box)


def box_spline(name, x0, y0, x1, y1, **options):
    knots = tuple(Knot(p) for p in ((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    return Spline(name, knots, **options)


BELOW = box_spline("below", 10, 10, 50, 50)
SPOTS = {"below only": (20, 20), "overlap": (40, 40), "above only": (60, 60)}


def at(items, place):
    x, y = SPOTS[place]
    return float(coverage(items)[H - y, x])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # As rendered by a real Nuke: below only, overlap, above only; clamped to 0..1.
        (0, (1, 1, 1)), (1, (1, 1, 1)), (5, (1, 1, 1)), (7, (1, 1, 1)), (9, (1, 1, 1)),
        (12, (1, 0, 0)), (2, (1, 1, 0)), (4, (1, 1, 0)), (10, (1, 1, 0)),
    ],
)  # fmt: skip
def test_blend_modes_do_what_nuke_renders(mode, expected):
    above = box_spline("above", 30, 30, 70, 70, blend=mode)
    items, _ = outlines.combine([above, BELOW], width=W, height=H)
    assert tuple(at(items, place) for place in SPOTS) == expected


@pytest.mark.parametrize("mode", [11, 13, 14])
def test_difference_cuts_a_hole_and_says_what_is_lost(mode):
    hole = box_spline("hole", 30, 30, 45, 45, blend=mode)
    items, notices = outlines.combine([hole, BELOW], width=W, height=H)
    assert at(items, "overlap") == 0
    assert outlines.BLEND_NAMES[mode] in notices[0]


def test_a_cut_with_nothing_below_is_left_out_with_a_notice():
    items, notices = outlines.combine([box_spline("cut", 0, 0, 9, 9, blend=12)], width=W, height=H)
    assert not items
    assert "nothing below it" in notices[0]


def test_an_inverted_shape_covers_everything_else():
    items, _ = outlines.combine(
        [box_spline("inv", 30, 30, 70, 70, inverted=True)], width=W, height=H
    )
    result = coverage(items)
    assert result[H - 50, 50] == 0
    assert result[2, 2] == 1
    assert result[-1, -1] == 1


def soft_box(**options):
    knots = []
    for x, y in ((60, 40), (140, 40), (140, 80), (60, 80)):
        out = (math.copysign(10, x - 100), math.copysign(10, y - 60))
        knots.append(Knot((x, y), feather=out))
    return Spline("soft", tuple(knots), **options)


def test_a_feather_falls_from_the_outline_outwards():
    items, _ = outlines.combine([soft_box()], width=W, height=H)
    row = coverage(items)[60]
    assert row[62] == 1
    assert row[48] == 0
    assert row[55] == pytest.approx(0.5, abs=0.1)


def test_an_inverted_feather_falls_the_other_way():
    plain, _ = outlines.combine([soft_box()], width=W, height=H)
    inverse, _ = outlines.combine([soft_box(inverted=True)], width=W, height=H)
    assert np.abs(coverage(plain) + coverage(inverse) - 1).max() < 0.15


def test_a_feather_that_runs_inwards_begins_to_fall_at_its_inner_end():
    knots = tuple(Knot(k.centre, feather=(-k.feather[0], -k.feather[1])) for k in soft_box().knots)
    items, _ = outlines.combine([Spline("in", knots)], width=W, height=H)
    row = coverage(items)[60]
    assert row[59] == 0
    assert row[65] == pytest.approx(0.5, abs=0.1)
    assert row[75] == 1


def test_a_uniform_feather_widens_the_shape_all_round():
    spline = box_spline("u", 60, 40, 140, 80, uniform_feather=(8.0, 4.0))
    _, feather = outlines.sample(spline)
    xs, ys = np.array(feather).T
    assert (min(xs), max(xs)) == pytest.approx((52, 148))
    assert (min(ys), max(ys)) == pytest.approx((36, 84))
    assert len(feather) == len(outlines.sample(spline)[0])


def test_opacity_scales_the_coverage():
    items, _ = outlines.combine([box_spline("o", 10, 10, 50, 50, opacity=0.5)], width=W, height=H)
    assert at(items, "below only") == pytest.approx(0.5)


# From a Roto node


@pytest.fixture
def node(nuke):
    return nuke.createNode("Roto")


SQUARE = [(10, 10), (50, 10), (50, 50), (10, 50)]


def shape(name="Bezier1", keys=(1001,), **options):
    return fake_roto.polygon_shape(name, SQUARE, keys=keys, **options)


def layer(root, name, *children):
    made = fake_roto.Layer(name)
    for child in children:
        made.append(child)
    root.append(made)
    return made


def test_a_layer_is_one_object_and_a_loose_shape_another(node):
    root = node["curves"].rootLayer
    layer(root, "hero/dress", shape("a"), shape("b", keys=(1010,)))
    root.append(shape("crate", keys=(1005,)))
    items = roto.read(node)
    assert [(i.name, i.keyframes) for i in items] == [
        ("/hero/dress", (1001, 1010)),
        ("/crate", (1005,)),
    ]


def test_per_shape_gives_every_shape_its_own_name_below_its_layers(node):
    root = node["curves"].rootLayer
    layer(layer(root, "hero"), "dress", shape("a"), shape("b"))
    assert [i.name for i in roto.read(node, per_shape=True)] == ["/hero/dress/a", "/hero/dress/b"]


def test_two_layers_of_one_name_become_two_objects(node):
    root = node["curves"].rootLayer
    layer(root, "crowd", shape())
    layer(root, "crowd", shape())
    assert [i.name for i in roto.read(node)] == ["/crowd", "/crowd_2"]


def test_transforms_and_trackers_make_no_keyframes(node):
    root = node["curves"].rootLayer
    made = layer(root, "car", shape(keys=(1001,)))
    for frame in range(1001, 1050):
        made.getTransform().translate.addKey(frame, frame)
        made[0].getTransform().rotate.addKey(frame, frame)
    assert roto.read(node)[0].keyframes == (1001,)


def test_visibility_makes_keyframes(node):
    made = shape(keys=(1001,))
    made.getAttributes().curves["vis"].addKey(1020, 0)
    node["curves"].rootLayer.append(made)
    assert roto.read(node)[0].keyframes == (1001, 1020)


def test_a_shape_without_keys_is_a_prompt_on_the_current_frame(node):
    node["curves"].rootLayer.append(shape(keys=()))
    assert roto.read(node, frame=1033)[0].keyframes == (1033,)


def test_open_shapes_and_strokes_are_skipped_with_notice(node):
    root = node["curves"].rootLayer
    opened = shape("line")
    opened.setFlag(fake_roto.FlagType.eOpenFlag, True)
    layer(root, "car", shape("body"), opened, fake_roto.Stroke("Brush1"))
    root.append(fake_roto.Stroke("Brush2"))
    items = roto.read(node)
    assert "open shape" in items[0].notices[0]
    assert "paint strokes" in items[0].notices[1]
    assert len(items[0].shapes) == 1
    assert items[1].keyframes == ()
    assert "Brush2" in items[1].notices[0]


def test_motion_blur_and_feather_falloff_are_not_sent_and_said(node):
    plain, blurred, soft = shape("plain"), shape("blurred"), shape("soft")
    blurred.getAttributes().set(1, "mbo", 1)
    soft.getAttributes().set(1, "ff", 2.5)
    layer(node["curves"].rootLayer, "car", plain, blurred, soft)
    (item,) = roto.read(node)
    first, second = item.notices
    assert first.startswith("blurred: motion blur is not sent")
    assert second.startswith("soft: its feather falls off linearly")


def test_nested_transforms_apply_from_the_shape_outwards(node):
    root = node["curves"].rootLayer
    inner = shape()
    made = layer(root, "car", inner)
    inner.getTransform().translate.constant = 40.0
    made.getTransform().rotate.constant = 90.0
    root.getTransform().scale.constant = 0.5
    (outline,), _ = roto.polygons(roto.read(node)[0], 1001, width=W, height=H)
    # translate, then rotate by 90 degrees, then halve: (x, y) → (−y, x + 40) / 2
    expected = {(-y / 2, H - (x + 40) / 2) for x, y in SQUARE}
    found = {(round(x, 4), round(y, 4)) for x, y in outline.points}
    assert found == {(round(x, 4), round(y, 4)) for x, y in expected}


@pytest.mark.parametrize(
    ("kind", "visible"),
    [(0, (1, 1, 1)), (1, (1, 1, 0)), (2, (0, 1, 0)), (3, (0, 1, 1)), (4, (0, 1, 1))],
)
def test_lifetimes_decide_when_a_shape_counts(node, kind, visible):
    made = shape(keys=())
    made.getAttributes().set(1, "ltt", kind)
    made.getAttributes().set(1, "ltn", 1010)
    made.getAttributes().set(1, "ltm", 1020 if kind == 4 else 1010)
    node["curves"].rootLayer.append(made)
    item = roto.read(node)[0]
    found = tuple(
        len(roto.polygons(item, frame, width=W, height=H)[0]) for frame in (1000, 1010, 1015)
    )
    assert found == visible


def test_hidden_layers_hide_their_shapes(node):
    made = layer(node["curves"].rootLayer, "car", shape())
    made.getAttributes().curves["vis"].constant = 0.0
    assert roto.polygons(roto.read(node)[0], 1001, width=W, height=H)[0] == []


def test_a_layers_opacity_counts(node):
    made = layer(node["curves"].rootLayer, "car", shape())
    made.getAttributes().curves["opc"].constant = 0.25
    (outline,), _ = roto.polygons(roto.read(node)[0], 1001, width=W, height=H)
    assert outline.opacity == pytest.approx(0.25)


def test_bsplines_are_told_by_their_serialised_form(node):
    root = node["curves"].rootLayer
    root.append(shape("a b", kind="bspline"))
    (outline,), _ = roto.polygons(roto.read(node)[0], 1001, width=W, height=H)
    assert (10.0, H - 10.0) not in outline.points
    assert outlines.area(outline.points) ** 2 < 1600**2


def test_feather_switched_off_is_no_feather(node):
    made = shape()
    made[0].featherCenter.setPosition((20, 20))
    made.getAttributes().set(1, "fo", 0)
    node["curves"].rootLayer.append(made)
    (outline,), _ = roto.polygons(roto.read(node)[0], 1001, width=W, height=H)
    assert outline.feather == ()
