"""How good the mattes are, and which of the method's rules earn their place.

Here with the oracle: it answers from the truth with stated errors, so every figure is the method's
own. Each variant changes one rule. ``quality_demo`` does the same with errors that are real.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np

from server.detect import BoxScores
from server.frames import ModelImage
from server.models.oracle import OracleDetector, OracleErrors, OracleSegmenter, ShotTruth
from server.segment import SegmentSettings
from server.track import MatchSettings, TrackSettings
from tests.benchmarks import shots
from tests.benchmarks.measure import Part, Plot, Size, Table, main, one_thread
from tests.benchmarks.methods import (
    Method,
    background_always_may_win,
    background_never_wins,
    background_remembers_nothing,
    young_counts_more,
)
from tests.benchmarks.scores import COLUMNS, Scores, mean, score
from tests.benchmarks.shots import KINDS, Shot

Backend = Literal["oracle", "demo"]

ERRORS = OracleErrors(
    missed=0.1,
    group_boxes=0.3,
    box_jitter=0.02,
    score_spread=0.1,
    edge_pixels=2.0,
    drift_pixels=0.1,
    fade=0.01,
    swaps=0.02,
)
"""How wrong the oracle is in this suite."""

OURS = Method("ours")
VARIANTS = (
    OURS,
    Method("no clean-up", clean=False),
    Method("clean_up = paper", segment=SegmentSettings(clean_up="paper")),
    Method("stage 2 on the first frame only", reprompt="first frame"),
    Method("no backward pass", backward=False),
    Method("ambiguous as a new layer", ambiguous="new layer"),
    Method("background never wins back (paper)", merge=background_never_wins),
    Method("background remembers nothing", merge=background_remembers_nothing),
    Method("background wins from any window", merge=background_always_may_win),
    Method("young windows count more", merge=young_counts_more),
    Method("layers seen once dropped", drop_seen_once=True),
    Method("partial match from 0.4", track=TrackSettings(match=MatchSettings(partial=0.4))),
    Method("s_P = 2", track=TrackSettings(step=2)),
    Method("s_P = 10", track=TrackSettings(step=10)),
    Method("s_P = 20 (windows side by side)", track=TrackSettings(step=20)),
    Method("s_T = 10", track=TrackSettings(interval=10)),
    Method("s_T = 40", track=TrackSettings(interval=40)),
    Method("ε = 0", track=TrackSettings(margin=0.0)),
    Method("ε = 0.05", track=TrackSettings(margin=0.05)),
    Method("ε = 0.2", track=TrackSettings(margin=0.2)),
)


def models_for(backend: Backend, shot: Shot, *, errors: OracleErrors = ERRORS) -> tuple[Any, Any]:
    """Detector and segmenter to answer one shot."""
    if backend == "oracle":
        truth = shot.truth
        return OracleDetector(truth, errors=errors), OracleSegmenter(truth, errors=errors)
    if not _LOADED:
        from server.models import load_detector, load_segmenter

        _LOADED.extend([load_detector("demo-groundingdino"), load_segmenter("demo-sam2")])
    return _LOADED[0], _LOADED[1]


_LOADED: list[Any] = []


Drawn = tuple[str, int, tuple[int, int], int]
"""Kind, number, (H, W) and frames of a shot."""


def shots_for(backend: Backend, size: Size) -> list[Drawn]:
    """Shots a backend is measured on; thirty people at once are the oracle's alone."""
    if backend == "demo":
        each, frames, picture = {
            "quick": (1, 11, (144, 256)),
            "usual": (2, 21, (216, 384)),
            "full": (4, 48, (216, 384)),
        }[size]
        kinds = [kind for kind in KINDS if kind != "crowd"]
        return [(k, n + (k == "mixed"), picture, frames) for n in range(each) for k in kinds]
    each, frames, picture = {
        "quick": (1, 16, (90, 160)),
        "usual": (2, 41, (180, 320)),
        "full": (5, 60, (180, 320)),
    }[size]
    drawn = [(kind, number, picture, frames) for number in range(each) for kind in KINDS]
    return [one for one in drawn if one[0] != "crowd" or one[1] == 0 or size == "full"]


