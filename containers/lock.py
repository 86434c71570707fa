"""Writes the lock files of the image: every version and hash of the whole server install.

One resolution, three files, so that the image has a layer for each pace of change: ``build.lock``
(what builds the few source packages), ``torch.lock`` (torch, its compiler and its CUDA libraries:
large, seldom new) and ``server.lock`` (everything else). Every file is installed with
``--no-deps --require-hashes``: nothing outside of them can come in.

Run it as ``python containers/lock.py``; it needs ``uv`` on the path or beside Python.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
# One image is the server, the browser pages' server and a node of a Ray cluster.
EXTRAS = ("--extra=server", "--extra=web", "--extra=ray")
BUILD = ("setuptools", "wheel")
_TORCH = re.compile(r"(torch|torchvision|triton|nvidia-.+|cuda-.+)==")
_HEADER = """\
# Written by `python containers/lock.py`, never by hand. Linux, Python 3.11 and newer.
# Install with --no-deps --require-hashes; see docs/containers.md.
"""
_TORCH_NOTE = """\
# The hashes are those of PyPI's wheels, which run on the CPU too and bring CUDA's libraries along.
# The publisher's smaller CPU-only wheels have other hashes and cannot be installed from here.
"""


def main() -> int:
    """Resolve anew and write; returns the exit code."""
    pins = _torch_pins()
    with_dependencies = _compile(["pyproject.toml", *EXTRAS], more=[*BUILD, *pins])
    # These ask for opencv-python, whose wheel needs libGL; what they really need is in the extra.
    alone = _compile(["requirements/models.txt", "--no-deps"])
    entries = sorted({**with_dependencies, **alone}.values())
    torch = [entry for entry in entries if _TORCH.match(entry)]
    build = [entry for entry in entries if entry.split("==")[0] in BUILD]
    rest = [entry for entry in entries if entry not in torch and entry not in build]
    _write("build.lock", build)
    _write("torch.lock", torch, note=_TORCH_NOTE)
    _write("server.lock", rest)
    return 0


def _torch_pins() -> list[str]:
    """The pair of torch and torchvision that the Makefile installs."""
    pins = re.findall(r"\b(?:torch|torchvision)==[\w.]+", (ROOT / "Makefile").read_text())
    if len(pins) != 2:
        sys.exit(f"Expected the pins of torch and torchvision in the Makefile, found {pins}.")
    return pins


def _compile(arguments: list[str], *, more: list[str] | None = None) -> dict[str, str]:
    """Requirement line → its entry with hashes."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    done = subprocess.run(
        [
            *(uv, "pip", "compile", *arguments, *(["-"] if more else [])),
            *("--universal", "--python-version", "3.11", "--generate-hashes"),
            *("--no-header", "--no-annotate", "--quiet"),
        ],
        input="\n".join(more or []),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    entries = re.split(r"\n(?=\S)", done.stdout.strip())
    kept = [entry for entry in entries if "sys_platform == 'win32'" not in entry.splitlines()[0]]
    return {entry.splitlines()[0]: entry for entry in kept}


def _write(name: str, entries: list[str], *, note: str = "") -> None:
    (FOLDER / name).write_text(_HEADER + note + "\n".join(entries) + "\n")
    sys.stdout.write(f"requirements/{name}: {len(entries)} packages\n")


if __name__ == "__main__":
    sys.exit(main())
