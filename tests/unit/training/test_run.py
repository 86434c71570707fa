"""A training run goes on where it was stopped, and ships what it has learned."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from server.errors import ModelError
from server.models.demo import read_weights, write_weights
from server.training.run import Schedule, TrainingRun

SCHEDULE = Schedule(minutes=5, learning_rate=0.01, warmup_steps=1, save_seconds=1e9)


def network(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def advance(run: TrainingRun, steps: int) -> None:
    for _ in range(steps):
        data = torch.randn(8, 2, generator=torch.Generator().manual_seed(run.step))
        run.update((run.model(data) - data[:, :1]).pow(2).mean(), {"error": 0.5})


def test_when_stopped_and_started_again_then_it_goes_on_where_it_was(tmp_path: Path):
    first = TrainingRun(tmp_path, network(), SCHEDULE)
    advance(first, 5)
    first.save()
    again = TrainingRun(tmp_path, network(), SCHEDULE)
    assert again.step == 5
    assert again.seconds == first.seconds
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    # The next steps differ by the learning rate alone, which follows the time spent.
    advance(again, 1)
    assert again.step == 6


def test_when_the_checkpoint_is_of_another_network_then_the_error_says_so(tmp_path: Path):
    run = TrainingRun(tmp_path, network(), SCHEDULE)
    run.save()
    with pytest.raises(ModelError, match="Choose a new folder"):
        TrainingRun(tmp_path, network(4), SCHEDULE)


def test_when_steps_are_made_then_the_curve_is_logged_and_the_average_follows(tmp_path: Path):
    model = network()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    run = TrainingRun(tmp_path, model, SCHEDULE)
    advance(run, 50)
    line = json.loads((tmp_path / "curve.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert line["step"] == 50
    assert line["error"] == pytest.approx(0.5)
    live = model.state_dict()["0.weight"]
    assert not torch.equal(run.average["0.weight"], start["0.weight"])
    assert not torch.equal(run.average["0.weight"], live)


def test_weights_are_written_as_half_floats_and_read_back(tmp_path: Path):
    model = network()
    write_weights(dict(model.state_dict()), tmp_path / "w.safetensors")
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    read_weights(other, tmp_path / "w.safetensors")
    for name, value in model.state_dict().items():
        assert torch.allclose(value.float(), other.state_dict()[name].float(), atol=1e-3)


def test_when_weights_belong_to_another_network_then_loading_is_refused(tmp_path: Path):
    write_weights(dict(network().state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="other shapes"):
        read_weights(network(4), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="missing"):
        read_weights(nn.Sequential(*network(), nn.Linear(1, 1)), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="none that can be read"):
        read_weights(network(), tmp_path / "absent.safetensors")
