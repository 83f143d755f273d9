"""Training: the same seed gives the same record, interrupted or not; the record says it all."""

import json
import logging
import random
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import models
from tests.fakes import TINY_CIFAR10, make_arrays
from utils.data.batches import augmented_views
from utils.data.dataset import Dataset, make_dataset
from utils.errors import UserError
from utils.experiment import Recipe, Run
from utils.training import loop as training
from utils.training.checkpoint import (
    random_states,
    save_weights,
    seed_everything,
    set_random_states,
)
from utils.training.loop import (
    Compute,
    build_network,
    evaluate,
    gradient_norms,
    initial_state,
    run_identity,
    summarise_epoch,
    train,
    train_epoch,
    train_step,
)
from utils.training.progress import Progress

RECIPE = Recipe(
    epochs=3,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    batch_size=16,
    crop_padding=2,
    flip=True,
)
RUN = Run("test", "CNN7x7", "cifar10", RECIPE, seed=0)
CPU = Compute(torch.device("cpu"))


@pytest.fixture(scope="module")
def data() -> Dataset:
    official = replace(TINY_CIFAR10, train_images=64, test_images=32)
    return make_dataset(make_arrays(official), "cifar10", "tiny", official.classes)


class Killed(Exception):
    """Stands for Ctrl-C or a kill in the middle of an epoch."""


class Silent(Progress):
    """No bar; stops the run after so many batches where it is told to."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__([1.0])
        self.left = stop_after

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


def record_of(run: Run, data: Dataset, folder: Path, compute: Compute = CPU) -> dict[str, Any]:
    record, predictions, _ = train(run, data, compute, folder / "run.checkpoint.pt", Silent())
    return without_timings(record) | {"predictions": predictions.tolist()}


def without_timings(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "timings"}


@pytest.mark.parametrize("model", ["CNN7x7", "CNNWithResidualReg", "DeepFCNet"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_record_to_the_last_bit(
    model: str, precision: str, data: Dataset, tmp_path: Path
) -> None:
    run = replace(RUN, model=model, recipe=replace(RECIPE, epochs=1))
    compute = Compute(torch.device("cpu"), precision)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = record_of(run, data, tmp_path / "a", compute)
    torch.randn(3)  # whatever was drawn before does not matter
    assert first == record_of(run, data, tmp_path / "b", compute)


def test_another_seed_gives_another_record(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, other = (
        record_of(RUN, data, tmp_path),
        record_of(replace(RUN, seed=1), data, tmp_path / "other"),
    )
    assert first["epochs"] != other["epochs"]


class ReadsOfNumbers(TorchDispatchMode):
    """Counts how often one number is read from a tensor: on a GPU each waits for the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("model", ["CNN7x7", "CNNWithResidualReg"])
