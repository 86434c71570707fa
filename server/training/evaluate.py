"""How good the demo models are, measured on drawn shots they were not trained on.

Every figure stands beside what it has to beat: tracking beside the first mask kept still, prompt
following beside the overlap of the answers to two different prompts. Shots come from
`server.training.plates.draw_shot`: figures, sets and paths of their own seeds, and a second style
of drawing on request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from server.training.plates import (
    CATEGORIES,
    TRAINING_STYLE,
    DrawnFrame,
    DrawnShot,
    Style,
    draw_shot,
)

if TYPE_CHECKING:
    from server.pipeline import Models

Masks = npt.NDArray[np.bool_]

HELD_OUT_SEED = 1_000_000
"""Shots for measuring count their seeds from here."""

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 sRGB to the normalised (N, 3, H, W) float32 both networks expect."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return (pixels / 255 - MEAN) / DEVIATION


def iou(first: Masks, second: Masks) -> float:
    """Intersection by union of two masks; 0 when both are empty."""
    return float((first & second).sum() / max(1, int((first | second).sum())))


# ---------------------------------------------------------------- segmenter


class FrameFeatures:
    """Features of a batch of frames, encoded once, for any choice of frames and objects."""

    def __init__(self, model: Any, images: Tensor) -> None:
        encoded = model.forward_image(images)
        _, self._features, self._positions, self._sizes = model._prepare_backbone_features(encoded)  # noqa: SLF001

    def of(self, frames: Sequence[int] | Tensor) -> tuple[list[Tensor], list[Tensor], list[Any]]:
        """Features, position codes and sizes with one entry of the batch per object."""
        index = torch.as_tensor(frames)
        return (
            [level[:, index] for level in self._features],
            [level[:, index] for level in self._positions],
            self._sizes,
        )


def box_prompts(
    masks: Masks, rng: np.random.Generator, *, jitter: float = 0.02
) -> dict[str, Tensor]:
    """Boxes around (K, H, W) masks as the package's point prompts, each side off by `jitter`."""
    corners = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
        extent = np.array([box[2] - box[0], box[3] - box[1]] * 2)
        corners.append((box + rng.normal(0, jitter, 4) * extent).clip(0, mask.shape[1]))
    points = torch.tensor(np.array(corners), dtype=torch.float32).reshape(-1, 2, 2)
    labels = torch.tensor([[2, 3]], dtype=torch.int32).expand(len(points), 2)
    return {"point_coords": points, "point_labels": labels}


def point_prompts(masks: Masks, rng: np.random.Generator, *, count: int = 1) -> dict[str, Tensor]:
    """Random points inside (K, H, W) masks."""
    points = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        chosen = rng.integers(0, len(rows), count)
        points.append(np.stack([columns[chosen] + 0.5, rows[chosen] + 0.5], 1))
    coords = torch.tensor(np.array(points), dtype=torch.float32)
    return {
        "point_coords": coords,
        "point_labels": torch.ones(len(coords), count, dtype=torch.int32),
    }


def _held_out_shot(number: int, *, side: int, frames: int, level: float, style: Style) -> DrawnShot:
    """A shot as the segmenter sees it: square, every second one a squeezed 16:9 picture."""
    return draw_shot(
        HELD_OUT_SEED + number,
        size=(side, side),
        frames=frames,
        level=level,
        pixel_aspect=1.0 if number % 2 else 16 / 9,
        style=style,
    )


PROMPTED_VISIBILITY = 0.4
"""Objects are prompted, and must be detected, when this share of them is seen."""


def _first_frame_objects(
    frame: DrawnFrame, labels: npt.NDArray[np.uint8], share: float
) -> list[int]:
    """Ids large and visible enough for somebody to prompt them."""
    counts = np.bincount(labels.ravel(), minlength=2)
    return [
        k
        for k in range(1, len(counts))
        if counts[k] >= share * labels.size
        and frame.truths[k - 1].visibility >= PROMPTED_VISIBILITY
    ]


