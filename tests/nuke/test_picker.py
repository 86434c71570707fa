"""What happens when an artist picks, types, reloads and versions up."""

import numpy as np
import pytest

import objectid
from nuke_plugin import picker
from tests.nuke.shots import connect, write_shot

IDS = objectid.object_ids(
    ["/person/person_01", "/person/person_02", "/car/car_01", "/hero", "/hero/dress"]
)


@pytest.fixture
def shot(nuke, tmp_path):
    pattern = write_shot(tmp_path, seed=3)
    read, node = connect(nuke, pattern)
    return read, node


def strongest(read, position=0):
    """A pixel with at least three objects, and their ids by visible coverage."""
    for (x, y), samples in read.samples.items():
        left, visible = 1.0, []
        for sample in sorted(samples, key=lambda s: s["deep.front"]):
            visible.append((sample["rgba.alpha"] * left, int(sample["other.id"])))
            left *= 1 - sample["rgba.alpha"]
        visible = sorted(((c, n) for c, n in visible if c >= 1 / 255), reverse=True)
        if len(visible) >= 3 and visible[0][0] > visible[1][0] > visible[2][0]:
            return (x, y), [number for _, number in visible]
    raise AssertionError("no pixel with three objects")


def pick(nuke, node, knob, place):
    nuke.edit(node, knob, [0, 0, 0, 0, place[0] + 0.5, place[1] + 0.5, 0, 0])


def names_of(node):
    return {term.text for term in objectid.compile_filter(node["matteList"].value()).terms}


def test_clicking_again_reaches_the_object_behind(nuke, shot):
    read, node = shot
    place, ids = strongest(read)
    for count in (1, 2, 3):
        pick(nuke, node, "pickerAdd", place)
        chosen = objectid.compile_filter(node["matteList"].value()).select(
            picker.shot_names(node).ids
        )
        assert set(chosen) == set(ids[:count])


def test_remove_takes_the_strongest_one_that_is_in_the_list(nuke, shot):
    read, node = shot
    place, ids = strongest(read)
    table = picker.shot_names(node).ids
    nuke.edit(node, "matteList", "**")
    pick(nuke, node, "pickerRemove", place)
    pick(nuke, node, "pickerRemove", place)
    left = objectid.compile_filter(node["matteList"].value()).select(table)
    assert set(left) == set(table.values()) - set(ids[:2])


def test_a_pick_compiles_the_nodes_inside(nuke, shot):
    read, node = shot
    place, ids = strongest(read)
    pick(nuke, node, "pickerAdd", place)
    assert node.node("filter")["temp_expr0"].value() == f"other.id == {ids[0]}"
    assert node.node("previewFilter")["temp_expr0"].value() == f"other.id == {ids[0]}"
    assert node["status"].value() == "1 object"
    assert node["manifestFingerprint"].value() == picker.shot_names(node).fingerprint


def test_single_selection_replaces_the_list(nuke, shot):
    read, node = shot
    place, ids = strongest(read)
    nuke.edit(node, "matteList", "car")
    node["singleSelection"].setValue(True)
    pick(nuke, node, "pickerAdd", place)
    table = picker.shot_names(node).ids
    assert objectid.compile_filter(node["matteList"].value()).select(table) == (ids[0],)


def test_a_click_on_nothing_changes_nothing(nuke, shot):
    read, node = shot
    empty = next((x, 0) for x in range(64) if not read.samples.get((x, 0)))
    nuke.edit(node, "matteList", "car")
    pick(nuke, node, "pickerAdd", empty)
    assert node["matteList"].value() == "car"
    assert "nothing more to pick" in node["status"].value()


def test_an_object_below_one_255th_cannot_be_picked(nuke, shot):
    read, node = shot
    read.samples[5, 5] = [
        {"other.id": 77, "rgba.alpha": 0.003, "deep.front": 1, "deep.back": 1},
    ]
    pick(nuke, node, "pickerAdd", (5, 5))
    assert node["matteList"].value() == ""


