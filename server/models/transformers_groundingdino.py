"""GroundingDINO by transformers: the same weights on a maintained implementation.

The network is made from one of groundingdino-py, tensor by tensor, so there is one checkpoint and
two backends that have to agree. It stands behind the same adapter: captions, resizing and scores
are those of ``server.models.groundingdino``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from server.errors import ModelError
from server.models.weights import build_without_init, load_strict

# transformers has these ids as constants: [CLS], [SEP], full stop, question mark.
_SPECIAL_TOKENS = [101, 102, 1012, 1029]

_SWIN = "model.backbone.conv_encoder.model"
_ENCODER = r"model.encoder.layers.\1"
_DECODER = r"model.decoder.layers.\1"

_RENAMED: tuple[tuple[str, str], ...] = (
    (r"^backbone\.0\.patch_embed\.proj", f"{_SWIN}.embeddings.patch_embeddings.projection"),
    (r"^backbone\.0\.patch_embed\.norm", f"{_SWIN}.embeddings.norm"),
    (r"^backbone\.0\.layers", f"{_SWIN}.encoder.layers"),
    (r"(blocks\.\d+)\.norm1", r"\1.layernorm_before"),
    (r"(blocks\.\d+)\.norm2", r"\1.layernorm_after"),
    (r"(blocks\.\d+)\.attn\.(relative_position\w+)", r"\1.attention.self.\2"),
    (r"(blocks\.\d+)\.attn\.proj", r"\1.attention.output.dense"),
    (r"(blocks\.\d+)\.mlp\.fc1", r"\1.intermediate.dense"),
    (r"(blocks\.\d+)\.mlp\.fc2", r"\1.output.dense"),
    (
        r"^transformer\.encoder\.layers\.(\d+)\.self_attn\.",
        rf"{_ENCODER}.deformable_layer.self_attn.",
    ),
    (
        r"^transformer\.encoder\.layers\.(\d+)\.norm1",
        rf"{_ENCODER}.deformable_layer.self_attn_layer_norm",
    ),
    (
        r"^transformer\.encoder\.layers\.(\d+)\.norm2",
        rf"{_ENCODER}.deformable_layer.final_layer_norm",
    ),
    (r"^transformer\.encoder\.layers\.(\d+)\.linear", rf"{_ENCODER}.deformable_layer.fc"),
    (r"^transformer\.encoder\.text_layers\.(\d+)\.linear", rf"{_ENCODER}.text_enhancer_layer.fc"),
    (
        r"^transformer\.encoder\.text_layers\.(\d+)\.norm1",
        rf"{_ENCODER}.text_enhancer_layer.layer_norm_before",
    ),
    (
        r"^transformer\.encoder\.text_layers\.(\d+)\.norm2",
        rf"{_ENCODER}.text_enhancer_layer.layer_norm_after",
    ),
    (
        r"^transformer\.encoder\.text_layers\.(\d+)\.self_attn",
        rf"{_ENCODER}.text_enhancer_layer.self_attn",
    ),
    (r"^transformer\.encoder\.fusion_layers\.(\d+)\.", rf"{_ENCODER}.fusion_layer."),
    (r"fusion_layer\.gamma_v", "fusion_layer.vision_param"),
    (r"fusion_layer\.gamma_l", "fusion_layer.text_param"),
    (r"fusion_layer\.layer_norm_v\b", "fusion_layer.layer_norm_vision"),
    (r"fusion_layer\.layer_norm_l\b", "fusion_layer.layer_norm_text"),
    (r"fusion_layer\.attn\.(values_|out_|)v_proj", r"fusion_layer.attn.\1vision_proj"),
    (r"fusion_layer\.attn\.(values_|out_|)l_proj", r"fusion_layer.attn.\1text_proj"),
    (r"^transformer\.decoder\.layers\.(\d+)\.cross_attn", rf"{_DECODER}.encoder_attn"),
    (r"^transformer\.decoder\.layers\.(\d+)\.norm1", rf"{_DECODER}.encoder_attn_layer_norm"),
    (r"^transformer\.decoder\.layers\.(\d+)\.ca_text", rf"{_DECODER}.encoder_attn_text"),
    (
        r"^transformer\.decoder\.layers\.(\d+)\.catext_norm",
        rf"{_DECODER}.encoder_attn_text_layer_norm",
    ),
    (r"^transformer\.decoder\.layers\.(\d+)\.self_attn", rf"{_DECODER}.self_attn"),
    (r"^transformer\.decoder\.layers\.(\d+)\.norm2", rf"{_DECODER}.self_attn_layer_norm"),
    (r"^transformer\.decoder\.layers\.(\d+)\.norm3", rf"{_DECODER}.final_layer_norm"),
    (r"^transformer\.decoder\.layers\.(\d+)\.linear", rf"{_DECODER}.fc"),
    (r"^bert\.", "model.text_backbone."),
    (r"^input_proj", "model.input_proj_vision"),
    (r"^feat_map", "model.text_projection"),
    (r"^transformer\.decoder\.ref_point_head", "model.decoder.reference_points_head"),
    (r"^transformer\.decoder\.bbox_embed", "model.decoder.bbox_embed"),
    (r"^transformer\.decoder\.norm", "model.decoder.layer_norm"),
    (r"^transformer\.enc_out_bbox_embed", "model.encoder_output_bbox_embed"),
    (r"^transformer\.enc_output", "model.enc_output"),
    (r"^transformer\.level_embed", "model.level_embed"),
    (r"^transformer\.tgt_embed", "model.query_position_embeddings"),
)
"""Keys of groundingdino-py and of transformers, applied one after the other."""

# Query, key and value lie in one matrix there and in three here.
_FUSED = re.compile(
    r"(?P<stem>.*)\.(?:(?P<swin>attn)\.qkv\.|(?P<name>self_attn|encoder_attn_text)\.in_proj_)"
    r"(?P<kind>weight|bias)$"
)


def convert(network: nn.Module) -> nn.Module:
    """A groundingdino-py network with Swin trunk as transformers runs it, same weights.

    Args:
        network: with its weights.

    Returns:
        A module with ``tokenizer``, ``num_queries``, ``num_feature_levels`` and the call of the
        original: ``module(pixels, captions=[...])``.

    Raises:
        ModelError: the network has no Swin trunk, or a vocabulary transformers cannot use.
    """
    # The package has no types; its attributes are used as its source documents them.
    original = cast(Any, network)
    if not hasattr(original.backbone[0], "patch_embed"):
        raise ModelError(
            "transformers runs GroundingDINO with a Swin trunk only; the demo detector has its "
            "own. Choose demo-groundingdino without `transformers:`."
        )
    found = original.tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", ".", "?"])
    if found != _SPECIAL_TOKENS:
        raise ModelError(
            f"transformers expects the special tokens at {_SPECIAL_TOKENS}, found {found}. Use "
            "the vocabulary of bert-base-uncased, or the name without `transformers:`."
        )
    from transformers import GroundingDinoForObjectDetection

    model = build_without_init(lambda: GroundingDinoForObjectDetection(_configuration(original)))
    state = convert_state(original.state_dict())
    load_strict(model, state, source="converted for transformers")
    return _AsOriginal(model, tokenizer=original.tokenizer).eval()


def convert_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of groundingdino-py by the keys of transformers.

    The pooler of the text tower is left out: neither implementation reads it.
    """
    converted = {}
    for key, tensor in state.items():
        if key.startswith("bert.pooler."):
            continue
        name = _rename(key)
        fused = _FUSED.match(name)
        if fused is None:
            converted[name] = tensor
            continue
        middle = "attention.self" if fused["swin"] else fused["name"]
        for part, values in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            converted[f"{fused['stem']}.{middle}.{part}.{fused['kind']}"] = values
    return converted


