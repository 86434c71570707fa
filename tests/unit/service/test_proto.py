"""The wire interface: committed stubs, promises to older clients."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protos import regenerate


def test_released_interface_is_still_there_unchanged():
    released = json.loads(regenerate.RELEASED.read_text())
    assert len(released) > 200
    assert regenerate.broken_promises(released, regenerate.interface()) == []


def test_a_renamed_retyped_or_missing_field_is_found():
    present = regenerate.interface()
    released = dict(present)
    released["Job.#1"] = "id: LABEL_OPTIONAL TYPE_INT64"
    released["Job.#999"] = "gone: LABEL_OPTIONAL TYPE_STRING"
    broken = regenerate.broken_promises(released, present)
    assert len(broken) == 2
    assert "Job.#999 was released as" in broken[1]
    assert "Add a new number instead" in broken[1]


def test_every_enum_keeps_zero_for_not_stated():
    zeros = {k: v for k, v in regenerate.interface().items() if k.endswith("#0")}
    assert len(zeros) >= 8
    assert all(name.endswith("UNSPECIFIED") for name in zeros.values())


def test_stubs_were_made_by_the_pinned_generator():
    text = (regenerate.ROOT / "protos" / "segmatte_pb2.py").read_text()
    assert "# Protobuf Python Version: 5.29.0" in text
    text = (regenerate.ROOT / "protos" / "segmatte_pb2_grpc.py").read_text()
    assert "GRPC_GENERATED_VERSION = '1.71.0'" in text


@pytest.mark.integration
def test_committed_stubs_are_what_the_pinned_generator_makes(tmp_path):
    python = os.environ.get("SEGMATTE_PROTO_PYTHON")
    python = Path(python) if python else regenerate.install_generator(tmp_path / "venv")
    out = tmp_path / "out"
    out.mkdir()
    regenerate.generate(python, out)
    for name in regenerate.STUBS:
        committed = (regenerate.ROOT / "protos" / name).read_text()
        assert (out / "protos" / name).read_text() == committed, name


@pytest.mark.integration
@pytest.mark.parametrize("major", ["5.29.6", "6.33.6", "7.36.2"])
def test_stubs_load_on_protobuf_of_three_generations(tmp_path, major):
    target = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, f"protobuf=={major}"], check=True)
    code = (
        "import google.protobuf as p; from protos import segmatte_pb2 as m; "
        "print(p.__version__, m.Job.FromString(m.Job(id='a').SerializeToString()).id)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"PYTHONPATH": f"{target}:{regenerate.ROOT}", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [major, "a"]
