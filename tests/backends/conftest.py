"""Shots, networks and adapters the backend tests share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from server.frames import ModelImage
from server.models import load_detector, load_segmenter
from server.models.fake import PALETTE, FakeDetector, FakeSegmenter
from server.models.groundingdino import GroundingDino, build_groundingdino
from server.models.oracle import OracleDetector, OracleSegmenter, ShotTruth
from server.models.sam2 import Sam2, build_sam2
from server.models.transformers_groundingdino import convert
from server.models.transformers_sam2 import convert as convert_sam2
from server.models.transformers_video import EDGETAM, SAM2, SAM3, TransformersVideo

torch.set_num_threads(1)

FIRST = 1001

# A groundingdino-py network of the official layout, small enough to build in a moment.
SMALL_DINO = {
    "enc_layers": 1,
    "dec_layers": 2,
    "dim_feedforward": 128,
    "num_queries": 20,
    "backbone": "swin_T_224_1k",
}


@dataclass(frozen=True)
class Shot:
    """Frames with the masks of their objects."""

    images: tuple[ModelImage, ...]
    labels: np.ndarray
    """(T, H, W) uint8, 0 = background."""
    categories: tuple[str, ...]

    def masks(self, position: int) -> np.ndarray:
        """(N, H, W) bool."""
        return np.stack(
            [self.labels[position] == number + 1 for number in range(len(self.categories))]
        )


@pytest.fixture(scope="session")
def coloured_shot() -> Shot:
    """Four flat figures on grey that move apart and never touch."""
    height, width, frames = 72, 128, 8
    colours = [PALETTE["person"][0], PALETTE["person"][1], PALETTE["car"][0], PALETTE["bag"][0]]
    images, labels = [], np.zeros((frames, height, width), np.uint8)
    for index in range(frames):
        pixels = np.full((height, width, 3), 90, np.uint8)
        for number, colour in enumerate(colours):
            top, left = 4 + 16 * number, 8 + number * 20 + 3 * index
            labels[index, top : top + 12, left : left + 16] = number + 1
            pixels[labels[index] == number + 1] = colour
        images.append(ModelImage(frame=FIRST + index, pixels=pixels))
    return Shot(tuple(images), labels, ("person", "person", "car", "bag"))


@pytest.fixture(scope="session")
def drawn_shot(tmp_path_factory: pytest.TempPathFactory) -> Shot:
    """Four large figures that walk and cross, read back from JPEG files.

    The files lie in ``drawn_folder`` for the official predictor, which reads nothing else.
    """
    folder = _folder(tmp_path_factory)
    images, labels = [], []
    for index in range(22):
        pixels, truth = _draw_walkers(index)
        path = folder / f"{index:05d}.jpg"
        Image.fromarray(pixels).save(path, quality=95)
        images.append(ModelImage(frame=FIRST + index, pixels=np.array(Image.open(path))))
        labels.append(truth)
    return Shot(tuple(images), np.stack(labels), ("person",) * 4)


def _draw_walkers(index: int) -> tuple[np.ndarray, np.ndarray]:
    """One frame (150, 200, 3) of four figures, and whose each pixel is."""
    noise = np.random.default_rng(3).normal(0, 6, (150, 200, 1))
    ramp = np.linspace(60, 110, 200)[None, :, None] * np.array([0.8, 0.9, 1.0])
    pixels = (ramp + noise).clip(0, 255).astype(np.uint8)
    labels = np.zeros(pixels.shape[:2], np.uint8)
    walkers = (
        # height, feet x, feet y, steps per frame, coat, trousers
        (84, 150.0, 105, -1.5, (190, 180, 60), (50, 60, 40)),
        (90, 20.0, 115, 2.0, (60, 150, 170), (120, 60, 40)),
        (96, 105.0, 125, -0.5, (200, 90, 160), (70, 50, 120)),
        (124, 70.0, 145, 0.3, (210, 70, 50), (40, 60, 130)),
    )
    for number, (height, x, y, step, coat, trousers) in enumerate(walkers, start=1):
        x += step * index
        swing = 0.12 * height * np.sin(0.5 * index + number)
        hip, neck = (x, y - 0.45 * height), (x, y - 0.8 * height)
        skin = (225, 180, 150)
        for end in (swing, -swing):
            _limb(pixels, labels, hip, (x + end, y), trousers, 0.11 * height, number)
        _limb(pixels, labels, hip, neck, coat, 0.24 * height, number)
        for end in (swing, -swing):
            hand = (x + end, y - 0.45 * height)
            _limb(pixels, labels, neck, hand, coat, 0.09 * height, number)
        head = (x, y - 0.9 * height)
        _limb(pixels, labels, head, (head[0], head[1] + 1), skin, 0.17 * height, number)
    # Object 1 is the largest, in front of the others.
    return pixels, np.where(labels > 0, 5 - labels, 0).astype(np.uint8)


def _limb(pixels, labels, start, end, colour, width, number) -> None:
    first, last = (tuple(round(value) for value in point) for point in (start, end))
    cv2.line(pixels, first, last, colour, max(2, round(width)))
    cv2.line(labels, first, last, number, max(2, round(width)))


@pytest.fixture(scope="session")
def drawn_folder(drawn_shot: Shot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn shot as numbered JPEG files."""
    return _folder(tmp_path_factory)


