"""Nodes for results, versions, settings, and prompts from SegmattePrompt."""

import json

import pytest

from nuke_plugin import picker, plate, prompt_node, results, settings
from nuke_plugin.settings import Settings
from tests.nuke.fake_nuke import Format
from tests.nuke.shots import NAMES, write_shot
from tests.nuke.test_picker import sidecar_with


@pytest.fixture
def read(nuke):
    node = nuke.createNode("Read")
    node["file"].setValue("/shows/a/shot.%04d.exr")
    for knob, value in (("first", 1001), ("last", 1010)):
        node[knob].setValue(value)
    node["frame_mode"].setValue("start at")
    node["frame"].setValue("1")
    node.range = (1, 10)
    node.node_format = Format(64, 40)
    return node


def test_a_direct_result_copies_the_reads_timing(nuke, read, tmp_path):
    write_shot(tmp_path)
    node = results.create(tmp_path, plate.plate_of(read, read_roots=["/shows"]), source=read)
    deep = node.input(0)
    for knob in ("frame_mode", "frame", "first", "last"):
        assert deep[knob].value() == read[knob].value()
    assert deep["before"].value() == deep["after"].value() == "black"
    assert deep["file"].value() == f"{tmp_path}/objectid/shot.%04d.exr"
    assert deep["file"].evaluate(1) == f"{tmp_path}/objectid/shot.1001.exr"
    assert node.input(1) is read
    assert any(n.Class() == "BackdropNode" for n in nuke.all_nodes)


def test_a_rendered_result_is_in_script_frames(nuke, read, tmp_path):
    grade = nuke.createNode("Grade")
    grade.setInput(0, read)
    node = results.create(tmp_path, plate.plate_of(grade), source=grade)
    deep = node.input(0)
    assert (deep["first"].value(), deep["last"].value()) == (1, 10)
    assert not deep["frame"].value()


def test_version_up_tells_what_became_of_the_names(nuke, read, tmp_path):
    write_shot(tmp_path / "v001", frames=range(1001, 1003))
    node = results.create(
        tmp_path / "v001", plate.plate_of(read, read_roots=["/shows"]), source=read
    )
    node["matteList"].setValue("/person/person_03")
    picker.reload(node)
    newer = ["/person/person_01", "/person/person_04", "/car/car_01"]
    write_shot(tmp_path / "v002", names=newer, sidecar=sidecar_with({"/car/car_01": "uncertain"}))
    told = results.version_up(node, tmp_path / "v002")
    assert told.kept == ("/person/person_01",)
    assert told.new == ("/person/person_04",)
    assert told.uncertain == ("/car/car_01",)
    assert "/person/person_03" in told.lost
    assert "lost: " in told.text()
    assert node["tile_color"].value() == picker.COLOUR_WARNING
    assert set(told.lost) == set(NAMES) - set(newer)


def test_a_version_is_never_used_twice(tmp_path):
    choice = Settings(output_template=f"{tmp_path}/{{plate}}/v{{version:03d}}")
    first = results.output_folder(choice, "plate.####.exr", "")
    second = results.output_folder(choice, "plate.####.exr", "")
    assert [f.name for f in (first, second)] == ["v001", "v002"]
    first.rmdir()
    third = results.output_folder(choice, "plate.####.exr", "")
    assert third.name == "v003"
    # A job knows its folder after somebody threw it away.
    third.rmdir()
    known = ["", f"{tmp_path}/other/v009", str(third)]
    assert results.output_folder(choice, "plate.####.exr", "", used=known).name == "v004"


def test_a_script_never_saved_has_a_place_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = results.output_folder(Settings(), "plate.%04d.exr", "")
    assert folder == tmp_path / "segmatte" / "plate" / "v001"


def test_an_unknown_placeholder_is_named():
    with pytest.raises(ValueError, match="show"):
        results.output_folder(Settings(output_template="/x/{show}/v{version}"), "p", "")


def test_paths_are_mapped_between_systems():
    choice = Settings(path_maps=(("/shows", "/Volumes/shows", "P:\\shows"),))
    assert choice.mapped("P:\\shows\\a\\b.exr", "linux") == "/shows/a/b.exr"
    assert choice.mapped("/shows/a", "win32") == "P:/shows/a"
    assert choice.mapped("/showsy/a", "win32") == "/showsy/a"


def test_an_output_outside_of_the_shared_roots_is_known():
    choice = Settings(shared_roots=("/shows",))
    assert choice.is_shared("/shows/a/v001")
    assert not choice.is_shared("/home/me/v001")
    assert Settings().is_shared("/anywhere")


def test_settings_of_site_and_artist_join(tmp_path):
    site, user = tmp_path / "site.json", tmp_path / "user.json"
    site.write_text(json.dumps({"server": "farm:7766", "shared_roots": ["/shows"], "new": 1}))
    settings.save(Settings(server="mine:1").with_prompt("person"), user)
    user.write_text(json.dumps({"server": "mine:1", "history": ["person"]}))
    loaded = settings.load(site, user)
    assert not loaded.warnings
    assert loaded.settings.server == "mine:1"
    assert loaded.settings.shared_roots == ("/shows",)
    assert loaded.settings.history == ("person",)


@pytest.mark.parametrize("content", ["{", "[]", '{"server": 3}', '{"history": "x"}'])
def test_a_broken_settings_file_means_defaults_and_a_warning(tmp_path, content):
    user = tmp_path / "user.json"
    user.write_text(content)
    loaded = settings.load(tmp_path / "none", user)
    assert loaded.settings == Settings()
    assert str(user) in loaded.warnings[0]


def test_the_history_holds_each_prompt_once():
    choice = Settings().with_prompt("a").with_prompt("b").with_prompt("a").with_prompt(" ")
    assert choice.history == ("a", "b")


def test_points_and_box_are_keyed_and_flipped(nuke):
    node = nuke.createNode("SegmattePrompt")
    nuke.frame(1001)
    node["positive1"].setValue([100.0, 30.0])
    node["useBox"].setValue(True)
    node["box"].setValue([80.0, 10.0, 120.0, 50.0])
    assert prompt_node.keyframes(node) == [1]
    nuke.press(node, "setKey")
    assert prompt_node.keyframes(node) == [1001]
    nuke.frame(1010)
    nuke.press(node, "setKey")
    node["positive1"].setValueAt(110.0, 1010, 0)
    assert prompt_node.keyframes(node) == [1001, 1010]
    assert prompt_node.prompt(node, 1010, height=200) == {
        "points": [{"x": 110.0, "y": 170.0, "positive": True}],
        "box": [80.0, 150.0, 120.0, 190.0],
    }
    nuke.press(node, "removeKey")
    assert prompt_node.keyframes(node) == [1001]
