"""One training run: schedule, averaged weights, checkpoints, curve.

Shared by the trainers of both demo models. The decision to know: a run is a folder. Started again
on the same folder it goes on where its last checkpoint was, and every random choice depends on the
seed and the step alone, never on the clock or on how often the run was stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from server.errors import InputError, ModelError
from server.models.demo import write_weights


@dataclass(frozen=True)
class Schedule:
    """How long to train and how fast."""

    minutes: float
    """Training time in all, evaluations and saving not counted; a resumed run goes on counting."""
    learning_rate: float
    warmup_steps: int = 100
    floor: float = 0.02
    """Share of the learning rate left at the end of the cosine."""
    average: float = 0.998
    """Decay of the averaged weights per step."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    save_seconds: float = 120.0
    evaluate_seconds: float = 1200.0


class TrainingRun:
    """State of a run in progress; owns optimiser, averaged weights and the run's folder."""

    def __init__(
        self, folder: Path, model: nn.Module, schedule: Schedule, *, rank: int = 0, world: int = 1
    ) -> None:
        """Start a run in a folder, or go on with the one that is there.

        Args:
            folder: gets ``checkpoint.pt``, ``curve.jsonl`` and ``weights.safetensors``.
            model: network to train, in place.
            schedule: length and speed.
            rank: number of this process.
            world: processes that share the gradients; 1 for none.

        Raises:
            ModelError: the folder's checkpoint does not fit the network.
        """
        self.folder, self.model, self.schedule = folder, model, schedule
        self.rank, self.world = rank, world
        self.step, self.seconds = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        decayed = [p for p in self._parameters if p.ndim > 1]
        free = [p for p in self._parameters if p.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.02}, {"params": free, "weight_decay": 0.0}],
            lr=schedule.learning_rate,
            betas=(0.9, 0.98),
        )
        self._checkpoint = folder / "checkpoint.pt"
        self.average = {name: value.clone() for name, value in model.state_dict().items()}
        if self._checkpoint.exists():
            self._resume()
        if world > 1:
            for value in model.state_dict().values():
                torch.distributed.broadcast(value, 0)
        self._started = self._saved = self._evaluated = time.monotonic()
        self._recent: dict[str, list[float]] = {}

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        try:
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelError(
                f"Expected a checkpoint of this network in {self._checkpoint}, found another "
                f"({str(error)[:200]}). Choose a new folder."
            ) from error
        self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]

    @property
    def progress(self) -> float:
        """Part of the schedule done, 0..1; the same in every process."""
        value = torch.tensor([self.seconds / 60 / self.schedule.minutes])
        if self.world > 1:
            torch.distributed.broadcast(value, 0)
        return min(1.0, float(value))

    def update(self, loss: Tensor, parts: Mapping[str, float]) -> None:
        """One optimiser step from a loss; saves when due.

        Args:
            loss: scalar to minimise.
            parts: named figures for the curve.
        """
        schedule, progress = self.schedule, self.progress
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        rate = schedule.learning_rate * (schedule.floor + (1 - schedule.floor) * cosine)
        rate *= min(1.0, (self.step + 1) / schedule.warmup_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.world > 1:
            self._share_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, schedule.clip)
        if torch.isfinite(norm):
            self._optimizer.step()
        self.step += 1
        decay = min(schedule.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)
                else:
                    self.average[name].copy_(value)
        for key, figure in {**parts, "loss": float(loss.detach()), "norm": float(norm)}.items():
            self._recent.setdefault(key, []).append(figure)
        now = time.monotonic()
        self.seconds += now - self._started
        self._started = now
        if self.step % 50 == 0:
            means = {key: round(sum(v) / len(v), 4) for key, v in self._recent.items()}
            self.log({"kind": "train", "rate": float(f"{rate:.3g}"), **means})
            self._recent = {}
        if now - self._saved > schedule.save_seconds:
            self.save()
            self._started = self._saved = time.monotonic()

    def _share_gradients(self) -> None:
        """Average the gradients over all processes."""
        pieces = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self._parameters]
        flat = torch.cat([piece.reshape(-1) for piece in pieces])
        torch.distributed.all_reduce(flat)
        flat /= self.world
        start = 0
        for parameter in self._parameters:
            if parameter.grad is not None:
                part = flat[start : start + parameter.numel()]
                parameter.grad = part.view_as(parameter).clone()
            start += parameter.numel()

    def evaluation_due(self) -> bool:
        """Whether it is time to measure; the caller measures, logs and calls `resume_clock`."""
        due = time.monotonic() - self._evaluated > self.schedule.evaluate_seconds
        if self.world > 1:
            flag = torch.tensor([float(due)])
            torch.distributed.broadcast(flag, 0)
            due = bool(flag)
        return due

    def resume_clock(self) -> None:
        """Count training time from now: what happened since the last step was not training."""
        self._started = self._evaluated = time.monotonic()

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line to ``curve.jsonl`` (first process only)."""
        if self.rank:
            return
        line = {"step": self.step, "minutes": round(self.seconds / 60, 2), **record}
        with (self.folder / "curve.jsonl").open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write checkpoint and averaged weights, each by renaming a finished file into place."""
        if self.rank:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "seconds": self.seconds,
            "schedule": asdict(self.schedule),
        }
        draft = self._checkpoint.with_suffix(".draft")
        torch.save(state, draft)
        os.replace(draft, self._checkpoint)
        write_weights(dict(self.average), self.folder / "weights.safetensors")


def plot_curves(folders: Sequence[Path], path: Path, *, figures: Sequence[str]) -> None:
    """Draw the held-out figures of one run, or of several run after another, over time.

    Args:
        folders: runs in order; minutes add up.
        path: PNG to write.
        figures: keys of the evaluation records to draw.

    Raises:
        InputError: a folder holds no curve.
    """
    from matplotlib.figure import Figure

    picture = Figure(figsize=(9, 4), layout="constrained")
    axes = picture.subplots(1, 2, sharey=True)
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    before = 0.0
    for folder in folders:
        try:
            lines = (folder / "curve.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise InputError(
                f"Expected a run with curve.jsonl in {folder}, found none ({error})."
            ) from error
        last = before
        for record in map(json.loads, lines):
            last = before + record["minutes"]
            for figure in figures:
                if record["kind"] in ("easy", "hard") and figure in record:
                    points.setdefault((record["kind"], figure), []).append((last, record[figure]))
        before = last
    for axis, kind in zip(axes, ("easy", "hard"), strict=True):
        for figure in figures:
            line = points.get((kind, figure), [])
            axis.plot([x for x, _ in line], [y for _, y in line], marker=".", label=figure)
        axis.set_title(f"held-out shots, {kind}")
        axis.set_xlabel("minutes of training")
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=110)
