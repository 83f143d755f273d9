"""Speed: what is timed of a network, and that it stays as it is."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import models
from utils.data.batches import augmented_views, normalise
from utils.data.dataset import Dataset
from utils.experiment import Compute, Recipe, Run
from utils.measuring.speed import all_actions, inference_action, measure_speed, training_action
from utils.measuring.timing import Effort
from utils.records.schema import BatchSizes
from utils.training import optimizers

RECIPE = Recipe(1, "adamw", 1e-2, 1e-2, batch_size=24, crop_padding=2, flip=True)
RUN = Run("CNN7x7", "cifar10", RECIPE, seed=0, name="CNN7x7")
EFFORT = Effort(rounds=2, seconds=0.01)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_speed_record_says_how_each_network_was_measured(
    cifar10: Dataset, precision: str
) -> None:
    run = replace(RUN, compute=Compute(precision=precision))
    runs = {"a": run, "b": replace(run, network="CNN5x5")}
    found = measure_speed(runs, {"cifar10": cifar10}.__getitem__, EFFORT)
    assert list(found) == ["a", "b"]
    assert found["a"].began == found["b"].began  # one pass
    for speed in found.values():
        assert (speed.precision, speed.device, speed.rounds) == (precision, "cpu", 2)
        assert speed.batch_sizes == BatchSizes(latency=1, throughput=256, training=24)
        assert speed.network == f"{run.dataset}/{run.name}"
        assert speed.environment.threads == torch.get_num_threads()
        for (values,) in (
            speed.latency_seconds,
            speed.throughput_images_per_second,
            speed.training_images_per_second,
        ):
            assert 0 < values.q1 <= values.median <= values.q3


def test_images_that_fill_no_batch_are_measured_in_a_smaller_one(cifar10: Dataset) -> None:
    run = replace(RUN, recipe=replace(RECIPE, batch_size=1000))
    found = measure_speed({"a": run}, {"cifar10": cifar10}.__getitem__, EFFORT)
    assert found["a"].batch_sizes.training == len(cifar10.x_train)


def test_each_action_has_a_network_of_its_own(cifar10: Dataset) -> None:
    """One is in train mode, and its batch-norm moves."""
    run = replace(RUN, network="BottleneckBlockNet")
    actions = all_actions({"a": (run, cifar10)})
    logits = actions["latency", "a"].action()
    actions["training", "a"].action()
    assert torch.equal(actions["latency", "a"].action(), logits)


def test_inference_is_one_float32_pass_in_eval_and_inference_mode(cifar10: Dataset) -> None:
    network = models.build("CNNWithResidualReg")
    timed = inference_action(network, cifar10, 40)  # more than the 32 test images there are
    assert timed.images == 40
    logits = timed.action()
    assert logits.is_inference() and logits.dtype == torch.float32
    with torch.no_grad():
        expected = network.eval()(normalise(cifar10.x_test, cifar10))
    torch.testing.assert_close(logits, expected[torch.arange(40) % 32], rtol=1e-4, atol=1e-5)
    assert torch.equal(timed.action(), logits)  # no dropout


def test_training_is_the_real_step_at_full_batches(cifar10: Dataset) -> None:
    class Spy(nn.Module):
        """Notes how many images come in, and whether autocast is on."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.head(self.conv(x)).flatten(1)
            seen.append((len(x), self.training, y.dtype))
            weights.append(self.conv.weight.detach().clone())
            return y

    seen: list[tuple] = []
    weights: list[torch.Tensor] = []
    views = augmented_views(cifar10.x_train, RECIPE)
    run = replace(RUN, compute=Compute(precision="bfloat16"))
    timed = training_action(Spy(), run, cifar10, views)
    assert timed.images == 24
    for _ in range(5):  # 64 images: two full batches an epoch
        timed.action()
    assert seen == 5 * [(24, True, torch.bfloat16)]
    assert all(torch.equal(weights[0], weight) for weight in weights)  # nothing is learned


def test_what_is_dear_in_some_steps_alone_is_timed_over_all_of_them(
    cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[torch.Size] = []
    monkeypatch.setattr(optimizers, "orthogonal", lambda x, steps: sizes.append(x.shape) or x)
    recipe = replace(RECIPE, muon_rate=0.1)
    views = augmented_views(cifar10.x_train, recipe)
    run = replace(RUN, recipe=recipe)
    timed = training_action(models.build("DeepFCNet"), run, cifar10, views)
    assert timed.images == optimizers.MUON_EVERY * recipe.batch_size
    for calls in (1, 2):
        timed.action()
        assert len([size for size in sizes if min(size) > optimizers.MUON_LARGE]) == calls * 3
    network = models.build("CNN7x7").to(memory_format=torch.channels_last)
    timed = training_action(network, run, cifar10, views)
    assert timed.images == recipe.batch_size


def test_too_few_images_for_a_batch_are_refused(cifar10: Dataset) -> None:
    big = replace(RECIPE, batch_size=65)
    views = augmented_views(cifar10.x_train, big)
    timed = training_action(models.build("CNN7x7"), replace(RUN, recipe=big), cifar10, views)
    with pytest.raises(ValueError, match=r"^64 train images do not fill a batch of 65$"):
        timed.action()
