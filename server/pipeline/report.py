"""``report.json`` and the sidecar: what was found, what was left out, and what it cost."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

from objectid import ObjectRecord, Sidecar, frame_runs
from server.deliver import Delivery
from server.frames import Plate
from server.pipeline.measure import Measure
from server.pipeline.request import ShotRequest
from server.segment import Rejection
from server.track import Layer

SCHEMA = "segmatte/report/1"
_PACKAGES = (
    "segmatte",
    "torch",
    "sam2",
    "groundingdino-py",
    "transformers",
    "numpy",
    "opencv-python-headless",
    "OpenImageIO",
    "opencolorio",
)


def build_report(
    *,
    request: ShotRequest,
    plate: Plate,
    size: tuple[int, int],
    layers: Sequence[Layer],
    delivery: Delivery,
    rejections: Iterable[Rejection],
    untracked: Mapping[int, Sequence[int]],
    left_out: Mapping[int, Sequence[int]],
    weights: Mapping[str, Mapping[str, Any]],
    measure: Measure,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The report of a finished shot as JSON values; its schema is ``report.schema.json``."""
    names = delivery.plan.naming.names
    untracked_frames: dict[int, list[int]] = {}
    for frame, numbers in untracked.items():
        for number in numbers:
            untracked_frames.setdefault(number, []).append(frame)
    return {
        "schema": SCHEMA,
        "frames": len(plate.frames),
        "plate": plate.describe(),
        "working_size": list(size),
        "seconds": measure.seconds,
        "calls": measure.calls,
        "peak_memory_bytes": measure.peak_memory_bytes,
        "rejected": [
            {
                "frame": r.frame,
                "box": [round(v, 2) for v in r.box],
                "score": round(r.score, 4),
                "category": r.category,
                "reason": r.reason,
            }
            for r in sorted(rejections, key=lambda r: (r.frame, -r.score, r.box))
        ],
        "layers": [
            {
                "name": names[layer.number],
                "frames": [list(run) for run in frame_runs(delivery.records[layer.number].frames)],
                "mean_probability": round(delivery.records[layer.number].mean_probability, 4),
                "untracked": sorted(untracked_frames.get(layer.number, [])),
            }
            for layer in layers
            if layer.number in names
        ],
        "not_prompted": {
            str(frame): [names[n] for n in numbers if n in names]
            for frame, numbers in sorted(left_out.items())
        },
        "normalised_pixels": measure.all_normalised_pixels,
        "inheritance": [asdict(row) for row in delivery.plan.naming.inheritance],
        "settings": request.as_data(),
        "weights": dict(weights),
        "versions": versions(),
        "warnings": [*plate.warnings, *notes],
    }


def versions() -> dict[str, str]:
    """Program, packages and machine, as far as they can change a result."""
    found = {"python": platform.python_version(), "machine": f"{sys.platform} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def build_sidecar(
    *,
    name: str,
    request: ShotRequest,
    layers: Sequence[Layer],
    delivery: Delivery,
    rejections: Iterable[Rejection],
    weights: Mapping[str, Mapping[str, Any]],
) -> Sidecar:
    """The shot's manifest with everything later tools want to know of its objects.

    Nothing in it depends on when or where the run took place, so a resumed run gives the same
    bytes.
    """
    plan = delivery.plan
    records = []
    for layer in layers:
        if layer.number not in plan.naming.names:
            continue
        own = plan.naming.names[layer.number]
        found = delivery.records[layer.number]
        records.append(
            ObjectRecord(
                name=own,
                id=plan.ids[own],
                category="" if layer.artist else layer.category,
                frames=frame_runs(found.frames),
                score=None if layer.artist else round(layer.score, 4),
                extra={
                    "mean_probability": round(found.mean_probability, 4),
                    "artist": layer.artist,
                },
            )
        )
    data = request.as_data()
    return Sidecar(
        name,
        tuple(records),
        extra={
            "used_numbers": dict(sorted(plan.naming.used_numbers.items())),
            "prompts": {"text": request.prompt, "artist": data["artist"]},
            "provenance": {"weights": dict(weights)},
            "rejected": [
                {"frame": r.frame, "category": r.category, "reason": r.reason}
                for r in sorted(rejections, key=lambda r: (r.frame, -r.score, r.box))
            ],
            "inheritance": [asdict(row) for row in plan.naming.inheritance],
        },
    )
