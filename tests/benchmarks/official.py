"""The published models on a folder of real shots in DAVIS layout: time per stage, and scores.

    python -m tests.benchmarks.official FOLDER --prompt person [--device auto] [--fetch]

``FOLDER/JPEGImages/[480p/]SHOT/*.jpg`` are the plates; ``FOLDER/Annotations/[480p/]SHOT/*.png``
(label maps, 0 = background) are the truth where they exist. ``--fetch`` brings the models here
first. Scores compare every layer found with every object annotated: a data set that leaves people
out, as DAVIS does, shows them as false layers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.models.loading import ModelSet
from server.pipeline import ShotRequest, run_shot
from server.track import CacheFolder
from tests.benchmarks.measure import Part, Table, as_data, timed
from tests.benchmarks.report import as_markdown
from tests.benchmarks.scores import COLUMNS, score

STAGES = ("detect", "segment", "track forward", "track backward", "deliver", "pictures")
PUBLISHED = (
    "The publication gives 11.9 frames per minute over all stages on an RTX A4000, with stages 1 "
    "and 2 on every frame."
)


def shot_folders(root: Path) -> list[tuple[str, Path, Path | None]]:
    """Name, folder of pictures and folder of annotations (if any) of every shot."""
    pictures = root / "JPEGImages"
    if not pictures.is_dir():
        raise SystemExit(
            f"Expected {pictures} (DAVIS layout: JPEGImages/480p/SHOT/*.jpg), found none."
        )
    found = []
    for folder in sorted({path.parent for path in pictures.rglob("*.jpg")}):
        truth = root / "Annotations" / folder.relative_to(pictures)
        found.append((folder.name, folder, truth if truth.is_dir() else None))
    return found


def run(
    root: Path, *, prompt: str, detector: str, segmenter: str, device: str, most: int | None
) -> Part:
    """All shots of the folder, the models loaded once."""
    models = ModelSet(detector=detector, segmenter=segmenter, device=device, keep=True)
    rows, scored, values = [], [], {}
    total: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    frames = 0
    for name, folder, truth in shot_folders(root)[:most]:
        with tempfile.TemporaryDirectory() as base:
            out = Path(base) / "out"
            request = ShotRequest(
                plate=str(folder / "#####.jpg"),
                prompt=prompt,
                detector=detector,
                segmenter=segmenter,
            )
            result = run_shot(request, out, models=models)
            report: dict[str, Any] = json.loads(result.folder.report.read_text())
            seconds = {s: report["seconds"].get(s, {}).get("wall", 0.0) for s in STAGES}
            values[name] = {
                "frames": report["frames"],
                "objects": len(result.names),
                "seconds": report["seconds"],
                "calls": report["calls"],
                "peak_memory_bytes": report["peak_memory_bytes"],
            }
            if truth is not None:
                found = score(*_maps(out, report, folder, truth))
                values[name]["scores"] = asdict(found)
                scored.append((name, *found.as_row()))
        frames += report["frames"]
        for stage, value in seconds.items():
            total[stage] += value
        rows.append((name, report["frames"], len(result.names), *_rates(seconds, report["frames"])))
    rows.append(("**all**", frames, "", *_rates(total, frames)))
    tables = [
        Table(
            "Frames of the shot per minute and stage",
            ("shot", "frames", "objects", *STAGES, "all"),
            tuple(rows),
            (f"{detector} and {segmenter} on {device}, prompt “{prompt}”. {PUBLISHED}",),
        )
    ]
    if scored:
        tables.append(Table("Against the annotations", ("shot", *COLUMNS), tuple(scored)))
    everything = 60 * frames / max(sum(total.values()), 1e-9)
    summary = (f"{everything:.1f} frames per minute over all stages.",)
    return Part("Published models", summary, tuple(tables), values=values)


def _rates(seconds: dict[str, float], frames: int) -> tuple[str, ...]:
    every = [*seconds.values(), sum(seconds.values())]
    return tuple(f"{60 * frames / value:.1f}" if value else "–" for value in every)


def _maps(
    out: Path, report: dict[str, Any], folder: Path, truth: Path
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint16]]]:
    """Label maps of truth and answer at the annotations' size, frames that are annotated only."""
    size = tuple(report["working_size"])
    groups = max(1, len(report["settings"]["prompt"].split(",")))
    caches = CacheFolder(out / "work" / "backward", groups=groups, size=size)
    true, found = [], []
    for picture in sorted(folder.glob("*.jpg")):
        path = truth / f"{picture.stem}.png"
        if not path.exists():
            continue
        labels = np.array(Image.open(path))
        cache = caches.read(int(picture.stem))
        best = cache.probability.argmax(axis=0)[None]
        layers = np.take_along_axis(cache.layer, best, axis=0)[0]
        ys = ((np.arange(labels.shape[0]) + 0.5) * size[0] / labels.shape[0]).astype(int)
        xs = ((np.arange(labels.shape[1]) + 0.5) * size[1] / labels.shape[1]).astype(int)
        true.append(labels)
        found.append(layers[np.ix_(ys, xs)])
    return true, found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="in DAVIS layout")
    parser.add_argument("--prompt", default="person", help="what to look for (default: person)")
    parser.add_argument("--detector", default="groundingdino-swin-t")
    parser.add_argument("--segmenter", default="sam2.1-large")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--shots", type=int, help="only the first so many")
    parser.add_argument("--fetch", action="store_true", help="fetch the models first")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--out", type=Path, help="write official.json and official.md here too")
    arguments = parser.parse_args()
    if arguments.fetch:
        from client.__main__ import main as segmatte

        for name in (arguments.detector, arguments.segmenter):
            if code := segmatte(["models", "fetch", name]):
                raise SystemExit(code)
    with timed() as clock:
        part = run(
            arguments.folder,
            prompt=arguments.prompt,
            detector=arguments.detector,
            segmenter=arguments.segmenter,
            device=arguments.device,
            most=arguments.shots,
        )
    data = as_data(part, size="full", seconds=clock)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "official.json").write_text(json.dumps(data, indent=1) + "\n")
        (arguments.out / "official.md").write_text(as_markdown(data))
    print(json.dumps(data) if arguments.json else as_markdown(data))


if __name__ == "__main__":
    main()
