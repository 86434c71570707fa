"""Trains the demo segmenter to follow prompts and to track, on scenes composed from a pool.

Single frames teach boxes, points and rough masks; clips teach memory. The decision to know: all
objects of a scene are prompted in one batch on shared features, and the other objects weigh as
much as the wanted one, so that only the prompt tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from server.models.demo import read_weights
from server.models.demo.sam2 import build_sam2_network
from server.training.evaluate import (
    FrameFeatures,
    averaged,
    box_prompts,
    measure_prompts,
    measure_tracking,
    point_prompts,
    to_tensor,
)
from server.training.plates import DrawnFrame, Path2D, Scene, SpritePool
from server.training.run import Schedule, TrainingRun

ASPECTS = (1.0, 4 / 3, 16 / 9, 16 / 9, 2.39)
"""Shapes of plates, squeezed to the square the network sees."""

SMALLEST_SHARE = 0.0015
"""Objects under this share of the picture are not prompted."""


@dataclass(frozen=True)
class Sam2Training:
    """Settings of a run."""

    folder: Path
    pool: Path
    schedule: Schedule
    image_size: int = 256
    batch: int = 8
    """Scenes in a step of single frames."""
    clips: int = 2
    """Clips of `frames` frames in a video step; half of the video steps take more, shorter ones."""
    frames: int = 8
    video: float = 0.4
    """Share of video steps."""
    most_objects: int = 4
    """Objects of one scene that are prompted; the others stay in the picture."""
    level: float = 0.6
    """Share of hard scenes."""
    initial_weights: Path | None = None
    seed: int = 0
    rank: int = 0
    world: int = 1
    evaluation_shots: int = 16


def train(settings: Sam2Training) -> None:
    """Run, or go on with, a training; ends when the schedule is through."""
    torch.manual_seed(settings.seed)
    model: Any = build_sam2_network(image_size=settings.image_size)
    if settings.initial_weights is not None:
        read_weights(model, settings.initial_weights)
    pool = SpritePool(settings.pool)
    run = TrainingRun(
        settings.folder, model, settings.schedule, rank=settings.rank, world=settings.world
    )
    model.train()
    while run.progress < 1:
        # The kind of step is the same in every process, the scenes are not.
        kind = np.random.default_rng([settings.seed, run.step])
        rng = np.random.default_rng([settings.seed, run.step, settings.rank, 1])
        if kind.random() < settings.video:
            loss, quality = _video_step(model, pool, settings, rng, short=kind.random() < 0.5)
            run.update(loss, {"video_iou": quality})
        else:
            loss, quality = _image_step(model, pool, settings, rng)
            run.update(loss, {"image_iou": quality})
        if run.evaluation_due():
            _evaluate(run, settings)
    run.save()
    _evaluate(run, settings)


def _evaluate(run: TrainingRun, settings: Sam2Training) -> None:
    if settings.rank == 0:
        live = averaged(run.model, run.average)
        run.model.eval()
        for name, level in (("easy", 0.0), ("hard", 1.0)):
            shots = settings.evaluation_shots
            record = measure_prompts(run.model, shots=shots, level=level)
            record |= measure_tracking(run.model, shots=shots // 3, level=level)
            run.log({"kind": name, **record})
        run.model.load_state_dict(live)
        run.model.train()
    run.resume_clock()


# ---------------------------------------------------------------- steps


def _image_step(
    model: Any, pool: SpritePool, settings: Sam2Training, rng: np.random.Generator
) -> tuple[Tensor, float]:
    """Loss on single frames: boxes, and one other kind of prompt."""
    images: list[npt.NDArray[np.uint8]] = []
    masks: list[npt.NDArray[np.bool_]] = []
    others: list[npt.NDArray[np.bool_]] = []
    owners: list[int] = []
    while len(images) < settings.batch:
        pixels, labels = _clip(pool, settings, rng, frames=1)
        objects = _prompted(labels[0], settings.most_objects, rng)
        if not objects:
            continue
        masks += [labels[0] == k for k in objects]
        others += [labels[0] > 0] * len(objects)
        owners += [len(images)] * len(objects)
        images.append(pixels[0])
    truth, anything = np.stack(masks), torch.from_numpy(np.stack(others))
    target = torch.from_numpy(truth)
    features = FrameFeatures(model, to_tensor(np.stack(images))).of(owners)
    answer = _decode(model, features, box_prompts(truth, rng, jitter=0.03))
    loss, quality = _mask_loss(*answer, target, anything)
    choice = rng.random()
    if choice < 0.55:
        prompts = point_prompts(truth, rng, count=1 if choice < 0.35 else 3)
        if choice > 0.45:
            prompts = _with_negative(prompts, truth, np.asarray(anything), rng)
        loss = loss + 0.6 * _mask_loss(*_decode(model, features, prompts), target, anything)[0]
    elif choice < 0.65:
        rough = _rough_logits(target, rng)
        loss = loss + 0.5 * _mask_loss(*_decode(model, features, None, rough), target, anything)[0]
    return loss, quality


def _video_step(
    model: Any,
    pool: SpritePool,
    settings: Sam2Training,
    rng: np.random.Generator,
    *,
    short: bool,
) -> tuple[Tensor, float]:
    """Loss on clips: a mask or box in the first frame, memory for the rest."""
    frames, clips = settings.frames, settings.clips
    if short and frames > 4:  # more clips of half the length, for the same work
        frames, clips = frames // 2, clips * 2
    images: list[npt.NDArray[np.uint8]] = []
    masks: list[npt.NDArray[np.bool_]] = []
    others: list[npt.NDArray[np.bool_]] = []
    owners: list[int] = []
    while len(images) < clips:
        pixels, labels = _clip(pool, settings, rng, frames=frames)
        objects = _prompted(labels[0], settings.most_objects, rng)
        if not objects:
            continue
        masks += [labels == k for k in objects]
        others += [labels > 0] * len(objects)
        owners += [len(images)] * len(objects)
        images.append(pixels)
    truth, anything = np.stack(masks), torch.from_numpy(np.stack(others))
    target = torch.from_numpy(truth)
    features = FrameFeatures(model, to_tensor(np.concatenate(images)))
    first = torch.tensor(owners) * frames
    from_mask = rng.random() < 0.75
    state: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    losses: list[Tensor] = []
    qualities = []
    for index in range(frames):
        current = features.of(first + index)
        points = mask = None
        if index == 0 and from_mask:
            mask = target[:, :1].float()
        elif index == 0:
            points = box_prompts(truth[:, 0], rng, jitter=0.03)
        result, heads, _, _ = model._track_step(  # noqa: SLF001
            index, index == 0, *current, points, mask, state, frames, False, None
        )
        logits, _, scores, best, best_full, pointer, presence = heads
        if mask is None:
            loss, quality = _mask_loss(
                logits.clamp(-30, 30), scores, presence, target[:, index], anything[:, index]
            )
            losses.append(loss)
            qualities.append(quality)
        result.update(pred_masks=best, pred_masks_high_res=best_full, obj_ptr=pointer)
        if index + 1 < frames:
            model._encode_memory_in_output(  # noqa: SLF001
                current[0], current[2], points, True, best_full, presence, result
            )
        key = "cond_frame_outputs" if index == 0 else "non_cond_frame_outputs"
        state[key][index] = result
    return torch.stack(losses).mean(), float(np.mean(qualities))


def _clip(
    pool: SpritePool, settings: Sam2Training, rng: np.random.Generator, *, frames: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Pictures (T, S, S, 3) and label maps (T, S, S) from anywhere in a new scene."""
    side = settings.image_size
    seed = [int(value) for value in rng.integers(0, 2**31, 3)]
    scene = pool.scene(
        seed, size=(side, side), level=settings.level, aspect=float(rng.choice(ASPECTS))
    )
    pace = float(rng.choice([1.0, 1.0, 1.5, 2.0, 3.0]))
    start = float(rng.uniform(0, max(1.0, 47 - pace * (frames - 1))))
    times = [start + pace * index for index in range(frames)]
    if rng.random() < 0.5:
        times.reverse()
    if rng.random() < 0.5:
        scene = _with_crossing(scene, times, rng)
    away = _absences(scene, frames, rng, share=0.25)
    drawn = [_draw_without(scene, time, index, away) for index, time in enumerate(times)]
    return np.stack([frame.pixels for frame in drawn]), np.stack([f.labels() for f in drawn])


