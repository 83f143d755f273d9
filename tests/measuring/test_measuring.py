from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import models
from utils.data.batches import augmented_views, normalise
from utils.data.dataset import Dataset, make_dataset
from utils.experiment import Experiment, Recipe
from utils.measuring.flops import forward_flops
from utils.measuring.speed import (
    Effort,
    Entry,
    inference_action,
    measure_speed,
    spread,
    time_in_turn,
    training_action,
)
from utils.training import optimizers
from utils.training.loop import Compute

CPU = Compute(torch.device("cpu"))
RECIPE = Recipe(1, "adamw", 1e-2, 1e-2, batch_size=8, crop_padding=2, flip=True)
EXPERIMENT = Experiment(
    name="kernel_size",
    question="",
    dataset="cifar10",
    models=("CNN7x7", "DeepFCNet"),
    recipe=RECIPE,
    varied=(),
    held=(),
    not_tuned=(),
    figures=(),
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, images in (("train", 20), ("test", 10)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (images, 32, 32, 3), np.uint8)
        arrays[f"y_{split}"] = np.arange(images) % 10
    return make_dataset(arrays, "cifar10", "noise", tuple("abcdefghij"))


def networks() -> dict[str, nn.Module]:
    return {name: models.build(name) for name in EXPERIMENT.models}


# A multiply-add is 2; biases, ReLU, batch-norm and pooling do not count.
BY_HAND = {
    "FCNet": 2 * (784 * 256 + 256 * 128 + 128 * 64 + 64 * 10),
    "SimpleCNN": 2 * (28**2 * 9 * 32 + 14**2 * 9 * 32 * 64 + 3136 * 128 + 128 * 10),
    "CNN3x3": 2 * (32**2 * 9 * 3 * 32 + 16**2 * 9 * 32 * 64 + 4096 * 10),
    "CNN7x7": 2 * (32**2 * 49 * 3 * 8 + 16**2 * 49 * 8 * 16 + 1024 * 10),
    "ResNetLikeCNN": 2
    * (
        32**2 * 9 * (3 * 32 + 32 * 32 + 32 * 32)  # stem and the first block
        + 16**2 * (9 * (32 * 64 + 64 * 64) + 32 * 64)  # the second, with its 1×1 shortcut
        + 16**2 * 9 * 2 * 64 * 64
        + 64 * 10
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_flops_are_those_counted_by_hand(name: str) -> None:
    on_mnist = name in ("FCNet", "SimpleCNN")
    assert (
        forward_flops(models.build(name), (1, 28, 28) if on_mnist else (3, 32, 32))
        == (BY_HAND[name])
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_speed_record(data: Dataset, precision: str) -> None:
    compute = replace(CPU, precision=precision)
    record = measure_speed([Entry(EXPERIMENT, networks(), data)], compute, quick=True)[
        "kernel_size"
    ]
    assert record.pop("environment")["torch"] == torch.__version__
    speeds = record.pop("models")
    assert record == {
        "schema": 1,
        "experiment": "kernel_size",
        "precision": precision,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "rounds": 2,
        "batch_sizes": {"latency": 1, "throughput": 256, "training": 8},
    }
    assert list(speeds) == ["CNN7x7", "DeepFCNet"]
    for speed in speeds.values():
        assert list(speed) == [
            "latency_seconds",
            "throughput_images_per_second",
            "training_images_per_second",
        ]
        for values in speed.values():
            assert 0 < values["q1"] <= values["median"] <= values["q3"]


def test_measuring_leaves_the_networks_as_they_are(data: Dataset) -> None:
    network = models.build("BottleneckBlockNet")  # with batch-norm, whose statistics move
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure_speed([Entry(EXPERIMENT, {"one": network}, data)], CPU, quick=True)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_all_actions_have_their_turn_in_every_round() -> None:
    calls: list[str] = []
    actions = {name: lambda name=name: calls.append(name) for name in "ABC"}
    seconds = time_in_turn(actions, Effort(rounds=4, seconds=1e-9))
    assert {name: values.shape for name, values in seconds.items()} == dict.fromkeys("ABC", (4,))
    changes = [name for name, before in zip(calls, [None, *calls], strict=False) if name != before]
    assert "".join(changes) == "ABC" + 4 * "ABC"  # the warm-up, then the rounds


def test_actions_run_on_all_of_torchs_threads() -> None:
    seen: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        time_in_turn({"A": lambda: seen.append(torch.get_num_threads())}, Effort(1, 1e-9))
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {2}


def test_inference_is_one_float32_pass_in_eval_and_inference_mode(data: Dataset) -> None:
    network = models.build("CNNWithResidualReg")
    action, images = inference_action(network, data, 12)  # more than the ten test images there are
    assert images == 12
    logits = action()
    assert logits.is_inference() and logits.dtype == torch.float32
    with torch.no_grad():
        expected = network.eval()(normalise(data.x_test, data))
    torch.testing.assert_close(logits, expected[torch.arange(12) % 10], rtol=1e-4, atol=1e-5)
    assert torch.equal(action(), logits)  # no dropout


def test_training_is_the_real_step_at_full_batches(data: Dataset) -> None:
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
    views = augmented_views(data.x_train, RECIPE)
    step, images = training_action(Spy(), data, views, RECIPE, replace(CPU, precision="bfloat16"))
    assert images == 8
    for _ in range(5):  # 20 images: two full batches an epoch
        step()
    assert seen == 5 * [(8, True, torch.bfloat16)]
    assert all(torch.equal(weights[0], weight) for weight in weights)  # nothing is learned


def test_what_is_dear_in_some_steps_alone_is_timed_over_all_of_them(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[torch.Size] = []
    orthogonal = optimizers.orthogonal
    monkeypatch.setattr(
        optimizers, "orthogonal", lambda x, steps: sizes.append(x.shape) or orthogonal(x, steps)
    )
    recipe = replace(RECIPE, muon_rate=0.1)
    views = augmented_views(data.x_train, recipe)
    train, images = training_action(models.build("DeepFCNet"), data, views, recipe, CPU)
    assert images == optimizers.MUON_EVERY * recipe.batch_size
    for calls in (1, 2):
        train()
        assert len([size for size in sizes if min(size) > optimizers.MUON_LARGE]) == calls * 3
    network = models.build("CNN7x7").to(memory_format=torch.channels_last)
    _, images = training_action(network, data, views, recipe, CPU)
    assert images == recipe.batch_size


def test_too_few_images_for_a_batch_are_refused(data: Dataset) -> None:
    big = replace(RECIPE, batch_size=21)
    views = augmented_views(data.x_train, big)
    step, _ = training_action(models.build("CNN7x7"), data, views, big, CPU)
    with pytest.raises(ValueError, match=r"^20 train images do not fill a batch of 21$"):
        step()


def test_spread_is_median_and_quartiles() -> None:
    assert spread(np.array([5.0, 1.0, 2.0, 4.0, 3.0])) == {"median": 3.0, "q1": 2.0, "q3": 4.0}