def test_with_the_panel_closed_nothing_happens_until_reload(nuke, shot):
    _, node = shot
    node.hideControlPanel()
    nuke.edit(node, "matteList", "car")
    assert node.node("filter")["temp_expr0"].value() == "0"
    node.showControlPanel()
    nuke.press(node, "reload")
    assert node.node("filter")["temp_expr0"].value() != "0"


def test_saving_the_script_compiles_what_is_behind(nuke, shot):
    _, node = shot
    node["matteList"].setValue("car")
    picker.recompile_all()
    assert node["compiledList"].value() == "car"
    assert node.node("filter")["temp_expr0"].value() != "0"


def test_loading_a_script_never_asks_for_metadata(nuke, shot):
    read, node = shot
    nuke.is_loading = True
    node.screen_height = 0
    nuke.changed(node, type(node["label"])(node, "inputChange", "String_Knob"))
    read["file"].setValue("")
    node["matteList"].setValue("car")
    nuke.changed(node, type(node["label"])(node, "inputChange", "String_Knob"))


def test_a_filter_that_cannot_be_read_keeps_the_last_matte_and_says_where(nuke, shot):
    _, node = shot
    nuke.edit(node, "matteList", "car")
    compiled = node.node("filter")["temp_expr0"].value()
    nuke.edit(node, "matteList", 'car "unfinished')
    assert node.node("filter")["temp_expr0"].value() == compiled
    assert "character 5" in node["status"].value()
    assert node["tile_color"].value() == picker.COLOUR_WARNING


def test_a_misspelt_name_is_named(nuke, shot):
    _, node = shot
    nuke.edit(node, "matteList", "persn")
    assert node["status"].value() == "no object is called persn"


def test_ids_that_were_written_at_16_bit_say_so(nuke, shot):
    read, node = shot
    for samples in read.samples.values():
        for sample in samples:
            with np.errstate(over="ignore"):
                sample["other.id"] = float(np.float16(sample["other.id"]))
    place, _ = next(iter(read.samples.items()))
    nuke.edit(node, "matteList", "car")
    pick(nuke, node, "pickerAdd", place)
    assert "16 bit" in node["status"].value()
    assert node["matteList"].value() == "car"
    nuke.press(node, "reload")
    assert "16 bit" in node["status"].value()


def test_an_id_without_a_name_is_picked_by_number_and_said(nuke, shot):
    read, node = shot
    read.samples[3, 3] = [{"other.id": 4243, "rgba.alpha": 1, "deep.front": 1, "deep.back": 1}]
    pick(nuke, node, "pickerAdd", (3, 3))
    assert node["matteList"].value() == "<4243>"
    assert "has no name here" in node["status"].value()


def test_without_a_manifest_ids_are_picked_by_number(nuke, shot):
    read, node = shot
    nuke.edit(node, "manifestSource", "none")
    place, ids = strongest(read)
    pick(nuke, node, "pickerAdd", place)
    assert node["matteList"].value() == f"<{ids[0]}>"
    assert node["status"].value() == "1 object"


def test_a_category_is_added_from_the_pulldown(nuke, shot):
    _, node = shot
    nuke.press(node, "reload")
    assert node["category"].values() == ["choose", "car", "hero", "person"]
    nuke.edit(node, "category", "person")
    assert node["matteList"].value() == "/person"
    assert node["status"].value() == "3 objects"
    assert node["category"].getValue() == 0


def test_clear_empties_the_list_and_the_matte(nuke, shot):
    _, node = shot
    nuke.edit(node, "matteList", "car")
    nuke.press(node, "clear")
    assert node["matteList"].value() == ""
    assert node.node("filter")["temp_expr0"].value() == "0"


def test_the_id_channel_is_found_on_reload(nuke, shot):
    read, node = shot
    read.channel_names = ["rgba.alpha", "objectid.id"]
    for samples in read.samples.values():
        for sample in samples:
            sample["objectid.id"] = sample.pop("other.id")
    nuke.edit(node, "matteList", "car")
    nuke.press(node, "reload")
    assert node["idChannel"].value() == "objectid.id"
    assert "objectid.id ==" in node.node("filter")["temp_expr0"].value()