def _with_crossing(scene: Scene, times: Sequence[float], rng: np.random.Generator) -> Scene:
    """The scene with one object on a way that meets another's; a third of the time its double.

    Crossings decide a shot: a track that takes in its neighbour there keeps it. They meet at any
    time of the clip, so a prompt's mask may touch the other object too.

    Args:
        scene: with any number of objects; fewer than two in the picture leave it as it is.
        times: of the clip's frames.
        rng: chooses.
    """
    meet = float(rng.uniform(min(times), max(times) + 1e-3))
    there = [
        place
        for place, role in enumerate(scene.roles)
        if role.id and 0.1 < role.path.at(meet)[0] < 0.9 and role.path.at(meet)[1] < 1.2
    ]
    if len(there) < 2:
        return scene
    first, second = (int(place) for place in rng.permutation(there)[:2])
    roles = list(scene.roles)
    kept, moved = roles[first], roles[second]
    x, y, zoom = kept.path.at(meet)
    reach = kept.sprite.reach * kept.unit * zoom * scene.squeeze * scene.size[0] / scene.size[1]
    # Side by side at the least distance, past each other within the clip or a little later.
    speed = float(rng.uniform(0.3, 1.5)) * 2 * reach / max(4.0, abs(times[-1] - times[0]))
    vx = kept.path.vx + (speed if rng.random() < 0.5 else -speed)
    moved = replace(
        moved,
        unit=kept.unit * zoom * float(rng.uniform(0.75, 1.3)),
        path=Path2D(
            x + float(rng.normal(0, 0.4)) * reach - vx * meet,
            y + float(rng.normal(0, 0.03)),
            vx=vx,
        ),
    )
    if rng.random() < 0.33:
        moved = replace(moved, sprite=kept.sprite, channels=kept.channels)
    roles[second] = moved
    return replace(scene, roles=tuple(roles))


