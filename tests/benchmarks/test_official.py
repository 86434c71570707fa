"""The run on a user's folder, tried with the fakes: it needs no weights to be ready."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tests.benchmarks.official import run
from tests.benchmarks.report import as_markdown
from tests.flat_plates import CAST, picture, visible

FRAMES = 7
PEOPLE = (0, 1, 2)


def davis_folder(root, *, annotated):
    pictures, truth = root / "JPEGImages/480p/street", root / "Annotations/480p/street"
    pictures.mkdir(parents=True)
    for index in range(FRAMES):
        Image.fromarray(picture(CAST, index)).save(pictures / f"{index:05d}.jpg", quality=98)
        if annotated:
            truth.mkdir(parents=True, exist_ok=True)
            labels = np.zeros((180, 320), np.uint8)
            for which in PEOPLE:
                labels[visible(CAST, which, index)] = which + 1
            Image.fromarray(labels).save(truth / f"{index:05d}.png")
    return root


def fakes(root):
    return run(root, prompt="person", detector="fake", segmenter="fake", device="cpu", most=None)


def test_a_folder_with_annotations_is_timed_and_scored(tmp_path):
    part = fakes(davis_folder(tmp_path, annotated=True))
    assert part.values["street"]["frames"] == FRAMES
    assert part.values["street"]["scores"]["j"] > 0.9
    assert part.values["street"]["scores"]["idf1"] == 1
    text = as_markdown(
        {
            "title": part.title,
            "summary": part.summary,
            "plots": (),
            "tables": [
                {"title": t.title, "columns": t.columns, "rows": t.rows, "notes": t.notes}
                for t in part.tables
            ],
        }
    )
    assert "Frames of the shot per minute and stage" in text
    assert "| street | 7 |" in text


def test_a_folder_without_annotations_is_timed(tmp_path):
    part = fakes(davis_folder(tmp_path, annotated=False))
    assert len(part.tables) == 1
    assert "scores" not in part.values["street"]