def measure(
    methods: Sequence[Method],
    backend: Backend,
    drawn: Sequence[Drawn],
    *,
    errors: OracleErrors = ERRORS,
) -> dict[str, list[Scores]]:
    """Scores of every method on every shot, one process per core."""
    tasks = [(method, backend, one, errors) for one in drawn for method in methods]
    found: dict[str, list[Scores]] = {method.name: [] for method in methods}
    with ProcessPoolExecutor(os.cpu_count(), initializer=one_thread) as pool:
        for (method, *_), scores in zip(tasks, pool.map(_one, tasks), strict=True):
            found[method.name].append(scores)
    return found


def _one(
    task: tuple[Method, Backend, Drawn, OracleErrors],
) -> Scores:
    method, backend, (kind, number, size, frames), errors = task
    shot = shots.draw(kind, number, size=size, frames=frames)
    detector, segmenter = models_for(backend, shot, errors=errors)
    return score(shot.labels, method.run(shot, detector, segmenter).labels)


class FalseDetector:
    """An oracle that now and then takes something standing around for a person."""

    def __init__(self, truth: ShotTruth, *, real: int, chance: float) -> None:
        self._inner = OracleDetector(truth, errors=OracleErrors())
        self._truth = truth
        self._real = real
        self._chance = chance
        self.name, self.usual_threshold = "oracle", 0.3
        self.calls = self._inner.calls

    def score(self, images: Sequence[ModelImage], categories: Sequence[str]) -> list[BoxScores]:
        return [
            self._some(image, answer)
            for image, answer in zip(images, self._inner.score(images, categories), strict=True)
        ]

    def _some(self, image: ModelImage, answer: BoxScores) -> BoxScores:
        labels = self._truth.labels[self._truth.frames.index(image.frame)]
        keep = []
        for row, box in enumerate(answer.boxes):
            x, y = int(box[[0, 2]].mean()), int(box[[1, 3]].mean())
            inside = labels[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])]
            number = int(np.bincount(inside[inside > 0]).argmax())
            rng = np.random.default_rng([image.frame, x, y])
            if number <= self._real or rng.random() < self._chance:
                keep.append(row)
        return BoxScores(answer.boxes[keep], answer.scores[keep])


