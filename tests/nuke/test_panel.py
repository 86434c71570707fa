"""The panel for real, offscreen, with a bridge in a process of its own."""

import os
import sys
from pathlib import Path

import pytest

from nuke_plugin import jobs_page, picker
from nuke_plugin import panel as panels
from nuke_plugin.link import Link
from nuke_plugin.qt import QtWidgets
from nuke_plugin.settings import Settings
from tests.nuke import fake_roto
from tests.nuke.fake_nuke import Format
from tests.nuke.shots import write_shot
from tests.nuke.test_bridge import ROOT
from tests.nuke.test_roto import layer, shape

SHOTS = os.environ.get("SEGMATTE_SCREENSHOTS")
"""A folder; set it to renew the pictures of the documentation."""


def picture(widget, name):
    if SHOTS:
        QtWidgets.QApplication.processEvents()  # lays out what has just changed
        widget.grab().save(str(Path(SHOTS) / f"nuke-{name}.png"))


@pytest.fixture
def panel(nuke, qtbot, tmp_path):
    """A connected panel; results come from a prepared shot of ten frames."""
    write_shot(tmp_path / "made", frames=range(1001, 1011), sidecar=_sidecar)
    link = Link(
        [sys.executable, "-m", "tests.nuke.fake_bridge"],
        folder=ROOT,
        environment={**os.environ, "FAKE_RESULTS": str(tmp_path / "made")},
    )
    kept = Settings(
        output_template=f"{tmp_path}/out/{{plate}}/v{{version:03d}}", history=("person, car",)
    )
    made = panels.SegmattePanel(link, kept)
    made.resize(620, 900)
    qtbot.addWidget(made)
    made.show()
    qtbot.waitUntil(lambda: "demo-host" in made.state.text(), timeout=20_000)
    yield made
    made.shut_down()


def _sidecar(ids):
    import objectid

    records = [objectid.ObjectRecord(n, i, n.split("/")[1], ((1001, 1010),), 0.87)
               for n, i in ids.items()]  # fmt: skip
    return objectid.Sidecar("shot", tuple(records))


@pytest.fixture
def read(nuke):
    node = nuke.createNode("Read")
    node["file"].setValue("/shows/a/shot.%04d.exr")
    for knob, value in (("first", 1001), ("last", 1010)):
        node[knob].setValue(value)
    node.range = (1001, 1010)
    node.node_format = Format(64, 40)
    node.setSelected(True)
    nuke.frame(1005)
    return node


def every_control(widget):
    kinds = (QtWidgets.QLineEdit, QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox,
             QtWidgets.QPushButton, QtWidgets.QCheckBox, QtWidgets.QTreeWidget,
             QtWidgets.QTableWidget, QtWidgets.QPlainTextEdit)  # fmt: skip
    for kind in kinds:
        yield from widget.findChildren(kind)


def test_every_control_has_a_tooltip(panel):
    inner = (QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox, QtWidgets.QAbstractItemView)
    for control in every_control(panel):
        if isinstance(control.parent(), inner):
            continue  # the line edit inside of a spin box, the list inside of a combo box
        assert len(control.toolTip()) > 15, (type(control).__name__, control.objectName())


def test_the_server_shows_what_it_offers(panel):
    assert panel.state.text() == "demo-host 0.1.0, artist: 1 running, 2 waiting"
    assert panel.submit.detector.itemText(0) == "demo-groundingdino"


def test_from_selection_to_nodes(panel, read, qtbot, nuke, tmp_path):
    panel.submit.use_selected.click()
    assert "submitted as it is" in panel.submit.plate_label.text()
    assert (panel.submit.first.value(), panel.submit.last.value()) == (1001, 1010)
    panel.submit.prompt.setCurrentText("person")
    panel.submit.preview_button.click()
    qtbot.waitUntil(lambda: "kept" in panel.submit.preview_text.text(), timeout=20_000)
    picture(panel, "panel-submit")
    panel.submit.submit_button.click()
    qtbot.waitUntil(lambda: "is done" in panel.message.text(), timeout=20_000)
    picture(panel, "panel-jobs")
    job = next(iter(panel.jobs.jobs.values()))
    assert (job["state"], job["frames_done"]) == ("done", 10)
    node = next(n for n in nuke.all_nodes if n.Class() == "Group")
    deep = node.input(0)
    assert deep["file"].value() == f"{tmp_path}/out/shot/v001/objectid/shot.%04d.exr"
    assert Path(deep["file"].evaluate(1001)).is_file()
    assert deep.reloads >= 1
    node.showControlPanel()
    nuke.edit(node, "matteList", "person")
    assert node["status"].value() == "3 objects"
    assert node.input(1) is read


