"""Official models end to end: published on localhost, fetched, converted, loaded strictly.

The files have the official layout and random numbers in it: the published ones cannot be had in a
test, and what is proven here is everything but the numbers.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from server.errors import ModelError
from server.models import store
from server.models.catalogue import CATALOGUE, OfficialModel
from server.models.weights import load_strict
from tests.unit.models_store.publisher import (
    IMPATIENT,
    Misbehaviour,
    Publisher,
    official_file,
)

REPOSITORY = Path(__file__).resolve().parents[2]


def command(*arguments: str, models: Path) -> subprocess.Popen[str]:
    """Start ``segmatte models`` with a models' folder of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "client", "models", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "SEGMATTE_MODELS": str(models)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, problems = process.communicate(timeout=120)
    return process.returncode, out, problems


def test_a_killed_fetch_goes_on_and_a_file_with_other_content_is_refused(tmp_path):
    model = CATALOGUE["sam2.1-tiny"]
    wrong = bytes(model.checkpoint.size_bytes)
    half = 60_000_000
    with Publisher({model.checkpoint.name: wrong}, Misbehaviour(stalls_after=half)) as publisher:
        fetch = ("fetch", model.name, "--from", publisher.address)
        first = command(*fetch, models=tmp_path)
        partial = tmp_path / ".partial" / f"{model.checkpoint.sha256[:16]}-sam2.1_hiera_tiny.pt"
        while not (partial.is_file() and partial.stat().st_size == half):
            assert first.poll() is None
            time.sleep(0.05)
        first.kill()
        finished(first)
        code, out, problems = finished(command(*fetch, models=tmp_path))
        # The part from the first run is not trusted: the whole file was asked for once more.
        asked = [part for _, part in publisher.requests]
    assert asked == ["", f"bytes={half}-", ""]
    assert code == 3
    assert "Weights under Apache-2.0" in out
    assert f"Expected sam2.1_hiera_tiny.pt with sha256 {model.checkpoint.sha256}" in problems
    assert "nothing was opened" in problems
    assert not (tmp_path / model.name).exists()


def test_the_command_lists_verifies_and_locates(tmp_path):
    code, out, _ = finished(command("list", models=tmp_path))
    assert code == 0
    assert all(name in out for name in [*CATALOGUE, "demo-sam2", "demo-groundingdino"])
    code, out, _ = finished(command("path", models=tmp_path))
    assert (code, out.strip()) == (0, str(tmp_path))
    code, _, problems = finished(command("path", "sam2.1-large", models=tmp_path))
    assert code == 3
    assert "segmatte models fetch sam2.1-large" in problems
    (tmp_path / "sam2.1-large").mkdir()
    code, out, _ = finished(command("verify", models=tmp_path))
    assert code == 3
    assert "Model sam2.1-large is damaged" in out


def published(model: OfficialModel, state: dict[str, torch.Tensor]) -> tuple[OfficialModel, bytes]:
    """A checkpoint of the official layout, and the catalogue's entry that fits it."""
    stream = io.BytesIO()
    torch.save({"model": {model.key_prefix + key: value for key, value in state.items()}}, stream)
    content = stream.getvalue()
    return replace(model, checkpoint=official_file(model.checkpoint.name, content)), content


def randomised(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Random numbers in every tensor; those a network uses under several keys stay shared."""
    torch.manual_seed(1)
    state = network.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.normal_()
    return {key: value.clone() for key, value in state.items()}


def test_sam2_of_the_official_layout_arrives_over_a_bad_line_and_loads_strictly(tmp_path):
    from server.models.sam2 import build_sam2

    network = build_sam2(CATALOGUE["sam2.1-tiny"].config)
    state = randomised(network)
    model, content = published(CATALOGUE["sam2.1-tiny"], state)
    with Publisher(
        {model.checkpoint.name: content},
        Misbehaviour(ends_after=40_000_000),
        Misbehaviour(status=503),
        Misbehaviour(stalls_after=1_000_000),
    ) as publisher:
        files = store.fetch(
            model.name,
            source=publisher.address,
            folder=tmp_path,
            catalogue={model.name: model},
            settings=replace(IMPATIENT, timeout_seconds=5.0),
        )
    fetched = load_file(files.weights)
    load_strict(network, fetched, source=str(files.weights))
    loaded = network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())

    first = next(iter(fetched))
    fetched["a.key.from.elsewhere"] = fetched.pop(first)
    with pytest.raises(ModelError) as caught:
        load_strict(network, fetched, source=str(files.weights))
    assert first in str(caught.value)
    assert "a.key.from.elsewhere" in str(caught.value)


@pytest.mark.integration
def test_groundingdino_of_the_official_layout_loads_strictly_without_the_hub(tmp_path):
    from server.models.groundingdino import build_groundingdino

    words = "\n".join(["[PAD]", *(f"[unused{n}]" for n in range(30_521))]) + "\n"
    (tmp_path / "vocab.txt").write_text(words)
    official = replace(
        CATALOGUE["groundingdino-swin-t"],
        vocabulary=official_file("vocab.txt", words.encode()),
    )

    def fetched(state: dict[str, torch.Tensor]) -> store.ModelFiles:
        model, content = published(official, state)
        (tmp_path / model.checkpoint.name).write_bytes(content)
        catalogue = {model.name: model}
        return store.fetch(
            model.name, source=str(tmp_path), folder=tmp_path / "m", catalogue=catalogue
        )

    tokenizer = fetched({"nothing": torch.zeros(1)}).tokenizer
    assert tokenizer is not None
    state = randomised(build_groundingdino(official.config, text_folder=tokenizer))
    files = fetched(state | {"label_enc.weight": torch.zeros(1)})
    assert files.tokenizer is not None
    again = build_groundingdino(files.config, text_folder=files.tokenizer)
    load_strict(again, load_file(files.weights), source=str(files.weights))
    loaded = again.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
