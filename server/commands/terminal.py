"""Progress on a terminal: a bar per stage with frames per minute and time left."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from server.progress import Progress

_WIDTH = 28
_UPDATES_PER_SECOND = 4


class ProgressBars:
    """Draws reports as they come: a live bar on a terminal, a line per stage in a log file."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._stage = ""
        self._start = 0.0
        self._first = 0
        self._drawn = 0.0

    def __call__(self, progress: Progress) -> None:
        """Take one report."""
        now = time.monotonic()
        if progress.stage != self._stage:
            self._stage, self._start, self._first = progress.stage, now, progress.done
            self._drawn = 0.0
        finished = progress.total > 0 and progress.done >= progress.total
        if finished or (self._live and now - self._drawn >= 1 / _UPDATES_PER_SECOND):
            self._drawn = now
            line = describe(progress, seconds=now - self._start, since=self._first)
            if self._live:
                self._stream.write(f"\r\x1b[K{line}" + ("\n" if finished else ""))
            else:
                self._stream.write(line + "\n")
            self._stream.flush()

    def interrupt(self) -> None:
        """Leave the current bar as it is and begin a new line."""
        if self._live and self._stage:
            self._stream.write("\n")


def describe(progress: Progress, *, seconds: float, since: int = 0) -> str:
    """One line for a report.

    Args:
        progress: the report.
        seconds: since the stage began.
        since: frames that were finished before it began.
    """
    done, total = progress.done, progress.total
    share = done / total if total else 0.0
    bar = "#" * round(_WIDTH * share)
    text = f"{progress.stage:<15} [{bar:<{_WIDTH}}] {done}/{total} frames"
    fresh = done - since
    if fresh > 0 and seconds > 0:
        per_minute = 60 * fresh / seconds
        text += f"  {per_minute:.0f} frames/min"
        if done < total:
            text += f"  {duration((total - done) / fresh * seconds)} left"
        else:
            text += f"  in {duration(seconds)}"
    return text


def duration(seconds: float) -> str:
    """A time as people say it: ``8 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