def test_more_steps_read_no_more_numbers(model: str, optimizer: str, data: Dataset) -> None:
    counts = []
    for batch_size in (32, 8):  # 2 steps and 8
        recipe = replace(RECIPE, optimizer=optimizer, batch_size=batch_size, muon_rate=0.01)
        state = initial_state(replace(RUN, model=model, recipe=recipe), data, CPU)
        views = augmented_views(data.x_train, recipe)
        with ReadsOfNumbers() as reads:
            train_epoch(state, recipe, data, views, CPU, Silent())
        counts.append(reads.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("model", ["CNN7x7", "CNNWithResidualReg"])  # the second draws its dropout
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("batches", [3, 4, 11])  # within an epoch, between two, in the last
def test_an_interrupted_run_ends_with_the_same_record(
    model: str, optimizer: str, batches: int, data: Dataset, tmp_path: Path
) -> None:
    changes = {"muon_rate": 0.01} if optimizer == "muon" else {"optimizer": optimizer}
    run = replace(RUN, model=model, recipe=replace(RECIPE, **changes))
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = record_of(run, data, tmp_path / "whole")
    with pytest.raises(Killed):
        train(run, data, CPU, tmp_path / "broken" / "run.checkpoint.pt", Silent(batches))
    torch.manual_seed(99)  # a new process starts with other generator states
    assert record_of(run, data, tmp_path / "broken") == whole


def test_a_finished_checkpoint_gives_the_record_without_a_step(
    data: Dataset, tmp_path: Path
) -> None:
    whole = record_of(RUN, data, tmp_path)
    record, *_ = train(RUN, data, CPU, tmp_path / "run.checkpoint.pt", Silent(stop_after=0))
    assert without_timings(record) == {k: v for k, v in whole.items() if k != "predictions"}


@pytest.mark.parametrize("damage", ["truncated", "text", "other recipe", "other data"])
def test_a_checkpoint_of_no_use_is_passed_over_with_a_warning(
    damage: str, data: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.checkpoint.pt"
    expected = record_of(RUN, data, tmp_path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "other recipe":
        train(replace(RUN, recipe=replace(RECIPE, epochs=1)), data, CPU, tmp_path / "o", Silent())
        (tmp_path / "o").replace(path)
    else:
        other = make_dataset(make_arrays(TINY_CIFAR10, seed=1), "cifar10", "tiny", data.classes)
        train(RUN, other, CPU, tmp_path / "o", Silent())
        (tmp_path / "o").replace(path)
    with caplog.at_level(logging.WARNING):
        assert record_of(RUN, data, tmp_path) == expected
    assert "starting anew" in caplog.text


def test_the_record_answers_what_tables_and_figures_ask(data: Dataset, tmp_path: Path) -> None:
    record = record_of(RUN, data, tmp_path)
    assert json.loads(json.dumps(record)) == record
    assert record["schema"] == 1
    assert record["recipe"] == vars(RECIPE)
    assert record["data"]["fingerprint"] == data.fingerprint
    assert record["parameters"] == 17_722
    assert [entry["epoch"] for entry in record["epochs"]] == [1, 2, 3]
    entry = record["epochs"][-1]
    assert set(entry) == {
        "epoch", "learning_rate", "running_loss", "batch_loss_quartiles", "gradient_norm",
        "gradient_norm_total", "gradient_norm_largest", "train_loss", "train_accuracy",
        "test_loss", "test_accuracy",
    }  # fmt: skip
    assert list(entry["gradient_norm"]) == ["features.0.0", "features.1.0", "classifier.1"]
    rates = [entry["learning_rate"] for entry in record["epochs"]]
    assert rates[0] > rates[1] > rates[2] > 0  # falling after the first fifth of the steps
    assert rates[2] < RECIPE.learning_rate / 1000
    confusion = torch.tensor(record["final"]["confusion_matrix"])
    assert torch.equal(confusion.sum(1), data.y_test.bincount(minlength=10))
    assert confusion.diagonal().sum() / 32 == record["final"]["test_accuracy"]
    predictions = torch.tensor(record["predictions"])
    assert (predictions == data.y_test).double().mean() == record["final"]["test_accuracy"]
    assert {"python", "torch", "processor", "threads"} <= set(record["environment"])


def test_the_last_epoch_is_reported_whatever_the_best_was(data: Dataset, tmp_path: Path) -> None:
    record = record_of(RUN, data, tmp_path)
    assert record["final"]["test_accuracy"] == record["epochs"][-1]["test_accuracy"]
    assert record["final"]["test_loss"] == record["epochs"][-1]["test_loss"]


def test_a_network_learns_what_can_be_learned(tmp_path: Path) -> None:
    arrays = make_arrays(replace(TINY_CIFAR10, train_images=256, test_images=64))
    for split in ("train", "test"):  # the class is written into the brightness of one channel
        arrays[f"x_{split}"][..., 0] = 25 * arrays[f"y_{split}"][:, None, None]
    data = make_dataset(arrays, "cifar10", "tiny", TINY_CIFAR10.classes)
    recipe = replace(RECIPE, epochs=10, learning_rate=5e-3)
    record = record_of(replace(RUN, model="CNN3x3", recipe=recipe), data, tmp_path)
    assert record["final"]["test_accuracy"] > 0.8
    assert record["epochs"][-1]["running_loss"] < record["epochs"][0]["running_loss"] / 2


def test_gradient_norms_are_those_of_the_parameters() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 3))
    network(torch.randn(4, 1, 3, 3)).square().sum().backward()
    expected = [p.grad.norm().item() for p in network.parameters()]
    assert gradient_norms(network).tolist() == pytest.approx(expected)


def test_a_frozen_and_an_unused_layer_have_no_gradient_and_stop_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 3))
    network.unused = nn.Linear(2, 2)
    network[0].requires_grad_(False)
    network[:3](torch.randn(4, 1, 3, 3)).sum().backward()
    frozen, _, used, _, unused, _ = gradient_norms(network).tolist()
    assert (frozen, unused) == (0.0, 0.0)
    assert used > 0