def long_shot(frames: int, *, things: int = 20) -> tuple[Shot, int]:
    """Three people and twenty things at rest that a detector may take for people."""
    base = shots.people(3, seed=5, size=(90, 160), frames=frames)
    labels = base.truth.labels.copy()
    rng = np.random.default_rng(12)
    real = int(labels.max())
    for number in range(things):
        y, x = (number // 10) * 12 + 2, (number % 10) * 16 + int(rng.integers(0, 4))
        spot = labels[:, y : y + 9, x : x + 9]
        spot[spot == 0] = real + 1 + number
    truth = ShotTruth(base.truth.frames, labels, ("person",) * (real + things))
    return replace(base, truth=truth), real


def false_detections(size: Size) -> tuple[Table, dict[str, Any]]:
    """Layers against objects over a long shot with 5 % false detections per thing and frame."""
    frames = {"quick": 60, "usual": 500, "full": 2000}[size]
    shot, real = long_shot(frames)
    rows, values = [], {}
    for method in (OURS, replace(OURS, name="layers seen once dropped", drop_seen_once=True)):
        detector = FalseDetector(shot.truth, real=real, chance=0.05)
        answer = method.run(shot, detector, OracleSegmenter(shot.truth))
        layers = len({int(n) for plane in answer.labels for n in np.unique(plane) if n})
        truth = [np.where(plane <= real, plane, 0) for plane in shot.labels]
        found = score(truth, answer.labels)
        rows.append((method.name, frames, real, layers, f"{found.j:.3f}", f"{found.idf1:.3f}"))
        values[method.name] = {"layers": layers, **asdict(found)}
    table = Table(
        "A long shot with false detections",
        ("method", "frames", "objects", "layers", "J", "IDF1"),
        tuple(rows),
        (
            "Oracle without other errors; twenty things at rest are each taken for a person with "
            "chance 5 % per frame. A thing once found is tracked well, as a real tracker would.",
        ),
    )
    return table, values


def run(size: Size) -> Part:
    """Ours without errors, then every variant with them, then the long shot."""
    drawn = shots_for("oracle", size)
    clean = measure([OURS], "oracle", drawn, errors=OracleErrors())
    found = measure(VARIANTS, "oracle", drawn)
    _, _, picture, frames = drawn[0]
    stated = ", ".join(f"{key} {value:g}" for key, value in asdict(ERRORS).items())
    long_table, long_values = false_detections(size)
    tables = (
        Table(
            f"Oracle: {len(drawn)} shots of {frames} frames, {picture[1]} x {picture[0]}",
            ("method", *COLUMNS),
            (
                ("ours, oracle without errors", *mean(clean["ours"]).as_row()),
                *((name, *mean(rows).as_row()) for name, rows in found.items()),
            ),
            (
                f"Errors of the oracle: {stated}.",
                "J + IDF1 against the default, ± two standard errors: "
                + "; ".join(f"{name} {gain}" for name, gain in gains(found).items()),
            ),
        ),
        by_kind("Oracle with errors, ours by kind of shot", drawn, found["ours"]),
        long_table,
    )
    ours, area = mean(clean["ours"]), mean(found["ours"]).area
    summary = (
        f"Without errors the method reaches J {ours.j:.3f}, IDF1 {ours.idf1:.3f}, HOTA "
        f"{ours.hota:.3f}: what is missing is its own.",
        *verdict(found),
        f"Union bias: with errors our layers have {area:.3f} of the truth's area, without "
        f"{ours.area:.3f}.",
    )
    values = {
        "oracle without errors": as_values(clean),
        "oracle": as_values(found),
        "false detections": long_values,
    }
    return Part(
        "Matte quality: the method alone", summary, tables, (bars("oracle", found),), values
    )


def bars(name: str, found: dict[str, list[Scores]]) -> Plot:
    """J and IDF1 of every method."""
    return Plot(
        f"quality_{name}",
        f"{name}: one rule changed at a time",
        "mean over shots",
        tuple(found),
        {
            "J": tuple(mean(rows).j for rows in found.values()),
            "IDF1": tuple(mean(rows).idf1 for rows in found.values()),
        },
    )


def by_kind(title: str, drawn: Sequence[Drawn], found: Sequence[Scores]) -> Table:
    kinds = dict.fromkeys(kind for kind, *_ in drawn)
    return Table(
        title,
        ("kind", *COLUMNS),
        tuple(
            (
                kind,
                *mean([s for (k, *_), s in zip(drawn, found, strict=True) if k == kind]).as_row(),
            )
            for kind in kinds
        ),
    )


def verdict(found: dict[str, list[Scores]]) -> tuple[str, ...]:
    """Which variants beat the default by more than chance, and which do not differ from it."""
    better = [name for name in found if name != "ours" and wins(found[name], found["ours"])]
    worse = [name for name in found if name != "ours" and wins(found["ours"], found[name])]
    same = [name for name in found if name != "ours" and found[name] == found["ours"]]
    return (
        "Better than the default in J + IDF1: " + (", ".join(better) or "nothing") + ".",
        "Worse: " + (", ".join(worse) or "nothing") + ". The rest cannot be told apart.",
        "Not exercised by these shots, every score the same: " + (", ".join(same) or "none") + ".",
    )


def gains(found: dict[str, list[Scores]]) -> dict[str, str]:
    """Paired difference of J + IDF1 to the default, with twice its standard error."""
    written = {}
    for name, rows in found.items():
        if name != "ours":
            gain, error = _gain(rows, found["ours"])
            written[name] = f"{gain:+.3f} ± {2 * error:.3f}"
    return written


def wins(variant: Sequence[Scores], default: Sequence[Scores]) -> bool:
    """Whether J + IDF1 is better by more than two standard errors of the paired difference."""
    gain, error = _gain(variant, default)
    return gain > max(2 * error, 1e-3)


def _gain(variant: Sequence[Scores], default: Sequence[Scores]) -> tuple[float, float]:
    pairs = zip(variant, default, strict=True)
    gain = np.array([v.j + v.idf1 - d.j - d.idf1 for v, d in pairs])
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else float("inf")
    return float(gain.mean()), error


def as_values(found: dict[str, list[Scores]]) -> dict[str, Any]:
    """Scores of every shot as JSON values."""
    return {name: [asdict(one) for one in rows] for name, rows in found.items()}


if __name__ == "__main__":
    main(run, __doc__)
