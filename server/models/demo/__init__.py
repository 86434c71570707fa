"""The demo models: small networks of the sam2 and groundingdino packages, with their weights.

They know drawn plates only (people, cars, dogs, balls as `server.training` draws them) and exist
so that the whole pipeline runs anywhere, offline, on a CPU. Trained by ``python -m
server.training``; cards with figures and limits in ``docs/models``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

FOLDER = Path(__file__).parent
SAM2_WEIGHTS = FOLDER / "demo-sam2.safetensors"
GROUNDINGDINO_WEIGHTS = FOLDER / "demo-groundingdino.safetensors"
CHECKSUMS = FOLDER / "SHA256SUMS"

DETECTOR_LONG_SIDE = 320
"""Longest side, in pixels, of the pictures the demo detector was trained on."""

DETECTOR_THRESHOLD = 0.28
"""Score from which the demo detector's boxes are worth keeping; see its card."""

_ALIASES = "transformer.decoder.bbox_embed."


def build_demo_sam2() -> nn.Module:
    """The demo segmenter: a `SAM2VideoPredictor` in evaluation mode, ``image_size`` 256.

    Raises:
        ModelError: the weight file is missing, damaged or belongs to another network.
    """
    from server.models.demo.sam2 import build_sam2_network

    _check(SAM2_WEIGHTS)
    model = build_sam2_network()
    read_weights(model, SAM2_WEIGHTS)
    return model.eval()


def build_demo_groundingdino() -> nn.Module:
    """The demo detector: a `GroundingDINO` in evaluation mode, its tokenizer with it.

    Raises:
        ModelError: the weight file is missing, damaged or belongs to another network.
    """
    from server.models.demo.groundingdino import build_groundingdino_network

    _check(GROUNDINGDINO_WEIGHTS)
    model = build_groundingdino_network()
    read_weights(model, GROUNDINGDINO_WEIGHTS)
    return model.eval()


def weights_sha256(path: Path) -> str:
    """The sha256 a weight file of this folder must have, from ``SHA256SUMS``.

    Args:
        path: `SAM2_WEIGHTS` or `GROUNDINGDINO_WEIGHTS`.

    Raises:
        ModelError: the list does not name the file.
    """
    for line in CHECKSUMS.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if name == path.name:
            return digest
    raise ModelError(
        f"Expected {path.name} in {CHECKSUMS}, found no such line. Reinstall Segmatte."
    )


def read_weights(model: nn.Module, path: Path) -> None:
    """Load a weight file strictly; only the package's second names of shared tensors may lack.

    Args:
        model: network to fill, in place.
        path: fp16 or fp32 safetensors.

    Raises:
        ModelError: there is no such file, or it belongs to another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"Expected a safetensors file at {path}, found none that can be read ({error}). "
            "Reinstall Segmatte, or check the path."
        ) from error
    full = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    try:
        outcome = model.load_state_dict(full, strict=False)
    except RuntimeError as error:
        raise ModelError(
            f"Expected the weights of this network in {path}, found other shapes "
            f"({str(error)[:200]}). Use the file written for this version."
        ) from error
    missing = [name for name in outcome.missing_keys if not name.startswith(_ALIASES)]
    if missing or outcome.unexpected_keys:
        raise ModelError(
            f"Expected the weights of this network in {path}, found {len(missing)} missing "
            f"{missing[:3]} and {len(outcome.unexpected_keys)} unknown "
            f"{outcome.unexpected_keys[:3]}. Use the file written for this version."
        )


def write_weights(state: dict[str, object], path: Path) -> None:
    """Write a state dict as fp16 safetensors, shared tensors once, by renaming into place.

    Args:
        state: name to tensor, as from ``module.state_dict()``.
        path: file to write.
    """
    import torch
    from safetensors.torch import save_file

    kept = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and not name.startswith(_ALIASES):
            small = value.detach().half() if value.is_floating_point() else value.detach()
            kept[name] = small.contiguous().clone()
    draft = path.with_suffix(".draft")
    save_file(kept, str(draft))
    draft.replace(path)


def publish(source: Path, target: Path) -> str:
    """Put a weight file in the place of a shipped one and renew its line in ``SHA256SUMS``.

    Args:
        source: safetensors as `write_weights` writes them.
        target: `SAM2_WEIGHTS` or `GROUNDINGDINO_WEIGHTS`.

    Returns:
        The sha256 of the file.

    Raises:
        ModelError: there is no such source.
    """
    if not source.exists():
        raise ModelError(f"Expected weights at {source}, found none. Train first, or wait.")
    content = source.read_bytes()
    target.write_bytes(content)
    digests = {}
    if CHECKSUMS.exists():
        lines = CHECKSUMS.read_text(encoding="utf-8").splitlines()
        digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    digests[target.name] = hashlib.sha256(content).hexdigest()
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    CHECKSUMS.write_text(text, encoding="utf-8")
    return digests[target.name]


def _check(path: Path) -> None:
    """Refuse a weight file that is missing or not the one its card describes."""
    if not path.exists():
        raise ModelError(f"Expected the demo weights at {path}, found none. Reinstall Segmatte.")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    wanted = weights_sha256(path)
    if found != wanted:
        raise ModelError(
            f"Expected sha256 {wanted} for {path}, found {found}: the file is damaged. "
            "Reinstall Segmatte."
        )
