from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import models
from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from utils.data.batches import normalise
from utils.data.dataset import Dataset, make_dataset
from utils.measuring.probes import feature_layers, late_activations, probe
from utils.training.loop import weight_layers

CLASSES = ("cat", "dog", "cow")


@cache
def dataset(side: int = 32, channels: int = 3) -> Dataset:
    rng = np.random.default_rng(0)
    shapes = {"train": (4, side, side, channels), "test": (8, side, side, channels)}
    arrays = {f"x_{split}": rng.integers(0, 256, s, np.uint8) for split, s in shapes.items()}
    arrays |= {f"y_{split}": np.arange(s[0]) % 3 for split, s in shapes.items()}
    return make_dataset(arrays, "cifar10", "noise", CLASSES)


def dataset_for(name: str) -> Dataset:
    on_mnist = name in ("FCNet", "SimpleCNN", "CNNWithResidual")
    return dataset(28, 1) if on_mnist else dataset()


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_can_be_probed(name: str) -> None:
    data, network = dataset_for(name), models.build(name)
    facts, arrays = probe(network, data)
    assert facts["probe"] == {"image_class": CLASSES[int(data.y_test[0])]}
    assert all(type(size) is int for size in facts["receptive_field"].values())
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        assert facts["receptive_field"] == {} and arrays == {}
        return
    side = data.x_test.shape[2]
    assert arrays["filters"].shape == tuple(convolutions[0].weight.shape)
    assert arrays["activations"].shape == (convolutions[0].out_channels, side, side)
    assert arrays["receptive_field"].shape == (side, side)
    assert arrays["receptive_field"].max() == 1
    maps = {key: a for key, a in arrays.items() if key.startswith("feature_maps/")}
    assert list(maps) == [f"feature_maps/{layer}" for layer in feature_layers(network)]
    assert all(array.ndim == 3 and 1 <= len(array) <= 16 for array in maps.values())
    for key, array in arrays.items():
        small = key == "activations" or key in maps
        assert array.dtype == (np.float16 if small else np.float32)
        assert np.isfinite(array).all()


def test_arrays_are_what_the_network_computes() -> None:
    data, network = dataset(), models.build("CNN3x3")
    network.eval()
    with torch.no_grad():
        first = network.features[0][0](normalise(data.x_test[:1], data)).relu()
        second = network.features[1][0](nn.functional.max_pool2d(first, 2)).relu()
    _, arrays = probe(network, data)
    np.testing.assert_array_equal(arrays["filters"], network.features[0][0].weight.detach())
    np.testing.assert_allclose(arrays["activations"], first[0], atol=1e-3, rtol=1e-3)
    maps = [arrays["feature_maps/features.0.0"], arrays["feature_maps/features.1.0"]]
    np.testing.assert_allclose(maps[0], first[0, :16], atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(maps[1], second[0, :16], atol=1e-3, rtol=1e-3)


def test_a_residual_block_is_one_layer_read_at_its_output() -> None:
    data, network = dataset(28, 1), models.build("CNNWithResidual").eval()
    with torch.no_grad():
        stem = network.stem(normalise(data.x_test[:1], data))
        block = network.blocks[0](stem)
    _, arrays = probe(network, data)
    np.testing.assert_allclose(arrays["activations"], stem[0], atol=2e-3, rtol=2e-3)
    found = arrays["feature_maps/blocks.0"]
    np.testing.assert_allclose(found, block[0, :16], atol=2e-3, rtol=2e-3)


def test_activations_are_read_behind_batch_norm_and_relu_that_follow_directly() -> None:
    assert feature_layers(models.build("CNNWithResidual")) == {
        "stem.0": "stem.2",
        "blocks.0": "blocks.0",
        "blocks.1": "blocks.1",
        "blocks.2": "blocks.2",
    }
    assert feature_layers(models.build("ResNetLikeCNN"))["stem"] == "stem"  # nothing follows
    pooled_first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU())
    assert feature_layers(pooled_first) == {"0": "0"}
    assert late_activations(pooled_first) == {"0": pooled_first[2]}


def test_plain_feature_layers_are_named_as_in_the_gradient_norms() -> None:
    network = models.build("DeepCNN")
    *convolutions, _ = weight_layers(network)  # the last one is the classifier
    assert list(feature_layers(network)) == convolutions


def test_a_network_of_custom_layers_can_be_probed() -> None:
    network = nn.Sequential(
        CustomConv(3, 4, 3, padding=1),
        Swish(trainable=True),
        L2Pooling(2),
        ChannelAttention(4, 2),
        nn.Flatten(),
        nn.Linear(4 * 16 * 16, 3),
    )
    facts, arrays = probe(network, dataset())
    assert facts["receptive_field"] == {"0": 3, "2": 4}
    assert arrays["feature_maps/0"].shape == (4, 32, 32)


def test_probing_changes_neither_weights_nor_gradients_nor_generators() -> None:
    network = models.build("CNNWithResidualReg")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    first, second = probe(network, dataset())[1], probe(network, dataset())[1]
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module.training for module in network.modules())
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_channels_last_weights_give_the_same_filters() -> None:
    network = models.build("CNN5x5")
    expected = network.features[0][0].weight.detach().clone().numpy()
    _, arrays = probe(network.to(memory_format=torch.channels_last), dataset())
    np.testing.assert_array_equal(arrays["filters"], expected)
