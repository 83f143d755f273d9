"""Sizes: FLOPs are those counted by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import models
from tests.networks import Does
from utils.measuring.sizes import forward_flops, step_flops

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


def test_a_step_costs_both_products_of_the_backward_pass_but_at_the_image() -> None:
    """A layer's backward is two products as dear as its forward; the first layer has one."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 7))
    convolution, linear = 2 * 64 * 9 * 3 * 4, 2 * 256 * 7
    assert forward_flops(network, (3, 8, 8)) == convolution + linear
    assert step_flops(network, (3, 8, 8)) == 2 * convolution + 3 * linear


def test_an_lstm_and_a_transformer_without_gradients_are_counted() -> None:
    layer = nn.LSTM(8, 4, batch_first=True)
    assert forward_flops(layer, (16, 8)) == 2 * 16 * 4 * 4 * (8 + 4)
    frozen = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True).requires_grad_(False)
    products = 2 * 2 * 16 * 16 * 8
    with torch.no_grad():
        assert forward_flops(frozen, (16, 8)) == 2 * 16 * 8 * (3 * 8 + 8 + 2 * 32) + products


def test_products_with_vectors_are_counted() -> None:
    def by(calculate: Callable[[torch.Tensor], torch.Tensor]) -> int:
        return forward_flops(nn.Sequential(nn.Linear(8, 8), Does(calculate)), (3, 8)) - linear

    linear, vector = 2 * 3 * 8 * 8, torch.ones(8)
    assert by(lambda x: x @ vector) == 2 * 3 * 8
    assert by(lambda x: x[0, 0] @ vector) == 2 * 8
    assert by(lambda x: torch.addmv(torch.ones(3), x[0], vector)) == 2 * 3 * 8
    assert by(lambda x: torch.vdot(x[0, 0], vector)) == 2 * 8
    assert by(lambda x: torch.addbmm(torch.ones(3, 3), x, x.mT)) == 2 * 3 * 8 * 3
    pair = nn.Bilinear(8, 8, 5)
    assert by(lambda x: pair(x[0], x[0])) == 2 * 3 * 8 * 8 * 5


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
