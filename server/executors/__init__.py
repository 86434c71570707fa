"""Running jobs: who takes them from the store, and the workers that do the work.

``Executor`` is the port. ``local`` runs one worker process per device of this machine, ``ray`` one
per GPU of a Ray cluster; both are ``keeper.JobExecutor`` and differ in where workers are started.
What holds for any executor, and is tested for both:

* A job is claimed under a lease, which is renewed only while its worker shows signs of life. A
  worker that is dead, silent for a lease, or alive but without progress for ``hang_seconds`` is
  ended, and its job goes on with another worker, or fails with the reason after too many.
* A worker writes into its attempt's folder; files become results through the store.
* Waiting jobs go first, one per device. A device that finds none does key frames of stages 1 and 2
  of a running shot, by chunks; whatever happens to it, the bytes are those of one device.
* A cancelled job, and its helpers, stop after the frame they are at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Executor(Protocol):
    """Takes jobs from the store and runs them until it is stopped."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Device of each worker; may grow and shrink."""
        ...

    def start(self) -> None:
        """Begin to take jobs.

        Raises:
            SettingsError: what it needs is not installed or not there.
        """
        ...

    def stop(self) -> None:
        """Take no more, let running frames finish, give their jobs back to the queue."""
        ...

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Have a preview or click order answered by a worker that keeps its models warm.

        Args:
            order: JSON values, see ``server.executors.runner``.

        Raises:
            ServerError: what the worker answered, or BusyError when it died or hung over it.
        """
        ...

    def tidy(self) -> None:
        """Look after workers; called about once a second, before silent ones are looked for.

        Raises:
            ResourceError: what became of a job cannot be written down yet.
        """
        ...
