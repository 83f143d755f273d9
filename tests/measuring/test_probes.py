"""Probes: the facts and arrays that are kept of a trained network are what it computes."""

import numpy as np
import pytest
import torch
from torch import nn

import models
from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from utils.data.batches import normalise
from utils.data.dataset import Dataset
from utils.measuring.probes import feature_layers, forward_flops, probe, step_flops, tell_once
from utils.measuring.trial import tell_of_order
from utils.training.loop import weight_layers

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
    shape = (1, 28, 28) if on_mnist else (3, 32, 32)
    assert forward_flops(models.build(name), shape) == BY_HAND[name]


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_can_be_probed(
    name: str, mnist: Dataset, cifar10: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    tell_once.cache_clear()
    data = mnist if name in ("FCNet", "SimpleCNN", "CNNWithResidual") else cifar10
    network = models.build(name)
    tell_of_order(network, name, normalise(data.x_test[:1], data))
    facts, arrays = probe(network, data, "net")
    assert not caplog.messages
    assert facts["probe"].image_class == data.classes[int(data.y_test[0])]
    assert all(type(size) is int for size in facts["receptive_field"].values())
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        assert facts["receptive_field"] == {} and arrays == {}
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


def test_a_step_costs_both_products_of_the_backward_pass_but_at_the_image() -> None:
    """A layer's backward is two products as dear as its forward; the first layer has one."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 7))
    assert forward_flops(network, (3, 2, 2)) == 2 * (12 * 5 + 5 * 7)
    assert step_flops(network, (3, 2, 2)) == 2 * (2 * 12 * 5 + 3 * 5 * 7)


def test_an_lstm_and_a_transformer_without_gradients_are_counted() -> None:
    layer = nn.LSTM(8, 4, batch_first=True)
    assert forward_flops(layer, (16, 8)) == 2 * 16 * 4 * 4 * (8 + 4)
    frozen = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True).requires_grad_(False)
    products = 2 * 2 * 16 * 16 * 8
    assert forward_flops(frozen, (16, 8)) == 2 * 16 * 8 * (3 * 8 + 8 + 2 * 32) + products


class Attends(nn.Module):
    """Attention without a layer for it, as torch has it in one piece."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x)


def test_attention_counts_the_same_on_every_device() -> None:
    """Each has a kernel of its own for it, of which the counter may know nothing."""
    products = 2 * 2 * 16 * 16 * 8  # tokens by tokens, 8 numbers each: scores and sums
    plain = nn.Sequential(nn.Linear(8, 8), Attends())
    assert forward_flops(plain, (16, 8)) == 2 * 16 * 8 * 8 + products
    layer = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True)
    assert forward_flops(layer, (16, 8)) == 2 * 16 * 8 * (3 * 8 + 8 + 2 * 32) + products
