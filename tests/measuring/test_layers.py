from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from experiments.custom_layers import conv_and_attention
from models import BasicResidualBlock, WideResidualBlock
from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from tests.fake_records import make_experiment
from tests.fakes import error_of
from utils.data.dataset import load_quick_dataset
from utils.experiment import LayerCase
from utils.measuring.layers import (
    activation_curves,
    check_layers,
    gradient_means,
    pooling_pictures,
    study_layers,
)
from utils.measuring.timing import Effort
from utils.records.schema import Cases

IMAGE, MAP = (4, 3, 32, 32), (4, 16, 32, 32)


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


Study = tuple[Cases, dict[str, np.ndarray]]


def study(cases: list[LayerCase], figures: tuple[str, ...] = ()) -> Study:
    experiment = make_experiment([], cases=tuple(cases), figures=figures)
    return study_layers(experiment, torch.device("cpu"), Effort(rounds=2, seconds=0.01))


@pytest.fixture(scope="module")
def layers() -> Study:
    return study(CASES, ("activation_functions", "pooling"))


@pytest.fixture(scope="module")
def blocks() -> Study:
    return study(BLOCKS)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({}, ""),
        ({"analogue_of": None}, "analogue_of None (not Swish), by the layer as it is now"),
        ({"analogue_of": "nothing"}, "analogue_of nothing (not Swish)"),
        ({"parameters": 1}, "parameters 1 (not 0)"),
        ({"output_shape": (4, 3, 16, 16)}, "output_shape (4, 3, 16, 16) (not (4, 3, 32, 32))"),
    ],
)
def test_a_record_of_other_layers_than_there_are_now_is_told(
    changes: dict[str, object], message: str, layers: Study, tmp_path: Path
) -> None:
    record, experiment = layers[0], make_experiment([], cases=tuple(CASES))
    first, second, *others = record.cases
    edited = record.model_copy(
        update={"cases": (first, second.model_copy(update=changes), *others)}
    )
    if message:
        found = error_of(lambda: check_layers(experiment, edited, tmp_path))
        assert found.startswith(f"{tmp_path / 'kernel_size' / 'cases.json'}: SiLU: {message}")
    else:
        check_layers(experiment, edited, tmp_path)
        check_layers(experiment, None, tmp_path)


@pytest.mark.parametrize(
    "build, message", [(nn.ReLU, "MyLayer: mean_absolute_input "), (nn.Dropout, ""), (nn.SiLU, "")]
)
def test_the_record_of_a_layer_with_another_forward_is_told(
    build: type[nn.Module], message: str, tmp_path: Path
) -> None:
    case = LayerCase("MyLayer", nn.SiLU if build is nn.ReLU else build, IMAGE)
    record, _ = study([case])
    experiment = make_experiment([], cases=(LayerCase("MyLayer", build, IMAGE),))
    if message:
        found = error_of(lambda: check_layers(experiment, record, tmp_path))
        assert message in found and found.endswith(
            "run the script whose table shows it with --measure"
        )
    else:
        check_layers(experiment, record, tmp_path)


def test_a_layer_with_a_frozen_weight_is_measured() -> None:
    blur = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3).requires_grad_(False))
    (case,) = study([LayerCase("Blur", lambda: blur, IMAGE)])[0].cases
    assert case.parameters == 3 * 4 * 9 + 4 + 4 * 4 * 9 + 4
    assert case.gradient.mean_absolute_weights > 0


def test_a_layer_that_cannot_be_built_any_more_is_told(layers: Study, tmp_path: Path) -> None:
    broken = LayerCase("Swish", partial(CustomConv, 3, 16, 0), IMAGE)
    message = error_of(
        lambda: check_layers(make_experiment([], cases=(broken,)), layers[0], tmp_path)
    )
    assert "cases.json: Swish cannot be built any more (ValueError: " in message


def test_each_case_is_described(layers: Study, blocks: Study) -> None:
    found = [(e.name, e.analogue_of, e.output_shape, e.parameters) for e in layers[0].cases]
    assert found == [
        ("Swish", None, (4, 3, 32, 32), 0),
        ("SiLU", "Swish", (4, 3, 32, 32), 0),
        ("L2Pooling", None, (4, 3, 16, 16), 0),
        ("CustomConv", None, (4, 16, 32, 32), 448),
        ("ChannelAttention", None, (4, 16, 32, 32), 128),
        ("CustomConv + ChannelAttention", None, (4, 16, 32, 32), 576),
    ]
    assert [e.input_shape for e in layers[0].cases] == [case.input_shape for case in CASES]
    found = [(e.name, e.output_shape, e.parameters) for e in blocks[0].cases]
    assert found == [
        ("BasicResidualBlock", (4, 64, 32, 32), 74_112),
        ("WideResidualBlock", (4, 128, 32, 32), 230_528),
    ]


