"""Correcting a finished shot: one object, re-tracked from one new keyframe.

Only frames between the object's neighbouring keyframes, and at most s_T away, can change; all other
objects are frozen there, and every other frame keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import InputError, PromptError, ResultError
from server.frames import open_plate
from server.pipeline.folder import read_json, write_json
from server.pipeline.request import Models, ShotRequest
from server.pipeline.shot import Shot, ShotResult
from server.progress import Cancellation, Progress, Report, ignore_progress
from server.prompts import ArtistPrompts, Keyframe, PromptedObject, as_data
from server.segment import HALF, BoolImage
from server.track import Layer, MaskCache


def correct_shot(
    out: Path,
    name: str,
    keyframe: Keyframe,
    *,
    models: Models,
    report: Report = ignore_progress,
    cancellation: Cancellation | None = None,
) -> tuple[ShotResult, tuple[int, int]]:
    """Re-track one object of a finished shot from a new keyframe.

    Args:
        out: the shot's result folder, with its work folder.
        name: of the object, as in the manifest.
        keyframe: what the object is on one frame.
        models: the shot's segmenter; no detector is needed.
        report: hears of every frame, stage ``correct`` and then ``pictures``.
        cancellation: asked before anything is written; a correction is short.

    Returns:
        The result, and the first and last frame that may have changed.

    Raises:
        InputError: there is no such object or frame.
        ResultError: the shot is not finished, or its work folder is gone.
        ServerError: as drawn in ``server.errors``.
    """
    stored = read_json(out / "work" / "shot.json")
    request = ShotRequest.from_data(stored["request"])
    cancellation = cancellation or Cancellation()
    with open_plate(
        request.plate, frame_range=request.frame_range, settings=request.plate_settings
    ) as plate:
        shot = Shot(request, plate, out, models, report, cancellation)
        if not shot.folder.report.exists():
            raise ResultError(
                f"The shot in {out} is not finished. Resume it first, then correct it."
            )
        tracker = shot.restore()
        delivery = shot.open_delivery(tracker)
        layer = _find(name, tracker.layers, delivery.plan.naming.names)
        index = _position(keyframe.frame, plate.frames)
        kept = _Corrections(shot.folder.work / "corrections.json")
        first, last = _reach(
            index,
            keyframes=kept.keyframes(name, plate.frames) | set(shot.artist.keyframes.get(name, {})),
            interval=request.track.interval,
            count=len(plate.frames),
        )
        segmenter = shot.segmenter()
        mask = shot.artist.add(layer.number, index, keyframe, segmenter)
        changed = {index: mask}
        for order in (range(index + 1, last + 1), range(index - 1, first - 1, -1)):
            for position, answer in _track(shot, mask, index, order):
                changed[position] = answer >= HALF
                cache = tracker.caches.read(plate.frames[position])
                _replace(cache, layer, answer)
                cancellation.raise_if_cancelled()
                kept.stage(position, cache)
        cache = tracker.caches.read(plate.frames[index])
        cache.lock(layer.group, layer.number, mask)
        kept.stage(index, cache)
        total = len(kept.staged)
        report(Progress("correct", 0, total))
        for done, (position, cache) in enumerate(sorted(kept.staged.items()), 1):
            frame = plate.frames[position]
            tracker.caches.write(frame, cache)
            report(Progress("correct", done, total, frame=frame))
        kept.add(name, keyframe, plate.frames[first], plate.frames[last])
        for position, frame in enumerate(plate.frames):
            delivery.write(frame, tracker.caches.read(frame), again=position in kept.staged)
        shot.pictures()
        result = shot.finish()
        return result, (plate.frames[first], plate.frames[last])


def _find(name: str, layers: Sequence[Layer], names: Any) -> Layer:
    for layer in layers:
        if names.get(layer.number) == name:
            return layer
    known = ", ".join(sorted(names.values())) or "none"
    raise InputError(f"There is no object {name!r} in this shot. It has: {known}.")


def _position(frame: int, frames: Sequence[int]) -> int:
    if frame not in frames:
        raise PromptError(
            f"Frame {frame} is not among the shot's frames {frames[0]}-{frames[-1]}. Correct a "
            "frame of the shot."
        )
    return list(frames).index(frame)


def _reach(index: int, *, keyframes: set[int], interval: int, count: int) -> tuple[int, int]:
    """First and last position a correction at ``index`` may change."""
    before = [k + 1 for k in keyframes if k < index]
    after = [k - 1 for k in keyframes if k > index]
    first = max([0, index - interval, *before])
    last = min([count - 1, index + interval, *after])
    return first, last


def _track(shot: Shot, mask: BoolImage, index: int, order: range) -> Iterator[tuple[int, Any]]:
    """One object from its keyframe through some frames: (position, (H, W) uint16)."""
    if not len(order):
        return
    segmenter = shot.segmenter()
    frames = [shot.plate.frames[i] for i in (index, *order)]
    images = shot.plate.images(frames)
    features = segmenter.encode(next(images))
    window = segmenter.open_window(features, mask[None], reverse=order.step < 0)
    for position, image in zip(order, images, strict=True):
        answers = list(window.step(segmenter.encode(image)))
        yield position, answers[0][0]


def _replace(cache: MaskCache, layer: Layer, answer: Any) -> None:
    """Let one layer be what it is tracked as now; all others keep their pixels.

    Pixels the layer gives up go to their second claim if that is at least 0.5, else to background.
    """
    group, number = layer.group, layer.number
    plane, probability = cache.layer[group], cache.probability[group]
    old = plane == number
    new = (answer >= HALF) & (old | (plane == 0))
    given_up = old & ~new
    cache.forget(group, number)
    heir = np.where(cache.claim_probability[group] >= HALF, cache.claim_layer[group], 0)
    plane[given_up] = heir[given_up]
    probability[given_up] = np.where(heir, cache.claim_probability[group], 0)[given_up]
    plane[new] = number
    probability[new] = answer[new]
    cache.claim(group, number, answer)


class _Corrections:
    """What was corrected already, and what is about to be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = read_json(path)["corrections"] if path.exists() else []
        self.staged: dict[int, MaskCache] = {}

    def keyframes(self, name: str, frames: Sequence[int]) -> set[int]:
        """Positions of an object's earlier corrections."""
        return {list(frames).index(row["frame"]) for row in self._rows if row["object"] == name}

    def stage(self, position: int, cache: MaskCache) -> None:
        """Remember a changed frame until all of them are known."""
        self.staged[position] = cache

    def add(self, name: str, keyframe: Keyframe, first: int, last: int) -> None:
        """Keep a correction for the next one and for the record."""
        prompt = as_data(ArtistPrompts((PromptedObject(name, (keyframe,)),)))["objects"][0]
        self._rows.append(
            {
                "object": name,
                "frame": keyframe.frame,
                "changed": [first, last],
                "keyframe": prompt["keyframes"][0],
            }
        )
        write_json(self._path, {"corrections": self._rows})
