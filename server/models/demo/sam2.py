"""Network of the demo segmenter: a small SAM 2 built from the package's own classes.

Everything stays on the package's code path, so `SAM2VideoPredictor`, `SAM2ImagePredictor` and our
adapter run it like an official model. What differs from a SAM 2.1 configuration: widths, a prompt
decoder without down-sampling, prompt positions coded by low frequencies and a memory attention
that starts out looking at the same place. The last two let a short training learn to follow its
prompts; both live in saved parameters, not in code.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention, TwoWayTransformer
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import nn

IMAGE_SIZE = 256
"""Side of the square the network sees; masks have a quarter of it."""

_WIDTH, _MEMORY_WIDTH, _TRUNK_WIDTH = 128, 64, 32
_STAGES = (1, 2, 4, 1)


def build_sam2_network(*, image_size: int = IMAGE_SIZE) -> nn.Module:
    """The network with fresh weights, in training mode.

    Args:
        image_size: side of the input in pixels, a multiple of 32; weights fit every size.

    Returns:
        A `SAM2VideoPredictor` (which is a `SAM2Base` and a module).
    """
    model: Any = SAM2VideoPredictor(
        image_encoder=ImageEncoder(trunk=_trunk(), neck=_neck(), scalp=1),
        memory_attention=_memory_attention(image_size // 16),
        memory_encoder=_memory_encoder(),
        image_size=image_size,
        num_maskmem=7,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=False,
        multimask_output_for_tracking=False,
        use_multimask_token_for_obj_ptr=False,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        use_mlp_for_obj_ptr_proj=True,
        # What build_sam2_video_predictor sets as post-processing. Hole filling needs CUDA code.
        binarize_mask_from_pts_for_mem_enc=True,
        fill_hole_area=0,
        sam_mask_decoder_extra_args={
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    )
    model.sam_mask_decoder.transformer = TwoWayTransformer(
        depth=2, embedding_dim=_WIDTH, num_heads=8, mlp_dim=256, attention_downsample_rate=1
    )
    with torch.no_grad():
        # A negative object score blanks a mask and its gradient with it.
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(3.0)
        _smooth_prompt_positions(model)
        _look_at_the_same_place(model)
    network: nn.Module = model
    return network


def _trunk() -> nn.Module:
    first_global = _STAGES[0] + _STAGES[1] + 1  # the first block of a stage cannot be global
    trunk: nn.Module = Hiera(
        embed_dim=_TRUNK_WIDTH,
        num_heads=1,
        stages=_STAGES,
        global_att_blocks=tuple(range(first_global, sum(_STAGES[:3]))),
        window_pos_embed_bkg_spatial_size=(7, 7),
        window_spec=(8, 4, 8, 4),
    )
    return trunk


def _neck() -> nn.Module:
    neck: nn.Module = FpnNeck(
        position_encoding=PositionEmbeddingSine(num_pos_feats=_WIDTH, normalize=True, scale=None),
        d_model=_WIDTH,
        backbone_channel_list=[_TRUNK_WIDTH * factor for factor in (8, 4, 2, 1)],
        fpn_top_down_levels=[0, 1, 2, 3],
        fpn_interp_model="nearest",
    )
    return neck


def _memory_attention(side: int) -> nn.Module:
    rope = {
        "rope_theta": 10.0,
        "feat_sizes": (side, side),
        "embedding_dim": _WIDTH,
        "num_heads": 2,
        "downsample_rate": 1,
        "dropout": 0.0,
    }
    layer = MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=256,
        dropout=0.0,
        pos_enc_at_attn=False,
        self_attention=RoPEAttention(**rope),
        d_model=_WIDTH,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=RoPEAttention(rope_k_repeat=True, kv_in_dim=_MEMORY_WIDTH, **rope),
    )
    attention: nn.Module = MemoryAttention(
        d_model=_WIDTH, pos_enc_at_input=True, layer=layer, num_layers=2
    )
    return attention


def _memory_encoder() -> nn.Module:
    block = CXBlock(dim=_WIDTH, kernel_size=7, padding=3, layer_scale_init_value=0.1)
    encoder: nn.Module = MemoryEncoder(
        out_dim=_MEMORY_WIDTH,
        in_dim=_WIDTH,
        position_encoding=PositionEmbeddingSine(
            num_pos_feats=_MEMORY_WIDTH, normalize=True, scale=None
        ),
        mask_downsampler=MaskDownSampler(embed_dim=_WIDTH, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(block, num_layers=2),
    )
    return encoder


def _smooth_prompt_positions(model: Any, *, low: float = 0.1, high: float = 1.5) -> None:
    """Code prompt positions by log-spaced frequencies: 3/8 along x, 3/8 along y, rest oblique.

    With the package's random frequencies of scale 1 the likeness of two places dies within 8 % of
    the picture, too soon to read off that a pixel lies between two corners.
    """
    matrix = model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    straight = 3 * matrix.shape[1] // 8
    oblique = matrix.shape[1] - 2 * straight
    first, last = math.log10(low), math.log10(high)
    along, zero = torch.logspace(first, last, straight), torch.zeros(straight)
    angle, radius = torch.rand(oblique) * 2 * math.pi, torch.logspace(first, last, oblique)
    rows = [
        torch.stack([along, zero]),
        torch.stack([zero, along]),
        torch.stack([radius * angle.cos(), radius * angle.sin()]),
    ]
    matrix.copy_(torch.cat(rows, 1))
    for embedding in model.sam_prompt_encoder.point_embeddings:
        embedding.weight.mul_(0.5)


def _look_at_the_same_place(model: Any, *, bias: float = 2.5) -> None:
    """Start one head of every memory attention with a kernel that peaks at distance 0.

    The rotary code is applied after the projection, so equal constant biases on queries and keys
    give a likeness that depends on the distance alone.
    """
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        head = attention.internal_dim // attention.num_heads
        for projection in (attention.q_proj, attention.k_proj):
            projection.bias.zero_()
            projection.bias[:head:2] = bias
