"""What a run costs: seconds per stage, model calls, peak memory; kept over interruptions."""

from __future__ import annotations

import json
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.track.cache import save_atomically


class Measure:
    """Clocks of one shot. A stage that runs inside another is not counted in the outer one."""

    def __init__(self, path: Path) -> None:
        """Go on with the clocks of an interrupted run, if there are any.

        Args:
            path: JSON file that ``save`` writes.
        """
        self._path = path
        self._wall: Counter[str] = Counter()
        self._cpu: Counter[str] = Counter()
        self._earlier: Counter[str] = Counter()
        self._counters: dict[int, tuple[Counter[str], Counter[str]]] = {}
        self._peak = 0
        self.normalised_pixels = 0
        """Pixels whose coverages added up to more than 1, of all frames written."""
        self._stack: list[tuple[str, float, float]] = []
        if path.exists():
            kept = json.loads(path.read_text())
            self._wall.update(kept["wall"])
            self._cpu.update(kept["cpu"])
            self._earlier.update(kept["calls"])
            self._peak = kept["peak_memory_bytes"]
            self.normalised_pixels = kept["normalised_pixels"]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside as time of a stage."""
        self._pause()
        self._stack.append((name, time.perf_counter(), time.process_time()))
        try:
            yield
        finally:
            self._pause()
            self._stack.pop()
            if self._stack:
                self._restart()

    def _pause(self) -> None:
        if self._stack:
            name, wall, cpu = self._stack[-1]
            self._wall[name] += time.perf_counter() - wall  # type: ignore[assignment]
            self._cpu[name] += time.process_time() - cpu  # type: ignore[assignment]
            self._restart()

    def _restart(self) -> None:
        self._stack[-1] = (self._stack[-1][0], time.perf_counter(), time.process_time())

    def watch(self, calls: Counter[str]) -> None:
        """Count a model's calls from now on."""
        self._counters.setdefault(id(calls), (calls, calls.copy()))

    @property
    def calls(self) -> dict[str, int]:
        """Model calls so far."""
        total = self._earlier.copy()
        for counter, before in self._counters.values():
            total.update(counter - before)
        kinds = ("detector", "image_encoder", "memory_attention", "mask_decoder")
        return {kind: total[kind] for kind in kinds}

    @property
    def peak_memory_bytes(self) -> int:
        """Most memory this process ever held."""
        return max(self._peak, _peak_kilobytes() * 1024)

    @property
    def seconds(self) -> dict[str, dict[str, float]]:
        """Stage → wall and CPU seconds."""
        return {
            name: {"wall": round(self._wall[name], 3), "cpu": round(self._cpu[name], 3)}
            for name in self._wall
        }

    def save(self) -> None:
        """Keep the clocks for a run that goes on later."""
        self._pause()
        data: dict[str, Any] = {
            "wall": self._wall,
            "cpu": self._cpu,
            "calls": self.calls,
            "peak_memory_bytes": self.peak_memory_bytes,
            "normalised_pixels": self.normalised_pixels,
        }
        save_atomically(self._path, json.dumps(data).encode())


def _peak_kilobytes() -> int:
    """Largest resident size; the kernel's own figure, since a child inherits that of ``rusage``."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass  # no such file outside of Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
