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
    """Clocks of one shot. A stage that runs inside another is not counted in the outer one.

    Every process of a farm keeps a file of its own; what is told is the sum of all of them.
    """

    def __init__(self, folder: Path, part: str = "") -> None:
        """Go on with the clocks of an interrupted run, if there are any.

        Args:
            folder: of the files that ``save`` writes.
            part: what this process does of a shot, ``segment.1001``; empty: all of it.
        """
        self._path = folder / (f"measure.{part}.json" if part else "measure.json")
        self._wall: Counter[str] = Counter()
        self._cpu: Counter[str] = Counter()
        self._earlier: Counter[str] = Counter()
        self._counters: dict[int, tuple[Counter[str], Counter[str]]] = {}
        self._peak = 0
        self.normalised_pixels = 0
        """Pixels whose coverages added up to more than 1, of the frames this process wrote."""
        self._stack: list[tuple[str, float, float]] = []
        self._others: list[dict[str, Any]] = []
        for path in sorted(folder.glob("measure*.json")):
            kept = json.loads(path.read_text())
            if path != self._path:
                self._others.append(kept)
                continue
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

    def beside(self, name: str, *, wall: float, cpu: float) -> None:
        """Count what another thread did beside the running stage, whose CPU time it is not.

        Args:
            name: its stage.
            wall: seconds it took; they overlap with those of the running stage.
            cpu: seconds of its thread.
        """
        self._wall[name] += wall  # type: ignore[assignment]
        self._cpu[name] += cpu  # type: ignore[assignment]
        if self._stack:
            self._cpu[self._stack[-1][0]] -= cpu  # type: ignore[assignment]

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
        total = self._own_calls()
        for other in self._others:
            total.update(other["calls"])
        kinds = ("detector", "image_encoder", "memory_attention", "mask_decoder")
        return {kind: total[kind] for kind in kinds}

    @property
    def peak_memory_bytes(self) -> int:
        """Most memory a process of this shot ever held."""
        return max([self._own_peak(), *(int(o["peak_memory_bytes"]) for o in self._others)])

    @property
    def all_normalised_pixels(self) -> int:
        """Pixels whose coverages added up to more than 1, of all frames."""
        return self.normalised_pixels + sum(int(o["normalised_pixels"]) for o in self._others)

    @property
    def seconds(self) -> dict[str, dict[str, float]]:
        """Stage → wall and CPU seconds."""
        wall, cpu = self._wall.copy(), self._cpu.copy()
        for other in self._others:
            wall.update(other["wall"])
            cpu.update(other["cpu"])
        return {name: {"wall": round(wall[name], 3), "cpu": round(cpu[name], 3)} for name in wall}

    def save(self) -> None:
        """Keep this process's clocks for a run that goes on later."""
        self._pause()
        data: dict[str, Any] = {
            "wall": self._wall,
            "cpu": self._cpu,
            "calls": self._own_calls(),
            "peak_memory_bytes": self._own_peak(),
            "normalised_pixels": self.normalised_pixels,
        }
        save_atomically(self._path, json.dumps(data).encode())

    def _own_calls(self) -> Counter[str]:
        total = self._earlier.copy()
        for counter, before in self._counters.values():
            total.update(counter - before)
        return total

    def _own_peak(self) -> int:
        return max(self._peak, _peak_kilobytes() * 1024)


def _peak_kilobytes() -> int:
    """Largest resident size; the kernel's own figure, since a child inherits that of ``rusage``."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass  # no such file outside of Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
