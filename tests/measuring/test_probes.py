"""Probes: the facts and arrays that are kept of a trained network are what it computes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import models
from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from tests.networks import Does, is_known_by_hand, small, takes_digits
from utils.data.batches import normalise
from utils.data.dataset import Dataset
from utils.measuring.probes import feature_layers, probe, tell_once
from utils.measuring.trial import tell_of_order, tell_of_weights
from utils.training.loop import weight_layers


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_can_be_probed(
    name: str, mnist: Dataset, cifar10: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    tell_once.cache_clear()
    data = mnist if takes_digits(name) else cifar10
    network = models.build(name)
    tell_of_order(network, name, normalise(data.x_test[:1], data))
    tell_of_weights(network, name, has_muon=True)
    facts, arrays = probe(network, data, "net")
    assert not (is_known_by_hand(name) and caplog.messages)
    assert facts["probe"].image_class == data.classes[int(data.y_test[0])]
    assert all(type(size) is int for size in facts["receptive_field"].values())
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        assert bool(facts["receptive_field"]) == (name == "LocalCNN")
        assert [*arrays] == ["receptive_field"] * (name == "LocalCNN")
        return
    side = data.x_test.shape[2]
    assert arrays["filters"].shape == tuple(convolutions[0].weight.shape)
    behind = side // convolutions[0].stride[0]
    assert arrays["activations"].shape == (convolutions[0].out_channels, behind, behind)
    assert arrays["receptive_field"].shape == (side, side)
    assert arrays["receptive_field"].max() == 1
    maps = {key: a for key, a in arrays.items() if key.startswith("feature_maps/")}
    assert list(maps) == [f"feature_maps/{layer}" for layer in feature_layers(network)]
    assert all(array.ndim == 3 and 1 <= len(array) <= 16 for array in maps.values())
    for key, array in arrays.items():
        small = key == "activations" or key in maps
        assert array.dtype == (np.float16 if small else np.float32)
        assert np.isfinite(array).all()


def test_arrays_are_what_the_network_computes(cifar10: Dataset) -> None:
    data, network = cifar10, models.build("CNN3x3")
    network.eval()
    with torch.no_grad():
        first = network.features[0][0](normalise(data.x_test[:1], data)).relu()
        second = network.features[1][0](nn.functional.max_pool2d(first, 2)).relu()
    _, arrays = probe(network, data, "net")
    np.testing.assert_array_equal(arrays["filters"], network.features[0][0].weight.detach())
    np.testing.assert_allclose(arrays["activations"], first[0], atol=1e-3, rtol=1e-3)
    maps = [arrays["feature_maps/features.0.0"], arrays["feature_maps/features.1.0"]]
    np.testing.assert_allclose(maps[0], first[0, :16], atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(maps[1], second[0, :16], atol=1e-3, rtol=1e-3)


def test_a_residual_block_is_one_layer_read_at_its_output(mnist: Dataset) -> None:
    data, network = mnist, models.build("CNNWithResidual").eval()
    with torch.no_grad():
        stem = network.stem(normalise(data.x_test[:1], data))
        block = network.blocks[0](stem)
    _, arrays = probe(network, data, "net")
    np.testing.assert_allclose(arrays["activations"], stem[0], atol=2e-3, rtol=2e-3)
    found = arrays["feature_maps/blocks.0"]
    np.testing.assert_allclose(found, block[0, :16], atol=2e-3, rtol=2e-3)


def test_activations_are_read_behind_batch_norm_and_relu_that_follow_directly() -> None:
    def read_at(network: nn.Module) -> dict[str, str]:
        return {name: str(layer.read_at.target) for name, layer in feature_layers(network).items()}

    assert read_at(models.build("CNNWithResidual")) == {
        "stem.0": "stem.2",
        **{f"blocks.{block}": f"blocks.{block}.relu2" for block in range(3)},
    }
    assert read_at(models.build("ResNetLikeCNN"))["stem"] == "stem"  # nothing follows
    pooled_first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU())
    assert read_at(pooled_first) == {"0": "0"}
    assert feature_layers(pooled_first)["0"].late is pooled_first[2]


class Functional(nn.Module):
    """Calls activations as functions, methods and a module, and a convolution three times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.act = nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU()
        self.again, self.head = nn.Conv2d(4, 4, 3), nn.Linear(324, 3)

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        first = nn.functional.leaky_relu(self.pool(self.conv(x)), 0.5)
        second = self.act(self.again(first))
        third = self.act(self.again(second))
        return [first, second, third, self.again(third).relu()]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.maps(x)[-1].flatten(1))


