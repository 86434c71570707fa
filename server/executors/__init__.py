"""Running jobs: who takes them from the store, and the processes that do the work.

``Executor`` is the port; ``local`` runs one worker process per device of this machine. Another
engine keeps to the same rules: claim with a lease, renew it only while the worker lives, write
into the attempt's folder, publish through the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Executor(Protocol):
    """Takes jobs from the store and runs them until it is stopped."""

    devices: tuple[str, ...]

    def start(self) -> None:
        """Begin to take jobs."""
        ...

    def stop(self) -> None:
        """Take no more, let running frames finish, give their jobs back to the queue."""
        ...

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Have a preview or click order answered by a worker that keeps its models warm.

        Args:
            order: JSON values, see ``server.executors.runner``.

        Raises:
            ServerError: what the worker answered, or BusyError when it died over it.
        """
        ...