def _absences(
    scene: Scene, frames: int, rng: np.random.Generator, *, share: float
) -> dict[int, range]:
    """When objects of a clip are not there, by id: some vanish after the first frame.

    Args:
        scene: whose objects.
        frames: of the clip.
        rng: chooses.
        share: of the objects that vanish, 0..1.
    """
    away: dict[int, range] = {}
    for role in scene.roles:
        if frames > 1 and role.id and rng.random() < share:
            first = int(rng.integers(1, frames))
            away[role.id] = range(first, first + int(rng.integers(2, 6)))
    return away


def _draw_without(scene: Scene, time: float, index: int, away: Mapping[int, range]) -> DrawnFrame:
    """The picture of a time, without the objects away at that index of the clip."""
    there = tuple(role for role in scene.roles if index not in away.get(role.id, range(0)))
    return replace(scene, roles=there).draw(time)


def _prompted(labels: npt.NDArray[np.uint8], most: int, rng: np.random.Generator) -> list[int]:
    counts = np.bincount(labels.ravel(), minlength=2)
    large = [k for k in range(1, len(counts)) if counts[k] >= SMALLEST_SHARE * labels.size]
    return [int(k) for k in rng.permutation(large)[:most]]


def _decode(
    model: Any,
    features: tuple[list[Tensor], list[Tensor], list[Any]],
    points: dict[str, Tensor] | None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """All four mask tokens (the package answers token 0 or 1 to 3), their scores, presence."""
    levels, _, sizes = features
    count = levels[-1].shape[1]
    fine = [
        level.permute(1, 2, 0).reshape(count, -1, *size)
        for level, size in zip(levels[:-1], sizes[:-1], strict=True)
    ]
    coarse = (levels[-1] + model.no_mem_embed).permute(1, 2, 0).reshape(count, -1, *sizes[-1])
    if points is None:
        points = {
            "point_coords": torch.zeros(count, 1, 2),
            "point_labels": -torch.ones(count, 1, dtype=torch.int32),
        }
    sparse, dense = model.sam_prompt_encoder(
        points=(points["point_coords"], points["point_labels"]), boxes=None, masks=mask
    )
    logits, scores, _, presence = model.sam_mask_decoder.predict_masks(
        coarse, model.sam_prompt_encoder.get_dense_pe(), sparse, dense, False, fine
    )
    return logits, scores, presence


def _with_negative(
    prompts: dict[str, Tensor],
    truth: npt.NDArray[np.bool_],
    anything: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Add one point that is not wanted to each prompt: on another object, or beside it."""
    points = []
    for mask, every in zip(truth, anything, strict=True):
        other = every & ~mask
        rows, columns = np.nonzero(other if other.sum() > 20 else ~mask)
        chosen = int(rng.integers(0, len(rows)))
        points.append([[columns[chosen] + 0.5, rows[chosen] + 0.5]])
    extra = torch.tensor(np.array(points), dtype=torch.float32)
    labels = torch.zeros(len(extra), 1, dtype=torch.int32)
    return {
        "point_coords": torch.cat([prompts["point_coords"], extra], 1),
        "point_labels": torch.cat([prompts["point_labels"], labels], 1),
    }


def _rough_logits(target: Tensor, rng: np.random.Generator) -> Tensor:
    """(K, 1, S/4, S/4) logits of masks grown or shrunk by a few pixels."""
    mask = target.float()[:, None]
    radius = int(rng.integers(1, 4)) * 2 + 1
    if rng.random() < 0.5:
        mask = F.max_pool2d(mask, radius, 1, radius // 2)
    else:
        mask = -F.max_pool2d(-mask, radius, 1, radius // 2)
    return F.avg_pool2d(mask, 4) * 16 - 8


# ---------------------------------------------------------------- loss


def _mask_loss(
    logits: Tensor, scores: Tensor, presence: Tensor, target: Tensor, anything: Tensor
) -> tuple[Tensor, float]:
    """Cross-entropy and dice at half size, error of the quality score, presence.

    Args:
        logits: (K, M, S/4, S/4) mask tokens; the first is the answer, the others alternatives.
        scores: (K, M) predicted IoU.
        presence: (K, 1) logit that the object is in the picture.
        target: (K, S, S) bool, the wanted object.
        anything: (K, S, S) bool, every object of the picture.

    Returns:
        The loss, and the IoU of the first token at a quarter of the size.
    """
    visible = (target.flatten(1).sum(1) > 16).float()
    count = visible.sum().clamp(min=1)
    half = F.interpolate(logits[:, :1], scale_factor=2, mode="bilinear", align_corners=False)
    main = _overlap_loss(half, _reduced(target, 2), _reduced(anything, 2))[:, 0]
    with torch.no_grad():
        small = _reduced(target, 4)[:, None]
        wanted, answered = small > 0.5, logits > 0
        shared = (wanted & answered).flatten(2).sum(-1).float()
        real = shared / (wanted | answered).flatten(2).sum(-1).clamp(min=1).float()
    per_object = main + 0.3 * (scores[:, 0] - real[:, 0]).abs()
    if logits.shape[1] > 1:
        rest = _overlap_loss(logits[:, 1:], _reduced(target, 4), _reduced(anything, 4))
        per_object = per_object + 0.2 * rest.amin(1)
        per_object = per_object + 0.1 * (scores[:, 1:] - real[:, 1:]).abs().mean(1)
    seen = F.binary_cross_entropy_with_logits(presence[:, 0], visible)
    loss = (per_object * visible).sum() / count + 0.4 * seen
    return loss, float((real[:, 0] * visible).sum() / count)


def _overlap_loss(logits: Tensor, target: Tensor, anything: Tensor) -> Tensor:
    """(K, M) cross-entropy x 2 + dice; every object of the picture weighs four times."""
    weight = 1 + 3 * anything
    weight = (weight / weight.mean((1, 2), keepdim=True))[:, None]
    wanted = target[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    chance = logits.sigmoid()
    shared = 2 * (chance * wanted).flatten(2).sum(-1) + 1
    dice = 1 - shared / (chance.flatten(2).sum(-1) + wanted.flatten(2).sum(-1) + 1)
    return 2 * (weight * entropy).flatten(2).mean(-1) + dice


def _reduced(mask: Tensor, factor: int) -> Tensor:
    """(K, S / factor, S / factor) share of each cell that a bool mask covers."""
    return F.avg_pool2d(mask.float()[:, None], factor)[:, 0]
