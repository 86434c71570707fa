"""All parts of the suite, each in a process of its own, and their report in docs/benchmarks.

``make bench``; ``--only NAME …`` measures some parts again and keeps the others' last figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

from tests.benchmarks.measure import REPOSITORY, Size
from tests.benchmarks.report import write

PARTS = (
    "pipeline",
    "memory",
    "throughput",
    "scaling",
    "quality",
    "quality_demo",
    "peers",
    "objectid",
    "server",
)
NOTED = ("kills",)
"""Chapters that ``make test-long`` writes."""
FOLDER = REPOSITORY / "docs" / "benchmarks"


def main() -> int:
    """Measure, keep the JSON of each part, write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, metavar="NAME")
    parser.add_argument("--size", choices=get_args(Size), default="usual")
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = [name for name in arguments.only if not measure(name, arguments.size, arguments.out)]
    files = {name: arguments.out / f"{name}.json" for name in (*PARTS, *NOTED)}
    parts = {n: json.loads(path.read_text()) for n, path in files.items() if path.exists()}
    write(parts, arguments.out)
    print(f"report: {arguments.out / 'README.md'}")
    return len(failed)


def measure(name: str, size: str, folder: Path) -> bool:
    """Run one part; its figures are kept only if it ended well."""
    module = f"tests.benchmarks.{name}"
    if importlib.util.find_spec(module) is None:
        print(f"{name}: absent, left out")
        return True
    print(f"{name} …", flush=True)
    command = [sys.executable, "-W", "ignore", "-m", module, "--json"]
    if name != "objectid":
        command += ["--size", size]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{name} ended with {done.returncode}, its last figures stay", file=sys.stderr)
        return False
    text = done.stdout[done.stdout.index("{") :]
    (folder / f"{name}.json").write_text(json.dumps(json.loads(text), indent=1) + "\n")
    return True


if __name__ == "__main__":
    sys.exit(main())
