"""What a deep stream says at a pixel, and what it knows of names.

Picks read the stream of the picker's input, never the viewer: its colour, gain and lookup do not
matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nuke_plugin.expression import ID_CHANNELS

SMALLEST_COVERAGE = 1 / 255
"""Visible coverage below this cannot be picked."""
LARGEST_ID = (1 << 24) - 1
LARGEST_HALF_ID = 2048
"""Greatest id that is exact at 16 bit."""


@dataclass(frozen=True)
class Sample:
    """One deep sample of a pixel."""

    number: float
    """The id channel's value; whole unless the file is damaged."""
    alpha: float
    front: float


@dataclass(frozen=True)
class Pixel:
    """The objects of a pixel."""

    ids: tuple[int, ...]
    """By visible coverage, strongest first."""
    damaged: bool
    """Whether a value was no id at all: infinite, not a number, fractional or too large."""


def objects_of(samples: Iterable[Sample]) -> Pixel:
    """The objects of a pixel, ordered by how much of it each one visibly covers.

    Args:
        samples: in any order; composited front to back with over.
    """
    left = 1.0
    visible: dict[int, float] = {}
    damaged = False
    for sample in sorted(samples, key=lambda s: s.front):
        coverage = sample.alpha * left
        left *= 1 - sample.alpha
        if not math.isfinite(sample.number) or sample.number != int(sample.number):
            damaged = True
        elif not 0 <= sample.number <= LARGEST_ID:
            damaged = True
        elif sample.number:
            number = int(sample.number)
            visible[number] = visible.get(number, 0.0) + coverage
    order = sorted(visible, key=lambda number: (-visible[number], number))
    return Pixel(tuple(n for n in order if visible[n] >= SMALLEST_COVERAGE), damaged)


def looks_halved(number: int) -> bool:
    """Whether an id without a name may be one that went through a 16-bit file."""
    if number <= LARGEST_HALF_ID:
        return False
    step = 1 << (number.bit_length() - 11)
    return number % step == 0


def id_channel(channels: Sequence[str], wanted: str) -> str:
    """The stream's id channel: the one asked for if it is there, else one of the usual names.

    Returns:
        Full channel name; empty when the stream has none.
    """
    for name in (wanted, *ID_CHANNELS):
        if name and name in channels:
            return name
    return ""


def samples_at(node: Any, x: int, y: int, *, channel: str) -> list[Sample]:
    """The samples of a node's pixel.

    Args:
        node: a deep node.
        x: column, from the left.
        y: row, from the bottom.
        channel: full name of the id channel.

    Raises:
        ValueError: the node is not deep.
    """
    count = int(node.deepSampleCount(x, y))
    return [
        Sample(
            number=_sampled(node, (channel, channel.rpartition(".")[2]), x, y, index),
            alpha=_sampled(node, ("rgba.alpha", "A"), x, y, index),
            front=_sampled(node, ("deep.front", "front"), x, y, index),
        )
        for index in range(count)
    ]


def _sampled(node: Any, names: Sequence[str], x: int, y: int, index: int) -> float:
    # How deepSample wants a channel spelt is not documented: the full name first, then the short
    # one that other software's tests use.
    for name in names:
        try:
            return float(node.deepSample(name, x, y, index))
        except (ValueError, RuntimeError, NameError):
            continue
    raise ValueError(
        f"The deep stream has no channel {names[0]} at {x}, {y}. Connect an ObjectId sequence."
    )