def test_there_are_arrays_for_the_figures_that_are_asked_for(layers: Study, blocks: Study) -> None:
    assert {"x", "Swish/value", "pooling/input"} <= layers[1].keys()
    assert blocks[1] == {}


def test_times_have_their_spread(layers: Study, blocks: Study) -> None:
    for case in layers[0].cases + blocks[0].cases:
        for (times,) in (case.forward_seconds_100, case.forward_backward_seconds_100):
            assert 0 < times.q1 <= times.median <= times.q3


def test_an_analogue_starts_and_is_asked_as_the_layer_is(layers: Study) -> None:
    """Swish at β = 1 is SiLU: the same input and direction give the same numbers."""
    swish, silu = (case.gradient for case in layers[0].cases[:2])
    assert swish.signed_mean_input == pytest.approx(silu.signed_mean_input, rel=1e-5)
    assert swish.mean_absolute_input == pytest.approx(silu.mean_absolute_input, rel=1e-5)
    assert swish.signed_mean_weights is None and swish.mean_absolute_weights is None


def test_the_same_cases_give_the_same_gradients(layers: Study) -> None:
    torch.manual_seed(123)  # whatever the global generator's state
    state = torch.get_rng_state()
    again, _ = study(CASES)
    assert torch.equal(torch.get_rng_state(), state)
    first, second = ([case.gradient for case in each.cases] for each in (layers[0], again))
    assert first == second


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
    assert found.signed_mean_input == pytest.approx(by_input.mean().item(), rel=1e-4)
    assert found.signed_mean_weights == pytest.approx(by_weight.mean().item(), rel=1e-4)


def test_absolute_mean_is_under_a_standard_normal_cotangent() -> None:
    """The identity hands the cotangent through: the mean of |N(0, 1)| is sqrt(2 / π)."""
    x = torch.randn(4, 50, 50, requires_grad=True)
    found = gradient_means(LayerCase("", nn.Identity, (4, 50, 50)), nn.Identity(), x)
    assert found.mean_absolute_input == pytest.approx((2 / np.pi) ** 0.5, rel=0.03)


def test_behind_a_batch_norm_the_signed_mean_says_nothing() -> None:
    case = LayerCase("BatchNorm2d", partial(nn.BatchNorm2d, 3), IMAGE)
    found = study([case])[0].cases[0].gradient
    assert abs(found.signed_mean_input) < 1e-10
    assert found.mean_absolute_input > 0.5  # the direction is not the input, or it would be 0
    assert found.signed_mean_weights is None  # a scale is no weight matrix


def test_weights_of_names_the_part_that_counts() -> None:
    pair = conv_and_attention()
    x = torch.randn(IMAGE, requires_grad=True)
    found = gradient_means(LayerCase("", lambda: pair, IMAGE, weights_of="0"), pair, x)
    (expected,) = torch.autograd.grad(pair(x).mean(), pair[0].weight)
    assert found.signed_mean_weights == pytest.approx(expected.mean().item(), rel=1e-4)


def test_curves_are_values_and_derivatives() -> None:
    arrays = activation_curves()
    x, sigmoid = arrays["x"], 1 / (1 + np.exp(-arrays["x"]))
    assert x.shape == (241,) and x[0] == -6 and x[-1] == 6
    np.testing.assert_allclose(arrays["Swish/value"], x * sigmoid, atol=1e-6)
    expected = sigmoid * (1 + x * (1 - sigmoid))
    np.testing.assert_allclose(arrays["Swish/derivative"], expected, atol=1e-6)
    np.testing.assert_allclose(arrays["SiLU/derivative"], expected, atol=1e-6)
    np.testing.assert_array_equal(arrays["ReLU/derivative"], (x > 0).astype(np.float32))
    sharper = 1 / (1 + np.exp(-2 * x))
    np.testing.assert_allclose(arrays["Swish(beta=2)/value"], x * sharper, atol=1e-6)


def test_poolings_are_of_a_real_digit() -> None:
    arrays = pooling_pictures()
    digit = load_quick_dataset("mnist").x_test[0, 0].numpy().astype(np.float32) / 255
    np.testing.assert_array_equal(arrays["pooling/input"], digit)
    windows = digit.reshape(14, 2, 14, 2)
    norm = np.sqrt(np.square(windows).sum((1, 3)))
    np.testing.assert_allclose(arrays["pooling/L2Pooling"], norm, rtol=1e-5)
    np.testing.assert_allclose(arrays["pooling/LPPool2d"], norm, rtol=1e-5)
    np.testing.assert_allclose(arrays["pooling/MaxPool2d"], windows.max((1, 3)))
    np.testing.assert_allclose(arrays["pooling/AvgPool2d"], windows.mean((1, 3)), rtol=1e-5)
    assert all(array.dtype == np.float32 for array in arrays.values())
