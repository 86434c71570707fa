"""The method beside two public ones, with the same detector, segmenter and tracker.

*Continuous ids*: detect every 20 frames, join windows by IoU, a way back for what is new.
*First frame*: prompt what the first frame shows and propagate. See ``methods`` for both.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from tests.benchmarks import shots
from tests.benchmarks.measure import Part, Plot, Size, Table, main, one_thread
from tests.benchmarks.methods import Answer, continuous_id, first_frame
from tests.benchmarks.quality import OURS, Backend, Drawn, models_for, shots_for
from tests.benchmarks.scores import COLUMNS, Scores, mean, score

PEERS = {"ours": OURS.run, "continuous ids": continuous_id, "first frame": first_frame}

# 10^9 multiply-adds of SAM 2.1 at 1024, as the ``pipeline`` part counts them: the encoder of tiny
# and large, and one object in one frame with six memories, the mean over a window of twenty frames.
ENCODER = {"tiny": 145.0, "large": 911.0}
OBJECT_FRAME = 266.0 + 1.8 + 5.8


def run(size: Size) -> Part:
    """Oracle and demo models."""
    tables, values, summary = [], {}, []
    plots = []
    for backend in ("oracle", "demo"):
        drawn = shots_for(backend, size)
        found = compare(backend, drawn)
        scores = {name: [s for s, _ in rows] for name, rows in found.items()}
        _, _, picture, frames = drawn[0]
        tables.append(
            Table(
                f"{backend}: {len(drawn)} shots of {frames} frames, {picture[1]} x {picture[0]}",
                ("method", *COLUMNS, *_COSTS),
                tuple(
                    (name, *mean(scores[name]).as_row(), *_cost(name, rows, drawn))
                    for name, rows in found.items()
                ),
                ("J of ours less that of the peer by shot: " + _by_shot(drawn, scores),),
            )
        )
        ours = mean(scores["ours"])
        for peer in ("continuous ids", "first frame"):
            theirs = mean(scores[peer])
            summary.append(
                f"{backend}, against {peer}: J {ours.j:.3f} to {theirs.j:.3f}, IDF1 "
                f"{ours.idf1:.3f} to {theirs.idf1:.3f}, HOTA {ours.hota:.3f} to {theirs.hota:.3f}: "
                + _outcome(ours, theirs)
            )
        values[backend] = {
            name: [{**asdict(s), "cost": dict(c)} for s, c in rows] for name, rows in found.items()
        }
        plots.append(
            Plot(
                f"peers_{backend}",
                f"{backend}: against public methods, same models",
                "mean over shots",
                tuple(found),
                {
                    "J": tuple(mean(rows).j for rows in scores.values()),
                    "IDF1": tuple(mean(rows).idf1 for rows in scores.values()),
                    "HOTA": tuple(mean(rows).hota for rows in scores.values()),
                },
            )
        )
    return Part("Against public methods", tuple(summary), tuple(tables), tuple(plots), values)


_COSTS = ("detections / frame", "object steps / frame", "GMAC tiny", "GMAC large")


def _cost(
    name: str, rows: list[tuple[Scores, Counter[str]]], drawn: list[Drawn]
) -> tuple[str, ...]:
    """Per frame of the shots; encodings as each method makes them with bounded memory."""
    frames = sum(one[3] for one in drawn)
    total = sum((cost for _, cost in rows), Counter())
    if name == "ours":
        encodes = 2.0 * frames  # both passes; half of it where features fit the budget
    else:
        encodes = float(total["window_frames"] + total["stills"] + len(drawn))
    steps = total["object_frames"]
    gmac = [(encodes * e + steps * OBJECT_FRAME) / frames for e in ENCODER.values()]
    return (
        f"{total['detector'] / frames:.2f}",
        f"{steps / frames:.1f}",
        *(f"{value:.0f}" for value in gmac),
    )


def _outcome(ours: Scores, theirs: Scores) -> str:
    lost = [
        name
        for name in ("j", "f", "idf1", "hota")
        if getattr(ours, name) < getattr(theirs, name) - 1e-3
    ]
    lost += ["edge"] if ours.edge > theirs.edge + 0.01 else []
    lost += ["ID switches"] if ours.switches > theirs.switches else []
    lost += ["flicker"] if ours.flicker > theirs.flicker + 1e-3 else []
    names = {"j": "J", "f": "F", "idf1": "IDF1", "hota": "HOTA"}
    if not lost:
        return "ahead in every figure."
    return "**behind in " + ", ".join(names.get(n, n) for n in lost) + "**."


def _by_shot(drawn: list[Drawn], scores: dict[str, list[Scores]]) -> str:
    parts = []
    for peer in ("continuous ids", "first frame"):
        gains = [a.j - b.j for a, b in zip(scores["ours"], scores[peer], strict=True)]
        listed = ", ".join(
            f"{kind} {number} {gain:+.2f}"
            for (kind, number, *_), gain in zip(drawn, gains, strict=True)
        )
        parts.append(f"{peer}: {listed}")
    return "; ".join(parts) + "."


def compare(backend: Backend, drawn: list[Drawn]) -> dict[str, list[tuple[Scores, Counter[str]]]]:
    """Scores and cost of each method on each shot, one process per core."""
    tasks = [(name, backend, one) for one in drawn for name in PEERS]
    found: dict[str, list[tuple[Scores, Counter[str]]]] = {name: [] for name in PEERS}
    with ProcessPoolExecutor(os.cpu_count(), initializer=one_thread) as pool:
        for (name, *_), result in zip(tasks, pool.map(_one, tasks), strict=True):
            found[name].append(result)
    return found


def _one(task: tuple[str, Backend, Drawn]) -> tuple[Scores, Counter[str]]:
    name, backend, (kind, number, size, frames) = task
    shot = shots.draw(kind, number, size=size, frames=frames)
    method: Any = PEERS[name]
    answer: Answer = method(shot, *models_for(backend, shot))
    labels = [np.asarray(plane) for plane in answer.labels]
    return score(shot.labels, labels), answer.cost


if __name__ == "__main__":
    main(run, __doc__)