def _rename(key: str) -> str:
    if norm := re.match(r"^backbone\.0\.norm(\d)\.(.*)", key):
        # Outputs are counted from 0 there; here the embedding is stage 0 before them.
        return f"{_SWIN}.hidden_states_norms.stage{int(norm[1]) + 1}.{norm[2]}"
    for pattern, replacement in _RENAMED:
        key = re.sub(pattern, replacement, key)
    return key


def _configuration(original: Any) -> Any:
    """The original's dimensions in the words of transformers."""
    from transformers import GroundingDinoConfig, SwinConfig

    swin, transformer = original.backbone[0], original.transformer
    encoder, decoder = transformer.encoder.layers[0], transformer.decoder.layers[0]
    attention = swin.layers[0].blocks[0].attn
    trunk = SwinConfig(
        embed_dim=swin.embed_dim,
        depths=[len(layer.blocks) for layer in swin.layers],
        num_heads=[layer.blocks[0].attn.num_heads for layer in swin.layers],
        window_size=attention.window_size[0],
        out_indices=[index + 1 for index in swin.out_indices],
    )
    return GroundingDinoConfig(
        backbone_config=trunk,
        text_config=original.bert.config.to_dict(),
        num_queries=original.num_queries,
        d_model=original.hidden_dim,
        encoder_layers=len(transformer.encoder.layers),
        encoder_ffn_dim=encoder.linear1.out_features,
        encoder_attention_heads=encoder.self_attn.num_heads,
        encoder_n_points=encoder.self_attn.num_points,
        decoder_layers=len(transformer.decoder.layers),
        decoder_ffn_dim=decoder.linear1.out_features,
        decoder_attention_heads=decoder.cross_attn.num_heads,
        decoder_n_points=decoder.cross_attn.num_points,
        num_feature_levels=original.num_feature_levels,
        embedding_init_target=transformer.tgt_embed is not None,
        dropout=0.0,
        # Its compiled kernel would be fetched from the model hub.
        disable_custom_kernels=True,
        attn_implementation="eager",
    )


class _AsOriginal(nn.Module):
    """transformers' network with the call of groundingdino-py."""

    def __init__(self, model: nn.Module, *, tokenizer: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        config = cast(Any, model).config
        self.num_queries: int = config.num_queries
        self.num_feature_levels: int = config.num_feature_levels

    def forward(self, pixels: Tensor, *, captions: Sequence[str]) -> dict[str, Tensor]:
        text = self.tokenizer(list(captions), padding="longest", return_tensors="pt")
        answer = self.model(
            pixel_values=pixels,
            pixel_mask=torch.ones(
                (len(pixels), *pixels.shape[-2:]), dtype=torch.long, device=pixels.device
            ),
            **text.to(pixels.device),
        )
        return {"pred_logits": answer.logits, "pred_boxes": answer.pred_boxes}
