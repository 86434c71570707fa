"""SAM 2, EdgeTAM and SAM 3 by transformers, behind stages 2 and 3.

The three have one interface there: a model that is called with an *inference session*. Here every
object of a window has a session of its own, in the streaming form, in which a frame's number is
its age: frames since the prompt. So going back in time is the same computation, an object that is
dropped is a session thrown away, and what a session keeps of old frames is taken out again when no
later frame reads it. Only public names of transformers are used; the price is that objects are
computed one at a time, which the models do by themselves also for a session with many.

The prompt frame is remembered by the mask itself. The official SAM 2 predictor remembers its
quarter-size copy, so results differ a little from ``server.models.sam2`` along edges.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from server.errors import ModelError, SettingsError
from server.frames import ModelImage
from server.models.device import autocast, choose_device, describe_computing, smaller_batch
from server.models.download import sha256_of
from server.models.sam2 import (
    IMAGE_MEAN,
    IMAGE_STD,
    corners_of,
    fit_masks,
    squared,
    to_probabilities,
)
from server.segment import Features, SegmentPrompt

_OBJECT = 0  # the one object of a session
_PROMPT_AGE = 0
# What a session stores of a frame and a later frame reads; spatial memories first.
_SPATIAL = ("maskmem_features", "maskmem_pos_enc")
_POINTER = "object_pointer"
# What a configuration of strange content raises when it is read.
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True)
class VideoFamily:
    """Models of one interface: their classes in transformers, and what they were trained with."""

    title: str
    model: str
    session: str
    since: str
    """The first release of transformers that has them."""
    folders: tuple[str, ...]
    """``model_type`` of the folders they can be read from."""
    mean: tuple[float, float, float] = IMAGE_MEAN
    std: tuple[float, float, float] = IMAGE_STD


SAM2 = VideoFamily("SAM 2", "Sam2VideoModel", "Sam2VideoInferenceSession", "4.56", ("sam2_video",))
EDGETAM = VideoFamily(
    "EdgeTAM", "EdgeTamVideoModel", "EdgeTamVideoInferenceSession", "4.57", ("edgetam_video",)
)
SAM3 = VideoFamily(
    "SAM 3",
    "Sam3TrackerVideoModel",
    "Sam3TrackerVideoInferenceSession",
    "5.0",
    ("sam3_tracker_video", "sam3_video"),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def load_folder(folder: Path, family: VideoFamily) -> tuple[nn.Module, str]:
    """A network from a folder as transformers lays models out, and the sha256 of its weights.

    Args:
        folder: with ``config.json`` and ``model.safetensors``, fetched by whoever accepted the
            model's licence. Nothing is downloaded.
        family: what is in it.

    Raises:
        ModelError: the installed transformers does not know the family, files are missing, or the
            weights do not fit.
    """
    model_class = _from_transformers(family.model, family)
    weights = folder / "model.safetensors"
    for path in (folder / "config.json", weights):
        if not path.is_file():
            raise ModelError(
                f"{family.title} needs a folder with config.json and model.safetensors, as "
                f"transformers lays models out. {path} is missing."
            )
    try:
        settings = json.loads((folder / "config.json").read_bytes())
        found = settings.get("model_type")
        if found not in family.folders:
            raise ModelError(
                f"{folder} holds a model of type {found!r}, expected {family.folders[0]!r} for "
                f"{family.title}. Name another folder."
            )
        # Made here where possible: transformers prints a configuration beside its defaults, and
        # the defaults of EdgeTAM ask the model hub.
        own = model_class.config_class
        network, loading = model_class.from_pretrained(
            str(folder),
            config=own(**settings) if found == own.model_type else None,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (*_DAMAGE, OSError, RuntimeError, SafetensorError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ModelError(
            f"{folder} cannot be loaded as {family.title}: {reason}. Fetch it again."
        ) from error
    wrong = [
        f"{kind}: {', '.join(sorted(map(str, loading[f'{kind}_keys']))[:5])}"
        for kind in ("missing", "unexpected", "mismatched")
        if loading[f"{kind}_keys"]
    ]
    if wrong:
        raise ModelError(
            f"The weights in {folder} do not fit {family.title} ({'; '.join(wrong)}). Fetch them "
            "again, or name the folder of the right model."
        )
    return cast(nn.Module, network).eval(), sha256_of(weights)


def _from_transformers(name: str, family: VideoFamily) -> Any:
    import transformers

    found = getattr(transformers, name, None)
    if found is None:
        raise ModelError(
            f"{family.title} needs transformers {family.since} or later, found "
            f"{transformers.__version__}. Install a later one in an environment of its own: "
            "groundingdino-py asks for one below 5."
        )
    return found


@dataclass(frozen=True)
class VideoFeatures:
    """An encoded frame: the levels the mask decoder reads, finest first, (h*w, 1, C) tokens."""

    levels: tuple[Tensor, ...]

    @property
    def size_bytes(self) -> int:
        """Memory the levels hold."""
        return sum(level.numel() * level.element_size() for level in self.levels)

    def maps(self) -> list[Tensor]:
        """The levels as square maps (1, C, h, w)."""
        sides = [math.isqrt(len(level)) for level in self.levels]
        return [
            level.permute(1, 2, 0).reshape(1, -1, side, side)
            for level, side in zip(self.levels, sides, strict=True)
        ]


class TransformersVideo:
    """Segmenter of stage 2 and tracker of stage 3 over one network of transformers.

    Attributes:
        name: the model's name, as written to reports.
        weights_sha256: which weights these are.
        calls: calls of ``image_encoder``, ``memory_attention`` and ``mask_decoder``, an object
            each.
        notes: always empty: there is no batch that could be made smaller.
        computing: device, number format and threads.
        objects_per_batch: 1.
    """

    objects_per_batch = 1

    def __init__(
        self,
        network: nn.Module,
        *,
        family: VideoFamily,
        name: str,
        weights_sha256: str,
        device: str = "cpu",
    ) -> None:
        """Wrap a network.

        Args:
            network: of the family, with its weights; moved to the device.
            family: which one it is.
            name: of the model.
            weights_sha256: of its weights.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            SettingsError: the device does not exist.
        """
        self.device = choose_device(device)
        self.name = name
        self.weights_sha256 = weights_sha256
        self.calls: Counter[str] = Counter()
        self.notes: list[str] = []
        self.computing = describe_computing(self.device)
        # transformers is typed loosely; its attributes are used as its source documents them.
        self._network = cast(Any, network)
        network.to(self.device).eval()
        self._session_class = _from_transformers(family.session, family)
        self._mean = torch.tensor(family.mean, device=self.device)[:, None, None]
        self._std = torch.tensor(family.std, device=self.device)[:, None, None]
        self._positions: list[Tensor] = []  # of the levels: the same in every frame

    @property
    def image_size(self) -> int:
        """Side S of the square image the network sees, in pixels."""
        return int(self._network.image_size)

    @torch.inference_mode()
    def encode(self, image: ModelImage) -> VideoFeatures:
        """Features of one frame, resized to S x S as ``server.models.sam2`` does.

        Raises:
            ResourceError: memory ran out.
        """
        pixels = (
            torch.from_numpy(squared(image, self.image_size))
            .to(self.device)
            .permute(2, 0, 1)
            .float()
            / 255.0
        )
        self.calls["image_encoder"] += 1
        with self._computing():
            answer = self._network.get_image_features(((pixels - self._mean) / self._std)[None])
        # A tuple before transformers 5, an object since.
        levels, positions = (
            answer[:2]
            if isinstance(answer, tuple)
            else (answer.fpn_hidden_states, answer.fpn_position_encoding)
        )
        self._positions = self._positions or list(positions)
        return VideoFeatures(tuple(levels))

    def segment(
        self, features: Features, prompts: Sequence[SegmentPrompt], *, size: tuple[int, int]
    ) -> NDArray[np.uint16]:
        """Probability that a pixel belongs to the prompted object.

        Args:
            features: of the frame, from ``encode``.
            prompts: K boxes or groups of points in working pixels, answered independently.
            size: (H, W) of the working image.

        Returns:
            (K, H, W) uint16, 65535 = 1.0.

        Raises:
            ResourceError: memory ran out.
        """
        result = np.zeros((len(prompts), *size), np.uint16)
        for index, prompt in enumerate(prompts):
            result[index] = to_probabilities(
                self.segment_logits(features, prompt, size=size)[None], size=size
            )[0]
        return result

    @torch.inference_mode()
    def segment_logits(
        self, features: Features, prompt: SegmentPrompt, *, size: tuple[int, int]
    ) -> Tensor:
        """Mask logits (h, w) of one prompt on the decoder's own grid, inside > 0."""
        network = self._network
        scale = self.image_size / np.array([size[1], size[0], self.image_size], np.float32)
        corners = torch.from_numpy(np.array(corners_of(prompt), np.float32) * scale)
        points = corners.to(self.device)[None, None]
        config = network.config
        several = bool(config.multimask_output_in_sam) and (
            config.multimask_min_pt_num <= points.shape[2] <= config.multimask_max_pt_num
        )
        *fine, coarse = _own(features).maps()
        self.calls["mask_decoder"] += 1
        with self._computing():
            sparse, dense = network.get_prompt_embeddings(
                input_points=points[..., :2], input_labels=points[..., 2].int()
            )
            masks, scores, _, _ = network.mask_decoder(
                # A still has no memory; the network was trained to be told so.
                image_embeddings=coarse + network.no_memory_embedding.reshape(1, -1, 1, 1),
                image_positional_embeddings=network.get_image_wide_positional_embeddings(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=several,
                high_resolution_features=fine,
            )
        best: Tensor = masks[0, 0, int(scores[0, 0].argmax())].float()
        return best

    def open_window(
        self, features: Features, masks: NDArray[np.bool_], *, reverse: bool
    ) -> VideoWindow:
        """Start tracking objects from masks on the frame the features belong to.

        Args:
            features: of the prompt frame.
            masks: (K, H, W) at working size, K >= 1, none empty.
            reverse: whether the steps will go back in time; the computation is the same.

        Raises:
            ResourceError: memory ran out.
        """
        del reverse
        if masks.ndim != 3 or masks.dtype != np.bool_ or not len(masks):
            raise ValueError(
                f"masks: expected (K >= 1, H, W) bool, got {masks.shape} {masks.dtype}"
            )
        sessions = []
        for mask in masks:
            session = self._session_class(
                inference_device=self.device,
                inference_state_device=self.device,
                video_storage_device=self.device,
                dtype=torch.float32,
            )
            prompt = fit_masks(torch.from_numpy(mask[None]).to(self.device), side=self.image_size)
            session.add_mask_inputs(session.obj_id_to_idx(_OBJECT), _PROMPT_AGE, prompt)
            session.obj_with_new_inputs.append(_OBJECT)
            self.advance(session, features, age=_PROMPT_AGE)
            sessions.append(session)
        return VideoWindow(self, sessions, size=(masks.shape[1], masks.shape[2]))

    def advance(self, session: Any, features: Features, *, age: int) -> Tensor:
        """Mask logits (1, h, w) of a session's object on its next frame, now remembered.

        Args:
            session: of transformers.
            features: of the frame.
            age: of the frame; 0 for the prompt's.

        Raises:
            ResourceError: memory ran out.
        """
        if age > _PROMPT_AGE:
            self.calls["memory_attention"] += 1
        self.calls["mask_decoder"] += 1
        # The session is given features instead of a picture, so the picture can be nothing.
        session.cache.cache_vision_features(
            age,
            {"vision_feats": list(_own(features).levels), "vision_pos_embeds": self._positions},
        )
        with self._computing():
            answer = self._network(
                inference_session=session, frame=torch.empty(0, device=self.device), frame_idx=age
            )
        session.cache.clear_all()
        session.processed_frames.clear()
        self._forget(session, age=age)
        logits: Tensor = answer.pred_masks[:, 0].float()
        return logits

    def _forget(self, session: Any, *, age: int) -> None:
        """Take out of a session what no later frame reads."""
        config = self._network.config
        stored = session.output_dict_per_obj[0]
        (prompt,) = stored["cond_frame_outputs"].values()
        tracked = stored["non_cond_frame_outputs"]
        latest = tracked.get(age, prompt)
        for key in [key for key in latest if key not in (*_SPATIAL, _POINTER)]:
            del latest[key]
        if old := tracked.get(age - (config.num_maskmem - 1)):
            for key in _SPATIAL:
                old[key] = None
        tracked.pop(age - (config.max_object_pointers_in_encoder - 1), None)
        session.frames_tracked_per_obj[0].clear()

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """The device's number format; a full memory is an error that says what to do."""
        try:
            with autocast(self.device):
                yield
        except (RuntimeError, MemoryError) as error:
            smaller_batch(1, device=self.device, cause=error)


class VideoWindow:
    """Objects tracked from one prompt frame; every ``step`` is the next frame away from it."""

    def __init__(
        self, tracker: TransformersVideo, sessions: list[Any], *, size: tuple[int, int]
    ) -> None:
        """Use ``TransformersVideo.open_window``."""
        self._tracker = tracker
        self._sessions: list[Any] = sessions  # None: dropped
        self._size = size
        self._age = _PROMPT_AGE

    @property
    def size_bytes(self) -> int:
        """Memory the window's state holds; it stops growing after sixteen frames."""
        records = [
            record
            for session in self._sessions
            if session is not None
            for kind in session.output_dict_per_obj[0].values()
            for record in kind.values()
        ]
        tensors = [value for record in records for value in record.values() if value is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def step(self, features: Features) -> Iterator[NDArray[np.uint16]]:
        """Probabilities on the next frame, object by object; run it to its end.

        Args:
            features: of the frame that follows the last one in the window's direction.

        Yields:
            (1, H, W) uint16, 65535 = 1.0; all together are the K objects, in order.

        Raises:
            ResourceError: memory ran out.
        """
        self._age += 1
        for session in self._sessions:
            if session is None:
                yield np.zeros((1, *self._size), np.uint16)
                continue
            logits = self._tracker.advance(session, features, age=self._age)
            yield to_probabilities(logits, size=self._size)

    def drop(self, index: int) -> None:
        """Stop tracking one object: it answers zeros from now on and costs nothing."""
        self._sessions[index] = None


def check_options(name: str, *, objects_per_batch: int | None, compiled: bool) -> None:
    """Refuse what these backends cannot do, rather than ignore it.

    Raises:
        SettingsError: more than one object at once, or a compiled network, was asked for.
    """
    if objects_per_batch not in (None, 1) or compiled:
        asked = "a compiled network" if compiled else f"{objects_per_batch} objects at once"
        raise SettingsError(
            f"{name} computes one object at a time and is not compiled, but {asked} was asked "
            "for. Leave the option out, or choose a segmenter without a prefix."
        )


def _own(features: Features) -> VideoFeatures:
    if not isinstance(features, VideoFeatures):
        raise TypeError(
            f"features: expected those transformers encoded, got {type(features).__name__}"
        )
    return features
