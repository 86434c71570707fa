"""What every part of the suite shares: clocks, the machine, a table, and the way to run alone.

A part is a module with ``TITLE`` and ``run(size) -> Part``; ``main`` turns it into
``python -m tests.benchmarks.NAME [--json] [--size SIZE]``. Times are CPU times of the process
unless a column says wall: jobs may share a machine, and a ratio of CPU times holds all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "sam2", "groundingdino-py", "numpy", "opencv-python-headless", "OpenImageIO")

Size = Literal["quick", "usual", "full"]
"""``quick``: to see that it runs; ``usual``: some minutes; ``full``: all that is worth knowing."""


@dataclass(frozen=True)
class Table:
    """Rows of figures with what a reader must know about them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plot:
    """Bars, or lines over numbers."""

    name: str
    """Of the file."""
    title: str
    axis: str
    """What is measured, with its unit."""
    labels: tuple[Any, ...]
    """Names of the bars, or numbers along the other axis."""
    series: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Part:
    """What one part of the suite found."""

    title: str
    summary: tuple[str, ...]
    """Sentences: goals, whether they are met, and what is lost."""
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    """Everything measured, for machines."""


@dataclass
class Clock:
    """Wall and CPU seconds of what ran inside ``timed``."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    """Measure a block; the clock is set when the block ends."""
    clock = Clock()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield clock
    finally:
        clock.wall = time.perf_counter() - wall
        clock.cpu = time.process_time() - cpu


@dataclass(frozen=True)
class Spread:
    """Several runs of the same: median, least and most."""

    median: float
    least: float
    most: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summary of measured values."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def __str__(self) -> str:
        if self.runs == 1:
            return f"{self.median:.3g} (1 run)"
        return f"{self.median:.3g} ({self.least:.3g}–{self.most:.3g}, {self.runs} runs)"


def repeat(work: Callable[[], object], *, runs: int, warm_up: bool = True) -> tuple[Spread, Spread]:
    """CPU and wall seconds of a call, after one that does not count."""
    if warm_up:
        work()
    clocks = []
    for _ in range(runs):
        with timed() as clock:
            work()
        clocks.append(clock)
    return Spread.of([c.cpu for c in clocks]), Spread.of([c.wall for c in clocks])


def one_thread() -> None:
    """Let torch and OpenCV compute on one thread, so that CPU times compare."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    return {
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": [round(v, 1) for v in os.getloadavg()],
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch_threads": 1,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _commit() -> str:
    def git(*words: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "server", "objectid")
    return f"{commit} with changes" if changed else commit


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def in_fresh_process(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run ``python -m module arguments`` and read its last line as JSON; for peak memory."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def as_data(part: Part, *, size: Size, seconds: Clock) -> dict[str, Any]:
    """A part as JSON values, with the machine it ran on."""
    return {
        **asdict(part),
        "size": size,
        "took": {"wall": round(seconds.wall, 1), "cpu": round(seconds.cpu, 1)},
        "machine": machine(),
    }


def main(run: Callable[[Size], Part], description: str | None) -> None:
    """The command line of one part."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--size",
        choices=get_args(Size),
        default="usual",
        help="quick: to see that it runs; full: more shots and repetitions",
    )
    arguments = parser.parse_args()
    size: Size = arguments.size
    one_thread()
    with timed() as clock:
        part = run(size)
    if arguments.json:
        print(json.dumps(as_data(part, size=size, seconds=clock)))
        return
    from tests.benchmarks.report import as_markdown

    print(as_markdown(as_data(part, size=size, seconds=clock)))
