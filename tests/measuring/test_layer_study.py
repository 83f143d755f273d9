import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from models import BasicResidualBlock, WideResidualBlock
from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from utils.data.dataset import load_quick_dataset
from utils.experiment import Experiment, LayerCase
from utils.measuring.layers import (
    CURVES,
    POOLINGS,
    activation_curves,
    gradient_means,
    pooling_pictures,
    study_layers,
)

IMAGE, MAP = (4, 3, 32, 32), (4, 16, 32, 32)


def conv_and_attention() -> nn.Module:
    return nn.Sequential(CustomConv(3, 16, 3, padding=1), ChannelAttention(16, 4))


CASES = [
    LayerCase("Swish", Swish, IMAGE),
    LayerCase("SiLU", nn.SiLU, IMAGE, analogue_of="Swish"),
    LayerCase("L2Pooling", partial(L2Pooling, 2), IMAGE),
    LayerCase("CustomConv", partial(CustomConv, 3, 16, 3, padding=1), IMAGE),
    LayerCase("ChannelAttention", partial(ChannelAttention, 16, 4), MAP),
    LayerCase("CustomConv + ChannelAttention", conv_and_attention, IMAGE, weights_of="0"),
]
BLOCKS = [
    LayerCase("BasicResidualBlock", partial(BasicResidualBlock, 64, 64), (4, 64, 32, 32)),
    LayerCase("WideResidualBlock", partial(WideResidualBlock, 64), (4, 64, 32, 32)),
]


def study(kind: str, cases: list[LayerCase]) -> tuple[dict, dict[str, np.ndarray]]:
    name = {"layers": "custom_layers", "blocks": "residual_blocks"}[kind]
    experiment = Experiment(
        name=name,
        question="",
        varied=(),
        held=(),
        not_tuned=(),
        figures=(),
        cases=tuple(cases),
        cases_are=kind,
    )
    return study_layers(experiment, torch.device("cpu"), quick=True)


@pytest.fixture(scope="module")
def layers() -> tuple[dict, dict[str, np.ndarray]]:
    return study("layers", CASES)


@pytest.fixture(scope="module")
def blocks() -> tuple[dict, dict[str, np.ndarray]]:
    return study("blocks", BLOCKS)


def test_layers_record(layers: tuple) -> None:
    record, _ = layers
    assert {key: record[key] for key in ("schema", "experiment", "device", "threads")} == {
        "schema": 1,
        "experiment": "custom_layers",
        "device": "cpu",
        "threads": torch.get_num_threads(),
    }
    assert record["environment"]["torch"] == torch.__version__
    entries = record["layers"]
    assert [(e["layer"], e["role"], e["analogue_of"]) for e in entries] == [
        ("Swish", "custom", None),
        ("SiLU", "analogue", "Swish"),
        ("L2Pooling", "custom", None),
        ("CustomConv", "custom", None),
        ("ChannelAttention", "custom", None),
        ("CustomConv + ChannelAttention", "custom", None),
    ]
    assert [e["output_shape"] for e in entries] == [
        [4, 3, 32, 32],
        [4, 3, 32, 32],
        [4, 3, 16, 16],
        [4, 16, 32, 32],
        [4, 16, 32, 32],
        [4, 16, 32, 32],
    ]
    assert [e["parameters"] for e in entries] == [0, 0, 0, 448, 128, 576]
    assert [e["input_shape"] for e in entries] == [list(case.input_shape) for case in CASES]
    assert json.loads(json.dumps(record)) == record


def test_blocks_record(blocks: tuple) -> None:
    record, arrays = blocks
    assert record["experiment"] == "residual_blocks" and arrays == {}
    entries = record["blocks"]
    assert [e["block"] for e in entries] == ["BasicResidualBlock", "WideResidualBlock"]
    assert [e["parameters"] for e in entries] == [74_112, 230_528]
    assert [e["output_shape"] for e in entries] == [[4, 64, 32, 32], [4, 128, 32, 32]]
    assert not any("role" in e or "layer" in e for e in entries)


def test_times_have_their_spread(layers: tuple, blocks: tuple) -> None:
    for entry in layers[0]["layers"] + blocks[0]["blocks"]:
        for which in ("forward_seconds_100", "forward_backward_seconds_100"):
            assert 0 < entry[which]["q1"] <= entry[which]["median"] <= entry[which]["q3"]


def test_an_analogue_starts_and_is_asked_as_the_layer_is(layers: tuple) -> None:
    """Swish at β = 1 is SiLU: the same input and direction give the same numbers."""
    swish, silu = (entry["gradient"] for entry in layers[0]["layers"][:2])
    for where in ("signed_mean_input", "mean_absolute_input"):
        assert swish[where] == pytest.approx(silu[where], rel=1e-5)
    assert swish["signed_mean_weights"] is None and swish["mean_absolute_weights"] is None


