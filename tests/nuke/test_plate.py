"""Which files and frames are submitted, and how anything else is rendered."""

import pytest

from nuke_plugin import plate
from tests.nuke.fake_nuke import Format, Undo

ROOTS = ["/shows"]


@pytest.fixture
def read(nuke):
    node = nuke.createNode("Read")
    node["file"].setValue("/shows/a/plate.%04d.exr")
    for knob, value in (("first", 1001), ("last", 1100)):
        node[knob].setValue(value)
    node.range = (1001, 1100)
    node.node_format = Format(2048, 1080, 1.0)
    node["colorspace"].setValue("linear")
    return node


def of(node):
    return plate.plate_of(node, read_roots=ROOTS)


def test_a_read_the_server_sees_is_submitted_as_it_is(read):
    found = of(read)
    assert (found.path, found.reason) == ("/shows/a/plate.%04d.exr", "")
    assert (found.first, found.last, found.offset) == (1001, 1100, 0)
    assert found.colorspace == "linear"


@pytest.mark.parametrize(
    ("mode", "text", "script", "file"),
    [
        ("start at", "1", 1, 1001),
        ("offset", "1000", 1, 1001),
        ("offset", "-10", 1011, 1001),
        ("expression", "frame+499", 502, 1001),
        ("expression", "frame", 1001, 1001),
        ("expression", "frame - 5", 1010, 1005),
    ],
)
def test_script_frames_become_file_frames(read, mode, text, script, file):
    read["frame_mode"].setValue(mode)
    read["frame"].setValue(text)
    found = of(read)
    assert found.file_frame(script) == file == read.file_frame(script)
    assert found.file_frame(found.first) == 1001
    assert found.file_frame(found.last) == 1100


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda n: n["disable"].setValue(True), "disabled"),
        (lambda n: n["frame"].setValue("frame*2"), "expression"),
        (lambda n: n["file"].setValue("/shows/a/plate.mov"), "movie"),
        (lambda n: n["file"].setValue("/shows/[value root.name].%04d.exr"), "expression"),
        (lambda n: n["file"].setValue("/home/me/plate.%04d.exr"), "does not see"),
    ],
)
def test_everything_else_is_rendered_and_says_why(read, change, reason):
    change(read)
    found = of(read)
    assert found.path == ""
    assert reason in found.reason
    assert found.offset == 0


def test_a_node_that_is_no_read_is_rendered_in_script_frames(nuke, read):
    grade = nuke.createNode("Grade")
    grade.setInput(0, read)
    found = of(grade)
    assert found.path == ""
    assert (found.first, found.last, found.offset) == (1001, 1100, 0)
    assert found.name == "plate.####.png"


def rendering(nuke, seen):
    def one(write, frame):
        seen.append((frame, {k: write[k].value() for k in ("file_type", "colorspace", "channels")}))

    nuke.renderer = one


def test_a_render_is_srgb_in_the_display_window_with_proxy_off(nuke, read, tmp_path):
    seen = []
    rendering(nuke, seen)
    nuke.root()["proxy"].setValue(True)
    nodes = list(nuke.all_nodes)
    nuke.frame(1050)
    files = plate.render(read, [1001, 1002, 1010], tmp_path, exposure_stops=1.0)
    assert [frame for frame, _ in files] == [1001, 1002, 1010]
    assert files[0][1].name == "plate.0001001.png"
    assert seen[0][1] == {"file_type": "png", "colorspace": "sRGB", "channels": "rgb"}
    assert nuke.root()["proxy"].value() is True
    assert nuke.all_nodes == nodes
    assert nuke.frame() == 1050
    assert Undo.depth == 0


def test_a_cancelled_render_leaves_nothing_behind(nuke, read, tmp_path):
    nodes = list(nuke.all_nodes)
    nuke.cancel_after = 2
    with pytest.raises(plate.RenderCancelled):
        plate.render(read, range(1001, 1010), tmp_path)
    assert nuke.all_nodes == nodes
    assert Undo.depth == 0


def test_any_nodes_alpha_can_be_a_mask(nuke, read, tmp_path):
    seen = []
    rendering(nuke, seen)
    files = plate.render_alpha(read, [1005], tmp_path)
    assert seen[0][1]["channels"] == "alpha"
    assert files[0][1].suffix == ".exr"
    read.channel_names = ["rgba.red"]
    with pytest.raises(plate.PlateProblem, match="has no alpha"):
        plate.render_alpha(read, [1005], tmp_path)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080, 1.0), (1920, 1080)), ((4096, 2160, 1.0), (2048, 1080)),
     ((2048, 1556, 2.0), (2048, 778)), ((1000, 3000, 1.0), (683, 2048)),
     ((800, 600, 0.5), (800, 1200))],
)  # fmt: skip
def test_rendered_pictures_have_square_pixels_and_at_most_2048(size, expected):
    assert plate.model_size(*size) == expected


def test_a_config_without_srgb_says_which_spaces_would_do(nuke, read, tmp_path, monkeypatch):
    from tests.nuke import fake_nuke

    monkeypatch.setitem(fake_nuke.ENUMERATIONS, "colorspace", ["default", "lin_srgb_custom"])
    with pytest.raises(plate.PlateProblem, match="offers no sRGB"):
        plate.render(read, [1001], tmp_path)


LOOKS = ["ACES 1.0 - SDR Video (sRGB - Display)", "Raw (sRGB - Display)", "None"]


def viewer(nuke, managed_by, shown=0):
    nuke.root()["colorManagement"].setValue(managed_by)
    knob = nuke.createNode("Viewer")["viewerProcess"]
    knob._enum = list(LOOKS)
    knob.setValue(LOOKS[shown])


def test_the_look_of_the_viewer_comes_first(nuke):
    viewer(nuke, "OCIO", shown=1)
    assert plate.viewer_looks() == (LOOKS[1], LOOKS[0])
    assert plate.display_and_view(LOOKS[0]) == ("sRGB - Display", "ACES 1.0 - SDR Video")


def test_a_script_without_a_config_or_viewer_has_no_looks(nuke):
    assert plate.viewer_looks() == ()
    viewer(nuke, "Nuke")
    assert plate.viewer_looks() == ()
    assert plate.display_and_view("") == ("", "")