def test_activations_are_those_of_each_call_as_whatever_they_are_called(cifar10: Dataset) -> None:
    network = Functional().eval()
    _, arrays = probe(network, cifar10, "net")
    with torch.no_grad():
        first, *others = network.maps(normalise(cifar10.x_test[:1], cifar10))
    pooled = network.pool(torch.from_numpy(arrays["activations"].astype("float32")))
    np.testing.assert_allclose(pooled, first[0], atol=1e-3, rtol=1e-3)
    for name, each in zip(("again", "again_1", "again_2"), others, strict=True):
        np.testing.assert_allclose(arrays[f"feature_maps/{name}"], each[0], atol=1e-3, rtol=1e-3)


def test_plain_feature_layers_are_named_as_in_the_gradient_norms() -> None:
    network = models.build("DeepCNN")
    *convolutions, _ = weight_layers(network)  # the last one is the classifier
    assert list(feature_layers(network)) == convolutions


def test_a_network_of_custom_layers_can_be_probed(cifar10: Dataset) -> None:
    network = nn.Sequential(
        CustomConv(3, 4, 3, padding=1),
        Swish(trainable=True),
        L2Pooling(2),
        ChannelAttention(4, 2),
        nn.Flatten(),
        nn.Linear(4 * 16 * 16, 3),
    )
    facts, arrays = probe(network, cifar10, "net")
    assert facts["receptive_field"] == {"0": 3, "2": 4}
    assert arrays["feature_maps/0"].shape == (4, 32, 32)


def test_probing_changes_neither_weights_nor_gradients_nor_generators(cifar10: Dataset) -> None:
    network = models.build("CNNWithResidualReg")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    first, second = probe(network, cifar10, "net")[1], probe(network, cifar10, "net")[1]
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module.training for module in network.modules())
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_channels_last_weights_give_the_same_filters(cifar10: Dataset) -> None:
    network = models.build("CNN5x5")
    expected = network.features[0][0].weight.detach().clone().numpy()
    _, arrays = probe(network.to(memory_format=torch.channels_last), cifar10, "net")
    np.testing.assert_array_equal(arrays["filters"], expected)


def hooked() -> nn.Module:
    network = small(nn.Conv2d(3, 4, 1), channels=4)
    network.register_forward_pre_hook(lambda module, images: (images[0] * 10,))
    return network


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: small(Does(lambda x: x if x.sum() < 9 else -x), channels=3), "TraceError: symbol"),
        (hooked, "NotImplementedError: hooks are not traced"),
    ],
)
def test_what_cannot_be_seen_is_left_out_and_told_once(
    build: Callable[[], nn.Module], why: str, cifar10: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    tell_once.cache_clear()
    for _ in range(2):
        facts, arrays = probe(build(), cifar10, "net")
        assert facts["receptive_field"] == {} and arrays == {}
    (line,) = caplog.messages
    assert line.startswith(f"net: no receptive fields and feature maps: {why}")
    assert "\n" not in line


@pytest.mark.filterwarnings("error")
def test_activations_beyond_float16_are_its_largest_number(cifar10: Dataset) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1))
    nn.init.constant_(network[0].bias, 1e6)
    assert (probe(network, cifar10, "net")[1]["activations"] == np.finfo(np.float16).max).all()
