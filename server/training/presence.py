"""Last stage of the demo segmenter's training: when is a tracked object not there?

The other stages show an object leaving too rarely, so the network keeps finding something. Here
objects vanish from clips and come back, the trained network tracks them, and only the small head
that judges presence learns from what the mask decoder saw. Its threshold is then set so that a
stated share of the frames with the object is kept: losing a matte is worse than one too many.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from server.models.demo import read_weights, write_weights
from server.models.demo.sam2 import build_sam2_network
from server.training.evaluate import FrameFeatures, to_tensor
from server.training.plates import Scene, SpritePool
from server.training.sam2 import ASPECTS, SMALLEST_SHARE, absences, draw_without

FRAMES = 8
_LEAST_PIXELS = 16
_STEPS = 400
_BATCH = 256


@dataclass(frozen=True)
class Presence:
    """How well presence is judged, on clips kept out of the fit."""

    kept: float
    """Share of the frames with the object in which it is said to be there."""
    noticed: float
    """Share of the frames without it in which it is said to be gone."""
    frames: int


def teach_presence(
    weights: Path,
    target: Path,
    pool: Path,
    *,
    image_size: int = 256,
    clips: int = 150,
    keep: float = 0.97,
    seed: int = 0,
) -> Presence:
    """Fit the presence head of trained weights and write them anew.

    Args:
        weights: trained safetensors.
        target: gets the weights with the new head.
        pool: sprites to draw clips from.
        image_size: the network's.
        clips: drawn; one in five is kept out of the fit.
        keep: share of frames with the object that must be kept, 0..1.
        seed: chooses the clips.

    Returns:
        What it does on the clips kept out.
    """
    torch.manual_seed(seed)
    model: Any = build_sam2_network(image_size=image_size)
    read_weights(model, weights)
    model.eval()
    seen, present, held_out = _collect(model, SpritePool(pool), image_size, clips, seed)
    head = model.sam_mask_decoder.pred_obj_score_head
    share = present[~held_out].mean()
    weight = torch.where(present > 0.5, 0.5 / share, 0.5 / (1 - share))
    optimiser = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-3)
    fitted = torch.nonzero(~held_out)[:, 0]
    for _ in range(_STEPS):
        chosen = fitted[torch.randint(0, len(fitted), (_BATCH,))]
        loss = F.binary_cross_entropy_with_logits(
            head(seen[chosen])[:, 0], present[chosen], weight=weight[chosen]
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        scores = head(seen)[:, 0]
        there = present > 0.5
        threshold = torch.quantile(scores[~held_out & there], 1 - keep)
        head.layers[-1].bias -= threshold
        judged = scores - threshold > 0
    write_weights(model.state_dict(), target)
    return Presence(
        kept=float(judged[held_out & there].float().mean()),
        noticed=float((~judged[held_out & ~there]).float().mean()),
        frames=int(held_out.sum()),
    )


def _collect(
    model: Any, pool: SpritePool, size: int, clips: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What the head sees (N, C), whether the object was there (N,), kept out of the fit (N,)."""
    captured: list[Tensor] = []
    head = model.sam_mask_decoder.pred_obj_score_head
    hook = head.register_forward_hook(lambda _, inputs, __: captured.append(inputs[0].clone()))
    seen, present, held_out = [], [], []
    for clip in range(clips):
        rng = np.random.default_rng([seed, clip, 9])
        numbers = [int(value) for value in rng.integers(0, 2**31, 3)]
        scene = pool.scene(numbers, size=(size, size), level=0.5, aspect=float(rng.choice(ASPECTS)))
        pictures, labels = _vanishing(scene, rng)
        counts = np.bincount(labels[0].ravel(), minlength=2)
        objects = [k for k in range(1, len(counts)) if counts[k] >= SMALLEST_SHARE * size**2][:4]
        if not objects:
            continue
        captured.clear()
        _track(model, pictures, np.stack([labels[0] == k for k in objects]))
        for index, inputs in enumerate(captured[-(FRAMES - 1) :], start=1):
            seen.append(inputs)
            present += [float((labels[index] == k).sum() > _LEAST_PIXELS) for k in objects]
            held_out += [clip % 5 == 0] * len(objects)
    hook.remove()
    return torch.cat(seen).clone(), torch.tensor(present), torch.tensor(held_out)


def _vanishing(scene: Scene, rng: np.random.Generator) -> tuple[list[Any], list[Any]]:
    """A clip in which half of the objects vanish for some frames."""
    pace = float(rng.choice([1, 1, 2, 3]))
    start = float(rng.uniform(0, 47 - pace * (FRAMES - 1)))
    away = absences(scene, FRAMES, rng, share=0.5)
    pictures, labels = [], []
    for index in range(FRAMES):
        frame = draw_without(scene, start + pace * index, index, away)
        pictures.append(frame.pixels)
        labels.append(frame.labels())
    return pictures, labels


@torch.inference_mode()
def _track(model: Any, pictures: list[Any], masks: Any) -> None:
    """Carry the masks of the first frame through the clip."""
    features = FrameFeatures(model, to_tensor(np.stack(pictures)))
    state: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    prompt = torch.from_numpy(masks)[:, None].float()
    for index in range(len(pictures)):
        first = index == 0
        current = features.of([index] * len(masks))
        answer = model.track_step(
            index, first, *current, None, prompt if first else None, state, len(pictures)
        )
        state["cond_frame_outputs" if first else "non_cond_frame_outputs"][index] = answer
