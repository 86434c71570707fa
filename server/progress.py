"""Progress and cancellation, as every stage reports them.

The core reports every frame and asks for cancellation once per frame; throttling, time left and
display belong to whoever shows it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from server.errors import CancelledError


@dataclass(frozen=True)
class Progress:
    """One report of a stage.

    The first report of a stage has ``done == 0``, the last one ``done == total``.
    """

    stage: str
    """Name of the stage as the user knows it: ``detect``, ``track forward``, …"""
    done: int
    """Units finished, never falling."""
    total: int
    """Units in all; 0 when not known."""
    unit: str = "frame"
    frame: int | None = None
    """The plate's frame number just finished."""
    message: str = ""


Report = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Take a report and do nothing: the default listener."""


class Cancellation:
    """A flag set from outside (Ctrl-C, a cancelled job) and asked once per frame."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the running work to stop after the current frame."""
        self._event.set()

    def raise_if_cancelled(self) -> None:
        """Stop here if somebody asked for it.

        Raises:
            CancelledError: cancellation was requested.
        """
        if self._event.is_set():
            raise CancelledError("Stopped on request. Finished frames are kept; resume to go on.")