@torch.inference_mode()
def measure_prompts(
    model: Any,
    *,
    shots: int,
    level: float,
    style: Style = TRAINING_STYLE,
    share: float = 0.003,
) -> dict[str, float]:
    """Prompt following on single frames.

    Args:
        model: SAM 2 network in evaluation mode.
        shots: number of shots, one frame each.
        level: how hard they are.
        style: how they are drawn.
        share: objects under this share of the picture are left out (0.003 is 14 x 14 of 256).

    Returns:
        Mean IoU ``box`` and ``point``, and ``two_boxes``, ``two_points``: the overlap of the
        answers to two different objects' prompts, which should be nothing.
    """
    side = model.image_size
    found: dict[str, list[float]] = {"box": [], "two_boxes": [], "point": [], "two_points": []}
    for number in range(shots):
        shot = _held_out_shot(number, side=side, frames=48, level=level, style=style)
        frame = shot.frame(24)
        labels = frame.labels()
        objects = _first_frame_objects(frame, labels, share)
        if not objects:
            continue
        masks = np.stack([labels == k for k in objects])
        rng = np.random.default_rng([number, 5])
        features = FrameFeatures(model, to_tensor(frame.pixels[None])).of([0] * len(objects))
        for name, prompts in (
            ("box", box_prompts(masks, rng)),
            ("point", point_prompts(masks, rng)),
        ):
            result = model.track_step(
                0, True, *features, prompts, None, _empty_state(), 1, run_mem_encoder=False
            )
            answers = (result["pred_masks_high_res"][:, 0] > 0).numpy()
            found[name] += [iou(a, b) for a, b in zip(answers, masks, strict=True)]
            pairs = [(a, b) for a in range(len(objects)) for b in range(a)]
            plural = "two_boxes" if name == "box" else "two_points"
            found[plural] += [iou(answers[a], answers[b]) for a, b in pairs]
    return _means(found) | {"objects": float(len(found["box"]))}


@torch.inference_mode()
def measure_tracking(
    model: Any,
    *,
    shots: int,
    level: float,
    style: Style = TRAINING_STYLE,
    frames: int = 21,
    at: Sequence[int] = (1, 4, 8, 20),
    share: float = 0.003,
) -> dict[str, float]:
    """Tracking from the true mask of a first frame.

    Args:
        model: SAM 2 network in evaluation mode.
        shots: number of shots.
        level: how hard they are.
        style: how they are drawn.
        frames: length tracked, the prompt's frame included.
        at: frames after the prompt that are reported alone.
        share: objects under this share of the picture are left out, in each frame anew.

    Returns:
        Mean IoU ``frame_N``, ``mean``; the same for the first mask kept still, ``still_N``,
        ``still``; ``two_tracks``, the overlap of two objects' answers; ``gone``, the share of
        pictures without the object in which nothing is answered.
    """
    side = model.image_size
    found: dict[str, list[float]] = {"mean": [], "still": [], "two_tracks": [], "gone": []}
    found |= {f"{name}_{n}": [] for name in ("frame", "still") for n in at}
    for number in range(shots):
        shot = _held_out_shot(number + 500, side=side, frames=48, level=level, style=style)
        drawn = [shot.frame(12 + index) for index in range(frames)]
        labels = [frame.labels() for frame in drawn]
        objects = _first_frame_objects(drawn[0], labels[0], share)
        if not objects:
            continue
        first = np.stack([labels[0] == k for k in objects])
        state = _empty_state()
        for index, frame in enumerate(drawn):
            features = FrameFeatures(model, to_tensor(frame.pixels[None])).of([0] * len(objects))
            prompt = torch.from_numpy(first[:, None]).float() if index == 0 else None
            result = model.track_step(index, index == 0, *features, None, prompt, state, frames)
            key = "cond_frame_outputs" if index == 0 else "non_cond_frame_outputs"
            state[key][index] = result
            if index == 0:
                continue
            answers = (result["pred_masks_high_res"][:, 0] > 0).numpy()
            for k, object_id in enumerate(objects):
                truth = labels[index] == object_id
                if not truth.any():
                    found["gone"].append(float(answers[k].sum() < share * truth.size))
                if truth.sum() < share * truth.size:
                    continue
                value, still = iou(answers[k], truth), iou(first[k], truth)
                found["mean"].append(value)
                found["still"].append(still)
                if index in at:
                    found[f"frame_{index}"].append(value)
                    found[f"still_{index}"].append(still)
            pairs = [(a, b) for a in range(len(objects)) for b in range(a)]
            found["two_tracks"] += [iou(answers[a], answers[b]) for a, b in pairs]
    return _means(found) | {"tracks": float(len(found["mean"]))}