def test_finished_frames_appear_while_the_job_runs(panel, read, qtbot):
    panel.submit.use_selected.click()
    panel.submit.submit_button.click()
    seen = set()

    def some():
        job = next(iter(panel.jobs.jobs.values()), None)
        if job:
            seen.add(job["frames_done"])
        return bool(job) and job["state"] == "done"

    qtbot.waitUntil(some, timeout=20_000)
    assert len(seen) > 1


def test_the_preview_tells_what_was_discarded_and_why(panel, read, qtbot):
    panel.submit.use_selected.click()
    panel.submit.preview_button.click()
    qtbot.waitUntil(lambda: "kept" in panel.submit.preview_text.text(), timeout=20_000)
    assert "1 kept, 1 discarded" in panel.submit.preview_text.text()
    assert "holds two other persons" in panel.submit.preview_text.text()
    view = panel.submit.preview_view
    place = view._placed([10, 20, 90, 170]).center()
    assert view.told_at(place.x(), place.y()) == "person 0.91: kept"


def test_a_rendered_plate_is_uploaded_in_script_frames(panel, read, qtbot, nuke):
    grade = nuke.createNode("Grade")
    grade.setInput(0, read)

    def one(write, frame):
        path = Path(write["file"].value() % frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"png")

    nuke.renderer = one
    panel.submit.use_selected.click()
    assert "its picture is rendered" in panel.submit.plate_label.text()
    panel.submit.last.setValue(1003)
    assert "handles 0 and 7" in panel.submit.handles.text()
    panel.submit.submit_button.click()
    qtbot.waitUntil(lambda: bool(panel.jobs.jobs), timeout=20_000)
    job = next(iter(panel.jobs.jobs.values()))
    assert (job["first"], job["last"]) == (1001, 1003)


def test_a_cancelled_render_submits_nothing(panel, read, qtbot, nuke):
    nuke.createNode("Grade").setInput(0, read)
    nuke.cancel_after = 1
    panel.submit.use_selected.click()
    panel.submit.submit_button.click()
    assert "cancelled" in panel.message.text()
    assert not panel.jobs.jobs
    assert panel.submit.submit_button.isEnabled()


def test_roto_layers_are_listed_with_keyframes_to_tick(panel, read, qtbot, nuke):
    roto = nuke.createNode("Roto")
    root = roto["curves"].rootLayer
    layer(root, "hero/dress", shape("a", keys=range(1001, 1013)))
    root.append(fake_roto.Stroke("Brush1"))
    panel.submit.add_prompts()
    row = panel.submit.objects.topLevelItem(0)
    assert row.text(0) == "/hero/dress"
    assert row.childCount() == 12
    assert "12 keyframes" in panel.submit.notices.text()
    assert "Brush1" in panel.submit.notices.text()
    row.child(3).setCheckState(0, panels.QtCore.Qt.CheckState.Unchecked)
    assert len(panel.submit._items[0].chosen) == 11
    panel.submit.template.setText("/shows/street/segmatte/{plate}/v{version:03d}")
    row.setExpanded(True)
    picture(panel, "panel-roto")


