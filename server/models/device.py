"""Where networks run: device names, number format, and what to do when memory ends.

fp32 on the CPU, bf16 autocast on a GPU. Nothing here is remembered between calls; an adapter asks
for its device once and keeps it.
"""

from __future__ import annotations

import contextlib

import torch

from server.errors import ResourceError, SettingsError


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name, checked to be there.

    Args:
        name: ``auto`` (the first GPU, else the CPU), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        SettingsError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(_unknown_device(name)) from error
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise SettingsError(_unknown_device(name))
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise SettingsError(
            f"Device {name!r} was asked for, but this machine shows {count} CUDA device(s). "
            "Choose another one, use `cpu`, or check the driver and CUDA_VISIBLE_DEVICES."
        )
    return device


def describe_computing(device: torch.device) -> str:
    """Everything about computing that can change the last bits of a result, in words."""
    if device.type == "cpu":
        return f"cpu, fp32, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name(device)}, bf16 autocast"


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The number format models compute in on a device: fp32 on the CPU, bf16 on a GPU."""
    if device.type == "cpu":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "not enough memory" in text or "can't allocate memory" in text
    )


def smaller_batch(size: int, *, device: torch.device, cause: Exception) -> int:
    """The batch size to try after a batch failed: half of it, if memory was the reason.

    Args:
        size: how many did not fit.
        device: where.
        cause: why; raised again if it has nothing to do with memory.

    Raises:
        ResourceError: there was only one.
    """
    if not is_out_of_memory(cause):
        raise cause
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if size <= 1:
        raise ResourceError(
            f"Memory of {device} ran out although only one item was computed at a time. Close "
            "other programs on it, choose a smaller model, or another device."
        ) from cause
    return size // 2


def _unknown_device(name: str) -> str:
    return f"Device {name!r} is unknown. Use `auto`, `cpu`, `cuda`, or a number such as `cuda:1`."
