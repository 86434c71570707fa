"""Adapters that put models behind the protocols of the stages, chosen by name.

Nothing heavy is imported before a model is asked for: torch only for real networks, one package
per model family. Weights come from ``server.models.store`` and are never downloaded here.
"""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from server.detect import Detector
from server.errors import SettingsError
from server.segment import Segmenter
from server.track import Tracker

if TYPE_CHECKING:
    from torch import nn

    from server.models.oracle import ShotTruth

DETECTORS = (
    "demo-groundingdino",
    "groundingdino-swin-t",
    "groundingdino-swin-b",
    "transformers:groundingdino-swin-t",
    "transformers:groundingdino-swin-b",
    "fake",
    "oracle:TRUTH.npz",
)
"""Names ``load_detector`` knows."""

SEGMENTERS = (
    "demo-sam2",
    "sam2.1-tiny",
    "sam2.1-small",
    "sam2.1-base-plus",
    "sam2.1-large",
    "transformers:sam2.1-tiny",
    "transformers:sam2.1-small",
    "transformers:sam2.1-base-plus",
    "transformers:sam2.1-large",
    "edgetam:FOLDER",
    "sam3:FOLDER",
    "fake",
    "oracle:TRUTH.npz",
)
"""Names ``load_segmenter`` knows; ``FOLDER`` holds a model as transformers lays it out."""


class LoadedModel(Protocol):
    """What the report wants to know about a model."""

    name: str
    weights_sha256: str
    calls: Counter[str]
    """Calls of ``detector``, ``image_encoder``, ``memory_attention``, ``mask_decoder``."""
    notes: list[str]
    """What had to be changed on the way, for example smaller batches."""


class LoadedDetector(Detector, LoadedModel, Protocol):
    """A model for stage 1."""


class LoadedSegmenter(Segmenter, Tracker, LoadedModel, Protocol):
    """One model for stages 2 and 3."""

    computing: str
    """Device, number format and threads: with the batch size, what makes a result repeatable."""

    @property
    def objects_per_batch(self) -> int:
        """Objects computed at once; falls when memory runs out."""
        ...


def load_detector(name: str, *, device: str = "cpu") -> LoadedDetector:
    """The detector of that name, ready to run.

    Args:
        name: one of ``DETECTORS``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; of no concern to ``fake`` and ``oracle``.

    Raises:
        SettingsError: the name or the device is unknown.
        ModelError: the model is not fetched, or its weights do not fit.
    """
    if name == "fake":
        from server.models.fake import FakeDetector

        return FakeDetector()
    if name.partition(":")[0] == "oracle":
        from server.models.oracle import OracleDetector

        return OracleDetector(_truth(name))
    if name not in DETECTORS:
        raise SettingsError(_unknown(name, kind="Detector", known=DETECTORS))
    if name == "demo-groundingdino":
        return _demo_detector(name, device=device)
    return _official_detector(name, device=device)


def load_segmenter(
    name: str,
    *,
    device: str = "cpu",
    objects_per_batch: int | None = None,
    compiled: bool = False,
) -> LoadedSegmenter:
    """The segmenter and tracker of that name, ready to run.

    Args:
        name: one of ``SEGMENTERS``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; of no concern to ``fake`` and ``oracle``.
        objects_per_batch: objects computed at once; part of what makes a result repeatable.
            None: the adapter's own choice for the device.
        compiled: let torch compile the image encoder: a slow first frame, faster ones afterwards.

    Raises:
        SettingsError: the name or the device is unknown.
        ModelError: the model is not fetched, or its weights do not fit.
    """
    if name == "fake":
        from server.models.fake import FakeSegmenter

        return FakeSegmenter(objects_per_batch=objects_per_batch or 4)
    if name.partition(":")[0] == "oracle":
        from server.models.oracle import OracleSegmenter

        return OracleSegmenter(_truth(name), objects_per_batch=objects_per_batch or 16)
    family, _, rest = name.partition(":")
    is_folder = family in ("edgetam", "sam3") and rest
    if name not in SEGMENTERS and not is_folder:
        raise SettingsError(_unknown(name, kind="Segmenter", known=SEGMENTERS))
    if rest:
        from server.models.transformers_video import check_options

        check_options(name, objects_per_batch=objects_per_batch, compiled=compiled)
        return _transformers_segmenter(name, device=device)
    from server.models.sam2 import Sam2

    network, weights_sha256 = _sam2_network(name)
    segmenter = Sam2(
        network,
        name=name,
        weights_sha256=weights_sha256,
        device=device,
        objects_per_batch=objects_per_batch,
        compiled=compiled,
    )
    if compiled:
        segmenter.notes.append(f"Compiling {name} took {segmenter.warm_up():.0f} s.")
    return segmenter


