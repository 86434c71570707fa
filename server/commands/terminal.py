"""Progress on a terminal: a bar per stage with frames per minute and time left."""

from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from server.progress import Cancellation, Progress

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


@contextmanager
def interruptible(cancellation: Cancellation, bars: ProgressBars) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop after the current frame; a second one stops at once."""

    def stop(number: int, frame: Any) -> None:
        del frame
        signal.signal(number, previous[signal.Signals(number)])
        bars.interrupt()
        print("Stopping after this frame; press Ctrl-C again to stop at once.", file=sys.stderr)
        cancellation.cancel()

    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def program() -> str:
    """How the user called this program, for commands to try next: ``.venv/bin/segmatte``."""
    called = sys.argv[0]
    return called if called.endswith("segmatte") else "segmatte"


def silence_packages() -> None:
    """Keep remarks of other packages about their own code off the user's terminal."""
    for package in ("timm", "transformers", "torch", "groundingdino", "sam2"):
        for category in (FutureWarning, UserWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"{package}(\..*)?")
