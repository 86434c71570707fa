"""Trains the demo detector on single frames composed from a pool.

The package drops its intermediate results; forward hooks bring them back, its code stays as it
is. The decision to know: the encoder's tokens are taught one-to-many (several tokens per object),
the decoder's queries one-to-one, and the class target of both is the IoU the box has reached, so
that a score means how good its box is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from groundingdino.models.GroundingDINO.utils import gen_encoder_output_proposals
from groundingdino.util.misc import inverse_sigmoid
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from server.models.demo import read_weights
from server.models.demo.groundingdino import build_groundingdino_network
from server.training.evaluate import averaged, caption_spans, measure_detector, to_tensor
from server.training.plates import CATEGORIES, SpritePool
from server.training.run import Schedule, TrainingRun

SYNONYMS = {
    "person": ("person", "man", "woman", "people"),
    "car": ("car", "vehicle"),
    "dog": ("dog", "puppy"),
    "ball": ("ball",),
}
"""Words of the text tower's vocabulary and the category each stands for."""

SIZES = ((128, 160), (160, 160), (160, 224), (144, 256), (192, 256), (180, 320), (180, 320))
"""H, W of the pictures; one of them per step."""


@dataclass(frozen=True)
class DetectorTraining:
    """Settings of a run."""

    folder: Path
    pool: Path
    schedule: Schedule
    pixels: int = 290_000
    """Pixels of a step, all pictures together."""
    level: float = 0.6
    """Share of hard scenes."""
    smallest: float = 10.0
    """Longest side, in pixels, from which an object is taught."""
    visibility: float = 0.25
    """Seen share from which an object is taught."""
    initial_weights: Path | None = None
    seed: int = 0
    evaluation_shots: int = 16


@dataclass(frozen=True)
class Targets:
    """What is to be found in one picture."""

    boxes: Tensor
    """(N, 4) x0 y0 x1 y1, 0..1."""
    spans: tuple[tuple[int, int], ...]
    """Token range of each object's category in the caption."""


def train(settings: DetectorTraining) -> None:
    """Run, or go on with, a training; ends when the schedule is through."""
    torch.manual_seed(settings.seed)
    model: Any = build_groundingdino_network()
    if settings.initial_weights is not None:
        read_weights(model, settings.initial_weights)
    taps = _Taps(model)
    pool = SpritePool(settings.pool)
    run = TrainingRun(settings.folder, model, settings.schedule)
    model.train()
    while run.progress < 1:
        rng = np.random.default_rng([settings.seed, run.step])
        size = SIZES[int(rng.integers(0, len(SIZES)))]
        images, caption, targets = _batch(pool, settings, rng, model.tokenizer, size)
        output = model(images, captions=[caption] * len(images))
        run.update(*_loss(model, output, taps, targets, size))
        if run.evaluation_due():
            _evaluate(run, settings)
    run.save()
    _evaluate(run, settings)


def _evaluate(run: TrainingRun, settings: DetectorTraining) -> None:
    live = averaged(run.model, run.average)
    run.model.eval()
    for name, level in (("easy", 0.0), ("hard", 1.0)):
        shots = settings.evaluation_shots
        run.log({"kind": name, **measure_detector(run.model, shots=shots, level=level)})
    run.model.load_state_dict(live)
    run.model.train()
    run.resume_clock()