_folders: dict[int, Path] = {}


def _folder(factory: pytest.TempPathFactory) -> Path:
    if id(factory) not in _folders:
        _folders[id(factory)] = factory.mktemp("drawn")
    return _folders[id(factory)]


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizer files and text tower configuration with the special ids of BERT, no weights."""
    from transformers import BertConfig, BertTokenizerFast

    folder = tmp_path_factory.mktemp("text")
    words = [f"[unused{index}]" for index in range(1100)]
    known = ["person", "car", "dog", "red", "truck", "##s", "fire", "##fighter", ","]
    places = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    places |= {1012: ".", 1029: "?"} | dict(enumerate(known, start=1030))
    letters = [c for letter in "abcdefghijklmnopqrstuvwxyz" for c in (letter, f"##{letter}")]
    places |= dict(enumerate(letters, start=1045))
    for index, word in places.items():
        words[index] = word
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
    ).save_pretrained(folder)
    return folder


def small_dino(text_folder: Path, **overrides: object) -> Any:
    """The official layout with random weights, always the same ones, Swin-T trunk."""
    torch.manual_seed(5)
    network = build_groundingdino(
        "GroundingDINO_SwinT_OGC", text_folder=text_folder, **{**SMALL_DINO, **overrides}
    )
    return randomised(network)


def small_sam2(image_size: int = 128) -> Any:
    """SAM 2.1 tiny with random weights, always the same ones, on a small square."""
    torch.manual_seed(5)
    network = randomised(build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", image_size=image_size))
    # Random networks mostly say "not here" and blank the mask: then any two trackers agree.
    network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.fill_(5.0)
    return network


def small_edgetam(image_size: int = 128) -> Any:
    """EdgeTAM's layout with random weights, always the same ones, on a small square."""
    from transformers import EdgeTamVideoConfig, EdgeTamVideoModel, TimmWrapperConfig

    trunk = TimmWrapperConfig(
        architecture="repvit_m1",
        model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    )
    side = image_size // 16
    vision = {
        "model_type": "edgetam_vision_model",
        "backbone_config": trunk.to_dict(),
        "backbone_feature_sizes": [[4 * side] * 2, [2 * side] * 2, [side] * 2],
    }
    torch.manual_seed(5)
    return _present(
        EdgeTamVideoModel(
            EdgeTamVideoConfig(
                vision_config=vision,
                prompt_encoder_config={"image_size": image_size},
                image_size=image_size,
                memory_attention_rope_feat_sizes=[side, side],
                memory_attention_rope_k_sizes=[4, 4],
                perceiver_resampler_num_latents=16,
                perceiver_resampler_num_latents_2d=16,
            )
        )
    )