def _sam2_network(name: str) -> tuple[nn.Module, str]:
    """A SAM 2 with its weights, and which weights they are."""
    if name == "demo-sam2":
        from server.models import demo

        return demo.build_demo_sam2(), demo.weights_sha256(demo.SAM2_WEIGHTS)
    from safetensors.torch import load_file

    from server.models.sam2 import build_sam2
    from server.models.store import require
    from server.models.weights import load_strict

    files = require(name)
    network = build_sam2(files.config)
    load_strict(network, load_file(files.weights), source=str(files.weights))
    return network, files.sha256


def _transformers_segmenter(name: str, *, device: str) -> LoadedSegmenter:
    """SAM 2 with the official weights, or the model of a folder, by transformers."""
    from server.models import transformers_video as video

    backend, _, rest = name.partition(":")
    if backend == "transformers":
        from server.models.transformers_sam2 import convert

        network, weights_sha256 = _sam2_network(rest)
        network, family = convert(network), video.SAM2
    else:
        family = video.EDGETAM if backend == "edgetam" else video.SAM3
        network, weights_sha256 = video.load_folder(Path(rest).expanduser(), family)
    return video.TransformersVideo(
        network, family=family, name=name, weights_sha256=weights_sha256, device=device
    )


def _demo_detector(name: str, *, device: str) -> LoadedDetector:
    from server.models import demo
    from server.models.groundingdino import GroundingDino

    return GroundingDino(
        demo.build_demo_groundingdino(),
        name=name,
        weights_sha256=demo.weights_sha256(demo.GROUNDINGDINO_WEIGHTS),
        device=device,
        short_side=demo.DETECTOR_LONG_SIDE,
        longest_side=demo.DETECTOR_LONG_SIDE,
        usual_threshold=demo.DETECTOR_THRESHOLD,
    )


def _official_detector(name: str, *, device: str) -> LoadedDetector:
    from safetensors.torch import load_file

    from server.models.groundingdino import GroundingDino, build_groundingdino
    from server.models.store import require
    from server.models.weights import load_strict

    backend, _, official = name.rpartition(":")
    files = require(official)
    if files.tokenizer is None:
        raise ValueError(f"{official}: the store gave no tokenizer")
    state = load_file(files.weights)
    network = build_groundingdino(files.config, text_folder=files.tokenizer)
    load_strict(network, state, source=str(files.weights))
    if backend == "transformers":
        from server.models.transformers_groundingdino import convert

        network = convert(network)
    return GroundingDino(network, name=name, weights_sha256=files.sha256, device=device)


def _truth(name: str) -> ShotTruth:
    from server.models.oracle import ShotTruth

    path = name.partition(":")[2]
    if not path:
        raise SettingsError(
            "The oracle answers from the truth of a drawn shot. Name its file: oracle:TRUTH.npz"
        )
    return ShotTruth.load(Path(path))


def _unknown(name: str, *, kind: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{kind} {name!r} is unknown.{hint} Choose one of: {', '.join(known)}."
