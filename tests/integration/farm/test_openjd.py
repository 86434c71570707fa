"""The job template, run by Open Job Description's own program: the bytes of ``segmatte run``."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flat_plates import write_flat_plate
from tests.system.serving import ROOT, result_bytes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
FRAMES = 32
PROGRAM = Path(sys.executable).with_name("segmatte")
FAKES = ["--detector", "fake", "--segmenter", "fake", "--colorspace", "sRGB - Display"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def command(*arguments):
    return [str(PROGRAM), *map(str, arguments)]


def segmatte(*arguments):
    done = subprocess.run(command(*arguments), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def openjd(bundle, *arguments):
    """Run the bundle's job here, with its own values."""
    rows = json.loads((bundle / "parameter_values.json").read_text())["parameterValues"]
    values = json.dumps({row["name"]: row["value"] for row in rows})
    program = Path(sys.executable).with_name("openjd")
    return subprocess.run(
        [program, "run", bundle / "template.json", "-p", values, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )


def result(folder):
    """Name → bytes of everything a user gets."""
    return {n: b for n, b in result_bytes(folder).items() if not n.startswith("work/")}


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    return write_flat_plate(tmp_path_factory.mktemp("plate"), frames=FRAMES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, plate):
    """What one process makes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    segmatte("run", plate, "--prompt", "person, car", *FAKES, "--out", out)
    return out


def bundle_of(tmp_path, plate, *options):
    segmatte(
        *["farm", "openjd", plate, "--out", tmp_path / "out", "--bundle", tmp_path / "bundle"],
        *["--prompt", "person, car", "--program", PROGRAM, "--device", "cpu", *options],
    )
    return tmp_path / "bundle"


def with_fakes(tmp_path, plate):
    text = "--detector fake --segmenter fake --colorspace 'sRGB - Display'"
    return bundle_of(tmp_path, plate, "--frames-per-chunk", 16, "--shot-options", text)


def test_a_job_of_chunks_gives_the_bytes_of_one_process(tmp_path, plate, whole):
    done = openjd(with_fakes(tmp_path, plate), "--step", "Finish", "--run-dependencies")
    assert done.returncode == 0, done.stdout + done.stderr
    assert result(tmp_path / "out") == result(whole)
    percents = [int(p) for p in re.findall(r"openjd_progress: (\d+)", done.stdout)]
    assert percents.count(100) == 2 + 2 + 1 + 2 + 1
    reports = [json.loads((f / "report.json").read_text()) for f in (tmp_path / "out", whole)]
    for key in ("layers", "rejected", "normalised_pixels", "warnings"):
        assert reports[0][key] == reports[1][key]
    assert reports[0]["calls"]["detector"] >= 2  # of all chunks


def test_a_failed_task_says_why_and_how(tmp_path, plate):
    bundle = with_fakes(tmp_path, plate)
    done = openjd(bundle, "--step", "Track")
    assert done.returncode != 0
    assert "openjd_fail: " in done.stdout + done.stderr
    assert "Is this a result folder?" in done.stdout + done.stderr


def test_machines_at_once_a_killed_one_and_a_doubled_one_give_the_same_bytes(
    tmp_path, plate, whole
):
    out = tmp_path / "out"
    chunks = ["1001-1010", "1011-1020", "1021-1032"]
    start = ["stage", "detect", plate, "--prompt", "person, car", *FAKES, "--out", out]

    def at_once(*commands):
        machines = [subprocess.Popen(c, env=ENVIRONMENT, stderr=subprocess.PIPE) for c in commands]
        for machine in machines:
            assert machine.wait() == 0, machine.stderr.read()
            machine.stderr.close()

    at_once(*(command(*start, "--chunk", chunk) for chunk in chunks))
    at_once(*(command("stage", "segment", "--out", out, "--chunk", c) for c in chunks))
    lost = subprocess.Popen(command("stage", "track", "--out", out), env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    while len(list(out.glob("work/backward/*.cache"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    lost.send_signal(signal.SIGKILL)
    assert lost.wait() == -signal.SIGKILL
    track = command("stage", "track", "--out", out)
    at_once(track, track)  # the farm believes one is lost that is not
    at_once(*(command("stage", "deliver", "--out", out, "--chunk", c) for c in chunks))
    segmatte("stage", "deliver", "--out", out)
    assert result(out) == result(whole)


def test_the_demo_models_on_a_drawn_plate_give_the_bytes_of_one_process(tmp_path):
    segmatte("demo", "--plate-only", "--out", tmp_path)
    plate = tmp_path / "plate" / "street.####.exr"
    segmatte(
        *["run", plate, "--range", "1001-1007", "--prompt", "person, car", "--models", "demo"],
        *["--device", "cpu", "--out", tmp_path / "whole"],
    )
    options = ["--frames", "1001-1007", "--frames-per-chunk", 4, "--models", "demo"]
    bundle = bundle_of(tmp_path, plate, *options)
    done = openjd(bundle, "--step", "Finish", "--run-dependencies")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(result(tmp_path / "out")) == 7 + 2
    assert result(tmp_path / "out") == result(tmp_path / "whole")
