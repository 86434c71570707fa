"""SAM 2 by transformers: the weights of the sam2 package on a maintained implementation.

The network is made from one of the package, tensor by tensor, so there is one checkpoint and two
backends that have to agree. ``server.models.transformers_video`` puts it behind the stages.
"""

from __future__ import annotations

import re
from typing import Any, cast

import torch
from torch import Tensor, nn

from server.models.weights import build_without_init, load_strict

_TRUNK = "vision_encoder.backbone"
_POSITION_CODE = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_POINT_EMBEDDINGS = "sam_prompt_encoder.point_embeddings."
_THREE_LAYERS = (
    r"^(object_pointer_proj|mask_decoder\.(?:output_hypernetworks_mlps\.\d+"
    r"|iou_prediction_head|pred_obj_score_head))"
)

_RENAMED: tuple[tuple[str, str], ...] = (
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj", "object_pointer_proj"),
    (r"^obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
    (r"^image_encoder\.trunk", _TRUNK),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv", r"vision_encoder.neck.convs.\1"),
    (
        r"^memory_encoder\.mask_downsampler\.encoder\.12",
        "memory_encoder.mask_downsampler.final_conv",
    ),
    (r"^memory_encoder\.pix_feat_proj", "memory_encoder.feature_projection"),
    (r"^memory_encoder\.out_proj", "memory_encoder.projection"),
    (r"^memory_encoder\.fuser", "memory_encoder.memory_fuser"),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.0", "prompt_encoder.mask_embed.conv1"),
    (r"^sam_prompt_encoder\.mask_downscaling\.1", "prompt_encoder.mask_embed.layer_norm1"),
    (r"^sam_prompt_encoder\.mask_downscaling\.3", "prompt_encoder.mask_embed.conv2"),
    (r"^sam_prompt_encoder\.mask_downscaling\.4", "prompt_encoder.mask_embed.layer_norm2"),
    (r"^sam_prompt_encoder\.mask_downscaling\.6", "prompt_encoder.mask_embed.conv3"),
    (r"^sam_", ""),
    (r"^mask_decoder\.output_upscaling\.0", "mask_decoder.upscale_conv1"),
    (r"^mask_decoder\.output_upscaling\.1", "mask_decoder.upscale_layer_norm"),
    (r"^mask_decoder\.output_upscaling\.3", "mask_decoder.upscale_conv2"),
    # A perceptron of three layers, then those of two.
    (_THREE_LAYERS + r"\.layers\.2\.", r"\1.proj_out."),
    (_THREE_LAYERS + r"\.layers\.0\.", r"\1.proj_in."),
    (_THREE_LAYERS + r"\.layers\.1\.", r"\1.layers.0."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.norm(\d?)\.", r".layer_norm\1."),
)
"""Keys of the sam2 package and of transformers, applied one after the other."""

_DOWNSAMPLER = re.compile(r"^memory_encoder\.mask_downsampler\.encoder\.(\d+)\.(.*)")


def convert(network: nn.Module) -> nn.Module:
    """A SAM 2.1 network of the sam2 package as transformers runs it, same weights.

    Args:
        network: a ``SAM2Base`` with its weights, built as ``server.models.sam2.build_sam2`` does.

    Returns:
        A ``Sam2VideoModel``.
    """
    from transformers import Sam2VideoModel

    configuration = _configuration(cast(Any, network))
    model: nn.Module = build_without_init(lambda: Sam2VideoModel(configuration))
    load_strict(model, convert_state(network.state_dict()), source="converted for transformers")
    return model.eval()


def convert_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the sam2 package by the keys of transformers."""
    converted = {}
    for key, tensor in state.items():
        if key == _POSITION_CODE:  # kept twice there
            converted["shared_image_embedding.positional_embedding"] = tensor
            converted["prompt_encoder.shared_embedding.positional_embedding"] = tensor
        elif not key.startswith(_POINT_EMBEDDINGS):
            converted[_rename(key)] = tensor
    points = sorted(key for key in state if key.startswith(_POINT_EMBEDDINGS))
    converted["prompt_encoder.point_embed.weight"] = torch.cat([state[key] for key in points])
    return converted


def _rename(key: str) -> str:
    if (found := _DOWNSAMPLER.match(key)) and int(found[1]) < 12:
        # Convolution, norm and activation of a layer are counted one by one there.
        layer, part = divmod(int(found[1]), 3)
        name = ("conv", "layer_norm")[part]
        return f"memory_encoder.mask_downsampler.layers.{layer}.{name}.{found[2]}"
    for pattern, replacement in _RENAMED:
        key = re.sub(pattern, replacement, key)
    return key


def _configuration(original: Any) -> Any:
    """The original's dimensions in the words of transformers.

    What all published SAM 2.1 share is the default there: the sizes of decoder and memory.
    """
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig

    trunk, neck = original.image_encoder.trunk, original.image_encoder.neck
    side = int(original.image_size)
    starts = [0, *(end + 1 for end in trunk.stage_ends[:-1])]
    backbone = Sam2HieraDetConfig(
        hidden_size=trunk.blocks[0].dim,
        image_size=[side, side],
        window_positional_embedding_background_size=list(trunk.window_pos_embed_bkg_spatial_size),
        num_query_pool_stages=len(trunk.q_pool_blocks),
        blocks_per_stage=[
            end + 1 - start for start, end in zip(starts, trunk.stage_ends, strict=True)
        ],
        embed_dim_per_stage=[trunk.blocks[end].dim_out for end in trunk.stage_ends],
        num_attention_heads_per_stage=[
            trunk.blocks[end].attn.num_heads for end in trunk.stage_ends
        ],
        window_size_per_stage=list(trunk.window_spec),
        global_attention_blocks=list(trunk.global_att_blocks),
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=list(trunk.channel_list),
        backbone_feature_sizes=[[side // step] * 2 for step in (4, 8, 16)],
        fpn_hidden_size=neck.d_model,
        fpn_top_down_levels=list(neck.fpn_top_down_levels),
    )
    return Sam2VideoConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config={"image_size": side},
        image_size=side,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
    )