def test_roto_prompts_are_sent_in_plate_pixels_on_file_frames(panel, read, qtbot, nuke):
    read["frame_mode"].setValue("offset")
    read["frame"].setValue("1000")
    panel.submit.use_selected.click()
    assert panel.submit.first.value() == 1
    assert "1001-1010" in panel.submit.plate_label.text()
    roto = nuke.createNode("Roto")
    roto["curves"].rootLayer.append(shape("crate", keys=(5,)))
    panel.submit.add_prompts()
    shot, _ = panel.submit._shot(panel.submit.choices(), None)
    (item,) = shot["objects"]
    assert item["name"] == "/crate"
    (keyframe,) = item["keyframes"]
    assert keyframe["frame"] == 1005
    assert sorted(keyframe["polygons"][0]["points"])[0] == [10.0, 40 - 50.0]
    assert shot["range"] == [1001, 1010]


def test_a_nodes_alpha_on_a_frame_is_a_mask(panel, read, nuke):
    panel.submit.use_selected.click()
    keyer = nuke.createNode("Keyer")
    keyer.setInput(0, read)
    panel.submit.add_alpha()
    nuke.frame(1008)
    panel.submit.add_alpha()
    shot, _ = panel.submit._shot(panel.submit.choices(), None)
    assert [k["frame"] for k in shot["objects"][0]["keyframes"]] == [1005, 1008]
    assert shot["objects"][0]["keyframes"][0]["mask"]["channel"] == "A"


def test_without_a_plate_submit_says_what_to_do(panel):
    panel.submit.submit_button.click()
    assert "Choose a plate first" in panel.message.text()


def test_nothing_asked_for_is_said_before_anything_is_sent(panel, read):
    panel.submit.use_selected.click()
    panel.submit.prompt.setCurrentText("")
    panel.submit.submit_button.click()
    assert "Nothing is asked for" in panel.message.text()


def test_a_refusal_of_the_server_is_shown_and_leaves_no_folder(panel, read, qtbot, tmp_path):
    panel.submit.use_selected.click()
    panel.submit.prompt.setCurrentText("unknown things")
    panel.submit.submit_button.click()
    qtbot.waitUntil(lambda: "no prompt" in panel.message.text(), timeout=20_000)
    assert panel.submit.submit_button.isEnabled()
    assert not list((tmp_path / "out" / "shot").iterdir())


def test_with_the_server_away_the_panel_still_opens_and_says_so(panel, read, qtbot):
    panel.server.setText("away:7766")
    panel.connect_server()
    qtbot.waitUntil(lambda: panel.state.text() == "away", timeout=20_000)
    assert "Start it there" in panel.message.text()
    panel.submit.use_selected.click()
    panel.submit.submit_button.click()
    assert "does not answer" in panel.message.text()


def test_a_server_that_comes_back_is_noticed(panel, qtbot):
    panel.server.setText("away:7766")
    panel.connect_server()
    qtbot.waitUntil(lambda: panel.state.text() == "away", timeout=20_000)
    panel.server.setText("")
    panel.settings = Settings()
    panel.refresh()
    qtbot.waitUntil(lambda: "demo-host" in panel.state.text(), timeout=20_000)
    assert "answers again" in panel.message.text()


def test_a_plate_is_known_again_however_its_padding_is_written():
    assert jobs_page._same_plate("/a/b.####.exr") == jobs_page._same_plate("\\a\\b.%04d.exr")
    assert jobs_page._same_plate("/a/b.####.exr") != jobs_page._same_plate("/c/b.####.exr")


def test_it_works_in_proxy(panel, read, nuke, qtbot):
    nuke.root()["proxy"].setValue(True)
    nuke.createNode("Grade").setInput(0, read)
    panel.submit.use_selected.click()
    shot, _ = panel.submit._shot(panel.submit.choices(), None)
    assert shot["plate"]["format"] == [64, 40, 1.0]
    assert nuke.root()["proxy"].value() is True


def test_an_unsaved_script_is_told_where_results_go(panel, read):
    panel.submit.template.setText("{script_dir}/segmatte/v{version}")
    assert "never saved" in panel.submit.folder_warning.text()


def test_a_folder_off_the_shared_roots_earns_a_warning(panel, read):
    panel.settings = Settings(shared_roots=("/shows",))
    panel.submit.template.setText("/home/me/v{version}")
    assert "not on a shared root" in panel.submit.folder_warning.text()


