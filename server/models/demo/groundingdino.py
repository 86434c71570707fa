"""Network of the demo detector: a small GroundingDINO built from the package's own classes.

`GroundingDINO`, `Transformer`, `Joiner` and the BERT wrapper are the package's, so captions, token
spans and outputs are those of an official model. Only the image trunk is ours, a residual
convolution network where the package would put Swin, and the text tower is one BERT layer over a
vocabulary that spells every Latin word and knows the drawn categories.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import groundingdino
import torch
import torch.nn.functional as F  # noqa: N812
from groundingdino.models.GroundingDINO.backbone.backbone import Joiner
from groundingdino.models.GroundingDINO.backbone.position_encoding import build_position_encoding
from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
from groundingdino.models.GroundingDINO.transformer import build_transformer
from groundingdino.util.misc import NestedTensor
from groundingdino.util.slconfig import SLConfig
from torch import Tensor, nn

from server.models.groundingdino import text_tower_from_config

LONG_SIDE = 320
"""Longest side of the picture the network is meant to see; shorter ones are allowed."""

TEXT_FOLDER = Path(__file__).parent / "bert"
"""Tokenizer files and configuration of the text tower; its weights are in the checkpoint."""

_CHANNELS = (24, 48, 96, 144, 192)
_CONFIG = {
    "enc_layers": 1,
    "dec_layers": 2,
    "dim_feedforward": 256,
    "num_queries": 40,
    "num_feature_levels": 3,
    "enc_n_points": 4,
    "dec_n_points": 4,
    "embed_init_tgt": False,
    "use_checkpoint": False,
    "use_transformer_ckpt": False,
    "fusion_droppath": 0.0,
    "device": "cpu",
}


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = _convolution(channels, channels)
        self.b = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.b(self.a(x)))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ConvolutionTrunk(nn.Module):
    """Image features at strides 8, 16 and 32, in the form the package's `Joiner` expects."""

    def __init__(self) -> None:
        super().__init__()
        c = _CHANNELS
        self.num_features = list(c[2:])
        self.stem = nn.Sequential(
            _convolution(3, c[0], 2), _convolution(c[0], c[1], 2), _Residual(c[1])
        )
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_convolution(c[1], c[2], 2), _Residual(c[2]), _Residual(c[2])),
                nn.Sequential(_convolution(c[2], c[3], 2), _Residual(c[3]), _Residual(c[3])),
                nn.Sequential(_convolution(c[3], c[4], 2), _Residual(c[4])),
            ]
        )

    def forward(self, nested: NestedTensor) -> dict[int, NestedTensor]:
        """Features and their padding masks by level.

        Args:
            nested: images (N, 3, H, W) with the mask (N, H, W) of their padding.
        """
        x, levels = self.stem(nested.tensors), {}
        for level, stage in enumerate(self.stages):
            x = stage(x)
            mask = F.interpolate(nested.mask[None].float(), size=x.shape[-2:])[0]
            levels[level] = NestedTensor(x, mask.to(torch.bool))
        return levels


def build_groundingdino_network(*, text_folder: Path = TEXT_FOLDER) -> nn.Module:
    """The network with fresh weights, in training mode.

    Args:
        text_folder: tokenizer files and BERT configuration; no weights are read.

    Returns:
        A `GroundingDINO` module: ``model(images, captions=[...])``.
    """
    config = SLConfig.fromfile(
        str(Path(groundingdino.__file__).parent / "config" / "GroundingDINO_SwinT_OGC.py")
    )
    for key, value in _CONFIG.items():
        setattr(config, key, value)
    trunk = ConvolutionTrunk()
    joiner = Joiner(trunk, build_position_encoding(config))
    joiner.num_channels = list(trunk.num_features)
    with text_tower_from_config():
        model: nn.Module = GroundingDINO(
            joiner,
            build_transformer(config),
            num_queries=config.num_queries,
            aux_loss=True,
            iter_update=True,
            query_dim=4,
            num_feature_levels=config.num_feature_levels,
            nheads=config.nheads,
            two_stage_type="standard",
            dec_pred_bbox_embed_share=True,
            two_stage_bbox_embed_share=False,
            two_stage_class_embed_share=False,
            text_encoder_type=str(text_folder),
            sub_sentence_present=True,
            max_text_len=256,
        )
    _start_with_rare_objects(model)
    return model


def _start_with_rare_objects(model: Any) -> None:
    """Put the prior of a focal loss (logit about -4.5) into the norms around the text product.

    The package's class head is a product of image and text features without a bias.
    """
    with torch.no_grad():
        for norm in (model.transformer.enc_output_norm, model.transformer.decoder.norm):
            norm.weight.fill_(0.08)
            norm.bias.fill_(-0.13)
        text_norm = model.transformer.encoder.text_layers[-1].norm2
        text_norm.weight.fill_(1.0)
        text_norm.bias.fill_(0.13)
        for fusion in model.transformer.encoder.fusion_layers:
            fusion.gamma_v.fill_(0.1)
            fusion.gamma_l.fill_(0.01)
