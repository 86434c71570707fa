"""Models by name: what exists, what it says when it does not, what is imported for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from server.errors import InputError, ModelError, SettingsError
from server.frames import ModelImage
from server.models import DETECTORS, SEGMENTERS, load_detector, load_segmenter
from server.models.catalogue import CATALOGUE
from server.models.sam2 import build_sam2
from tests.backends.conftest import Shot, truth_of


def test_every_official_model_has_a_name_here() -> None:
    families = {model.name: model.family for model in CATALOGUE.values()}

    assert {name for name, family in families.items() if family == "sam2"} <= set(SEGMENTERS)
    assert {name for name, family in families.items() if family == "groundingdino"} <= set(
        DETECTORS
    )


@pytest.mark.parametrize(
    ("load", "name", "near"),
    [
        (load_detector, "groundingdino-swint", "groundingdino-swin-t"),
        (load_segmenter, "sam2.1-huge", "sam2.1-large"),
    ],
)
def test_an_unknown_name_is_an_error_that_lists_all(load, name: str, near: str) -> None:
    with pytest.raises(SettingsError, match=r"is unknown.* Choose one of: ") as caught:
        load(name)

    assert near in str(caught.value)


def test_a_detector_is_no_segmenter() -> None:
    with pytest.raises(SettingsError, match="Segmenter 'demo-groundingdino' is unknown"):
        load_segmenter("demo-groundingdino")


@pytest.mark.parametrize(
    ("load", "name"),
    [
        (load_detector, "groundingdino-swin-b"),
        (load_detector, "transformers:groundingdino-swin-t"),
        (load_segmenter, "sam2.1-base-plus"),
        (load_segmenter, "transformers:sam2.1-large"),
    ],
)
def test_a_model_that_was_not_fetched_names_the_command(
    load, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMATTE_MODELS", str(tmp_path))
    official = name.rpartition(":")[2]

    with pytest.raises(ModelError, match=f"segmatte models fetch {official}"):
        load(name)


def test_a_fetched_model_is_loaded_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    monkeypatch.setenv("SEGMATTE_MODELS", str(tmp_path))
    official = CATALOGUE["sam2.1-tiny"]
    home = tmp_path / official.name
    home.mkdir()
    save_file(build_sam2(official.config).state_dict(), home / "weights.safetensors")
    record = {
        "name": official.name,
        "sha256": official.checkpoint.sha256,
        "weights_sha256": "0" * 64,
        "weights_bytes": (home / "weights.safetensors").stat().st_size,
        "source": "here",
    }
    (home / "model.json").write_text(json.dumps(record))
    segmenter = load_segmenter("sam2.1-tiny")

    assert segmenter.name == "sam2.1-tiny"
    assert segmenter.weights_sha256 == official.checkpoint.sha256
    assert segmenter.objects_per_batch == 1


def test_the_demo_models_carry_the_sha256_of_their_files(demo_sam2, demo_dino) -> None:
    from server.models import demo
    from server.models.download import sha256_of

    assert demo_sam2.name == "demo-sam2"
    assert demo_sam2.weights_sha256 == sha256_of(demo.SAM2_WEIGHTS)
    assert demo_dino.name == "demo-groundingdino"
    assert demo_dino.weights_sha256 == sha256_of(demo.GROUNDINGDINO_WEIGHTS)
    assert demo_dino.usual_threshold == demo.DETECTOR_THRESHOLD


def test_the_oracle_is_named_with_its_truth(coloured_shot: Shot, tmp_path: Path) -> None:
    path = tmp_path / "truth.npz"
    truth_of(coloured_shot).save(path)
    detector = load_detector(f"oracle:{path}")
    (answer,) = detector.score(coloured_shot.images[:1], ["person"])

    assert detector.name == "oracle"
    assert len(answer.boxes) == 2


def test_an_oracle_without_truth_says_how_to_name_it() -> None:
    with pytest.raises(SettingsError, match=r"oracle:TRUTH\.npz"):
        load_segmenter("oracle")


def test_a_file_that_is_no_truth_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "truth.npz"
    path.write_text("nothing of the kind")

    with pytest.raises(InputError, match="is no truth of a drawn shot"):
        load_segmenter(f"oracle:{path}")


def test_fakes_and_the_oracle_need_no_torch(coloured_shot: Shot, tmp_path: Path) -> None:
    path = tmp_path / "truth.npz"
    truth_of(coloured_shot).save(path)
    program = (
        "import sys; from server.models import load_detector as d, load_segmenter as s;"
        "[(d(n), s(n)) for n in sys.argv[1:]];"
        "heavy = {'torch', 'cv2', 'transformers', 'sam2', 'groundingdino'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "fake", f"oracle:{path}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_a_frame_the_truth_does_not_have_is_an_error(coloured_shot: Shot, tmp_path: Path) -> None:
    truth_of(coloured_shot).save(tmp_path / "truth.npz")
    segmenter = load_segmenter(f"oracle:{tmp_path / 'truth.npz'}")

    with pytest.raises(InputError, match="has no frame 7, only 1001-1008"):
        segmenter.encode(ModelImage(frame=7, pixels=np.zeros((4, 4, 3), np.uint8)))
