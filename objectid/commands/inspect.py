"""``segmatte inspect``: what is in ObjectId files, as a table, as JSON, or a run's report."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from objectid.commands import (
    add_frames,
    add_source,
    chosen_result,
    on_terminal,
    process_count,
    shot_manifest,
)
from objectid.errors import ManifestError, RequestError, StorageError
from objectid.header import read_header
from objectid.manifest import Manifest, ObjectRecord, frame_runs, header_manifest, read_sidecar
from objectid.sequence import Result, over_frames

HELP = "list the objects of a result, a sequence or a file"

_LINE_LIMIT = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    add_source(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs: everything, as JSON")
    form.add_argument("--report", action="store_true", help="summary of the run's report.json")
    parser.add_argument(
        "--quick", action="store_true", help="read headers only: no coverage, faster"
    )
    add_frames(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for.

    Raises:
        ObjectIdError: a file cannot be read.
    """
    if arguments.report:
        print("\n".join(_report_lines(_load_report(arguments.source))))
        return 0
    result, files = chosen_result(arguments)
    content = _describe(result, files, arguments)
    if arguments.json:
        print(json.dumps(content, ensure_ascii=False, indent=1))
    else:
        print("\n".join(_table(content)))
    return 0


def _describe(
    result: Result, files: dict[int, Path], arguments: argparse.Namespace
) -> dict[str, Any]:
    first = read_header(next(iter(files.values())))
    display = first.window("displayWindow")
    names = shot_manifest(result, next(iter(files.values())))
    work = partial(_frame_facts, names=names, quick=arguments.quick, lenient=arguments.lenient)
    processes = 1 if arguments.quick else process_count(arguments.processes, len(files))
    ids: dict[str, int] = {}
    seen: dict[int, list[int]] = {}
    pixels: dict[int, float] = {}
    for frame, (present, found) in over_frames(
        work, files, stage="inspect", processes=processes, report=on_terminal()
    ):
        ids.update(present)
        for number, covered in found.items():
            seen.setdefault(number, []).append(frame)
            pixels[number] = pixels.get(number, 0.0) + covered
    records = _records(result)
    table = {number: name for name, number in ids.items()}
    objects = []
    for number in sorted({*table, *seen}, key=lambda n: (table.get(n, "~"), n)):
        record = records.get(table.get(number, ""))
        frames = seen.get(number, [])
        objects.append(
            {
                "name": table.get(number),
                "id": number,
                "category": record.category if record else None,
                "score": record.score if record else None,
                "frames": [list(run) for run in frame_runs(frames)],
                "frame_count": len(frames),
                "mean_coverage_pixels": (
                    None
                    if arguments.quick or not frames
                    else round(pixels[number] / len(frames), 1)
                ),
            }
        )
    texts = {
        name: first.text(name)
        for name, attribute in first.attributes.items()
        if attribute.type == "string" and name.startswith("segmatte/")
    }
    return {
        "name": result.name,
        "folder": str(result.folder),
        "frames": [list(run) for run in frame_runs(files)],
        "frame_count": len(files),
        "display_window": list(display),
        "pixel_aspect": first.number("pixelAspectRatio"),
        "channels": first.channels,
        "compression": first.compression,
        "alpha": first.text("objectid/alpha") or "over",
        "sidecar": None if result.sidecar is None else str(result.sidecar),
        "attributes": texts,
        "objects": objects,
    }


def _frame_facts(
    frame: int, path: Path, *, names: Manifest, quick: bool, lenient: bool
) -> tuple[dict[str, int], dict[int, float]]:
    """Name → id, and covered pixels of the ids that are there."""
    if quick:
        manifest = header_manifest(read_header(path))
        if manifest is None:
            raise ManifestError("Holds no manifest; look at it without '--quick'.", path=path)
        return dict(manifest.ids), dict.fromkeys(manifest.frame or (), 0.0)
    import numpy as np

    from objectid.frame import read_frame

    file = read_frame(path, names=names, lenient=lenient)
    numbers, index = np.unique(file.frame.ids, return_inverse=True)
    sums = np.bincount(index, weights=file.frame.visible(), minlength=numbers.size)
    found = {int(n): float(s) for n, s in zip(numbers, sums) if n}
    return dict(file.manifest.ids), found


def _records(result: Result) -> dict[str, ObjectRecord]:
    if result.sidecar is None:
        return {}
    return {record.name: record for record in read_sidecar(result.sidecar).objects}


def _table(content: dict[str, Any]) -> list[str]:
    x0, y0, x1, y1 = content["display_window"]
    lines = [
        f"{content['name'] or content['folder']}: {content['frame_count']} frames, "
        f"{_runs(content['frames'])}, {x1 - x0} x {y1 - y0}, pixel aspect "
        f"{content['pixel_aspect']:g}",
        f"{content['compression']}, channels {' '.join(content['channels'])}, alpha "
        f"{content['alpha']}, sidecar {content['sidecar'] or 'none'}",
    ]
    lines += [f"{name}: {text}" for name, text in content["attributes"].items()]
    if not content["objects"]:
        return [*lines, "No objects."]
    rows = [("name", "id", "frames", "count", "pixels", "score")]
    for entry in content["objects"]:
        pixels, score = entry["mean_coverage_pixels"], entry["score"]
        rows.append(
            (
                entry["name"] or "(no name)",
                str(entry["id"]),
                _runs(entry["frames"]) or "none",
                str(entry["frame_count"]),
                "-" if pixels is None else f"{pixels:.0f}",
                "-" if score is None else f"{score:.2f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2])]
        cells += [cell.rjust(width) for cell, width in zip(row[3:], widths[3:])]
        lines.append("  ".join(cells).rstrip())
    return lines


def _runs(runs: list[list[int]]) -> str:
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    more = [f"and {len(texts) - 4} more"] if len(texts) > 4 else []
    return ",".join([*texts[:4], *more])


def _load_report(source: Path) -> dict[str, Any]:
    path = source / "report.json" if source.is_dir() else source
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"Cannot be read: {error.strerror or error}.", path=path) from error
    except ValueError as error:
        raise RequestError(f"Is no report: {error}.", path=path) from error
    if not isinstance(content, dict):
        raise RequestError("Is no report.", path=path)
    return content


def _report_lines(content: dict[str, Any]) -> list[str]:
    """A report of whatever content: values as they are, lists by their length."""
    lines = []
    for key, value in content.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            shown = list(value.items())[:_LINE_LIMIT]
            lines += [f"  {name}: {_short(item)}" for name, item in shown]
            if len(value) > _LINE_LIMIT:
                lines.append(f"  … {len(value) - _LINE_LIMIT} more")
        else:
            lines.append(f"{key}: {_short(value)}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in list(value.items())[:6])
    return f"{value:.6g}" if isinstance(value, float) else str(value)
