"""Peak memory, and the layers beside their analogues. Nothing asserts a time."""

import pytest
import torch
from torch import nn

from benchmarks import layers
from benchmarks.profiling import is_arithmetic, peak_memory, time_shares
from utils import REPOSITORY

CPU = torch.device("cpu")
MB = 2**20
RECORDS = REPOSITORY / "results" / "benchmarks"


def megabytes(number: int) -> torch.Tensor:
    return torch.empty(number * MB, dtype=torch.uint8)


def test_peak_memory_is_the_most_that_is_held_at_once() -> None:
    assert peak_memory(lambda: megabytes(8).numel() and megabytes(4), CPU) == 8 * MB
    assert peak_memory(lambda: (megabytes(8), megabytes(4)), CPU) == 12 * MB
    assert peak_memory(lambda: None, CPU) == 0


def test_peak_memory_sees_the_temporaries_of_forward_and_backward() -> None:
    x = megabytes(4).view(torch.float32)
    # the output and the gradient of the input; SiLU has no temporaries
    assert peak_memory(layers.forward_backward(nn.SiLU(), x), CPU) == 8 * MB
    assert peak_memory(layers.forward(nn.SiLU(), x), CPU) == 4 * MB


def test_convolutions_and_products_are_arithmetic_and_a_sum_is_not() -> None:
    matrix, images = torch.ones(8, 8), torch.ones(1, 3, 8, 8)
    conv = nn.Conv2d(3, 4, 3)
    shares = time_shares(lambda: ((matrix @ matrix).sum() + conv(images).mean()).backward())
    assert 0 < shares["arithmetic"] < 1
    assert not any("conv" in name.lower() for name in shares["others"])
    assert is_arithmetic("ConvolutionBackward0") and not is_arithmetic("aten::sum")


@pytest.mark.parametrize("shape", layers.SHAPES)
def test_layers_have_their_analogues_sizes(shape: tuple[int, ...]) -> None:
    x = torch.zeros(1, *shape[1:])
    for name, ours, _, analogue in layers.PAIRS:
        assert ours(shape[1])(x).shape == analogue(shape[1])(x).shape, name