def _batch(
    pool: SpritePool,
    settings: DetectorTraining,
    rng: np.random.Generator,
    tokenizer: Any,
    size: tuple[int, int],
) -> tuple[Tensor, str, list[Targets]]:
    """Pictures, their one caption, and what is to be found.

    The package mixes up the text masks of different captions in a batch, so a batch has one; it
    names some of the categories, and the objects of the others teach what not to find.
    """
    height, width = size
    chosen = [str(name) for name in rng.permutation(CATEGORIES)]
    if rng.random() < 0.5:
        chosen = chosen[: int(rng.integers(1, len(chosen) + 1))]
    words = [str(rng.choice(SYNONYMS[c])) if rng.random() < 0.2 else c for c in chosen]
    caption, spans = caption_spans(tokenizer, words)
    span = dict(zip(chosen, spans, strict=True))
    images, targets = [], []
    for _ in range(max(4, round(settings.pixels / (height * width)))):
        seed = [int(value) for value in rng.integers(0, 2**31, 3)]
        scene = pool.scene(seed, size=size, level=settings.level, aspect=width / height)
        frame = scene.draw(float(rng.uniform(0, 47)))
        categories = {role.id: role.sprite.category for role in scene.roles}
        boxes, tokens = [], []
        for object_id, box in frame.boxes().items():
            longest = max(box[2] - box[0], box[3] - box[1])
            seen = frame.truths[object_id - 1].visibility
            if categories[object_id] not in span or longest < settings.smallest:
                continue
            if seen >= settings.visibility:
                boxes.append(box)
                tokens.append(span[categories[object_id]])
        scale = torch.tensor([width, height, width, height], dtype=torch.float32)
        array = torch.from_numpy(np.array(boxes, np.float32).reshape(-1, 4)) / scale
        images.append(frame.pixels)
        targets.append(Targets(array, tuple(tokens)))
    return to_tensor(np.stack(images)), caption, targets