def test_a_job_can_be_cancelled_retried_and_read(panel, read, qtbot):
    panel.submit.use_selected.click()
    panel.submit.submit_button.click()
    qtbot.waitUntil(lambda: "is done" in panel.message.text(), timeout=20_000)
    panel.jobs.table.selectRow(0)
    panel.jobs.ask("cancel")
    qtbot.waitUntil(lambda: panel.jobs.table.item(0, 2).text() == "cancelled", timeout=20_000)
    panel.jobs.show_log()
    qtbot.waitUntil(lambda: "detect: 3 persons" in panel.jobs.log.toPlainText(), timeout=20_000)
    panel.jobs.ask("retry")
    qtbot.waitUntil(lambda: panel.jobs.table.item(0, 2).text() == "done", timeout=20_000)


def test_version_up_from_the_job_list_shows_the_names(panel, read, qtbot, nuke):
    panel.submit.use_selected.click()
    for _ in range(2):
        panel.say("")
        panel.submit.submit_button.click()
        qtbot.waitUntil(lambda: "is done" in panel.message.text(), timeout=20_000)
    first = next(n for n in nuke.all_nodes if n.Class() == "Group")
    for node in nuke.all_nodes:
        node.setSelected(node is first)
    panel.jobs.table.selectRow(0)
    panel.jobs.version_up()
    assert "6 names kept" in panel.message.text()
    assert "/v002/" in first.input(0)["file"].value()
    assert first["tile_color"].value() == picker.COLOUR_FINE


def test_a_second_run_inherits_the_names_of_the_first(panel, read, qtbot):
    panel.submit.use_selected.click()
    for _ in range(2):
        panel.say("")
        panel.submit.submit_button.click()
        qtbot.waitUntil(lambda: "is done" in panel.message.text(), timeout=20_000)
    assert panel.jobs.jobs["job1"]["reference_job"] == ""
    assert panel.jobs.jobs["job2"]["reference_job"] == "job1"
    assert panel.jobs.table.item(0, 0).data(jobs_page._ID) == "job2"


def test_frames_that_come_in_are_shown_now_and_then(panel, read, qtbot, nuke):
    panel.submit.use_selected.click()
    panel.submit.submit_button.click()
    qtbot.waitUntil(lambda: bool(panel.jobs.fresh), timeout=20_000)
    deep = next(n for n in nuke.all_nodes if n.Class() == "DeepRead")
    before = deep.reloads
    panel.refresh()
    assert deep.reloads == before + 1


def test_files_that_were_lost_can_be_fetched_again(panel, read, qtbot, tmp_path):
    panel.submit.use_selected.click()
    panel.submit.submit_button.click()
    qtbot.waitUntil(lambda: "is done" in panel.message.text(), timeout=20_000)
    lost = tmp_path / "out" / "shot" / "v001" / "objectid" / "shot.1004.exr"
    lost.unlink()
    panel.jobs.table.selectRow(0)
    panel.jobs.fetch()
    qtbot.waitUntil(lambda: "is done" in panel.message.text(), timeout=20_000)
    assert lost.is_file()


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, ""), (12.4, "12 s"), (150, "2 min"), (9000, "2.5 h")]
)
def test_time_left_reads_like_a_time(seconds, text):
    assert jobs_page.time_left(seconds) == text


def test_a_plate_submitted_as_it_is_goes_through_the_viewers_look(panel, read, nuke):
    nuke.root()["colorManagement"].setValue("OCIO")
    viewer = nuke.createNode("Viewer")
    viewer["viewerProcess"]._enum = ["Un-tone-mapped (sRGB - Display)", "Raw (sRGB - Display)"]
    viewer.setSelected(False)
    read.setSelected(True)
    panel.submit.use_selected.click()

    def options():
        shot, _ = panel.submit._shot(panel.submit.choices(), None)
        return shot["options"]

    assert options()["view"] == "Un-tone-mapped"
    assert options()["display"] == "sRGB - Display"
    panel.submit.look.setCurrentText("Raw (sRGB - Display)")
    assert options()["view"] == "Raw"
    panel.submit.look.setCurrentText("server's default")
    assert (options()["display"], options()["view"]) == ("", "")
