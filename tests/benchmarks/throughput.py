"""Throughput: a queue of short shots on one warm worker, and delivery beside tracking.

Both sides of each ratio run in one call, with the demo models: the queue against one program
started after the other, fused delivery against delivering once tracking is through.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from protos import segmatte_pb2 as wire
from tests.benchmarks import shots
from tests.benchmarks.measure import REPOSITORY, Part, Size, Table, main
from tests.system.serving import RunningServer

SHOTS: dict[Size, int] = {"quick": 3, "usual": 8, "full": 20}
FRAMES: dict[Size, int] = {"quick": 6, "usual": 12, "full": 12}
MODELS = ("demo-groundingdino", "demo-sam2")


@dataclass(frozen=True)
class Cost:
    """Seconds of a block with all processes it started."""

    wall: float
    cpu: float


class Costing:
    """Measures child processes that end inside the block."""

    def __enter__(self) -> Costing:
        self._wall, self._cpu = time.perf_counter(), _children()
        return self

    def __exit__(self, *_: object) -> None:
        self.cost = Cost(time.perf_counter() - self._wall, _children() - self._cpu)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plates(folder: Path, size: Size) -> dict[str, Path]:
    """Name → folder of JPEG frames; every shot another drawing."""
    found = {}
    for number in range(SHOTS[size]):
        kind = shots.KINDS[number % (len(shots.KINDS) - 1)]  # the last one is a crowd
        shot = shots.draw(kind, number, size=(180, 320), frames=FRAMES[size])
        found[f"{number:02d}"] = shot.write(folder / f"{number:02d}")
    return found


def command_line(*words: object) -> None:
    """One program of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "client", *map(str, words)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 6):  # 6: finished, nothing found
        raise RuntimeError(f"{words} ended with {done.returncode}:\n{done.stderr}")


def one_after_the_other(sources: dict[str, Path], out: Path) -> Cost:
    """``segmatte run`` for every shot."""
    with Costing() as costing:
        for name, plate in sources.items():
            command_line(
                "run", plate, "--models", "demo", "--prompt", "person, car", "--out", out / name
            )
    return costing.cost


def queued(sources: dict[str, Path], state: Path) -> tuple[Cost, float]:
    """All shots submitted at once to a server with one worker; its cost, and seconds to start."""
    with Costing() as costing:
        begun = time.perf_counter()
        with RunningServer(state, models=MODELS) as server, server.client() as client:
            started = time.perf_counter() - begun
            jobs = [
                client.submit(
                    wire.SubmitShotRequest(
                        plate=wire.PlateSource(path=str(plate)),
                        prompts=wire.Prompts(text="person, car"),
                    )
                ).id
                for plate in sources.values()
            ]
            for job in jobs:
                done = client.wait(job)
                if done.state != wire.DONE:
                    raise RuntimeError(f"job {job} ended as {done}")
    return costing.cost, started


def staged(plate: Path, out: Path) -> tuple[Cost, Cost]:
    """One shot fused, and stage by stage with delivery at the end."""
    with Costing() as fused:
        command_line(
            "run", plate, "--models", "demo", "--prompt", "person, car", "--out", out / "fused"
        )
    with Costing() as apart:
        first = (plate, "--models", "demo", "--prompt", "person, car")
        command_line("stage", "detect", *first, "--out", out / "apart")
        for stage in ("segment", "track", "deliver"):
            command_line("stage", stage, "--out", out / "apart")
    return fused.cost, apart.cost


def run(size: Size) -> Part:
    """The queue, then one longer shot."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = plates(folder / "plates", size)
        plain = one_after_the_other(sources, folder / "plain")
        warm, start = queued(sources, folder / "state")
        frames = 4 * FRAMES[size]
        long = shots.draw("mixed", 40, size=(180, 320), frames=frames).write(folder / "long")
        fused, apart = staged(long, folder)
    count = len(sources)
    rows = (
        ("one program after the other", f"{plain.wall:.0f}", f"{plain.cpu:.0f}"),
        (
            "queued, one worker (start and stop counted)",
            f"{warm.wall:.0f}",
            f"{warm.cpu:.0f}",
        ),
    )
    table = Table(
        f"{count} shots of {FRAMES[size]} frames",
        ("way", "wall s", "CPU s"),
        rows,
        (
            "320 x 180, demo models, one torch thread. CPU seconds of all processes; the server's "
            f"contain checked decoding in processes of its own. It took {start:.1f} s to start.",
        ),
    )
    beside = Table(
        f"One shot of {frames} frames",
        ("way", "wall s", "CPU s"),
        (
            ("fused, delivered beside tracking", f"{fused.wall:.1f}", f"{fused.cpu:.1f}"),
            ("stage after stage, a program each", f"{apart.wall:.1f}", f"{apart.cpu:.1f}"),
        ),
        ("A program each is what a farm pays: models are loaded three times.",),
    )
    summary = (
        f"{count} queued shots take {plain.wall / warm.wall:.2f} times less wall time and "
        f"{plain.cpu / warm.cpu:.2f} times less CPU time than a fresh program each.",
        f"A shot delivered beside tracking takes {apart.wall / fused.wall:.2f} times less wall "
        "time than stage after stage.",
    )
    values = {
        "plain": vars(plain),
        "queued": vars(warm),
        "server_start": start,
        "fused": vars(fused),
        "apart": vars(apart),
    }
    return Part("Throughput", summary, (table, beside), values=values)


if __name__ == "__main__":
    main(run, __doc__)
