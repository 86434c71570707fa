import objectid
from nuke_plugin import object_list
from nuke_plugin.qt import QtCore
from tests.nuke.shots import connect, write_shot
from tests.nuke.test_panel import picture
from tests.nuke.test_picker import sidecar_with

CHECKED, PARTIAL, UNCHECKED = (
    QtCore.Qt.CheckState.Checked,
    QtCore.Qt.CheckState.PartiallyChecked,
    QtCore.Qt.CheckState.Unchecked,
)


def opened(nuke, qtbot, tmp_path):
    _, node = connect(nuke, write_shot(tmp_path, sidecar=sidecar_with({"/hero": "new"})))
    window = object_list.ObjectList(node)
    qtbot.addWidget(window)
    window.refresh()
    return node, window


def item(window, name):
    return next(i for i in window._items() if i.data(0, QtCore.Qt.ItemDataRole.UserRole) == name)


def test_ticking_a_category_picks_all_of_it(nuke, qtbot, tmp_path):
    node, window = opened(nuke, qtbot, tmp_path)
    item(window, "/person").setCheckState(0, CHECKED)
    assert node["matteList"].value() == "/person"
    assert item(window, "/person/person_02").checkState(0) == CHECKED
    item(window, "/person/person_02").setCheckState(0, UNCHECKED)
    assert item(window, "/person").checkState(0) == PARTIAL
    window.show()
    picture(window, "objects")
    assert node["status"].value() == "2 objects"
    table = objectid.object_ids(["/person/person_01", "/person/person_03"])
    text = node.node("filter")["temp_expr0"].value()
    assert all(str(number) in text for number in table.values())


def test_wildcards_stay_as_they_were_typed(nuke, qtbot, tmp_path):
    node, window = opened(nuke, qtbot, tmp_path)
    nuke.edit(node, "matteList", "person_0*")
    window.refresh()
    item(window, "/car/car_01").setCheckState(0, CHECKED)
    assert node["matteList"].value() == "person_0*, /car/car_01"


def test_the_search_hides_what_does_not_match(nuke, qtbot, tmp_path):
    _, window = opened(nuke, qtbot, tmp_path)
    window.search.setText("dress")
    assert not item(window, "/hero").isHidden()
    assert not item(window, "/hero/dress").isHidden()
    assert item(window, "/car").isHidden()


def test_frames_scores_and_fates_are_shown(nuke, qtbot, tmp_path):
    _, window = opened(nuke, qtbot, tmp_path)
    row = item(window, "/hero")
    assert [row.text(c) for c in range(4)] == ["hero", "1001", "0.90", "new"]


def test_frame_runs_read_like_a_range():
    assert object_list.frames_text(((1001, 1024), (1030, 1030))) == "1001-1024, 1030"


def test_without_a_sequence_it_says_what_to_do(nuke, qtbot):
    node = nuke.createNode("ObjectIdPicker")
    window = object_list.ObjectList(node)
    qtbot.addWidget(window)
    window.refresh()
    assert "connect an ObjectId sequence" in window.notice.text()
