"""Checkpoints: an interrupted run ends as a whole one, and nothing that is kept is lost."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from models import CNN7x7
from tests.fakes import TINY_CIFAR10, error_of, full_disk, make_tiny
from tests.networks import add_network
from tests.training.runs import RECIPE, RUN, Killed, StopAfter, nothing, train_in
from utils.data.dataset import Dataset
from utils.experiment import Compute, Run
from utils.measuring.evaluation import load_weights
from utils.measuring.trial import try_out
from utils.one_run import train_one
from utils.records.files import write_bytes
from utils.training import loop
from utils.training.checkpoint import (
    DamagedError,
    random_states,
    read_state,
    seed_everything,
    set_random_states,
    weights_of,
    write_state,
)
from utils.training.loop import build_network, evaluate, train

CHECKPOINT = "run.checkpoint.pt"
MUON = replace(RUN, recipe=replace(RECIPE, muon_rate=0.01))
LARGE = replace(RUN, network="CNNWithResidual")


@pytest.mark.parametrize(
    "network, optimizer, batches",
    [
        # within an epoch, between two, in the last
        *product([{}], ["adamw", "sgd", "muon"], [3, 4, 11]),
        ({"network": "CNN3x3", "overrides": {"dropout": 0.3}}, "muon", 3),
    ],
    ids=str,
)
def test_an_interrupted_run_ends_with_the_same_record(
    network: dict[str, Any], optimizer: str, batches: int, cifar10: Dataset, tmp_path: Path
) -> None:
    changes = {"muon_rate": 0.01} if optimizer == "muon" else {"optimizer": optimizer}
    run = replace(RUN, recipe=replace(RECIPE, **changes), **network)
    whole = train_in(tmp_path / "whole", run, cifar10)
    with pytest.raises(Killed):
        train_in(tmp_path / "broken", run, cifar10, StopAfter(batches))
    torch.manual_seed(99)  # a new process starts with other generator states
    assert train_in(tmp_path / "broken", run, cifar10) == whole


class Averages(nn.Linear):
    """Has the mean of its weights so far in their place in eval mode."""

    def __init__(self) -> None:
        super().__init__(192, 10)
        self.register_buffer("mean", self.weight.detach().clone())

    def train(self, mode: bool = True) -> Self:
        if mode != self.training:
            trained = self.weight.detach().clone()
            self.weight.data.copy_(self.mean)
            self.mean.copy_(trained)
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean.lerp_(self.weight.detach(), 0.1)
        return super().forward(x)


class Turns(nn.Linear):
    """Counts its epochs where it is told to train, and drops less and less from then on."""

    def __init__(self) -> None:
        super().__init__(192, 10)
        self.register_buffer("turns", torch.zeros(()))
        self.rate = 0.5

    def train(self, mode: bool = True) -> Self:
        if mode:
            self.turns += 1
            self.rate = 0.5 / self.turns.item()
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, self.rate, self.training)) / (1 + self.turns)


@pytest.mark.parametrize("layer", [Averages, Turns])
def test_a_network_whose_train_does_something_goes_on_and_is_kept_as_it_is_trained(
    layer: Callable[[], nn.Module],
    cifar10: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), layer())

    add_network(monkeypatch, build)
    run = replace(RUN, network="MyNet")
    try_out(run, cifar10, weights=True)
    whole = train_in(tmp_path / "whole", run, cifar10)
    with pytest.raises(Killed):
        train_in(tmp_path / "broken", run, cifar10, StopAfter(6))
    assert train_in(tmp_path / "broken", run, cifar10) == whole

    trained = train(run, cifar10, tmp_path / CHECKPOINT, nothing).network
    expected, *_ = evaluate(trained, cifar10.x_test, cifar10.y_test, cifar10)
    write_bytes(tmp_path / "a.safetensors", weights_of(trained))
    load_weights(tmp_path / "a.safetensors", other := build())
    assert evaluate(other, cifar10.x_test, cifar10.y_test, cifar10)[0] == expected


def test_a_finished_checkpoint_gives_the_record_without_a_step(
    cifar10: Dataset, tmp_path: Path
) -> None:
    whole = train_in(tmp_path, RUN, cifar10)
    assert train_in(tmp_path, RUN, cifar10, StopAfter(0)) == whole


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "flipped", "another program's"])
def test_a_damaged_checkpoint_is_kept_and_the_run_starts_anew(
    damage: str, cifar10: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / CHECKPOINT
    expected = train_in(tmp_path, RUN, cifar10)
    whole = path.read_bytes()
    middle = len(whole) // 2  # among the weights: torch.load finds nothing wrong with it
    if damage == "another program's":
        write_state(path, {"network": {}})
    else:
        path.write_bytes(
            {
                "truncated": whole[:1000],
                "empty": b"",
                "text": b"not a checkpoint",
                "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            }[damage]
        )
    damaged = path.read_bytes()
    assert train_in(tmp_path, RUN, cifar10) == expected
    assert f"{path} is damaged (" in caplog.text
    assert "starting anew, it is kept as run.checkpoint.damaged" in caplog.text
    assert (tmp_path / "run.checkpoint.damaged").read_bytes() == damaged


def test_a_folder_where_a_damaged_checkpoint_is_to_be_kept_is_told(
    cifar10: Dataset, tmp_path: Path
) -> None:
    (tmp_path / CHECKPOINT).touch()
    (tmp_path / "run.checkpoint.damaged").mkdir()
    message = error_of(lambda: train_in(tmp_path, RUN, cifar10))
    kept = tmp_path / "run.checkpoint.damaged"
    assert message == f"{kept}: a folder, where {CHECKPOINT} is to be kept; move it away"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("state") / CHECKPOINT
    write_state(path, {"weights": torch.randn(50), "epochs": 3})
    return path


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(written: Path, place: float, bit: int) -> None:
    content = bytearray(written.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path = written.with_name("flipped")
    path.write_bytes(content)
    with pytest.raises(DamagedError):
        read_state(path)


BFLOAT16 = Compute(precision="bfloat16")


@pytest.mark.parametrize(
    "begun, text",
    [
        (
            {"recipe": replace(RECIPE, epochs=1)},
            "an unfinished run with epochs 1 (not 3); it goes on with --epochs 1; ",
        ),
        (
            {"compute": BFLOAT16},
            "an unfinished run with precision bfloat16 (not float32); it goes on with "
            "--precision bfloat16; ",
        ),
        (
            {"compute": BFLOAT16, "recipe": replace(RECIPE, epochs=1)},
            "it goes on with --precision bfloat16 and --epochs 1; ",
        ),
        (
            {"recipe": replace(RECIPE, epochs=1, learning_rate=0.5)},
            "an unfinished run with epochs 1 (not 3), learning_rate 0.5 (not 0.001); its "
            "declaration has changed since; ",
        ),
        (
            {"seed": 7},
            "an unfinished run with seed 7 (not 0); it is another run's under this one's name; ",
        ),
    ],
)
def test_the_checkpoint_of_another_run_is_refused_with_what_goes_on(
    begun: dict[str, Any], text: str, cifar10: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / CHECKPOINT
    train_in(tmp_path, replace(RUN, **begun), cifar10)
    kept = path.read_bytes()
    message = error_of(lambda: train_in(tmp_path, RUN, cifar10, StopAfter(0)))
    assert message.startswith(f"{path}: ")
    assert text in message
    assert message.endswith("--fresh trains it anew")
    assert path.read_bytes() == kept


def edited(path: Path, keys: tuple[Any, ...], value: object) -> None:
    """Puts the value into a checkpoint, whose checksum is right again."""
    content = found = read_state(path)
    for key in keys[:-1]:
        found = found[key]
    found[keys[-1]] = value
    write_state(path, content)


def test_a_checkpoint_of_an_earlier_version_goes_on(cifar10: Dataset, tmp_path: Path) -> None:
    whole = train_in(tmp_path / "whole", RUN, cifar10)
    with pytest.raises(Killed):
        train_in(tmp_path, RUN, cifar10, StopAfter(6))
    content = read_state(tmp_path / CHECKPOINT)
    del content["trained"]
    write_state(tmp_path / CHECKPOINT, content)
    assert train_in(tmp_path, RUN, cifar10) == whole


def test_a_checkpoint_from_a_gpu_is_not_lost_on_a_machine_without(
    cifar10: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train_in(tmp_path, RUN, cifar10, StopAfter(6))
    edited(tmp_path / CHECKPOINT, ("identity", "device"), "cuda")
    message = error_of(lambda: train_in(tmp_path, RUN, cifar10))
    assert "device cuda (not cpu); it goes on with --device cuda; --fresh" in message


def test_a_run_whose_network_has_another_forward_now_does_not_go_on(
    cifar10: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / CHECKPOINT
    with pytest.raises(Killed):
        train_one(RUN, StopAfter(6), cifar10, path, False)
    kept, forward = path.read_bytes(), CNN7x7.forward
    monkeypatch.setattr(CNN7x7, "forward", lambda network, x: F.gelu(forward(network, x)))
    assert error_of(lambda: train_one(RUN, nothing, cifar10, path, False)) == (
        f"{path}: does not fit the network, which has changed since; --fresh trains it anew"
    )
    assert path.read_bytes() == kept
    monkeypatch.undo()
    assert train_one(RUN, nothing, cifar10, path, False).record.computes


def test_a_checkpoint_of_other_images_is_refused(cifar10: Dataset, tmp_path: Path) -> None:
    train_in(tmp_path, RUN, make_tiny(TINY_CIFAR10, seed=1))
    message = error_of(lambda: train_in(tmp_path, RUN, cifar10))
    assert f" (not {cifar10.fingerprint[:12]}); it goes on with the --data-dir of its" in message


def test_a_checkpoint_that_may_not_be_read_is_not_overwritten(
    cifar10: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / CHECKPOINT
    path.mkdir()  # to root, as a test may be, no file is forbidden
    assert error_of(lambda: train_in(tmp_path, RUN, cifar10)) == (
        f"{path}: cannot be read (not a file); mend that to go on, or --fresh trains anew"
    )
    path.rmdir()
    path.symlink_to(tmp_path / "not mounted")
    assert "cannot be read (a broken link)" in error_of(lambda: train_in(tmp_path, RUN, cifar10))


@pytest.mark.parametrize(
    "run, keys, value",
    [
        (RUN, ("optimizers", 0, "state", 0, "exp_avg"), torch.zeros(3)),
        (RUN, ("optimizers", 0, "state", 0, "exp_avg"), None),
        (RUN, ("optimizers", 0, "state", 0, "step"), torch.zeros(2)),
        (MUON, ("optimizers", 1, "state", 0, "momentum_buffer"), torch.zeros(16, 147, 1)),
        (RUN, ("network", "features.0.0.weight"), torch.zeros(1, 3, 7, 7)),
        (RUN, ("network", "classifier.1.bias"), torch.zeros(10, dtype=torch.int64)),
        (RUN, ("random", "torch"), torch.zeros(3, dtype=torch.uint8)),
        (RUN, ("random", "python"), (3, [1, 2], None)),
        (RUN, ("history",), [{"epoch": 0}]),
        (RUN, ("optimizers",), []),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_used(
    run: Run, keys: tuple[Any, ...], value: object, cifar10: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / CHECKPOINT
    with pytest.raises(Killed):
        train_in(tmp_path, run, cifar10, StopAfter(6))
    edited(path, keys, value)
    kept = path.read_bytes()
    message = error_of(lambda: train_in(tmp_path, run, cifar10))
    assert message.startswith(f"{path}: does not fit the network, which has changed since")
    assert path.read_bytes() == kept


def test_a_full_disk_costs_a_line_and_nothing_that_is_kept(
    cifar10: Dataset, tmp_path: Path
) -> None:
    whole, path = train_in(tmp_path / "whole", RUN, cifar10), tmp_path / CHECKPOINT
    with pytest.raises(Killed):
        train_in(tmp_path, RUN, cifar10, StopAfter(6))
    kept = path.read_bytes()
    with full_disk(fits=len(kept) // 2):
        texts = [
            error_of(lambda: train_in(tmp_path, RUN, cifar10)),
            error_of(lambda: write_bytes(tmp_path / "weights", weights_of(build_network(LARGE)))),
        ]
    for text, name in zip(texts, (CHECKPOINT, "weights"), strict=True):
        assert text.startswith(f"{tmp_path / name}: cannot be written (File too large); what was")
    assert path.read_bytes() == kept
    assert {each.name for each in tmp_path.iterdir()} == {CHECKPOINT, "whole"}
    assert train_in(tmp_path, RUN, cifar10) == whole


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


def test_a_run_that_had_only_to_be_evaluated_ends_elsewhere(
    cifar10: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another processor rounds otherwise, and the last epoch's numbers are not its own."""
    run = replace(RUN, recipe=replace(RECIPE, epochs=1))
    checkpoint = tmp_path / "run.checkpoint.pt"
    train(run, cifar10, checkpoint, nothing)
    here = loop.environment(torch.device("cpu"))
    there = here.model_copy(update={"processor": "Abacus"})
    monkeypatch.setattr(loop, "environment", lambda device: there)
    monkeypatch.setattr(F, "cross_entropy", lambda *args, f=F.cross_entropy: f(*args) * 1.000001)
    record = train_one(run, nothing, cifar10, checkpoint, weights=False).record
    assert record.continued_in == (there,)
    assert record.final.test_loss != record.epochs[-1].test_loss


def test_weights_come_back_to_the_last_bit(cifar10: Dataset, tmp_path: Path) -> None:
    run = replace(RUN, network="CNNWithResidualReg")
    trained, other = build_network(run), build_network(run)
    path = tmp_path / "weights.safetensors"
    write_bytes(path, weights_of(trained))
    found = safetensors.torch.load_file(path)
    assert {t.dtype for t in found.values() if t.is_floating_point()} == {torch.float32}
    other.load_state_dict(found)
    expected, *_ = evaluate(trained, cifar10.x_test, cifar10.y_test, cifar10)
    assert evaluate(other, cifar10.x_test, cifar10.y_test, cifar10)[0] == expected


def test_tied_weights_are_kept_under_both_names(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    network[1].weight = network[0].weight
    write_bytes(tmp_path / "a.safetensors", weights_of(network))
    kept = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert list(kept) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert torch.equal(kept["0.weight"], kept["1.weight"])
