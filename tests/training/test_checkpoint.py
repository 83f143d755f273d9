"""Checkpoints: an interrupted run ends as a whole one, a file of no use costs a warning."""

import logging
import random
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import models
from tests.fakes import TINY_CIFAR10, error_of, make_tiny
from tests.training.runs import RECIPE, RUN, Killed, StopAfter, train_in
from utils.data.dataset import Dataset
from utils.training import loop
from utils.training.checkpoint import (
    random_states,
    save_weights,
    seed_everything,
    set_random_states,
)
from utils.training.loop import build_network, evaluate

CHECKPOINT = "run.checkpoint.pt"


@pytest.mark.parametrize(
    "network, optimizer, batches",
    [
        # within an epoch, between two, in the last
        *product(["CNN7x7"], ["adamw", "sgd", "muon"], [3, 4, 11]),
        ("CNNWithResidualReg", "muon", 3),  # draws its dropout
    ],
)
def test_an_interrupted_run_ends_with_the_same_record(
    network: str, optimizer: str, batches: int, cifar10: Dataset, tmp_path: Path
) -> None:
    changes = {"muon_rate": 0.01} if optimizer == "muon" else {"optimizer": optimizer}
    run = replace(RUN, network=network, recipe=replace(RECIPE, **changes))
    whole = train_in(tmp_path / "whole", run, cifar10)
    with pytest.raises(Killed):
        train_in(tmp_path / "broken", run, cifar10, StopAfter(batches))
    torch.manual_seed(99)  # a new process starts with other generator states
    assert train_in(tmp_path / "broken", run, cifar10) == whole


def test_a_finished_checkpoint_gives_the_record_without_a_step(
    cifar10: Dataset, tmp_path: Path
) -> None:
    whole = train_in(tmp_path, RUN, cifar10)
    assert train_in(tmp_path, RUN, cifar10, StopAfter(0)) == whole


@pytest.mark.parametrize("damage", ["truncated", "text", "other recipe", "other data"])
def test_a_checkpoint_of_no_use_is_passed_over_with_a_warning(
    damage: str, cifar10: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / CHECKPOINT
    expected = train_in(tmp_path, RUN, cifar10)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "other recipe":
        path.unlink()
        train_in(tmp_path, replace(RUN, recipe=replace(RECIPE, epochs=1)), cifar10)
    else:
        path.unlink()
        train_in(tmp_path, RUN, make_tiny(TINY_CIFAR10, seed=1))
    with caplog.at_level(logging.WARNING):
        assert train_in(tmp_path, RUN, cifar10) == expected
    assert "starting anew" in caplog.text


def test_all_generators_come_back_as_they_were() -> None:
    generator, cpu = torch.Generator().manual_seed(5), torch.device("cpu")

    def draws() -> list[float]:
        own = torch.rand(1, generator=generator).item()
        return [own, torch.rand(1).item(), np.random.rand(), random.random()]

    seed_everything(3)
    states = random_states(generator, cpu)
    first = draws()
    set_random_states(states, generator, cpu)
    assert draws() == first
    seed_everything(3)
    assert draws()[1:] == first[1:]


def test_a_run_that_goes_on_elsewhere_names_both_machines(
    cifar10: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Killed):
        train_in(tmp_path, RUN, cifar10, StopAfter(6))
    here = loop.environment(torch.device("cpu"))
    there = here.model_copy(update={"processor": "Abacus"})
    monkeypatch.setattr(loop, "environment", lambda device: there)
    record = train_in(tmp_path, RUN, cifar10)
    assert record["environment"] == here
    assert record["continued_in"] == (there,)
    assert "the record names both" in caplog.text


def test_a_checkpoint_of_a_network_that_has_changed_is_an_error(
    cifar10: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_in(tmp_path, RUN, cifar10)
    changed = models.MODELS["CNN7x7"]._replace(build=partial(models.CNN7x7, widths=(4, 4)))
    monkeypatch.setitem(models.MODELS, "CNN7x7", changed)
    assert error_of(lambda: train_in(tmp_path, RUN, cifar10)) == (
        f"{tmp_path / CHECKPOINT}: does not fit the network, which has changed since; delete it to "
        "start anew"
    )


def test_weights_come_back_to_the_last_bit(cifar10: Dataset, tmp_path: Path) -> None:
    run = replace(RUN, network="CNNWithResidualReg")
    trained, other = build_network(run), build_network(run)
    path = tmp_path / "weights.safetensors"
    save_weights(path, trained)
    found = safetensors.torch.load_file(path)
    assert {t.dtype for t in found.values() if t.is_floating_point()} == {torch.float32}
    other.load_state_dict(found)
    expected, *_ = evaluate(trained, cifar10.x_test, cifar10.y_test, cifar10)
    assert evaluate(other, cifar10.x_test, cifar10.y_test, cifar10)[0] == expected