def test_an_epoch_is_summarised_by_its_mean_its_quartiles_and_its_largest_norm() -> None:
    losses = torch.tensor([4.0, 1.0, 3.0, 2.0, 5.0])
    scale = torch.tensor([1.0, 3.0, 2.0, 2.0, 2.0])
    norms = scale.outer(torch.tensor([3.0, 4.0]))  # of the weight and of the bias: 5 together
    assert summarise_epoch(losses, norms, nn.Sequential(nn.Linear(1, 1))) == {
        "running_loss": 3.0,
        "batch_loss_quartiles": [2.0, 3.0, 4.0],
        "gradient_norm": {"0": 6.0},
        "gradient_norm_total": pytest.approx(10.0),
        "gradient_norm_largest": pytest.approx(15.0),
    }


def test_convolutions_hold_their_channels_last() -> None:
    network = build_network(RUN, torch.device("cpu"))
    weight = network.features[0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_the_reported_train_accuracy_is_that_of_all_train_images(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "TRAIN_PART", 5)
    record, _, network = train(RUN, data, CPU, tmp_path / "run.checkpoint.pt", Silent())
    loss, accuracy, _ = evaluate(network, data.x_train, data.y_train, data)
    assert record["final"]["train_accuracy"] == accuracy
    assert record["final"]["train_loss"] == loss
    assert record["epochs"][-1]["train_loss"] != loss


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
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = tmp_path / "run.checkpoint.pt"
    with pytest.raises(Killed):
        train(RUN, data, CPU, checkpoint, Silent(stop_after=6))
    here = training.environment(CPU.device)
    monkeypatch.setattr(training, "environment", lambda device: here | {"threads": 99})
    record, *_ = train(RUN, data, CPU, checkpoint, Silent())
    assert record["environment"] == here
    assert record["continued_in"] == [here | {"threads": 99}]
    assert "the record names both" in caplog.text


def test_a_checkpoint_of_a_network_that_has_changed_is_an_error(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "run.checkpoint.pt"
    train(RUN, data, CPU, checkpoint, Silent())
    changed = partial(models.CNN7x7, widths=(4, 4))
    monkeypatch.setitem(models.MODELS, "CNN7x7", changed)
    message = f"{checkpoint}: does not fit the network, which has changed since; delete it to start"
    with pytest.raises(UserError, match=f"^{re.escape(message)} anew$"):
        train(RUN, data, CPU, checkpoint, Silent())


def test_weights_come_back_to_the_last_bit(data: Dataset, tmp_path: Path) -> None:
    run = replace(RUN, model="CNNWithResidualReg")
    trained, other = (build_network(run, CPU.device) for _ in range(2))
    path = tmp_path / "weights.safetensors"
    save_weights(path, trained)
    found = safetensors.torch.load_file(path)
    assert {t.dtype for t in found.values() if t.is_floating_point()} == {torch.float32}
    other.load_state_dict(found)
    expected, *_ = evaluate(trained, data.x_test, data.y_test, data)
    assert evaluate(other, data.x_test, data.y_test, data)[0] == expected


def test_overrides_are_compared_as_a_record_gives_them_back() -> None:
    run = replace(RUN, overrides={"widths": (8, 16)})
    assert run_identity(run, CPU)["overrides"] == {"widths": [8, 16]}


def test_evaluation_is_in_eval_mode_and_in_float32(data: Dataset) -> None:
    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = set()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = x.flatten(1)[:, :10] @ torch.eye(10)
            self.seen.add((self.training, logits.dtype))
            return logits

    spy = Spy().train()
    evaluate(spy, data.x_test, data.y_test, data)
    assert spy.seen == {(False, torch.float32)}


def test_bfloat16_trains_under_autocast_and_keeps_float32_parameters(
    data: Dataset, tmp_path: Path
) -> None:
    run = replace(RUN, recipe=replace(RECIPE, epochs=1))
    compute = Compute(torch.device("cpu"), "bfloat16")
    record, _, network = train(run, data, compute, tmp_path / "run.checkpoint.pt", Silent())
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert record["precision"] == "bfloat16"
    (tmp_path / "float32").mkdir()
    assert record["epochs"] != record_of(run, data, tmp_path / "float32")["epochs"]


def test_a_smoothed_target_is_spread_over_all_classes() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), torch.randn(6, 3, 2, 2)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    targets = 0.8 * nn.functional.one_hot(labels, 4) + 0.2 / 4
    expected = -(targets * network(images).log_softmax(1)).sum(1).mean()
    loss = train_step(network, images, labels, [], CPU, label_smoothing=0.2)
    torch.testing.assert_close(loss, expected.detach())
