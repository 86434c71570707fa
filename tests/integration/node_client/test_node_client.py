"""An independent client proves the proto: Node, from upload to download."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from client.shots import find_pictures
from tests.flat_plates import write_flat_plate
from tests.system.serving import ROOT, RunningServer, fetch

HERE = Path(__file__).parent


@pytest.mark.integration
def test_a_node_client_from_the_plain_proto_file_submits_and_downloads(tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed")
    place = tmp_path / "node"
    place.mkdir()
    for name in ("package.json", "client.js"):
        shutil.copy(HERE / name, place)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=place, check=True)
    pattern = write_flat_plate(tmp_path / "plate", frames=6)
    pictures = [f"{frame}={path}" for frame, path in find_pictures(str(pattern)).items()]
    out = tmp_path / "out"
    with RunningServer(tmp_path / "state") as server, server.client() as client:
        proto = ROOT / "protos" / "segmatte.proto"
        command = ["node", "client.js", proto, server.address, server.token, out, *pictures]
        done = subprocess.run(
            [str(item) for item in command], cwd=place, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["state"], said["uploaded"], said["complete"]) == ("DONE", 6, True)
        assert said["events"] == list(range(1, len(said["events"]) + 1))
        assert said["refused"] == "5 NotFoundError"
        job = client.jobs()[0]
        ours = fetch(client, job.id, tmp_path / "ours")
        theirs = {name: (out / name).read_bytes() for name in ours}
        assert theirs == ours
        assert sum(name.startswith("objectid/") for name in said["files"]) == 6