def _empty_state() -> dict[str, dict[int, Any]]:
    return {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}


def _means(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {key: round(float(np.mean(values)), 4) for key, values in found.items() if values}


# ---------------------------------------------------------------- whole shots


@dataclass(frozen=True)
class ShotScore:
    """How well layers found in a shot agree with its truth."""

    region: float
    """J: IoU of each object with the layer that stands for it, mean over the frames it is seen
    in, then over objects."""
    identity: float
    """IDF1: 2 x true identities / (objects in frames + layers in frames)."""
    true_identities: int
    truth_instances: int
    answer_instances: int


def score_shot(
    truth: Sequence[npt.NDArray[np.integer[Any]]],
    answer: Sequence[npt.NDArray[np.integer[Any]]],
    *,
    share: float = 0.001,
) -> ShotScore:
    """Compare label maps over a shot.

    One layer stands for one object over the whole shot: the assignment with most frames in which
    both masks have IoU >= 0.5, then the largest sum of IoU. Objects under `share` of a frame do
    not count there, and neither does a layer that lies on them by half or more.

    Args:
        truth: (H, W) ids per frame, 0 = background.
        answer: (H', W') ids per frame; brought to the size of the truth, nearest.
        share: smallest part of a frame that counts.
    """
    overlaps: dict[tuple[int, int], list[float]] = {}
    seen: dict[int, int] = {}
    layers = 0
    for true_map, answer_map in zip(truth, answer, strict=True):
        answer_map = _resized(answer_map, true_map.shape[:2])
        objects, sizes = np.unique(true_map[true_map > 0], return_counts=True)
        large = sizes >= share * true_map.size
        small = objects[~large]
        for object_id in objects[large]:
            seen[int(object_id)] = seen.get(int(object_id), 0) + 1
        for layer in np.unique(answer_map[answer_map > 0]):
            mask = answer_map == layer
            if mask.sum() < share * mask.size or np.isin(true_map[mask], small).mean() >= 0.5:
                continue
            layers += 1
            for object_id in objects[large]:
                value = iou(mask, true_map == object_id)
                if value:
                    overlaps.setdefault((int(object_id), int(layer)), []).append(value)
    objects_list = sorted(seen)
    layer_list = sorted({layer for _, layer in overlaps})
    hits = np.zeros((len(objects_list), len(layer_list)))
    sums = np.zeros_like(hits)
    for (object_id, layer), values in overlaps.items():
        place = objects_list.index(object_id), layer_list.index(layer)
        hits[place] = sum(value >= 0.5 for value in values)
        sums[place] = sum(values)
    rows, columns = linear_sum_assignment(-(hits + 1e-4 * sums))
    true_identities = int(hits[rows, columns].sum())
    regions = dict.fromkeys(objects_list, 0.0)
    for row, column in zip(rows, columns, strict=True):
        regions[objects_list[row]] = float(sums[row, column]) / seen[objects_list[row]]
    instances = sum(seen.values())
    return ShotScore(
        region=float(np.mean(list(regions.values()))) if regions else 1.0,
        identity=2 * true_identities / max(1, instances + layers),
        true_identities=true_identities,
        truth_instances=instances,
        answer_instances=layers,
    )


def _resized(labels: npt.NDArray[np.integer[Any]], size: tuple[int, int]) -> npt.NDArray[Any]:
    if labels.shape[:2] == size:
        return labels
    values = labels.astype(np.float32)
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


def mixed_shot(
    number: int,
    *,
    shots: int = 30,
    size: tuple[int, int] = (360, 640),
    frames: int = 48,
    style: Style = TRAINING_STYLE,
) -> DrawnShot:
    """One of the shots the whole pipeline is measured on, from the easiest to the hardest.

    Args:
        number: 0 to ``shots - 1``; the level rises with it from 0 to 1.
        shots: how many there are.
        size: H, W of the plate.
        frames: length.
        style: how it is drawn.
    """
    level = number / max(1, shots - 1)
    seed = HELD_OUT_SEED + 4000 + number
    return draw_shot(seed, size=size, frames=frames, level=level, style=style)


def summary(scores: Sequence[ShotScore]) -> dict[str, float]:
    """``J``, mean over shots, and ``IDF1`` over all shots together."""
    instances = sum(score.truth_instances + score.answer_instances for score in scores)
    return {
        "J": round(float(np.mean([score.region for score in scores])), 4),
        "IDF1": round(2 * sum(s.true_identities for s in scores) / max(1, instances), 4),
        "shots": float(len(scores)),
    }


def pipeline_labels(
    shot: DrawnShot, folder: Path, *, models: Models
) -> list[npt.NDArray[np.uint16]]:
    """What the whole pipeline makes of a shot, as a label map for each frame.

    Args:
        shot: written as an 8-bit sRGB plate.
        folder: empty; gets the plate and the result.
        models: see `server.pipeline.run_shot`.

    Returns:
        (H, W) uint16 per frame: the strongest layer where all layers cover half or more.
    """
    import objectid
    from server.pipeline import ShotRequest, run_shot

    for frame in shot:
        cv2.imwrite(str(folder / f"plate.{1001 + frame.index}.png"), frame.pixels[..., ::-1])
    request = ShotRequest(
        plate=str(folder / "plate.####.png"),
        prompt=", ".join(CATEGORIES),
        detector="demo-groundingdino",
        segmenter="demo-sam2",
    )
    out = folder / "result"
    run_shot(request, out, models=models)
    maps = []
    for index in range(len(shot)):
        file = objectid.read_frame(out / "objectid" / f"plate.{1001 + index}.exr")
        best = np.zeros(shot.size, np.float32)
        total, labels = np.zeros_like(best), np.zeros(shot.size, np.uint16)
        for layer, number in enumerate(sorted(file.manifest.ids.values()), 1):
            matte = np.asarray(objectid.pick(file.frame, [number]), np.float32)
            total += matte
            labels[matte > best] = layer
            best = np.maximum(best, matte)
        labels[total < 0.5] = 0
        maps.append(labels)
    return maps


# ---------------------------------------------------------------- detector


@dataclass(frozen=True)
class BoxTruth:
    """Boxes of a frame: those that must be found, and those that may be."""

    boxes: npt.NDArray[np.float32]
    """(N, 4) x0 y0 x1 y1 in pixels."""
    categories: tuple[str, ...]
    required: npt.NDArray[np.bool_]
    """(N,) False for objects too small or too hidden to count either way."""


def box_truth(
    frame: DrawnFrame,
    shot: DrawnShot,
    *,
    smallest: float = 24.0,
    visibility: float = PROMPTED_VISIBILITY,
) -> BoxTruth:
    """The boxes a detector should find in a drawn frame.

    Args:
        frame: a frame of `shot`.
        shot: tells the objects' categories.
        smallest: longest side, in pixels, from which an object must be found.
        visibility: seen share from which an object must be found.
    """
    boxes = frame.boxes()
    ids = sorted(boxes)
    array = np.array([boxes[k] for k in ids], np.float32).reshape(-1, 4)
    longest = (array[:, 2:] - array[:, :2]).max(1) if len(ids) else np.zeros(0)
    seen = np.array([frame.truths[k - 1].visibility for k in ids])
    required = np.asarray((longest >= smallest) & (seen >= visibility), bool)
    return BoxTruth(array, tuple(shot.objects[k - 1].category for k in ids), required)


def box_iou(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(N, M) IoU of two sets of boxes."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (first, second)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6))


def nms(boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], limit: float) -> list[int]:
    """Indices that remain, best first, when boxes over `limit` IoU with a better one go."""
    order = list(np.argsort(-scores, kind="stable"))
    overlap = box_iou(boxes, boxes)
    kept: list[int] = []
    for index in order:
        if all(overlap[index, other] <= limit for other in kept):
            kept.append(int(index))
    return kept


@torch.inference_mode()
def score_boxes(
    model: Any, images: npt.NDArray[np.uint8], categories: Sequence[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Boxes (N, Q, 4) in pixels and scores (N, Q, K) for one joint caption of categories."""
    height, width = images.shape[1:3]
    caption, spans = caption_spans(model.tokenizer, categories)
    out = model(to_tensor(images), captions=[caption] * len(images))
    chance = out["pred_logits"].sigmoid()
    scores = torch.stack([chance[..., b:e].amax(-1) for b, e in spans], -1)
    center, size = out["pred_boxes"][..., :2], out["pred_boxes"][..., 2:]
    corners = torch.cat([center - size / 2, center + size / 2], -1).clamp(0, 1)
    pixels = corners * torch.tensor([width, height, width, height])
    return pixels.numpy(), scores.numpy()


def caption_spans(tokenizer: Any, categories: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Caption ``a . b c .`` and, for each category, its token range, end exclusive."""
    caption, ranges = "", []
    for category in categories:
        caption += (" " if caption else "") + category
        ranges.append((len(caption) - len(category), len(caption)))
        caption += " ."
    offsets = tokenizer(caption, return_offsets_mapping=True)["offset_mapping"]
    spans = []
    for start, end in ranges:
        tokens = [i for i, (a, b) in enumerate(offsets) if b > a and a >= start and b <= end]
        spans.append((tokens[0], tokens[-1] + 1))
    return caption, spans


def measure_detector(
    model: Any,
    *,
    shots: int,
    level: float,
    style: Style = TRAINING_STYLE,
    threshold: float = 0.3,
    size: tuple[int, int] = (180, 320),
) -> dict[str, float]:
    """Recall, precision and average precision at IoU 0.5, by category.

    Args:
        model: GroundingDINO network in evaluation mode.
        shots: number of shots, two frames each.
        level: how hard they are.
        style: how they are drawn.
        threshold: score from which a box counts for recall and precision.
        size: H, W of the pictures.

    Returns:
        ``recall``, ``precision`` over all but balls; ``CATEGORY_recall``, ``…_precision``,
        ``…_ap50``; ``objects``, the number that had to be found.
    """
    rows: dict[str, list[tuple[float, bool]]] = {category: [] for category in CATEGORIES}
    wanted = dict.fromkeys(CATEGORIES, 0)
    for number in range(shots):
        shot = draw_shot(HELD_OUT_SEED + 2000 + number, size=size, level=level, style=style)
        frames = [shot.frame(16), shot.frame(32)]
        boxes, scores = score_boxes(model, np.stack([f.pixels for f in frames]), CATEGORIES)
        for frame, candidate, score in zip(frames, boxes, scores, strict=True):
            truth = box_truth(frame, shot)
            best, label = score.max(1), score.argmax(1)
            for k, category in enumerate(CATEGORIES):
                mine = np.array([c == category for c in truth.categories], bool)
                wanted[category] += int((mine & truth.required).sum())
                chosen = np.flatnonzero((label == k) & (best > 0.05))
                chosen = chosen[nms(candidate[chosen], best[chosen], 0.7)]
                overlap = box_iou(candidate[chosen], truth.boxes)
                used: set[int] = set()
                for row, index in enumerate(chosen):
                    free = [j for j in np.argsort(-overlap[row]) if j not in used and mine[j]]
                    hit = free[0] if free and overlap[row, free[0]] >= 0.5 else None
                    if hit is not None:
                        used.add(int(hit))
                        if not truth.required[hit]:
                            continue  # a small or hidden object found: neither right nor wrong
                    rows[category].append((float(best[index]), hit is not None))
    return _detector_figures(rows, wanted, threshold)


def _detector_figures(
    rows: Mapping[str, list[tuple[float, bool]]], wanted: Mapping[str, int], threshold: float
) -> dict[str, float]:
    figures: dict[str, float] = {}
    hits = boxes = objects = 0
    for category, found in rows.items():
        found = sorted(found, key=lambda row: -row[0])
        right = np.cumsum([hit for _, hit in found])
        precision = right / np.arange(1, len(found) + 1) if found else np.zeros(0)
        recall = right / max(1, wanted[category])
        levels = np.linspace(0, 1, 101)
        tops = [precision[recall >= t].max() if (recall >= t).any() else 0.0 for t in levels]
        over = [hit for score, hit in found if score >= threshold]
        figures[f"{category}_ap50"] = round(float(np.mean(tops)), 4)
        figures[f"{category}_recall"] = round(sum(over) / max(1, wanted[category]), 4)
        figures[f"{category}_precision"] = round(sum(over) / max(1, len(over)), 4)
        if category != "ball":
            hits, boxes, objects = hits + sum(over), boxes + len(over), objects + wanted[category]
    figures["recall"] = round(hits / max(1, objects), 4)
    figures["precision"] = round(hits / max(1, boxes), 4)
    figures["objects"] = float(sum(wanted.values()))
    return figures


def averaged(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load averaged weights into a model and return a copy of what it had."""
    live = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(dict(state))
    return live
