"""The default install on a host without libGL: a server, a container."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

HIDE = """
for library in $(ls /usr/lib/*/libGL.so* /usr/lib/*/libGLX* /usr/lib/libGL.so* 2>/dev/null); do
  mount --bind /dev/null "$library"
done
exec "$@"
"""


def without_libgl(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a mount namespace in which every libGL is an empty file."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", HIDE, "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_hiding_works_where_the_library_is_there():
    if not list(Path("/usr/lib").glob("*/libGL.so.1")):
        return  # hidden already: this host never had it
    done = without_libgl(sys.executable, "-c", "import ctypes; ctypes.CDLL('libGL.so.1')")
    assert done.returncode != 0


def test_everything_runs_without_libgl(tmp_path):
    installed = {dist.metadata["Name"] for dist in metadata.distributions()}
    assert "opencv-python" not in installed
    assert "opencv-contrib-python" not in installed
    done = without_libgl(
        sys.executable,
        "-m",
        "client",
        "run",
        str(_plate(tmp_path)),
        "--prompt",
        "person",
        "--models",
        "demo",
        "--threads",
        "1",
        "--out",
        str(tmp_path / "out"),
    )
    assert done.returncode in (0, 6), done.stderr
    assert (tmp_path / "out" / "report.json").exists()


def _plate(folder: Path) -> Path:
    from server.commands.demo import demo_shot, write_plate

    return write_plate(demo_shot(frames=6), folder / "plate", name="street", first=1001)