def test_names_come_from_metadata_where_no_file_is_upstream(nuke, shot):
    _, node = shot
    gizmo = nuke.createNode("NoOp")
    gizmo.meta = {"exr/objectid/manifest": objectid.Manifest(IDS).to_json()}
    node.setInput(0, gizmo)
    nuke.edit(node, "matteList", "car")
    assert node["status"].value() == "1 object"


def test_a_stream_without_names_says_what_to_do(nuke, shot):
    _, node = shot
    node.setInput(0, nuke.createNode("NoOp"))
    nuke.edit(node, "matteList", "car")
    assert "Choose the sidecar" in node["status"].value()


def sidecar_with(fates):
    def make(ids):
        records = [objectid.ObjectRecord(n, i, n.split("/")[1], ((1001, 1001),), 0.9)
                   for n, i in ids.items()]  # fmt: skip
        inheritance = [{"name": name, "fate": fate} for name, fate in fates.items()]
        return objectid.Sidecar("shot", tuple(records), {"inheritance": inheritance})

    return make


def test_a_pick_with_a_lost_or_uncertain_name_is_marked_after_version_up(nuke, shot, tmp_path):
    read, node = shot
    nuke.edit(node, "matteList", "/person/person_03, /car/car_01")
    assert node["tile_color"].value() == picker.COLOUR_FINE
    kept = [n for n in ("/person/person_01", "/car/car_01", "/hero")]
    fates = {"/person/person_03": "lost", "/car/car_01": "uncertain", "/hero": "inherited"}
    newer = write_shot(tmp_path / "v2", names=kept, sidecar=sidecar_with(fates))
    read["file"].setValue(str(newer))
    nuke.press(node, "reload")
    assert node["tile_color"].value() == picker.COLOUR_WARNING
    assert "/person/person_03: lost in this version" in node["status"].value()
    assert "/car/car_01: uncertain" in node["status"].value()


def test_the_sidecar_alone_is_enough(nuke, shot, tmp_path):
    _, node = shot
    pattern = write_shot(tmp_path / "side", sidecar=sidecar_with({}))
    node["sidecarFilepath"].setValue(str(pattern.parent.parent / "shot.manifest.json"))
    nuke.edit(node, "manifestSource", "sidecar")
    nuke.edit(node, "matteList", "person")
    assert node["status"].value() == "3 objects"


def test_a_frame_that_is_not_there_yet_is_no_reason_to_lose_the_names(nuke, tmp_path):
    pattern = write_shot(tmp_path, frames=(1007, 1008))
    _, node = connect(nuke, pattern, frame=1007)
    nuke.frame(1001)
    nuke.edit(node, "matteList", "person")
    assert node["status"].value() == "3 objects"


def test_eight_mattes_are_compiled_and_named(nuke, tmp_path):
    _, node = connect(nuke, write_shot(tmp_path), class_name="ObjectIdMultiMatte")
    nuke.edit(node, "matteList1", "person")
    nuke.edit(node, "matteList5", "car")
    table = picker.shot_names(node).ids
    assert node.node("filter1")["rgba.red"].value().count("==") == 3
    assert str(table["/car/car_01"]) in node.node("filter2")["rgba.green"].value()
    node["layer"].setValue("crowd mattes")
    node["channel1"].setValue("people")
    nuke.press(node, "setNames")
    assert nuke.layers["crowd_mattes"][:2] == ["crowd_mattes.people", "crowd_mattes.m2"]
    assert node.node("embed1")["to0"].value() == "crowd_mattes.people"


def test_two_mattes_of_one_name_are_refused(nuke, tmp_path):
    _, node = connect(nuke, write_shot(tmp_path), class_name="ObjectIdMultiMatte")
    node["channel2"].setValue("m1")
    nuke.press(node, "setNames")
    assert "two mattes are called m1" in node["status"].value()


def test_the_tile_colours_are_those_of_the_gizmo(nuke):
    assert int(nuke.createNode("ObjectIdPicker")["tile_color"].value(), 16) == picker.COLOUR_FINE
