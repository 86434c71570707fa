"""The farm's bundle: what is written, and that several machines may begin a shot at once."""

import json
import threading

import pytest
from openjd.model import IntRangeExpr, create_job, decode_job_template, preprocess_job_parameters

from client.__main__ import main
from client.commands.farm import range_expression
from server.commands.stage import OpenJDLines, _frames
from server.pipeline.folder import settle_json
from server.progress import Progress


@pytest.mark.parametrize(
    "frames",
    [[1001], [1001, 1002, 1003], [-3, -2, -1, 0], [1, 3], [1, 3, 5, 7], [1, 2, 5, 7, 9, 20]],
)
def test_frames_are_written_so_that_the_farm_and_the_stage_read_the_same(frames):
    text = range_expression(frames)
    assert list(IntRangeExpr.from_str(text)) == frames
    assert _frames(text) == frames


def plate(folder, numbers):
    for number in numbers:
        (folder / f"sh010.{number}.exr").touch()
    return folder / "sh010.####.exr"


def read(bundle, name):
    return json.loads((bundle / f"{name}.json").read_text())


def test_a_bundle_is_a_job_with_a_task_per_chunk(tmp_path, capsys):
    pattern, bundle = plate(tmp_path, range(1001, 1026)), tmp_path / "bundle"
    command = ["farm", "openjd", pattern, "--out", tmp_path / "out", "--bundle", bundle]
    options = ["--frames-per-chunk", 10, "--shot-options", "--colorspace 'ACES cg'"]
    assert main([str(a) for a in [*command, *options]]) == 0
    template = decode_job_template(
        template=read(bundle, "template"), supported_extensions=["TASK_CHUNKING"]
    )
    values = read(bundle, "parameter_values")["parameterValues"]
    job = create_job(
        job_template=template,
        job_parameter_values=preprocess_job_parameters(
            job_template=template,
            job_parameter_values={v["name"]: v["value"] for v in values},
            job_template_dir=bundle,
            current_working_dir=bundle,
        ),
    )
    assert [step.name for step in job.steps] == ["Detect", "Segment", "Track", "Deliver", "Finish"]
    assert job.steps[0].script.actions.onRun.args[-2:] == ["--colorspace", "ACES cg"]
    assert [bool(step.hostRequirements) for step in job.steps] == [True] * 3 + [False] * 2
    inputs = read(bundle, "asset_references")["assetReferences"]["inputs"]["filenames"]
    assert len(inputs) == 25
    assert "1001-1025" in capsys.readouterr().out


def test_held_frames_are_worked_on_and_a_cpu_job_asks_for_no_gpu(tmp_path):
    pattern, bundle = plate(tmp_path, [1001, 1002, 1004]), tmp_path / "bundle"
    command = ["farm", "openjd", pattern, "--out", tmp_path / "out", "--bundle", bundle]
    options = ["--device", "cpu", "--shot-options", "--gaps hold"]
    assert main([str(a) for a in [*command, *options]]) == 0
    values = {v["name"]: v["value"] for v in read(bundle, "parameter_values")["parameterValues"]}
    assert values["Frames"] == "1001-1004"
    assert "hostRequirements" not in (bundle / "template.json").read_text()


def test_what_cannot_be_put_into_a_template_is_refused(tmp_path, capsys):
    pattern = plate(tmp_path, [1, 2])
    command = ["farm", "openjd", pattern, "--out", tmp_path, "--bundle", tmp_path / "bundle"]
    assert main([str(a) for a in [*command, "--shot-options", "--view {{Param.Plate}}"]]) == 2
    assert "cannot be put into a job template" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_of_many_who_begin_a_shot_one_settles_it_and_all_read_the_same(tmp_path):
    answers, ready = [], threading.Barrier(8)

    def begin(number):
        ready.wait()
        answers.append(settle_json(tmp_path / "work" / "shot.json", {"machine": number}))

    machines = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["shot.json"]


def test_progress_of_two_passes_is_one_rising_percentage(capsys):
    lines = OpenJDLines(["track forward", "track backward"])
    for part in ("track forward", "track backward"):
        for done in range(0, 401, 2):
            lines(Progress(part, done, 400))
    printed = capsys.readouterr().out.splitlines()
    percents = [int(line.split()[1]) for line in printed if line.startswith("openjd_progress:")]
    assert percents == list(range(101))
    assert printed.count("openjd_status: track backward, 400 frames") == 1
