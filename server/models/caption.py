"""From categories to the caption a text-prompted detector reads, and from its token scores back.

Detectors report a phrase for a box by joining every token over a threshold, which gives merged,
cut and empty names. Instead the caption is built here, the tokens of each category are known, and
a box gets one score per category: the best of that category's own tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.errors import PromptError

Offsets = Callable[[str], Sequence[tuple[int, int]]]
"""A tokenizer: for every token of a text, special ones included, the characters [begin, end) it
stands for; begin == end for special tokens."""


@dataclass(frozen=True)
class Caption:
    """Categories as one text, and where its tokens are."""

    text: str
    """``person . red car .``"""
    indices: tuple[int, ...]
    """Which of the categories asked for are in this caption."""
    spans: tuple[tuple[int, int], ...]
    """[begin, end) in tokens, one per index."""


def clean_category(text: str) -> str:
    """A category without what has a meaning in captions: case, ``.``, ``?`` and extra blanks."""
    return " ".join(text.lower().replace(".", " ").replace("?", " ").split())


def build_captions(
    categories: Sequence[str], offsets: Offsets, *, most_tokens: int = 256
) -> tuple[Caption, ...]:
    """As few captions as hold all categories, in their order.

    Args:
        categories: at least one.
        offsets: the detector's tokenizer.
        most_tokens: tokens a caption may have; detectors cut longer ones without a word.

    Raises:
        PromptError: a category has nothing a detector can read, or alone is too long.
    """
    captions: list[Caption] = []
    waiting = list(range(len(categories)))
    while waiting:
        count = len(waiting)
        while True:
            caption, length = _build(categories, waiting[:count], offsets)
            if length <= most_tokens:
                break
            if count == 1:
                raise PromptError(
                    f"The category {categories[waiting[0]]!r} has {length} tokens, a detector "
                    f"reads {most_tokens}. Use fewer words."
                )
            # In proportion first, one by one near the end: few tries for long lists.
            count = max(1, min(count - 1, count * most_tokens // length))
        captions.append(caption)
        waiting = waiting[count:]
    return tuple(captions)


def span_scores(
    probabilities: NDArray[np.float32], spans: Sequence[tuple[int, int]]
) -> NDArray[np.float32]:
    """Score of each box for each category: its best token.

    Args:
        probabilities: (Q, T) 0..1, of every token of the caption.
        spans: [begin, end) in tokens, one per category.

    Returns:
        (Q, K) 0..1.
    """
    columns = [probabilities[:, begin:end].max(axis=1) for begin, end in spans]
    return np.stack(columns, axis=1).astype(np.float32, copy=False)


def _build(
    categories: Sequence[str], indices: Sequence[int], offsets: Offsets
) -> tuple[Caption, int]:
    """A caption of some categories, and its length in tokens."""
    text, ranges = "", []
    for index in indices:
        words = clean_category(categories[index])
        begin = len(text)
        text += f"{words} . "
        ranges.append((begin, begin + len(words)))
    text = text.rstrip()
    tokens = offsets(text)
    spans = []
    for index, (begin, end) in zip(indices, ranges, strict=True):
        inside = [
            number for number, (first, last) in enumerate(tokens) if begin <= first < last <= end
        ]
        if not inside:
            raise PromptError(
                f"The category {categories[index]!r} has no word a detector could look for. "
                "Write what the thing is called."
            )
        spans.append((inside[0], inside[-1] + 1))
    return Caption(text=text, indices=tuple(indices), spans=tuple(spans)), len(tokens)
