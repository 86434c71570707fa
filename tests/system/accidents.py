"""An engine that meets with accidents in the middle of a shot, wherever its worker runs.

It is told of them by a file in the workers' scratch folder: a worker on another node has not the
test's environment.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from server.executors.chunks import SharingEngine

ENGINE = f"{__name__}:AccidentEngine"


@dataclass(frozen=True)
class Accident:
    """What happens, to whom and when."""

    kind: str = ""
    """``kill``, ``hang`` (alive, but stuck in one call), ``fail``; empty: nothing."""
    who: str = ""
    """``helper`` or ``owner`` of a shared shot; ``alone``: the run of a whole shot."""
    stage: str = ""
    after: int = 1
    """Frames of the stage this worker has finished before."""
    often: bool = False
    """Every time, instead of once in all."""
    seconds: float = 0.0
    """Pause at every frame of stages 1 and 2, so that they are worth sharing."""
    tracking_seconds: float = 0.0
    """Pause at every frame of what comes after them."""

    def plan(self, state: Path) -> None:
        """Have it happen to the workers of a server."""
        folder = Path(state) / "jobs" / ".scratch"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "accident.json").write_text(json.dumps(asdict(self)))


class AccidentEngine(SharingEngine):
    """The real pipeline on the CPU, until the accident."""

    def __init__(self, device):
        super().__init__("cpu")

    def run(self, work, *, report, cancellation, warn):
        report = _meeting(report, "alone")
        return super().run(work, report=report, cancellation=cancellation, warn=warn)

    def open_shared(self, work, *, part):
        shot = super().open_shared(work, part=part)
        do, who = shot.do, "helper" if part else "owner"

        def watched(frames, *, report, **more):
            do(frames, report=_meeting(report, who), **more)

        shot.do = watched
        return shot


def _meeting(report, who):
    folder = Path(os.environ["TMPDIR"])
    try:
        accident = Accident(**json.loads((folder / "accident.json").read_text()))
    except FileNotFoundError:
        return report
    finished = 0

    def watched(progress):
        nonlocal finished
        report(progress)
        if progress.frame is None:
            return
        shared = progress.stage in ("detect", "segment")
        time.sleep(accident.seconds if shared else accident.tracking_seconds)
        if (who, progress.stage) != (accident.who, accident.stage):
            return
        finished += 1
        if finished > accident.after and (accident.often or _first(folder)):
            time.sleep(0.1)  # let the message out
            if accident.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif accident.kind == "hang":
                time.sleep(10_000)
            raise MemoryError

    return watched


def _first(folder):
    try:
        (folder / "accident-happened").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
