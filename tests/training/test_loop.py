"""Training: the same seed gives the same numbers, and they are what they are called."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils._python_dispatch import TorchDispatchMode

from tests.fakes import TINY_CIFAR10, make_arrays
from tests.networks import add_network
from tests.training.runs import RECIPE, RUN, Killed, StopAfter, nothing, train_in
from utils.data.batches import augmented_views
from utils.data.dataset import Dataset, hold_out, make_dataset
from utils.experiment import Compute
from utils.measuring.shift import shifted_test_accuracy
from utils.one_run import train_one
from utils.training import loop
from utils.training.loop import (
    build_network,
    evaluate,
    gradient_norms,
    initial_state,
    layer_norms,
    summarise_epoch,
    train_epoch,
    train_step,
    weight_layers,
)

ONE_EPOCH = replace(RUN, recipe=replace(RECIPE, epochs=1))


@pytest.mark.parametrize(
    "network, precision",
    [
        ("CNN7x7", "float32"),
        ("CNN7x7", "bfloat16"),
        ("CNNWithResidualReg", "float32"),
        ("DeepFCNet", "bfloat16"),
    ],
)
def test_the_same_seed_gives_the_same_record_to_the_last_bit(
    network: str, precision: str, cifar10: Dataset, tmp_path: Path
) -> None:
    run = replace(ONE_EPOCH, network=network, compute=Compute(precision=precision))
    first = train_in(tmp_path / "a", run, cifar10)
    torch.randn(3)  # whatever was drawn before does not matter
    assert first == train_in(tmp_path / "b", run, cifar10)


def test_another_seed_gives_another_record(cifar10: Dataset, tmp_path: Path) -> None:
    first = train_in(tmp_path / "a", ONE_EPOCH, cifar10)
    other = train_in(tmp_path / "b", replace(ONE_EPOCH, seed=1), cifar10)
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


@pytest.mark.parametrize("network, optimizer", [("CNN7x7", "adamw"), ("CNNWithResidualReg", "sgd")])
def test_more_steps_read_no_more_numbers(network: str, optimizer: str, cifar10: Dataset) -> None:
    counts = []
    for batch_size in (32, 8):  # 2 steps and 8
        recipe = replace(RECIPE, optimizer=optimizer, batch_size=batch_size, muon_rate=0.01)
        run = replace(RUN, network=network, recipe=recipe)
        state, views = initial_state(run, cifar10), augmented_views(cifar10.x_train, recipe)
        with ReadsOfNumbers() as reads:
            train_epoch(state, run, cifar10, views, nothing)
        counts.append(reads.count)
    assert counts[0] == counts[1] > 0


@pytest.fixture(scope="module")
def found(cifar10: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the record of a run is."""
    return train_in(tmp_path_factory.mktemp("found"), RUN, cifar10)


def test_the_outcome_is_what_the_last_epoch_left(found: dict[str, Any], cifar10: Dataset) -> None:
    final, epochs = found["final"], found["epochs"]
    assert [each.epoch for each in epochs] == [1, 2, 3]
    assert final.test_accuracy == epochs[-1].test_accuracy
    assert final.test_loss == epochs[-1].test_loss
    confusion = torch.tensor(final.confusion_matrix)
    assert torch.equal(confusion.sum(1), cifar10.y_test.bincount(minlength=10))
    assert confusion.diagonal().sum() / 32 == final.test_accuracy
    predictions = torch.tensor(found["predictions"])
    assert (predictions == cifar10.y_test).double().mean() == final.test_accuracy


def test_the_record_says_what_was_trained_on_what(found: dict[str, Any], cifar10: Dataset) -> None:
    assert found["recipe"] == RECIPE
    assert (found["network"], found["dataset"], found["seed"]) == ("CNN7x7", "cifar10", 0)
    assert found["data"].fingerprint == cifar10.fingerprint
    data = found["data"]
    assert (data.train_images, data.test_images, data.validation_images) == (64, 32, 0)
    norms = found["epochs"][0].gradient_norm
    assert list(norms) == ["features.0.0", "features.1.0", "classifier.1"]