def small_sam3(image_size: int = 112) -> Any:
    """The layout of SAM 3's tracker with random weights; skips where transformers has none."""
    import transformers

    if not hasattr(transformers, SAM3.model):
        pytest.skip(f"transformers {transformers.__version__} has no SAM 3")
    side = image_size // 14
    trunk = transformers.Sam3ViTConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=image_size,
        pretrain_image_size=image_size,
        window_size=4,
        global_attn_indexes=[1],
    )
    vision = transformers.Sam3VisionConfig(
        backbone_config=trunk.to_dict(),
        backbone_feature_sizes=[[4 * side] * 2, [2 * side] * 2, [side] * 2],
    )
    torch.manual_seed(5)
    return _present(
        transformers.Sam3TrackerVideoModel(
            transformers.Sam3TrackerVideoConfig(
                vision_config=vision.to_dict(),
                prompt_encoder_config={"patch_size": 14},
                image_size=image_size,
                memory_attention_rope_feat_sizes=[side, side],
            )
        )
    )


def _present(network: Any) -> Any:
    """A network of transformers that says of every object that it is there, see small_sam2."""
    randomised(network)
    network.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(5.0)
    return network


def randomised(network: Any) -> Any:
    """Seeded noise on every weight: initial values are zero in many places."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return network.eval()


@pytest.fixture(scope="session")
def demo_sam2() -> Sam2:
    return load_segmenter("demo-sam2")  # type: ignore[return-value]


@pytest.fixture(scope="session")
def demo_dino() -> GroundingDino:
    return load_detector("demo-groundingdino")  # type: ignore[return-value]


def truth_of(shot: Shot) -> ShotTruth:
    frames = tuple(image.frame for image in shot.images)
    return ShotTruth(frames=frames, labels=shot.labels, categories=shot.categories)


@pytest.fixture(
    params=["fake", "oracle", "demo-groundingdino", "groundingdino-swin-t", "transformers"]
)
def detector(request: pytest.FixtureRequest, coloured_shot: Shot):
    """Every detector there is, one after the other."""
    match request.param:
        case "fake":
            return FakeDetector()
        case "oracle":
            return OracleDetector(truth_of(coloured_shot))
        case "demo-groundingdino":
            return request.getfixturevalue("demo_dino")
    network = request.getfixturevalue("small_dino_network")
    if request.param == "transformers":
        network = convert(network)
    return GroundingDino(
        network, name=request.param, weights_sha256="", short_side=96, longest_side=160
    )


@pytest.fixture(scope="session")
def small_dino_network(text_folder: Path) -> Any:
    return small_dino(text_folder)


@pytest.fixture(scope="session")
def small_sam2_adapter() -> Sam2:
    return Sam2(small_sam2(), name="sam2.1-tiny", weights_sha256="")


@pytest.fixture(scope="session")
def transformers_sam2_adapter() -> TransformersVideo:
    network = convert_sam2(small_sam2())
    return TransformersVideo(network, family=SAM2, name="transformers:", weights_sha256="")


@pytest.fixture(scope="session")
def edgetam_adapter() -> TransformersVideo:
    return TransformersVideo(small_edgetam(), family=EDGETAM, name="edgetam:", weights_sha256="")


@pytest.fixture(scope="session")
def sam3_adapter() -> TransformersVideo:
    return TransformersVideo(small_sam3(), family=SAM3, name="sam3:", weights_sha256="")


@pytest.fixture(
    params=["fake", "oracle", "demo-sam2", "sam2.1-tiny", "transformers", "edgetam", "sam3"]
)
def segmenter(request: pytest.FixtureRequest, coloured_shot: Shot):
    """Every segmenter and tracker there is, one after the other."""
    match request.param:
        case "fake":
            return FakeSegmenter()
        case "oracle":
            return OracleSegmenter(truth_of(coloured_shot))
        case "demo-sam2":
            return request.getfixturevalue("demo_sam2")
        case "transformers":
            return request.getfixturevalue("transformers_sam2_adapter")
        case "edgetam":
            return request.getfixturevalue("edgetam_adapter")
        case "sam3":
            return request.getfixturevalue("sam3_adapter")
    return request.getfixturevalue("small_sam2_adapter")