class _Taps:
    """Intermediate results the package computes and does not return."""

    def __init__(self, model: Any) -> None:
        self.states: list[Tensor]
        self.references: list[Tensor]
        self.text: dict[str, Tensor]
        self.token_logits: Tensor
        self.token_offsets: Tensor
        model.transformer.register_forward_hook(self._transformer)
        model.transformer.enc_out_class_embed.register_forward_hook(self._class)
        model.transformer.enc_out_bbox_embed.register_forward_hook(self._box)

    def _transformer(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.states, self.references, self.text = output[0], output[1], inputs[6]

    def _class(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.token_logits = output

    def _box(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.token_offsets = output


def _loss(
    model: Any,
    output: dict[str, Tensor],
    taps: _Taps,
    targets: list[Targets],
    size: tuple[int, int],
) -> tuple[Tensor, dict[str, float]]:
    mask = taps.text["text_token_mask"]
    last = _set_loss(output["pred_logits"], output["pred_boxes"], targets, mask)
    state = taps.states[0]
    offsets = model.bbox_embed[0](state) + inverse_sigmoid(taps.references[0])
    first = _set_loss(model.class_embed[0](state, taps.text), offsets.sigmoid(), targets, mask)
    tokens = _token_loss(taps.token_logits, taps.token_offsets, _anchors(size), targets, mask)
    parts = {"decoder": float(last.detach()), "encoder": float(tokens.detach())}
    return last + first + tokens, parts


def _quality_loss(logits: Tensor, quality: Tensor, mask: Tensor, count: int) -> Tensor:
    """Focal loss with a soft target q: |q - p|^2 x cross-entropy, over the caption's tokens."""
    chance = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return (entropy * (quality - chance).abs() ** 2 * mask).sum() / count


def _box_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Sum over boxes (center form against corner form) of L1 x 5 and GIoU x 2."""
    overlap = torch.diag(generalized_box_iou(box_convert(predicted, "cxcywh", "xyxy"), truth))
    distance = F.l1_loss(predicted, box_convert(truth, "xyxy", "cxcywh"), reduction="sum")
    return 5 * distance + 2 * (1 - overlap).sum()


def _known(logits: Tensor, mask: Tensor) -> Tensor:
    """Logits of the caption's tokens, zero where there is none."""
    return torch.where(mask[:, None], logits[..., : mask.shape[1]], torch.zeros(()))


def _set_loss(logits: Tensor, boxes: Tensor, targets: list[Targets], mask: Tensor) -> Tensor:
    """One query for each object, by the Hungarian method.

    Args:
        logits: (N, Q, 256) per caption token.
        boxes: (N, Q, 4) center form, 0..1.
        targets: per picture.
        mask: (N, T) bool, tokens of the caption.
    """
    logits = _known(logits, mask)
    quality, total = torch.zeros_like(logits), logits.sum() * 0
    count = max(1, sum(len(target.spans) for target in targets))
    for i, target in enumerate(targets):
        if not target.spans:
            continue
        with torch.no_grad():
            chance = torch.stack([logits[i].sigmoid()[:, b:e].mean(1) for b, e in target.spans], 1)
            corners = box_convert(boxes[i], "cxcywh", "xyxy")
            truth = box_convert(target.boxes, "xyxy", "cxcywh")
            cost = -2 * chance + 5 * torch.cdist(boxes[i], truth, p=1)
            cost -= 2 * generalized_box_iou(corners, target.boxes)
            queries, objects = linear_sum_assignment(cost.numpy())
            overlap = box_iou(corners[queries], target.boxes[objects]).diag()
        total = total + _box_loss(boxes[i][queries], target.boxes[objects])
        for query, number, value in zip(queries, objects, overlap.tolist(), strict=True):
            b, e = target.spans[number]
            quality[i, query, b:e] = max(value, 0.2)
    return 2 * _quality_loss(logits, quality, mask[:, None], count) + total / count


def _token_loss(
    logits: Tensor,
    offsets: Tensor,
    anchors: Tensor,
    targets: list[Targets],
    mask: Tensor,
    *,
    per_object: int = 5,
) -> Tensor:
    """The best few encoder tokens for each object.

    Args:
        logits: (N, L, 256) per token of the picture and of the caption.
        offsets: (N, L, 4) box offsets from the anchors, before the sigmoid.
        anchors: (L, 4) inverse sigmoid of center form.
        targets: per picture.
        mask: (N, T) bool.
        per_object: tokens that are taught one object.
    """
    logits = _known(logits, mask)
    prior = anchors.sigmoid()
    prior_corners = box_convert(prior, "cxcywh", "xyxy")
    boxes = (offsets + anchors).sigmoid()
    quality, total, count = torch.zeros_like(logits), logits.sum() * 0, 0
    for i, target in enumerate(targets):
        if not target.spans:
            continue
        with torch.no_grad():
            wanted = target.boxes
            center = prior[:, None, :2]
            inside = ((center > wanted[None, :, :2]) & (center < wanted[None, :, 2:])).all(-1)
            middle, extent = (wanted[:, :2] + wanted[:, 2:]) / 2, wanted[:, 2:] - wanted[:, :2]
            distance = ((center - middle[None]) / extent[None]).norm(dim=-1)
            overlap = box_iou(box_convert(boxes[i], "cxcywh", "xyxy"), wanted)
            chance = torch.stack([logits[i].sigmoid()[:, b:e].mean(1) for b, e in target.spans], 1)
            fit = 2 * overlap + box_iou(prior_corners, wanted) + 0.5 * chance - distance
            fit = fit - 10 * (~inside)
            best, tokens = fit.topk(min(per_object, len(fit)), 0)
            owner = torch.full((len(fit),), -1)
            score = torch.full((len(fit),), -math.inf)
            for number in range(len(wanted)):
                better = best[:, number] > score[tokens[:, number]]
                chosen = tokens[better, number]
                owner[chosen], score[chosen] = number, best[better, number]
            taught = (owner >= 0).nonzero()[:, 0]
            owners = owner[taught]
            values = overlap[taught, owners].clamp(min=0.2)
        total = total + _box_loss(boxes[i][taught], wanted[owners])
        count += len(taught)
        for token, number, value in zip(
            taught.tolist(), owners.tolist(), values.tolist(), strict=True
        ):
            b, e = target.spans[number]
            quality[i, token, b:e] = value
    count = max(1, count)
    return 2 * _quality_loss(logits, quality, mask[:, None], count) + total / count


_ANCHORS: dict[tuple[int, int], Tensor] = {}


def _anchors(size: tuple[int, int]) -> Tensor:
    """(L, 4) the package's anchors for pictures of a size, kept."""
    if size not in _ANCHORS:
        shapes = torch.tensor([[math.ceil(side / s) for side in size] for s in (8, 16, 32)])
        count = int(shapes.prod(1).sum())
        empty, padding = torch.zeros(1, count, 1), torch.zeros(1, count, dtype=torch.bool)
        _ANCHORS[size] = gen_encoder_output_proposals(empty, padding, shapes)[1][0]
    return _ANCHORS[size]