def test_the_same_cases_give_the_same_gradients(layers: tuple) -> None:
    torch.manual_seed(123)  # whatever the global generator's state
    state = torch.get_rng_state()
    again, _ = study("layers", CASES)
    assert torch.equal(torch.get_rng_state(), state)
    gradients = [[e["gradient"] for e in r["layers"]] for r in (layers[0], again)]
    assert gradients[0] == gradients[1]


class Doubled(nn.Linear):
    """y = 2 (x Wᵀ + b)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_signed_mean_is_that_of_the_outputs_mean() -> None:
    module, x = Doubled(3, 5), torch.randn(7, 3, requires_grad=True)
    found = gradient_means(LayerCase("", lambda: module, (7, 3)), module, x)
    # y.mean() = 2 / 35 Σ_ij (Σ_k x_ik W_jk + b_j); the bias does not count among the weights
    by_input = 2 / 35 * module.weight.detach().sum(0)  # for every row of x
    by_weight = 2 / 35 * x.detach().sum(0)  # for every row of W
    assert found["signed_mean_input"] == pytest.approx(by_input.mean().item(), rel=1e-4)
    assert found["signed_mean_weights"] == pytest.approx(by_weight.mean().item(), rel=1e-4)


def test_absolute_mean_is_under_a_standard_normal_cotangent() -> None:
    """The identity hands the cotangent through: the mean of |N(0, 1)| is sqrt(2 / π)."""
    x = torch.randn(4, 50, 50, requires_grad=True)
    found = gradient_means(LayerCase("", nn.Identity, (4, 50, 50)), nn.Identity(), x)
    assert found["mean_absolute_input"] == pytest.approx((2 / np.pi) ** 0.5, rel=0.03)


def test_behind_a_batch_norm_the_signed_mean_says_nothing() -> None:
    case = LayerCase("BatchNorm2d", partial(nn.BatchNorm2d, 3), IMAGE)
    found = study("layers", [case])[0]["layers"][0]["gradient"]
    assert abs(found["signed_mean_input"]) < 1e-10
    assert found["mean_absolute_input"] > 0.5  # the direction is not the input, or it would be 0
    assert found["signed_mean_weights"] is None  # a scale is no weight matrix


def test_weights_of_names_the_part_that_counts(layers: tuple) -> None:
    pair = conv_and_attention()
    x = torch.randn(IMAGE, requires_grad=True)
    found = gradient_means(LayerCase("", lambda: pair, IMAGE, weights_of="0"), pair, x)
    (expected,) = torch.autograd.grad(pair(x).mean(), pair[0].weight)
    assert found["signed_mean_weights"] == pytest.approx(expected.mean().item(), rel=1e-4)


def test_curves_are_values_and_derivatives(layers: tuple) -> None:
    arrays = activation_curves(CURVES)
    x, sigmoid = arrays["x"], 1 / (1 + np.exp(-arrays["x"]))
    assert x.shape == (241,) and x[0] == -6 and x[-1] == 6
    np.testing.assert_allclose(arrays["Swish/value"], x * sigmoid, atol=1e-6)
    expected = sigmoid * (1 + x * (1 - sigmoid))
    np.testing.assert_allclose(arrays["Swish/derivative"], expected, atol=1e-6)
    np.testing.assert_allclose(arrays["SiLU/derivative"], expected, atol=1e-6)
    np.testing.assert_array_equal(arrays["ReLU/derivative"], (x > 0).astype(np.float32))
    sharper = 1 / (1 + np.exp(-2 * x))
    np.testing.assert_allclose(arrays["Swish(beta=2)/value"], x * sharper, atol=1e-6)
    assert set(arrays) <= set(layers[1])


def test_poolings_are_of_a_real_digit(layers: tuple) -> None:
    arrays = pooling_pictures(POOLINGS)
    digit = load_quick_dataset("mnist").x_test[0, 0].numpy().astype(np.float32) / 255
    np.testing.assert_array_equal(arrays["pooling/input"], digit)
    windows = digit.reshape(14, 2, 14, 2)
    norm = np.sqrt(np.square(windows).sum((1, 3)))
    np.testing.assert_allclose(arrays["pooling/L2Pooling"], norm, rtol=1e-5)
    np.testing.assert_allclose(arrays["pooling/LPPool2d"], norm, rtol=1e-5)
    np.testing.assert_allclose(arrays["pooling/MaxPool2d"], windows.max((1, 3)))
    np.testing.assert_allclose(arrays["pooling/AvgPool2d"], windows.mean((1, 3)), rtol=1e-5)
    assert set(arrays) <= set(layers[1])
    assert all(array.dtype == np.float32 for array in layers[1].values())
