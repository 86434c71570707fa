"""The usual executor: one worker process per device of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from server.executors.keeper import JobExecutor, Site
from server.executors.process import Listener, WorkerProcess, WorkerProgram
from server.jobs.store import Store


class LocalExecutor(JobExecutor):
    """Worker processes on this machine."""

    def __init__(
        self, store: Store, site: Site, *, program: WorkerProgram, devices: tuple[str, ...]
    ) -> None:
        """Nothing is started yet.

        Args:
            store: where jobs are.
            site: folders, roots and limits.
            program: how workers are started.
            devices: one worker each.
        """
        super().__init__(store, site)
        self._program = program
        for number, device in enumerate(devices):
            self.add_keeper(f"{device}#{number}", device)

    def start_worker(self, name: str, device: str, *, listener: Listener) -> WorkerProcess:
        """Start a process."""
        return WorkerProcess(self._program, device, name=name, listener=listener)


def find_devices() -> tuple[str, ...]:
    """Every GPU of this machine, else the CPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([item for item in visible.split(",") if item.strip() not in ("", "-1")])
    else:
        try:
            count = len([p for p in Path("/proc/driver/nvidia/gpus").iterdir() if p.is_dir()])
        except OSError:
            count = 0
    return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)