def test_the_learning_rate_falls_to_nothing(found: dict[str, Any]) -> None:
    rates = [each.learning_rate for each in found["epochs"]]
    assert rates[0] > rates[1] > rates[2] > 0  # falling after the first fifth of the steps
    assert rates[2] < RECIPE.learning_rate / 1000


def rates(schedule: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    """The learning rate of each step."""
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return found


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


@given(
    steps=st.integers(1, 60),
    warmup=st.one_of(
        st.just(0), st.floats(0, 0.5), st.integers(2, 20).map(lambda length: 1 / length)
    ),
)
def test_any_number_of_steps_has_a_schedule_that_learns(steps: int, warmup: float) -> None:
    recipe = replace(RECIPE, warmup=warmup)
    found = rates(loop.build_schedule(sgd(), recipe, steps), steps)
    assert all(math.isfinite(rate) and 0 <= rate <= 0.1 for rate in found)
    assert max(found) > 0.1 / 4
    rise = warmup * steps
    if steps > 1 and rise != 1:
        usual = OneCycleLR(
            sgd(),
            0.1,
            steps,
            pct_start=float(warmup),
            anneal_strategy="linear",
            cycle_momentum=False,
        )
        assert found == rates(usual, steps)


@pytest.mark.parametrize("batch_size, epochs", [(64, 1), (32, 1), (1000, 2), (64, 5), (13, 1)])
def test_a_few_steps_train(batch_size: int, epochs: int, cifar10: Dataset, tmp_path: Path) -> None:
    recipe = replace(RECIPE, batch_size=batch_size, epochs=epochs)
    before = initial_state(replace(RUN, recipe=recipe), cifar10).network.state_dict()
    outcome = loop.train(
        replace(RUN, recipe=recipe), cifar10, tmp_path / "run.checkpoint.pt", nothing
    )
    assert len(outcome.record["epochs"]) == epochs
    after = outcome.network.state_dict()
    assert not torch.equal(before["classifier.1.weight"], after["classifier.1.weight"])


def test_what_is_held_out_is_evaluated_and_not_trained_on(cifar10: Dataset, tmp_path: Path) -> None:
    parts = hold_out(cifar10)
    run = replace(ONE_EPOCH, part="train minus validation")
    outcome = loop.train(run, parts, tmp_path / "run.checkpoint.pt", nothing)
    data, final = outcome.record["data"], outcome.record["final"]
    assert (data.train_images, data.validation_images) == (58, 6)
    loss, accuracy, _ = evaluate(outcome.network, parts.x_validation, parts.y_validation, parts)
    assert (final.validation_loss, final.validation_accuracy) == (loss, accuracy)
    changed = replace(parts, x_validation=255 - parts.x_validation)
    again = train_in(tmp_path / "b", run, changed)
    assert again["epochs"] == outcome.record["epochs"]


def test_a_network_learns_what_can_be_learned(tmp_path: Path) -> None:
    arrays = make_arrays(replace(TINY_CIFAR10, train_images=256, test_images=64))
    for split in ("train", "test"):  # the class is written into the brightness of one channel
        arrays[f"x_{split}"][..., 0] = 25 * arrays[f"y_{split}"][:, None, None]
    data = make_dataset(arrays, "cifar10", "tiny", TINY_CIFAR10.classes)
    recipe = replace(RECIPE, epochs=6, learning_rate=5e-3)
    record = train_in(tmp_path, replace(RUN, recipe=recipe), data)
    assert record["final"].test_accuracy > 0.8
    assert record["epochs"][-1].running_loss < record["epochs"][0].running_loss / 2


def test_the_reported_train_accuracy_is_that_of_all_train_images(
    cifar10: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "TRAIN_PART", 5)
    outcome = loop.train(RUN, cifar10, tmp_path / "run.checkpoint.pt", nothing)
    loss, accuracy, _ = evaluate(outcome.network, cifar10.x_train, cifar10.y_train, cifar10)
    final = outcome.record["final"]
    assert (final.train_loss, final.train_accuracy) == (loss, accuracy)
    assert outcome.record["epochs"][-1].train_loss != loss


def test_bfloat16_trains_under_autocast_and_keeps_float32_parameters(
    cifar10: Dataset, tmp_path: Path
) -> None:
    run = replace(ONE_EPOCH, compute=Compute(precision="bfloat16"))
    outcome = loop.train(run, cifar10, tmp_path / "run.checkpoint.pt", nothing)
    assert {p.dtype for p in outcome.network.parameters()} == {torch.float32}
    assert outcome.record["precision"] == "bfloat16"
    assert outcome.record["epochs"] != train_in(tmp_path / "b", ONE_EPOCH, cifar10)["epochs"]


def test_convolutions_hold_their_channels_last() -> None:
    weight = build_network(RUN).features[0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


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
    assert summarise_epoch(losses, norms, {"0": [0]}) == {
        "running_loss": 3.0,
        "batch_loss_quartiles": (2.0, 3.0, 4.0),
        "gradient_norm": {"0": 6.0},
        "gradient_norm_first": {"0": 3.0},
        "gradient_norm_total": pytest.approx(10.0),
        "gradient_norm_largest": pytest.approx(15.0),
    }


def test_evaluation_is_in_eval_mode_and_in_float32(cifar10: Dataset) -> None:
    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = set()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = x.flatten(1)[:, :10] @ torch.eye(10)
            self.seen.add((self.training, logits.dtype))
            return logits

    spy = Spy().train()
    evaluate(spy, cifar10.x_test, cifar10.y_test, cifar10)
    assert spy.seen == {(False, torch.float32)}


class Follows(nn.Module):
    """Scales what comes by that of the batch before, in eval mode too."""

    scale = torch.ones(())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, self.scale = x * self.scale, 0.1 / x.detach().std()
        return x


class Descends(nn.Module):
    """Goes a step down a slope, whose gradient it takes in its forward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return x - 0.1 * torch.autograd.grad(leaf.cos().sum(), leaf)[0]


@pytest.mark.parametrize("layer", [Follows, Descends])
def test_what_a_network_does_in_training_it_may_do_when_it_is_evaluated(
    layer: type[nn.Module], cifar10: Dataset
) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), layer())
    evaluate(network, cifar10.x_test, cifar10.y_test, cifar10)
    network(cifar10.x_test.float()).sum().backward()
    shifted_test_accuracy(network, cifar10)


def test_a_smoothed_target_is_spread_over_all_classes() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), torch.randn(6, 3, 2, 2)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    targets = 0.8 * nn.functional.one_hot(labels, 4) + 0.2 / 4
    expected = -(targets * network(images).log_softmax(1)).sum(1).mean()
    loss = train_step(network, images, labels, [], Compute(), label_smoothing=0.2)
    torch.testing.assert_close(loss, expected.detach())


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_that_diverges_stops_and_is_recorded_so(
    epochs: int, cifar10: Dataset, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, epochs=epochs, optimizer="sgd", learning_rate=1e20, warmup=0.1)
    found = train_in(tmp_path, replace(RUN, recipe=recipe), cifar10)
    assert found["diverged"].epoch == 1
    assert 1 <= found["diverged"].step <= 2
    assert found["diverged"].learning_rate > 1e18
    assert found["epochs"] == ()
    assert found["final"].test_accuracy is None
    assert len(found["predictions"]) == 0


def test_the_first_step_that_is_not_finite_is_named(cifar10: Dataset) -> None:
    state = initial_state(RUN, cifar10)
    losses = torch.tensor([2.0, float("inf"), float("nan")]).unbind()
    with pytest.raises(loop.DivergedError) as error:
        loop.check_finite(losses, [0.1, 0.2, 0.3], state)
    where = error.value.args[0]
    assert (where.epoch, where.step, where.learning_rate) == (1, 2, 0.2)
    loop.check_finite(losses[:1], [0.1], state)
    with torch.no_grad():
        next(state.network.parameters()).fill_(float("nan"))
    with pytest.raises(loop.DivergedError) as error:
        loop.check_finite(losses[:1], [0.1], state)
    assert error.value.args[0].step == 1


def test_the_untrained_gradient_is_on_record(cifar10: Dataset, tmp_path: Path) -> None:
    found = train_in(tmp_path, ONE_EPOCH, cifar10)
    (epoch,) = found["epochs"]
    one_step = replace(ONE_EPOCH, recipe=replace(ONE_EPOCH.recipe, batch_size=64))
    (whole,) = train_in(tmp_path / "one step", one_step, cifar10)["epochs"]
    assert whole.gradient_norm_first == whole.gradient_norm
    assert epoch.gradient_norm_first.keys() == epoch.gradient_norm.keys()
    assert epoch.gradient_norm_first != epoch.gradient_norm


def test_constant_images_are_trained_on_and_end_in_chance_not_in_nan(tmp_path: Path) -> None:
    arrays = make_arrays(replace(TINY_CIFAR10, train_images=64, test_images=32))
    arrays |= {name: np.full_like(arrays[name], 128) for name in ("x_train", "x_test")}
    data = make_dataset(arrays, "cifar10", "constant", TINY_CIFAR10.classes)
    found = train_in(tmp_path, ONE_EPOCH, data)
    assert found["diverged"] is None
    assert found["final"].test_loss < 10
    assert all(norm < 100 for norm in found["epochs"][0].gradient_norm.values())


@pytest.mark.parametrize("what", ["weight", "variance"])
def test_a_network_whose_evaluation_overflows_has_diverged_though_its_weights_are_finite(
    what: str, cifar10: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epoch = loop.train_epoch

    def last_step_overflows(state: loop.TrainingState, *rest: object) -> dict[str, object]:
        found = train_epoch(state, *rest)
        with torch.no_grad():
            if what == "weight":
                next(state.network.parameters()).fill_(1e38)
            else:
                next(state.network.buffers()).fill_(float("nan"))
        return found

    monkeypatch.setattr(loop, "train_epoch", last_step_overflows)
    run = replace(RUN, network="BasicBlockNet")
    found = train_in(tmp_path, run, cifar10)
    assert (found["diverged"].epoch, found["diverged"].step) == (1, 4)  # 64 images, 16 at a time
    assert found["epochs"] == ()
    assert found["final"].test_accuracy is None
    assert not (tmp_path / "run.checkpoint.pt").exists()


class Freezes(nn.Module):
    """Trains its convolution no longer than to its sixth step, or no sooner."""

    def __init__(self, thaws: bool) -> None:
        super().__init__()
        self.thaws, self.head = thaws, nn.Linear(192, 10)
        self.convolution = nn.Conv2d(3, 3, 1).requires_grad_(not thaws)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        if self.steps == 6:
            self.convolution.requires_grad_(self.thaws)
        return self.head(F.avg_pool2d(self.convolution(x), 4).flatten(1))


@pytest.mark.parametrize("thaws", [False, True])
def test_layers_that_freeze_or_thaw_on_the_way_are_those_that_it_began_with(
    thaws: bool, cifar10: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_network(monkeypatch, lambda: Freezes(thaws))
    run = replace(RUN, network="MyNet")
    kept = train_one(run, nothing, cifar10, tmp_path / "run.checkpoint.pt", False)
    found = [epoch.gradient_norm for epoch in kept.record.epochs]
    trained = ["head"] if thaws else ["head", "convolution"]
    assert [list(norms) for norms in found] == [trained] * RECIPE.epochs
    assert thaws or (found[0]["convolution"] > 0 and found[-1]["convolution"] == 0)

    whole = train_in(tmp_path / "whole", run, cifar10)
    with pytest.raises(Killed):
        train_in(tmp_path / "broken", run, cifar10, StopAfter(10))
    assert train_in(tmp_path / "broken", run, cifar10) == whole


def test_the_norm_of_a_computed_weight_is_that_of_all_it_is_made_of() -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    network = nn.Sequential(nn.Linear(2, 2), normed, nn.Linear(3, 3), nn.Linear(3, 3))
    network[3].weight = network[2].weight
    layers = weight_layers(network)
    names = [name for name, _ in network.named_parameters()]
    assert {layer: [names[part] for part in parts] for layer, parts in layers.items()} == {
        "0": ["0.weight"],
        "1": ["1.parametrizations.weight.original0", "1.parametrizations.weight.original1"],
        "2": ["2.weight"],
        "3": ["2.weight"],
    }
    norms = torch.arange(2.0 * len(names)).view(2, -1).double()
    by_hand = [norms[:, parts].square().sum(1).sqrt().mean().item() for parts in layers.values()]
    assert list(layer_norms(norms, layers).values()) == pytest.approx(by_hand)
