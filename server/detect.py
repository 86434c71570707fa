"""Stage 1: boxes of the objects a text prompt names, each with exactly one category and score.

A detector (see ``Detector``) only scores boxes against categories; everything that decides lives
here, the same for every model: which category a box gets, the threshold, class-wise suppression
and a stable order. The text a model reports for a box is never used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from server.errors import PromptError, SettingsError
from server.frames import ModelImage

DEFAULT_PROMPT = "person"


@dataclass(frozen=True)
class BoxScores:
    """What a detector saw in one image, before anything is decided."""

    boxes: NDArray[np.float32]
    """(Q, 4) x0 y0 x1 y1 in pixels of the model image."""
    scores: NDArray[np.float32]
    """(Q, K) 0..1, one column per category asked for."""

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"boxes: expected (Q, 4), got {self.boxes.shape}")
        if self.scores.ndim != 2 or len(self.scores) != len(self.boxes):
            raise ValueError(f"scores: expected ({len(self.boxes)}, K), got {self.scores.shape}")


class Detector(Protocol):
    """What stage 1 needs from a model."""

    name: str
    usual_threshold: float
    """The score, 0..1, from which this model's boxes are worth keeping."""
    calls: Counter[str]

    def score(self, images: Sequence[ModelImage], categories: Sequence[str]) -> list[BoxScores]:
        """Score boxes of equally sized images against categories put in one caption.

        Args:
            images: one size for all.
            categories: cleaned category texts, at least one.

        Returns:
            One ``BoxScores`` per image, K = number of categories, in their order.
        """
        ...


@dataclass(frozen=True)
class Detection:
    """One box with one category."""

    category: str
    box: tuple[float, float, float, float]
    """x0 y0 x1 y1 in pixels of the model image."""
    score: float
    """0..1, of this category."""


@dataclass(frozen=True)
class DetectSettings:
    """How boxes are chosen from a detector's scores."""

    threshold: float | None = None
    """Least score of a box, 0..1. None: the model's own usual value."""
    suppress_iou: float = 0.7
    """A box overlapping a better one of its category by this IoU or more goes."""
    joint_caption: bool = True
    """All categories in one caption (faster, they influence each other), or one caption each."""
    batch: int = 4
    """Images a detector sees at once."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise SettingsError(
                f"Detection threshold must lie between 0 and 1, not {self.threshold}."
            )
        if not 0 < self.suppress_iou <= 1:
            raise SettingsError(f"Suppression IoU must lie in 0..1, not {self.suppress_iou}.")
        if self.batch < 1:
            raise SettingsError(f"Detection batch must be at least 1, not {self.batch}.")


def parse_prompt(text: str) -> tuple[str, ...]:
    """Categories of a text prompt, cleaned, in the order given, each once.

    Commas and full stops separate categories (detectors use the full stop as separator, so it
    cannot be part of a category); case and repeated blanks do not count.

    Args:
        text: for example ``person, red car``.

    Raises:
        PromptError: the text names nothing.
    """
    parts = text.lower().replace(".", ",").replace("?", " ").replace(";", ",").split(",")
    categories = tuple(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))
    if not categories:
        raise PromptError(
            f"The text prompt {text!r} names nothing. Give one or several things separated by "
            "commas, for example: person, car"
        )
    return categories


def detect(
    detector: Detector,
    images: Sequence[ModelImage],
    categories: Sequence[str],
    *,
    settings: DetectSettings,
) -> list[tuple[Detection, ...]]:
    """Boxes of each image, best first.

    Args:
        detector: the model.
        images: equally sized model images.
        categories: as ``parse_prompt`` gives them.
        settings: how to choose.

    Returns:
        One tuple per image, ordered by falling score, then from left to right.
    """
    if not images:
        return []
    if settings.joint_caption or len(categories) == 1:
        answers = detector.score(images, categories)
    else:
        answers = _join([detector.score(images, [category]) for category in categories])
    threshold = detector.usual_threshold if settings.threshold is None else settings.threshold
    return [
        _choose(answer, categories, threshold=threshold, suppress_iou=settings.suppress_iou)
        for answer in answers
    ]


def box_iou(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of one box (4,) with many (N, 4), as (N,) 0..1."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2]) - inside
    return np.asarray(inside / np.maximum(areas, 1e-9), np.float32)


def _join(separate: Sequence[list[BoxScores]]) -> list[BoxScores]:
    """Answers of one caption per category as if from one caption: each box scores only its own."""
    joined = []
    for answers in zip(*separate, strict=True):
        scores = np.zeros((sum(len(a.boxes) for a in answers), len(answers)), np.float32)
        start = 0
        for column, answer in enumerate(answers):
            scores[start : start + len(answer.boxes), column] = answer.scores[:, 0]
            start += len(answer.boxes)
        joined.append(BoxScores(np.concatenate([a.boxes for a in answers]), scores))
    return joined


def _choose(
    answer: BoxScores, categories: Sequence[str], *, threshold: float, suppress_iou: float
) -> tuple[Detection, ...]:
    if not len(answer.boxes):
        return ()
    column = answer.scores.argmax(axis=1)
    best = answer.scores.max(axis=1)
    order = np.lexsort((answer.boxes[:, 1], answer.boxes[:, 0], -best))
    order = order[best[order] >= threshold]
    kept: list[int] = []
    for index in order:
        rivals = [k for k in kept if column[k] == column[index]]
        if rivals and box_iou(answer.boxes[index], answer.boxes[rivals]).max() >= suppress_iou:
            continue
        kept.append(int(index))
    return tuple(
        Detection(
            category=categories[column[index]],
            box=tuple(float(v) for v in answer.boxes[index]),  # type: ignore[arg-type]
            score=float(best[index]),
        )
        for index in kept
    )
