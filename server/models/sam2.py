"""SAM 2 behind stages 2 and 3: one set of weights, one encoding of a frame for both.

The adapter composes over the package's ``SAM2Base`` and never touches the official predictors or
their ``inference_state``. A window keeps its own small state, objects first in every tensor: the
spatial memory of the prompt frame and of the last six frames, object pointers of the last sixteen,
no logits. What it computes equals the official video predictor object by object, with two choices:
holes are not filled (the compiled extension is absent from the package), and the time scale of the
object pointers is always that of sixteen frames, so that a matte does not depend on the length of
the shot around it (the official one shrinks it in shots under sixteen frames).
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, torch's own convention
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from server.errors import SettingsError
from server.frames import ModelImage
from server.models.device import autocast, choose_device, describe_computing, smaller_batch
from server.models.weights import build_without_init
from server.segment import Features, SegmentPrompt

GPU_OBJECTS = 16
"""Objects computed at once on a GPU, unless told otherwise or memory runs out.

On the CPU it is one: batches save at most a quarter of the time there, and an object computed
alone has the same bits whatever else is tracked beside it (a batch differs in the last bits, and
memories rounded to bf16 carry that to about 1e-3 in a logit).
"""

# The normalisation every SAM 2 was trained with, RGB 0..1.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

# Point labels of the prompt encoder: background, foreground, the two corners of a box.
_NEGATIVE, _POSITIVE, _TOP_LEFT, _BOTTOM_RIGHT = 0, 1, 2, 3

# Logits given back for refinement are clamped to this, as the official predictors do.
_LOGIT_LIMIT = 32.0

# The state of SAM 2 reads ``num_frames`` only as min(num_frames, 16) and as a bound on indices.
_ENDLESS = 1 << 30

Answer = TypeVar("Answer")


def build_sam2(config: str, *, image_size: int = 1024) -> nn.Module:
    """An official network with random weights, set up as the official predictors set it up.

    Args:
        config: a file of the package, for example ``configs/sam2.1/sam2.1_hiera_t.yaml``.
        image_size: side of the square the network sees, a multiple of 32; the published weights
            belong to 1024.
    """
    import sam2
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    # The file is read directly: hydra's own search path is a global of the process.
    network_config = OmegaConf.load(Path(sam2.__path__[0]) / config).model
    overrides = {
        "image_size": image_size,
        # What the official builder calls post-processing: fall back to the best of three masks
        # when the single one is unstable, and remember prompt masks as hard masks.
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
        "binarize_mask_from_pts_for_mem_enc": True,
    }
    grid = [image_size // 16] * 2  # else the rotary table is computed again in every call
    attention = {key: {"feat_sizes": grid} for key in ("self_attention", "cross_attention")}
    overrides["memory_attention"] = {"layer": attention}
    network: nn.Module = build_without_init(
        lambda: instantiate(OmegaConf.merge(network_config, overrides))
    )
    return network.eval()


@dataclass(frozen=True)
class Sam2Features:
    """An encoded frame: the three levels the mask decoder reads, finest first, (1, C, h, w)."""

    levels: tuple[Tensor, ...]

    @property
    def size_bytes(self) -> int:
        """Memory the levels hold."""
        return sum(level.numel() * level.element_size() for level in self.levels)


class Sam2:
    """Segmenter of stage 2 and tracker of stage 3 over one network.

    Attributes:
        name: the model's name, as written to reports.
        weights_sha256: which weights these are.
        calls: calls of ``image_encoder``, ``memory_attention`` and ``mask_decoder``; a batch of
            objects is one call.
        notes: what had to be changed on the way, for the report (smaller batches when memory ran
            out).
        computing: device, number format and threads.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        weights_sha256: str,
        device: str = "cpu",
        objects_per_batch: int | None = None,
        compiled: bool = False,
    ) -> None:
        """Wrap a network.

        Args:
            network: a ``SAM2Base`` with its weights; moved to the device, used for nothing else.
            name: of the model.
            weights_sha256: of its weights.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            objects_per_batch: objects computed at once, lowered when memory runs out; None: one
                on the CPU, ``GPU_OBJECTS`` on a GPU.
            compiled: let torch compile the image encoder; the first frame is slow, see
                ``warm_up``.

        Raises:
            SettingsError: the device does not exist, or the batch is smaller than one object.
        """
        if objects_per_batch is not None and objects_per_batch < 1:
            raise SettingsError(f"Objects per batch must be at least 1, not {objects_per_batch}.")
        chosen = choose_device(device)
        self.name = name
        self.weights_sha256 = weights_sha256
        self.calls: Counter[str] = Counter()
        self.notes: list[str] = []
        self.computing = describe_computing(chosen)
        self._engine = _Engine(
            network,
            device=chosen,
            batch_size=objects_per_batch or (1 if chosen.type == "cpu" else GPU_OBJECTS),
            calls=self.calls,
            notes=self.notes,
            compiled=compiled,
        )

    @property
    def image_size(self) -> int:
        """Side S of the square image the network sees, in pixels."""
        return self._engine.image_size

    @property
    def objects_per_batch(self) -> int:
        """Objects computed at once; falls when memory runs out."""
        return self._engine.batch_size

    def encode(self, image: ModelImage) -> Sam2Features:
        """Features of one frame, shared by stages 2 and 3.

        Raises:
            ResourceError: memory ran out.
        """
        return self._engine.encode(squared(image, self.image_size))

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
            ResourceError: memory ran out with a single prompt.
        """
        if not prompts:
            return np.zeros((0, *size), np.uint16)
        return self.probabilities(self.segment_logits(features, prompts, size=size), size=size)

    def segment_logits(
        self,
        features: Features,
        prompts: Sequence[SegmentPrompt],
        *,
        size: tuple[int, int],
        previous: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Mask logits at a quarter of the network's size, for refinement by further clicks.

        A single point is ambiguous, so the best of three masks is taken there if the network was
        trained to give three; a box, or several points, give one mask.

        Args:
            features: of the frame, from ``encode``.
            prompts: K boxes or groups of points in working pixels.
            size: (H, W) of the working image.
            previous: (K, S/4, S/4) what this method answered before the last click; None: nothing.

        Returns:
            (K, S/4, S/4) logits, inside > 0.

        Raises:
            ResourceError: memory ran out with a single prompt.
        """
        side = self.image_size // 4
        result = np.zeros((len(prompts), side, side), np.float32)
        if previous is not None and previous.shape != result.shape:
            raise ValueError(f"previous: expected {result.shape}, got {previous.shape}")
        scale = self.image_size / np.array([size[1], size[0], self.image_size], np.float32)
        corners = [np.array(corners_of(prompt), np.float32) * scale for prompt in prompts]
        # Prompts of one length go together: padding a shorter one would change its answer.
        for length in sorted({len(points) for points in corners}):
            alike = [index for index, points in enumerate(corners) if len(points) == length]

            def decode(indices: Sequence[int]) -> list[NDArray[np.float32]]:
                logits = self._engine.decode(
                    _own(features),
                    np.stack([corners[index] for index in indices]),
                    previous=None if previous is None else previous[list(indices)],
                )
                return [*logits]

            answers = self._engine.in_batches(alike, decode)
            result[alike] = np.stack(answers)
        return result

    def open_window(
        self, features: Features, masks: NDArray[np.bool_], *, reverse: bool
    ) -> Sam2Window:
        """Start tracking objects from masks on the frame the features belong to.

        Args:
            features: of the prompt frame.
            masks: (K, H, W) at working size, K >= 1, none empty. One so thin that nothing of it
                would be left at the network's size keeps the pixels it covers best.
            reverse: whether the steps will go back in time. SAM 2 sees only how old a memory is,
                so the computation is the same.

        Raises:
            ResourceError: memory ran out with a single object.
        """
        del reverse
        return Sam2Window(self._engine, _own(features), masks)

    def probabilities(
        self, logits: NDArray[np.float32], *, size: tuple[int, int]
    ) -> NDArray[np.uint16]:
        """Logits as probabilities at working size: bilinear upsampling, then the sigmoid.

        Args:
            logits: (K, h, w), from ``segment_logits``.
            size: (H, W).

        Returns:
            (K, H, W) uint16, 65535 = 1.0.
        """
        return self._engine.probabilities(torch.from_numpy(logits), size=size)

    def warm_up(self) -> float:
        """Run every part, so that compilation and allocation are done; returns seconds."""
        start = time.perf_counter()
        before = self.calls.copy()
        side = self.image_size
        black = ModelImage(frame=0, pixels=np.zeros((side, side, 3), np.uint8))
        # Twice: the package keeps position codes from the first time on, which compiles anew.
        for _ in range(2):
            features = self.encode(black)
        prompt = SegmentPrompt(box=(0.0, 0.0, side / 2, side / 2))
        self.segment(features, [prompt], size=(side, side))
        mask = np.zeros((1, side, side), np.bool_)
        mask[:, : side // 2, : side // 2] = True
        window = self.open_window(features, mask, reverse=False)
        for _answer in window.step(features):
            pass
        self.calls.clear()
        self.calls.update(before)
        return time.perf_counter() - start


class Sam2Window:
    """Objects tracked from one prompt frame; every ``step`` is the next frame away from it."""

    def __init__(self, engine: _Engine, features: Sam2Features, masks: NDArray[np.bool_]) -> None:
        """Use ``Sam2.open_window``."""
        if masks.ndim != 3 or masks.dtype != np.bool_ or not len(masks):
            raise ValueError(
                f"masks: expected (K >= 1, H, W) bool, got {masks.shape} {masks.dtype}"
            )
        self._engine = engine
        self._size = (masks.shape[1], masks.shape[2])
        self._age = 0  # frames since the prompt frame; SAM 2 never asks for a frame's number
        self._batches: list[_ObjectBatch] = []

        def open_batch(indices: Sequence[int]) -> list[None]:
            self._batches.append(engine.open(features, masks[list(indices)]))
            return [None] * len(indices)

        engine.in_batches(range(len(masks)), open_batch)

    @property
    def size_bytes(self) -> int:
        """Memory the window's state holds; it stops growing after sixteen frames."""
        return sum(batch.size_bytes for batch in self._batches)

    def step(self, features: Features) -> Iterator[NDArray[np.uint16]]:
        """Probabilities on the next frame, object batch by object batch.

        Run it to its end: every batch has to see every frame.

        Args:
            features: of the frame that follows the last one in the window's direction.

        Yields:
            (k, H, W) uint16, 65535 = 1.0; all k together are the K objects, in order.

        Raises:
            ResourceError: memory ran out with a single object.
        """
        for batch, logits in self._advance(features):
            result = np.zeros((batch.count, *self._size), np.uint16)
            if logits is not None:
                result[batch.alive] = self._engine.probabilities(logits, size=self._size)
            yield result

    def step_logits(self, features: Features) -> Iterator[NDArray[np.float32]]:
        """The same step as mask logits (k, S/4, S/4), for proofs; -inf for dropped objects."""
        side = self._engine.image_size // 4
        for batch, logits in self._advance(features):
            result = np.full((batch.count, side, side), -np.inf, np.float32)
            if logits is not None:
                result[batch.alive] = logits.cpu().numpy()
            yield result

    def drop(self, index: int) -> None:
        """Stop tracking one object: it answers zeros from now on and costs nothing.

        Args:
            index: of the object among the masks the window was opened with.
        """
        start = 0
        for batch in self._batches:
            if start <= index < start + batch.count:
                batch.drop(index - start)
                return
            start += batch.count
        raise IndexError(f"object {index} of a window with {start} objects")

    def _advance(self, features: Features) -> Iterator[tuple[_ObjectBatch, Tensor | None]]:
        """Every batch one frame on, with its logits; a batch that does not fit is split."""
        self._age += 1
        waiting, done = deque(self._batches), []
        while waiting:
            batch = waiting.popleft()
            logits = None
            if batch.alive:
                try:
                    logits = self._engine.track(batch, _own(features), age=self._age)
                except (RuntimeError, MemoryError) as error:
                    self._engine.shrink_after(error, size=len(batch.alive))
                    waiting.extendleft(reversed(batch.split()))
                    continue
            done.append(batch)
            yield batch, logits
        self._batches = done


@dataclass(frozen=True)
class _Memory:
    """What SAM 2 remembers of one frame, K objects first."""

    pointer: Tensor
    """(K, C)"""
    spatial: Tensor | None
    """(K, c, S/16, S/16) bfloat16, as the official predictor keeps it; None once it is too old."""

    def rows(self, rows: Sequence[int]) -> _Memory:
        """The same frame, some of the objects."""
        spatial = None if self.spatial is None else self.spatial[list(rows)]
        return _Memory(self.pointer[list(rows)], spatial)

    @property
    def size_bytes(self) -> int:
        tensors = [self.pointer] if self.spatial is None else [self.pointer, self.spatial]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@dataclass
class _ObjectBatch:
    """Objects tracked in one call, with their memories by age."""

    count: int
    """Objects it answers for, dropped ones included."""
    alive: list[int]
    """Those still tracked, 0..count - 1; the rows of every tensor."""
    positions: Tensor
    """(1, c, S/16, S/16) position code of a spatial memory, the same for all."""
    prompt: _Memory
    past: dict[int, _Memory] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(memory.size_bytes for memory in (self.prompt, *self.past.values()))

    def as_output_dict(self) -> dict[str, dict[int, dict[str, Any]]]:
        """The state in the form ``SAM2Base.track_step`` reads."""
        positions = [self.positions.expand(len(self.alive), -1, -1, -1)]

        def record(memory: _Memory) -> dict[str, Any]:
            return {
                "maskmem_features": memory.spatial,
                "maskmem_pos_enc": positions,
                "obj_ptr": memory.pointer,
            }

        return {
            "cond_frame_outputs": {0: record(self.prompt)},
            "non_cond_frame_outputs": {age: record(m) for age, m in self.past.items()},
        }

    def remember(self, age: int, memory: _Memory, *, spatial: int, pointers: int) -> None:
        """Add a frame; forget what no later frame reads.

        Args:
            age: of the frame.
            memory: of it.
            spatial: frames whose spatial memory is read.
            pointers: frames whose pointers are read.
        """
        self.past[age] = memory
        if old := self.past.get(age - spatial):
            self.past[age - spatial] = replace(old, spatial=None)
        self.past.pop(age - pointers, None)

    def drop(self, position: int) -> None:
        """Forget one object, and go on answering for it."""
        if position in self.alive:
            kept = [row for row, other in enumerate(self.alive) if other != position]
            self.alive = [self.alive[row] for row in kept]
            self.prompt = self.prompt.rows(kept)
            self.past = {age: memory.rows(kept) for age, memory in self.past.items()}

    def split(self) -> tuple[_ObjectBatch, _ObjectBatch]:
        """The same objects as two batches, the living ones shared equally."""
        half = len(self.alive) // 2
        border = self.alive[half]

        def part(rows: slice, *, start: int, count: int) -> _ObjectBatch:
            indices = range(len(self.alive))[rows]
            return _ObjectBatch(
                count=count,
                alive=[self.alive[row] - start for row in indices],
                positions=self.positions,
                prompt=self.prompt.rows(indices),
                past={age: memory.rows(indices) for age, memory in self.past.items()},
            )

        return (
            part(slice(half), start=0, count=border),
            part(slice(half, None), start=border, count=self.count - border),
        )


class _Engine:
    """The network on its device: tensors in, tensors out, calls counted."""

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device,
        batch_size: int,
        calls: Counter[str],
        notes: list[str],
        compiled: bool,
    ) -> None:
        self.device = device
        self.batch_size = batch_size
        self._calls = calls
        self._notes = notes
        # The package has no types; its attributes are used as its source documents them.
        self._network = cast(Any, network)
        network.to(device).eval()
        self._mean = torch.tensor(IMAGE_MEAN, device=device)[:, None, None]
        self._std = torch.tensor(IMAGE_STD, device=device)[:, None, None]
        self._positions: list[Tensor] = []  # one a level, (h*w, 1, C): the same in every frame
        self.image_size = int(self._network.image_size)
        if compiled:
            # The one part whose shapes never change: memory attention grows over the first
            # sixteen frames of every window and would be compiled again and again. The method,
            # not the module: the names of the weights stay as they are.
            encoder = self._network.image_encoder
            encoder.forward = torch.compile(encoder.forward, dynamic=False)

    def in_batches(
        self, items: Sequence[int], run: Callable[[Sequence[int]], list[Answer]]
    ) -> list[Answer]:
        """Answers of all items, at most ``batch_size`` at once, fewer when memory runs out."""
        results: list[Answer] = []
        while len(results) < len(items):
            batch = items[len(results) : len(results) + self.batch_size]
            try:
                results.extend(run(batch))
            except (RuntimeError, MemoryError) as error:
                self.shrink_after(error, size=len(batch))
        return results

    def shrink_after(self, error: Exception, *, size: int) -> None:
        """Go on with half as many objects at once if memory ran out; else raise the error again.

        Raises:
            ResourceError: there was only one object.
        """
        smaller = smaller_batch(size, device=self.device, cause=error)
        if smaller < self.batch_size:
            self._notes.append(
                f"Memory of {self.device} ran out: {smaller} instead of {self.batch_size} "
                "objects at once from there on."
            )
            self.batch_size = smaller

    @torch.inference_mode()
    def encode(self, pixels: NDArray[np.uint8]) -> Sam2Features:
        """Features of an (S, S, 3) image."""
        image = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1).float() / 255.0
        self._calls["image_encoder"] += 1
        try:
            with autocast(self.device):
                encoded = self._network.forward_image(((image - self._mean) / self._std)[None])
        except (RuntimeError, MemoryError) as error:
            self.shrink_after(error, size=1)
            raise
        return Sam2Features(tuple(encoded["backbone_fpn"][-self._network.num_feature_levels :]))

    @torch.inference_mode()
    def decode(
        self,
        features: Sam2Features,
        corners: NDArray[np.float32],
        *,
        previous: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        """Logits (K, S/4, S/4) of prompts (K, P, 3): x, y in S x S pixels, and a label."""
        network = self._network
        points = torch.from_numpy(corners).to(self.device)
        dense = None
        if previous is not None:
            clamped = np.clip(previous, -_LOGIT_LIMIT, _LOGIT_LIMIT)
            dense = torch.from_numpy(clamped).to(self.device)[:, None]
        several = bool(network.multimask_output_in_sam) and (
            network.multimask_min_pt_num <= points.shape[1] <= network.multimask_max_pt_num
        )
        *fine, coarse = features.levels
        if network.directly_add_no_mem_embed:
            # A still has no memory; the network was trained to be told so.
            coarse = coarse + network.no_mem_embed.reshape(1, -1, 1, 1)
        self._calls["mask_decoder"] += 1
        with autocast(self.device):
            sparse, dense = network.sam_prompt_encoder(
                points=(points[..., :2], points[..., 2].int()), boxes=None, masks=dense
            )
            masks, scores, _, _ = network.sam_mask_decoder(
                image_embeddings=coarse,
                image_pe=network.sam_prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=several,
                repeat_image=len(points) > 1,
                high_res_features=fine,
            )
        best = masks[torch.arange(len(points)), scores.argmax(dim=1)]
        result: NDArray[np.float32] = best.float().cpu().numpy()
        return result

    @torch.inference_mode()
    def open(self, features: Sam2Features, masks: NDArray[np.bool_]) -> _ObjectBatch:
        """Objects (K, H, W) with the prompt frame as their first memory."""
        network = self._network
        prompt = fit_masks(torch.from_numpy(masks).to(self.device), side=self.image_size)
        frame = self._frame(features, len(masks))
        self._calls["mask_decoder"] += 1
        with autocast(self.device):
            answer = network.track_step(
                frame_idx=0,
                is_init_cond_frame=True,
                **frame,
                point_inputs=None,
                mask_inputs=prompt,
                output_dict={},
                num_frames=_ENDLESS,
                run_mem_encoder=False,
            )
            # The official predictor remembers a prompt by its quarter-size mask, scaled up again,
            # and treats it as drawn by hand; only this method of SAM2Base can be told so.
            large = F.interpolate(
                answer["pred_masks"],
                size=(self.image_size, self.image_size),
                mode="bilinear",
                align_corners=False,
            )
            memory, positions = network._encode_new_memory(  # noqa: SLF001
                current_vision_feats=frame["current_vision_feats"],
                feat_sizes=frame["feat_sizes"],
                pred_masks_high_res=large,
                object_score_logits=answer["object_score_logits"],
                is_mask_from_pts=True,
            )
        return _ObjectBatch(
            count=len(masks),
            alive=list(range(len(masks))),
            positions=positions[-1][:1].clone(),
            prompt=_Memory(answer["obj_ptr"], memory.to(torch.bfloat16)),
        )

    @torch.inference_mode()
    def track(self, batch: _ObjectBatch, features: Sam2Features, *, age: int) -> Tensor:
        """Logits (k, S/4, S/4) of the living objects on the next frame, now remembered."""
        network = self._network
        self._calls["memory_attention"] += 1
        self._calls["mask_decoder"] += 1
        with autocast(self.device):
            answer = network.track_step(
                frame_idx=age,
                is_init_cond_frame=False,
                **self._frame(features, len(batch.alive)),
                point_inputs=None,
                mask_inputs=None,
                output_dict=batch.as_output_dict(),
                num_frames=_ENDLESS,
                run_mem_encoder=True,
            )
        memory = _Memory(answer["obj_ptr"], answer["maskmem_features"].to(torch.bfloat16))
        batch.remember(
            age,
            memory,
            spatial=network.num_maskmem - 1,
            pointers=network.max_obj_ptrs_in_encoder - 1,
        )
        logits: Tensor = answer["pred_masks"][:, 0].float()
        return logits

    @torch.inference_mode()
    def probabilities(self, logits: Tensor, *, size: tuple[int, int]) -> NDArray[np.uint16]:
        """Logits (K, h, w) as probabilities (K, H, W), 65535 = 1.0."""
        logits = logits.to(self.device)

        def enlarge(rows: Sequence[int]) -> list[NDArray[np.uint16]]:
            return [*to_probabilities(logits[list(rows)], size=size)]

        answers = self.in_batches(range(len(logits)), enlarge)
        return np.stack(answers)

    def _frame(self, features: Sam2Features, count: int) -> dict[str, list[Any]]:
        """A frame as ``track_step`` reads it, seen by ``count`` objects (views, no copies)."""
        if not self._positions:  # they depend on the sizes alone
            code = self._network.image_encoder.neck.position_encoding
            self._positions = [_tokens(code(level).to(level.dtype)) for level in features.levels]
        return {
            "current_vision_feats": [
                _tokens(level).expand(-1, count, -1) for level in features.levels
            ],
            "current_vision_pos_embeds": [
                position.expand(-1, count, -1) for position in self._positions
            ],
            "feat_sizes": [tuple(level.shape[-2:]) for level in features.levels],
        }


def _tokens(level: Tensor) -> Tensor:
    """A feature map (1, C, h, w) as a row of tokens (h*w, 1, C)."""
    return level.flatten(2).permute(2, 0, 1)


def _own(features: Features) -> Sam2Features:
    if not isinstance(features, Sam2Features):
        raise TypeError(f"features: expected those SAM 2 encoded, got {type(features).__name__}")
    return features


def squared(image: ModelImage, side: int) -> NDArray[np.uint8]:
    """The picture as the network sees it, (side, side, 3) uint8, its aspect not kept.

    By Pillow's bicubic filter on the 8-bit values: exactly what the official video predictor
    does with a file.
    """
    resized = Image.fromarray(image.pixels).resize((side, side), Image.Resampling.BICUBIC)
    return np.array(resized)


def corners_of(prompt: SegmentPrompt) -> list[tuple[float, float, int]]:
    """Points of a prompt with their labels; a box is its two corners, first."""
    corners: list[tuple[float, float, int]] = []
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        corners += [(x0, y0, _TOP_LEFT), (x1, y1, _BOTTOM_RIGHT)]
    corners += [(x, y, _POSITIVE if positive else _NEGATIVE) for x, y, positive in prompt.points]
    return corners


def fit_masks(masks: Tensor, *, side: int) -> Tensor:
    """Masks (K, H, W) as the network takes a prompt: (K, 1, S, S) float, 0 or 1.

    As the official predictor does it, save for objects too thin for the smaller grid: there half
    of the best coverage counts instead of half a pixel, else nothing would be left to track.
    """
    square = masks[:, None].float()
    if square.shape[-2:] == (side, side):
        return square
    square = F.interpolate(
        square, size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )
    best = square.amax(dim=(2, 3), keepdim=True)
    least = torch.where(best >= 0.5, 0.5, best * 0.5).clamp(min=1e-6)
    return (square >= least).float()


def to_probabilities(logits: Tensor, *, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Logits (K, h, w) as probabilities (K, H, W), 65535 = 1.0: upsampled first, as officially."""
    large = F.interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    result: NDArray[np.uint16] = (large.sigmoid() * 65535.0).round().to(torch.uint16).cpu().numpy()
    return result
