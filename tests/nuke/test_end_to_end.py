"""From the panel to mattes: a real server, the real bridge, the real files; only Nuke is pretended.

Once with the models that know flat colours, in seconds, and once with the demo models, which
takes minutes on a busy CPU and runs with the integration group.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import objectid
from nuke_plugin import expression, panel, picker
from nuke_plugin.link import Link
from nuke_plugin.settings import Settings
from server.commands.demo import demo_shot, write_plate
from tests.flat_plates import write_flat_plate
from tests.nuke import nk
from tests.nuke.conftest import PLUGIN
from tests.nuke.fake_nuke import Format
from tests.nuke.graph import Graph
from tests.nuke.shots import as_nuke_reads
from tests.nuke.test_panel import picture

ROOT = Path(__file__).parents[2]
FIRST, FRAMES, SIZE = 1001, 8, (180, 320)
PATIENCE_MILLISECONDS = 900_000
MODELS = {"fake": ("fake", "fake"), "demo": ("demo-groundingdino", "demo-sam2")}


@pytest.fixture(
    scope="module", params=["fake", pytest.param("demo", marks=pytest.mark.integration)]
)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def plate(kind, tmp_path_factory):
    """Pattern of a plate the models know."""
    folder = tmp_path_factory.mktemp("plate")
    if kind == "fake":
        return write_flat_plate(folder, frames=FRAMES, size=SIZE, name="street")
    return write_plate(demo_shot(size=SIZE, frames=FRAMES), folder, name="street", first=FIRST)


@pytest.fixture(scope="module")
def server(kind, tmp_path_factory):
    """Address and environment of a server in a process of its own."""
    state = tmp_path_factory.mktemp("server")
    config = state / "server.toml"
    detector, segmenter = MODELS[kind]
    config.write_text(
        f'detector = "{detector}"\nsegmenter = "{segmenter}"\nport = 0\ndevices = ["cpu"]\n'
        f'offered_models = ["{detector}", "{segmenter}"]\n'
    )
    environment = {
        **os.environ,
        "SEGMATTE_STATE": str(state / "state"),
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "client", "serve", "--config", str(config)],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("Serving on ")
        yield line.split()[-1], environment
        process.terminate()
        process.wait(60)


@pytest.fixture
def opened(nuke, qtbot, server, plate, tmp_path):
    """The panel with the drawn plate's Read selected."""
    address, environment = server
    read = nuke.createNode("Read")
    read["file"].setValue(str(plate).replace("####", "%04d"))
    for knob, value in (("first", FIRST), ("last", FIRST + FRAMES - 1)):
        read[knob].setValue(value)
    read.range = (FIRST, FIRST + FRAMES - 1)
    read.node_format = Format(SIZE[1], SIZE[0])
    read.setSelected(True)
    nuke.frame(FIRST + 5)
    link = Link([sys.executable, "-m", "client.bridge"], folder=ROOT, environment=environment)
    kept = Settings(
        server=address, output_template=f"{tmp_path}/results/{{plate}}/v{{version:03d}}"
    )
    made = panel.SegmattePanel(link, kept)
    made.resize(620, 960)
    qtbot.addWidget(made)
    made.show()
    qtbot.waitUntil(lambda: bool(made.submit.segmenter.currentText()), timeout=60_000)
    yield made, read
    made.shut_down()


@pytest.mark.timeout(2000)
def test_a_plate_becomes_mattes_picked_by_name(opened, nuke, qtbot):
    made, _ = opened
    made.submit.use_selected.click()
    assert "submitted as it is" in made.submit.plate_label.text(), made.submit.plate_label.text()
    made.submit.prompt.setCurrentText("person, car")
    made.submit.preview_button.click()
    qtbot.waitUntil(
        lambda: "kept" in made.submit.preview_text.text() or bool(made.message.text()),
        timeout=PATIENCE_MILLISECONDS,
    )
    assert "kept" in made.submit.preview_text.text(), made.message.text()
    place = made.submit.template.text()
    made.submit.template.setText("/shows/street/segmatte/{plate}/v{version:03d}")
    picture(made, "panel-submit")
    made.submit.template.setText(place)
    made.say("")
    made.submit.submit_button.click()
    qtbot.waitUntil(lambda: bool(made.jobs.jobs) or bool(made.message.text()), timeout=60_000)
    shown = []

    def ended():
        job = next(iter(made.jobs.jobs.values()), {})
        if job.get("state") == "running" and job.get("frames_done") and not shown:
            shown.append(True)
            made.say("")
            picture(made, "panel-jobs")
        return "is done" in made.message.text() or "failed" in made.message.text()

    qtbot.waitUntil(ended, timeout=PATIENCE_MILLISECONDS)
    assert "is done" in made.message.text(), made.message.text()
    node = next(n for n in nuke.all_nodes if n.Class() == "Group")
    file = Path(node.input(0)["file"].evaluate(FIRST + 5))
    assert file.is_file()
    names = picker.shot_names(node)
    assert "person" in names.categories
    node.showControlPanel()
    nuke.edit(node, "matteList", "person")
    assert node["tile_color"].value() == picker.COLOUR_FINE, node["status"].value()
    # What the nodes compute on the delivered file is what the format says.
    ids = objectid.compile_filter("person").select(names.ids)
    inner = {"filter": {k: w for k, w in expression.filter_knobs(ids, channel="other.id").items()}}
    assert node.node("filter")["temp_expr0"].value() == inner["filter"]["temp_expr0"]
    group = nk.load(PLUGIN / "gizmos" / "ObjectIdPicker.gizmo").nodes[0]
    image = Graph(group, inputs={0: as_nuke_reads(file)}, inner=inner).output()
    expected = objectid.pick(objectid.read_frame(file).frame, ids)
    assert expected.max() > 0.9
    assert np.abs(image.channel("rgba.alpha") - expected).max() <= 1 / 1024
