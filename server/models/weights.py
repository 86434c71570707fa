"""Putting weights into a network, strictly: every tensor has its place and every place its tensor.

A weight file that does not fit would otherwise give a random network that runs without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn

from server.errors import ModelError

Built = TypeVar("Built")


def load_strict(network: nn.Module, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Copy weights into a network and leave no tensor of either side over.

    A tensor the network uses under several keys may be stored once or under each of them.

    Args:
        network: receives the weights, in its own number format.
        state: tensors by the network's own keys.
        source: how the message names the weights, for example a model name or a path.

    Raises:
        ModelError: a key is missing or unexpected, or a tensor has another shape; names it.
    """
    wanted = network.state_dict()
    stored = {_place(tensor) for key, tensor in wanted.items() if key in state}
    missing = [
        key for key, tensor in wanted.items() if key not in state and _place(tensor) not in stored
    ]
    unexpected = [key for key in state if key not in wanted]
    reshaped = [
        f"{key} (expected {tuple(wanted[key].shape)}, found {tuple(state[key].shape)})"
        for key in wanted
        if key in state and wanted[key].shape != state[key].shape
    ]
    problems = [
        f"{word} {_first(keys)}"
        for word, keys in (
            ("missing:", missing),
            ("unexpected:", unexpected),
            ("other shape:", reshaped),
        )
        if keys
    ]
    if problems:
        raise ModelError(
            f"The weights {source} do not fit their network: {'; '.join(problems)}. Fetch the "
            "model again, or choose the name that belongs to this file."
        )
    network.load_state_dict(dict(state), strict=False)


def build_without_init(build: Callable[[], Built]) -> Built:
    """What ``build`` makes, with the random numbers of the process left as they were.

    Building a network draws its first weights from torch's global generator; loading replaces
    them, so nobody should notice.
    """
    with torch.random.fork_rng(devices=[]):
        return build()


def _place(tensor: torch.Tensor) -> tuple[int, int]:
    """Where a tensor lies in memory: equal for one tensor under two keys."""
    return tensor.data_ptr(), tensor.numel()


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more
