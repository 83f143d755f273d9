"""The custom layers: their values, their hand-written gradients, and everywhere they must work.

Each layer is compared with two things independent of it: its definition in plain loops, and the
same expression in ordinary torch operations with the gradient left to autograd.
"""

import copy
import math
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.fx.experimental import optimization
from torch.fx.proxy import TraceError
from torch.testing import assert_close
from torchvision.ops import SqueezeExcitation

from models.custom_layers import ChannelAttention, Convolution, CustomConv, L2Pooling, Swish

Pair = tuple[int, int]
SHAPE = (2, 4, 6, 7)  # batch, channels, height, width


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


# The same expressions, left to autograd


def swish(x: Tensor, beta: Tensor | float) -> Tensor:
    return x * torch.sigmoid(beta * x)


def l2_pooling(x: Tensor, kernel: Pair, stride: Pair) -> Tensor:
    return F.avg_pool2d(x.square(), kernel, stride, divisor_override=1).sqrt()


def custom_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int | Pair, padding: int | Pair
) -> Tensor:
    z = F.conv2d(x, weight, bias, stride, padding)
    return z + z.mean(dim=-3, keepdim=True)


def channel_attention(x: Tensor, w0: Tensor, w1: Tensor) -> Tensor:
    def mlp(v: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(v, w0)), w1)

    average = F.adaptive_avg_pool2d(x, 1).flatten(-3)
    maximum = F.adaptive_max_pool2d(x, 1).flatten(-3)
    return x * torch.sigmoid(mlp(average) + mlp(maximum))[..., None, None]


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    expression: Callable[..., Tensor]  # of x and the layer's parameters


CASES = {
    "Swish": Case(Swish, lambda x: swish(x, 1.0)),
    "Swish, fixed beta": Case(lambda: Swish(1.7), lambda x: swish(x, 1.7)),
    "Swish, trained beta": Case(lambda: Swish(-0.75, trainable=True), swish),
    "L2Pooling": Case(lambda: L2Pooling(2), lambda x: l2_pooling(x, (2, 2), (2, 2))),
    "L2Pooling, overlapping": Case(
        lambda: L2Pooling((3, 2), (2, 1)), lambda x: l2_pooling(x, (3, 2), (2, 1))
    ),
    "CustomConv": Case(
        lambda: CustomConv(4, 3, 3, padding=1), lambda x, w, b: custom_conv(x, w, b, 1, 1)
    ),
    "CustomConv, pairs, no bias": Case(
        lambda: CustomConv(4, 3, (2, 3), (3, 2), (0, 1), bias=False),
        lambda x, w: custom_conv(x, w, None, (3, 2), (0, 1)),
    ),
    "ChannelAttention": Case(lambda: ChannelAttention(4, 2), channel_attention),
}


def build(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return CASES[name].make().to(dtype)


def as_function(layer: nn.Module) -> Callable[..., Tensor]:
    """The layer as a function of x and its parameters, which gradcheck can vary."""
    names = [name for name, _ in layer.named_parameters()]
    return lambda x, *values: functional_call(layer, dict(zip(names, values, strict=True)), (x,))


def value_and_grads(
    function: Callable[..., Tensor], x: Tensor, *parameters: Tensor
) -> list[Tensor]:
    """The output, then the gradients of x and the parameters under a random cotangent."""
    x, *parameters = (t.detach().requires_grad_() for t in (x, *parameters))
    y = function(x, *parameters)
    cotangent = random_tensor(*y.shape, seed=1).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, (x, *parameters), cotangent)]


def of_layer(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """What ``value_and_grads`` gives of the layer."""
    return value_and_grads(as_function(layer), x, *layer.parameters())


def of_autograd(name: str, layer: nn.Module, x: Tensor) -> list[Tensor]:
    """And of the expression with the layer's parameters, left to autograd."""
    return value_and_grads(CASES[name].expression, x, *layer.parameters())


# Values: the definition, one number or window at a time


def l2_pool_by_loops(x: Tensor, kernel: Pair, stride: Pair) -> Tensor:
    height, width = ((n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, stride, strict=True))
    out = x.new_empty(*x.shape[:2], height, width)
    for i, j in product(range(height), range(width)):
        rows = slice(i * stride[0], i * stride[0] + kernel[0])
        columns = slice(j * stride[1], j * stride[1] + kernel[1])
        out[:, :, i, j] = x[:, :, rows, columns].square().sum(dim=(2, 3)).sqrt()
    return out


def custom_conv_by_loops(x: Tensor, layer: CustomConv) -> Tensor:
    kernel, stride, (pad_rows, pad_columns) = layer.kernel_size, layer.stride, layer.padding
    x = F.pad(x, (pad_columns, pad_columns, pad_rows, pad_rows))
    height, width = ((n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, stride, strict=True))
    out = x.new_empty(len(x), layer.out_channels, height, width)
    for i, j in product(range(height), range(width)):
        rows = slice(i * stride[0], i * stride[0] + kernel[0])
        columns = slice(j * stride[1], j * stride[1] + kernel[1])
        for o in range(layer.out_channels):
            out[:, o, i, j] = (x[:, :, rows, columns] * layer.weight[o]).sum(dim=(1, 2, 3))
            out[:, o, i, j] += 0 if layer.bias is None else layer.bias[o]
        out[:, :, i, j] += out[:, :, i, j].mean(dim=1, keepdim=True)
    return out


def channel_attention_by_loops(x: Tensor, w0: Tensor, w1: Tensor) -> Tensor:
    out = torch.empty_like(x)
    for image, scaled in zip(x, out, strict=True):
        averages = [channel.sum() / channel.numel() for channel in image]
        maxima = [max(channel.flatten()) for channel in image]
        for c, channel in enumerate(image):
            logit = 0.0
            for unit, v in product(range(len(w0)), (averages, maxima)):
                logit += w1[c, unit] * max(0, sum(w0[unit, k] * v[k] for k in range(len(v))))
            scaled[c] = channel / (1 + math.exp(-logit))
    return out


@pytest.mark.parametrize("beta", [1, 0, 2.5, -0.5])
@pytest.mark.parametrize("trainable", [False, True])
def test_swish_is_its_definition(beta: float, trainable: bool) -> None:
    x = random_tensor(3, 5)
    expected = [value / (1 + math.exp(-beta * value)) for value in x.flatten().tolist()]
    y = Swish(beta, trainable).double()(x)
    assert_close(y, torch.tensor(expected, dtype=torch.float64).view(3, 5))


def test_swish_keeps_every_digit_where_sigmoid_is_near_0_or_1() -> None:
    x = torch.tensor([-700, -40.1, -39.9, -1e-9, 39.9, 40.1, 700], dtype=torch.float64)
    actual, expected = value_and_grads(Swish(), x), value_and_grads(lambda x: swish(x, 1.0), x)
    assert_close(actual, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("height, width", [(4, 6), (5, 7), (3, 3)])  # even, cut-off edge, smallest
@pytest.mark.parametrize(
    "kernel, stride, as_pairs",
    [
        (2, None, ((2, 2), (2, 2))),
        (3, 1, ((3, 3), (1, 1))),
        ((1, 3), None, ((1, 3), (1, 3))),
        (2, (3, 1), ((2, 2), (3, 1))),
    ],
)
def test_l2_pooling_is_its_definition(
    height: int,
    width: int,
    kernel: int | Pair,
    stride: int | Pair | None,
    as_pairs: tuple[Pair, Pair],
) -> None:
    x = random_tensor(2, 3, height, width)
    layer = L2Pooling(kernel, stride)
    assert (layer.kernel_size, layer.stride) == as_pairs
    assert_close(layer(x), l2_pool_by_loops(x, *as_pairs))


@pytest.mark.parametrize(
    "kernel, stride, padding",
    [
        (1, 1, 0),
        (3, 1, 1),
        ((2, 3), 2, 0),
        (3, (2, 3), (1, 2)),
        (1, 2, 2),
        ([3, 2], [1, 1], [2, 0]),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_custom_conv_is_its_definition(
    kernel: int | Pair, stride: int | Pair, padding: int | Pair, bias: bool
) -> None:
    x = random_tensor(2, 3, 6, 7)
    layer = CustomConv(3, 5, kernel, stride, padding, bias).double()
    assert_close(layer(x), custom_conv_by_loops(x, layer))
    # the geometry of the gradient: rows that no window reaches must get a 0, not be missing
    actual = of_layer(layer, x)
    bias_or_none = () if bias else (None,)
    expected = value_and_grads(
        lambda x, *p: custom_conv(x, *p, *bias_or_none, stride, padding), x, *layer.parameters()
    )
    assert_close(actual, expected)


@pytest.mark.parametrize(
    "channels, reduction, hidden", [(4, 2, 2), (5, 2, 2), (3, 3, 1), (3, 1, 3)]
)
def test_channel_attention_is_its_definition(channels: int, reduction: int, hidden: int) -> None:
    layer = ChannelAttention(channels, reduction).double()
    w0, w1 = layer.parameters()
    assert (w0.shape, w1.shape) == ((hidden, channels), (channels, hidden))
    with torch.no_grad():
        x = random_tensor(2, channels, 3, 4)
        assert_close(layer(x), channel_attention_by_loops(x, w0, w1))


def test_layers_equal_their_analogues_where_these_coincide() -> None:
    x = random_tensor(*SHAPE)
    assert_close(Swish()(x), nn.SiLU()(x))
    assert_close(Swish(1e4)(x), nn.ReLU()(x))
    assert_close(L2Pooling(2)(x), nn.LPPool2d(2, 2)(x))


# Gradients


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_autograd(name: str) -> None:
    x, layer = random_tensor(*SHAPE), build(name)
    assert_close(of_layer(layer, x), of_autograd(name, layer, x))


@pytest.mark.parametrize("name", CASES)
def test_gradcheck_and_gradgradcheck(name: str) -> None:
    layer = build(name)
    inputs = (random_tensor(1, 4, 4, 3).requires_grad_(), *layer.parameters())
    function = as_function(layer)
    assert torch.autograd.gradcheck(function, inputs, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(function, inputs, check_batched_grad=True)


@pytest.mark.parametrize("name", CASES)
def test_only_gradients_that_are_asked_for(name: str) -> None:
    layer = build(name)
    x = random_tensor(*SHAPE)
    for parameter in layer.parameters():  # frozen parameters, then a frozen input
        parameter.requires_grad_(False)
    layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None and all(p.grad is None for p in layer.parameters())
    for parameter in layer.parameters():
        parameter.requires_grad_()
        layer(x.detach()).sum().backward()
        assert parameter.grad is not None


@pytest.mark.parametrize("name", CASES)
def test_backward_leaves_alone_what_it_is_given(name: str) -> None:
    x, layer = random_tensor(*SHAPE).requires_grad_(), build(name)
    y = layer(x)
    cotangent = random_tensor(*y.shape, seed=1)
    copies = [t.detach().clone() for t in (x, y, cotangent)]
    inputs = (x, *layer.parameters())
    first, second = (torch.autograd.grad(y, inputs, cotangent, retain_graph=True) for _ in range(2))
    assert_close(second, first, rtol=0, atol=0)
    assert_close([x.detach(), y.detach(), cotangent], copies, rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_saves_its_input_and_nothing_else_of_that_size(name: str) -> None:
    x, layer = random_tensor(*SHAPE).requires_grad_(), build(name)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y = layer(x)
    big = {t.data_ptr() for t in saved if t.numel() > x.numel() // 2} - {y.data_ptr()}
    assert big == {x.data_ptr()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("trainable", [False, True])
def test_swish_is_finite_at_1e30(dtype: torch.dtype, trainable: bool) -> None:
    x = torch.tensor([1e30, -1e30, 0.0], dtype=dtype, requires_grad=True)
    layer = Swish(trainable=trainable)
    y = layer(x)
    first = torch.autograd.grad(y.sum(), (x, *layer.parameters()), create_graph=True)
    assert y.dtype == dtype
    assert y.tolist() == [x[0].item(), 0, 0]
    assert first[0].tolist() == [1, 0, 0.5]
    assert all(g.item() == 0 and g.dtype == torch.float32 for g in first[1:])
    (second,) = torch.autograd.grad(first[0].sum(), x)
    assert second.tolist() == [0, 0, 0.5]
    (alone,) = torch.autograd.grad(layer(x).sum(), x)  # of which no derivative is asked for
    assert alone.tolist() == [1, 0, 0.5]


@pytest.mark.parametrize("beta, expected", [(1.0, {"aten::silu", "aten::silu_backward"}), (2, ())])
def test_swish_has_the_kernels_of_silu_where_it_is_silu(beta: float, expected: set[str]) -> None:
    x = random_tensor(8).requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.autograd.grad(Swish(beta)(x).sum(), x)
    called = {event.key for event in profile.key_averages()}
    assert {name for name in called if "silu" in name} == set(expected)


def test_swish_sums_the_gradient_of_beta_in_its_own_dtype() -> None:
    layer = Swish(trainable=True)
    one, many = (
        torch.autograd.grad(layer(torch.ones(n, dtype=torch.bfloat16)).sum(), layer.beta)[0]
        for n in (1, 257)  # 257 is no bfloat16 number
    )
    assert many == 257 * one


def test_swish_trains_its_beta() -> None:
    layer, x = Swish(0.5, trainable=True), random_tensor(64).float()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        (layer(x) - swish(x, 2.0)).square().mean().backward()
        optimizer.step()
    assert layer.beta.item() == pytest.approx(2.0, abs=0.05)
    assert list(Swish(0.5).parameters()) == []


def test_gradient_of_a_zero_window_is_0_where_the_naive_one_is_nan() -> None:
    x = random_tensor(1, 1, 2, 4)
    x[..., :2] = 0  # the first window is all zero, the second is not
    naive = value_and_grads(lambda x: l2_pooling(x, (2, 2), (2, 2)), x)[1]
    analogue = value_and_grads(nn.LPPool2d(2, 2), x)[1]
    ours = value_and_grads(L2Pooling(2), x)[1]
    assert naive[..., :2].isnan().all()
    assert (analogue[..., :2] == 0).all()
    assert (ours[..., :2] == 0).all()
    for other in (naive, analogue):
        assert_close(ours[..., 2:], other[..., 2:])


def test_second_derivative_of_a_zero_window_is_0() -> None:
    x = torch.zeros(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(L2Pooling(2)(x).sum(), x, create_graph=True)
    assert (torch.autograd.grad(first.sum(), x)[0] == 0).all()


@pytest.mark.parametrize("scale", [1e18, 1e-18, 1e25])
def test_l2_pooling_has_the_range_of_its_analogue(scale: float) -> None:
    x = random_tensor(1, 2, 4, 4).float() * scale
    actual, expected = value_and_grads(L2Pooling(2), x), value_and_grads(nn.LPPool2d(2, 2), x)
    assert actual[0].isinf().all() == (scale > 1e20)
    assert_close(actual, expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shared_maximum_gives_its_gradient_to_the_first_position(
    layout: torch.memory_format,
) -> None:
    x = random_tensor(1, 4, 3, 3).clamp(max=-0.5).contiguous(memory_format=layout)
    assert ((x == x.amax(dim=(2, 3), keepdim=True)).sum(dim=(2, 3)) > 1).all()
    x += 1.5  # the shared maximum is 1: not 0, which no hidden unit would see
    layer = build("ChannelAttention")
    weights = list(layer.parameters())
    ours = of_layer(layer, x)
    assert_close(ours, value_and_grads(channel_attention, x, *weights))

    def with_amax(x: Tensor, w0: Tensor, w1: Tensor) -> Tensor:
        hidden = F.relu(x.mean(dim=(2, 3)) @ w0.T) + F.relu(x.amax(dim=(2, 3)) @ w0.T)
        return x * torch.sigmoid(hidden @ w1.T)[..., None, None]

    divided = value_and_grads(with_amax, x, *weights)
    assert not torch.allclose(ours[1], divided[1])  # amax divides it between them …
    sums = [gradients.sum(dim=(2, 3)) for gradients in (ours[1], divided[1])]
    assert_close(*sums)  # … and all else is equal
    assert_close(ours[2:], divided[2:])


# Dtypes, layouts, batch sizes


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 0), (torch.float32, 1e-5), (torch.bfloat16, 4e-2)]
)
def test_dtypes(name: str, dtype: torch.dtype, tolerance: float) -> None:
    layer = build(name, dtype)
    x = random_tensor(*SHAPE).to(dtype)
    actual = of_layer(layer, x)
    assert {t.dtype for t in actual} == {dtype}
    expected = of_layer(copy.deepcopy(layer).double(), x.double())
    for one, other in zip(actual, expected, strict=True):
        size = other.abs().max().item()  # a sum's rounding error follows its largest terms
        assert_close(one.double(), other, rtol=tolerance, atol=tolerance * size)


LAYOUTS = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every second": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
    "batch last": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(name: str, layout: str) -> None:
    layer, x = build(name), random_tensor(*SHAPE)
    arranged = LAYOUTS[layout](x)
    assert torch.equal(arranged, x) and not arranged.is_contiguous()
    assert_close(of_layer(layer, arranged), of_layer(layer, x))
    if layout == "channels_last":  # and the network stays in it
        assert layer(arranged).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", CASES)
def test_cotangents_of_any_layout(name: str) -> None:
    layer, x = build(name), random_tensor(*SHAPE)
    for arrange in (lambda y: torch.ones((), dtype=y.dtype).expand(y.shape), *LAYOUTS.values()):
        leaf, copied = x.clone().requires_grad_(), x.clone().requires_grad_()
        y = layer(leaf)
        cotangent = arrange(random_tensor(*y.shape, seed=1))
        y.backward(cotangent)
        CASES[name].expression(copied, *layer.parameters()).backward(cotangent.contiguous())
        assert_close(leaf.grad, copied.grad)


@pytest.mark.parametrize("name", CASES)
def test_batch_of_one_and_no_batch_axis(name: str) -> None:
    layer, x = build(name), random_tensor(*SHAPE)
    one = of_layer(layer, x[:1])
    assert_close(one, of_autograd(name, layer, x[:1]))
    assert torch.equal(layer(x[0]), one[0][0])
    assert_close(layer(x)[:1], one[0])


@pytest.mark.parametrize("name", CASES)
def test_empty_batch(name: str) -> None:
    layer = build(name)
    y, grad_x, *grads = of_layer(layer, random_tensor(0, 4, 6, 7))
    assert y.shape == (0, *layer(random_tensor(1, 4, 6, 7)).shape[1:])
    assert grad_x.shape == (0, 4, 6, 7)
    assert all((g == 0).all() for g in grads)


# Compilers, transforms, autocast


@pytest.mark.filterwarnings("ignore::FutureWarning")  # raised inside torch while it compiles
@pytest.mark.parametrize("name", CASES)
def test_compiles_in_one_graph_forward_and_backward(name: str) -> None:
    torch._dynamo.reset()
    x, layer = random_tensor(*SHAPE), build(name)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, layer):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        (y * random_tensor(*y.shape, seed=1)).sum().backward()
        results.append([y.detach(), leaf.grad, *(p.grad for p in layer.parameters())])
    assert_close(*results)


def scalar(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function with curvature of its own, so that no second derivative is 0 by chance."""
    return lambda *inputs: function(*inputs).sin().sum()


@pytest.mark.parametrize("name", CASES)
def test_func_grad_and_vmap(name: str) -> None:
    x, layer = random_tensor(*SHAPE), build(name)
    inputs = (x, *(p.detach() for p in layer.parameters()))
    everything = tuple(range(len(inputs)))
    ours, autograd = as_function(layer), CASES[name].expression
    expected = grad(scalar(autograd), everything)(*inputs)
    assert_close(grad(scalar(ours), everything)(*inputs), expected)

    per_image = (0, *(None,) * (len(inputs) - 1))  # one gradient of every parameter for each image
    actual = vmap(grad(scalar(ours), everything), per_image)(*inputs)
    each = [grad(scalar(autograd), everything)(image, *inputs[1:]) for image in x]
    assert_close(actual, [torch.stack(gradients) for gradients in zip(*each, strict=True)])
    assert_close(vmap(layer)(torch.stack([x, 2 * x])), torch.stack([layer(x), layer(2 * x)]))


@pytest.mark.parametrize("name", [name for name in CASES if list(CASES[name].make().parameters())])
def test_vmap_over_an_ensemble_of_parameters(name: str) -> None:
    x, layer = random_tensor(*SHAPE), build(name)
    ensemble = [torch.stack([p.detach(), -2 * p.detach()]) for p in layer.parameters()]
    everything, axes = tuple(range(len(ensemble) + 1)), (None, *(0 for _ in ensemble))
    actual = vmap(grad(scalar(as_function(layer)), everything), axes)(x, *ensemble)
    each = [
        grad(scalar(CASES[name].expression), everything)(x, *p) for p in zip(*ensemble, strict=True)
    ]
    assert_close(actual, [torch.stack(gradients) for gradients in zip(*each, strict=True)])


@pytest.mark.parametrize("name", CASES)
def test_composed_func_transforms_give_the_right_second_derivative(name: str) -> None:
    layer = build(name)
    x = random_tensor(1, 4, 4, 4)
    inputs = (x, *(p.detach() for p in layer.parameters()))
    everything = tuple(range(len(inputs)))
    hessians = [
        jacrev(grad(scalar(function), 0), everything)(*inputs)
        for function in (as_function(layer), CASES[name].expression)
    ]
    assert all(hessian.abs().max() > 1e-3 for hessian in hessians[1])
    assert_close(*hessians)

    def gradient_norm(*inputs: Tensor) -> Tensor:
        return grad(scalar(as_function(layer)), len(inputs) - 1)(*inputs).square().sum()

    def autograd_norm(*inputs: Tensor) -> Tensor:
        return grad(scalar(CASES[name].expression), len(inputs) - 1)(*inputs).square().sum()

    axes = (0, *(None for _ in inputs[1:]))
    images = (random_tensor(3, 4, 4, 4), *inputs[1:])
    results = [
        vmap(grad(norm, everything), axes)(*images) for norm in (gradient_norm, autograd_norm)
    ]
    assert_close(*results)


ANALOGUES = {
    "Swish": nn.SiLU,
    "L2Pooling": lambda: nn.LPPool2d(2, 2),
    "CustomConv": lambda: nn.Conv2d(4, 3, 3, padding=1),
    "ChannelAttention": lambda: SqueezeExcitation(4, 2),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("input_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backward_inside", [False, True])
def test_autocast(name: str, input_dtype: torch.dtype, backward_inside: bool) -> None:
    layer = build(name, torch.float32)
    x = random_tensor(*SHAPE).to(input_dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        analogue = ANALOGUES[name.split(",")[0]]()(x)
        cotangent = random_tensor(*y.shape, seed=1).to(y.dtype)
        if backward_inside:
            y.backward(cotangent)
    if not backward_inside:
        y.backward(cotangent)
    assert y.dtype == analogue.dtype
    assert x.grad.dtype == input_dtype
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())
    exact = of_layer(layer, x.float())
    actual = [y, x.grad, *(p.grad for p in layer.parameters())]
    for one, other in zip(actual, exact, strict=True):
        size = other.abs().max().item()
        assert_close(one.float(), other, rtol=4e-2, atol=4e-2 * size)


def test_autocast_leaves_float64_alone() -> None:
    for name in CASES:
        with torch.autocast("cpu", torch.bfloat16):
            assert build(name)(random_tensor(*SHAPE)).dtype == torch.float64, name


# Modules


@pytest.mark.parametrize("name", CASES)
def test_deepcopy_and_state_dict_round_trip(name: str) -> None:
    x, layer = random_tensor(*SHAPE), build(name)
    twin = copy.deepcopy(layer)
    fresh = CASES[name].make().double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5)
    assert list(layer.parameters()) == [] or not torch.equal(layer(x), twin(x))  # nothing shared
    fresh.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(fresh(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))


def test_parameters_by_name() -> None:
    def shapes(layer: nn.Module) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in layer.state_dict().items()}

    assert shapes(Swish()) == shapes(L2Pooling(2)) == {}
    assert shapes(Swish(trainable=True)) == {"beta": ()}
    assert shapes(CustomConv(3, 16, 3)) == {"weight": (16, 3, 3, 3), "bias": (16,)}
    assert shapes(ChannelAttention(16, 4)) == {"squeeze.weight": (4, 16), "expand.weight": (16, 4)}


NUMBER = "a finite number"
COUNT = "an int of at least 1"
FROM_1 = "an int of at least 1 or a pair of them"
FROM_0 = "an int of at least 0 or a pair of them"
DIVISOR = "an int from 1 to channels (8), or no hidden unit is left"


@pytest.mark.parametrize(
    "layer, arguments, name, allowed",  # the bad argument is the last one
    [
        (Swish, ("1",), "beta", NUMBER),
        (Swish, (math.nan,), "beta", NUMBER),
        (Swish, (-math.inf,), "beta", NUMBER),
        (Swish, (True,), "beta", NUMBER),
        (Swish, (10**400,), "beta", NUMBER),
        (L2Pooling, (0,), "kernel_size", FROM_1),
        (L2Pooling, (2.0,), "kernel_size", FROM_1),
        (L2Pooling, ((2,),), "kernel_size", FROM_1),
        (L2Pooling, (True,), "kernel_size", FROM_1),
        (L2Pooling, (2, 0), "stride", FROM_1),
        (L2Pooling, (2, (1, -1)), "stride", FROM_1),
        (CustomConv, (0,), "in_channels", COUNT),
        (CustomConv, (1, "8"), "out_channels", COUNT),
        (CustomConv, (1, 1, None), "kernel_size", FROM_1),
        (CustomConv, (1, 1, 1, 0), "stride", FROM_1),
        (CustomConv, (1, 1, 1, 1, (0, -1)), "padding", FROM_0),
        (CustomConv, (1, 1, 1, 1, "same"), "padding", FROM_0),
        (ChannelAttention, (-4,), "channels", COUNT),
        (ChannelAttention, (8, 9), "reduction", DIVISOR),
        (ChannelAttention, (8, 0), "reduction", DIVISOR),
        (ChannelAttention, (8, 2.0), "reduction", DIVISOR),
    ],
)
def test_bad_arguments(layer: type, arguments: tuple, name: str, allowed: str) -> None:
    fillers = {CustomConv: (1, 1, 1), ChannelAttention: (8, 1)}.get(layer, ())
    message = f"{layer.__name__}: {name} must be {allowed}, got {arguments[-1]!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        layer(*arguments, *fillers[len(arguments) :])


@pytest.mark.parametrize(
    "layer, shape, expected",
    [
        (L2Pooling(2), (4, 4), "[batch, channels, height, width] or [channels, height, width]"),
        (CustomConv(3, 8, 1), (2, 4, 5, 5), "[batch, 3, height, width] or [3, height, width]"),
        (
            ChannelAttention(3, 1),
            (1, 1, 3, 5, 5),
            "[batch, 3, height, width] or [3, height, width]",
        ),
        (ChannelAttention(3, 1), (4, 5, 5), "[batch, 3, height, width] or [3, height, width]"),
    ],
)
def test_bad_input_shapes(layer: nn.Module, shape: tuple[int, ...], expected: str) -> None:
    message = f"{type(layer).__name__}: input has shape {list(shape)}, expected {expected}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        layer(torch.zeros(shape))


# Tools, devices, arguments of any type


def test_a_custom_conv_is_no_convolution_to_what_rewrites_convolutions() -> None:
    """Folding a batch-norm into its weight would leave out the mean over the channels."""
    network = nn.Sequential(CustomConv(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    assert not isinstance(network[0], nn.modules.conv._ConvNd)
    assert isinstance(network[0], Convolution)
    with pytest.raises(AssertionError, match="did not find fuser method"):
        torch.ao.quantization.fuse_modules(network, ["0", "1"])
    with pytest.raises(TraceError):
        optimization.fuse(network)


@pytest.mark.parametrize("bias", [True, False])
def test_a_custom_conv_starts_as_its_analogue_and_leaves_the_generator_as_it_does(
    bias: bool,
) -> None:
    torch.manual_seed(5)
    theirs = nn.Conv2d(4, 6, (3, 2), bias=bias)
    after = torch.rand(1)
    torch.manual_seed(5)
    ours = CustomConv(4, 6, (3, 2), stride=2, padding=1, bias=bias)
    assert torch.equal(torch.rand(1), after)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


def test_whole_numbers_of_any_type_are_taken_as_ints() -> None:
    two, four = np.int64(2), np.uint8(4)
    conv = CustomConv(four, np.int32(3), two, (two, 1), [np.int16(1), 0])
    assert (conv.in_channels, conv.out_channels) == (4, 3)
    assert (conv.kernel_size, conv.stride, conv.padding) == ((2, 2), (2, 1), (1, 0))
    pooling, attention = L2Pooling(two, torch.tensor(1)), ChannelAttention(four, two)
    assert (pooling.kernel_size, pooling.stride) == ((2, 2), (1, 1))
    assert attention.squeeze.weight.shape == (2, 4)
    assert Swish(np.float32(0.5)).beta == 0.5
    sizes = [conv.in_channels, *conv.kernel_size, *pooling.stride, attention.channels]
    assert {type(size) for size in sizes} == {int}
    assert type(Swish(two).beta) is float


ODD = [
    np.timedelta64(2, "s"),
    timedelta(seconds=2),
    np.array([[2, 2], [2, 2]]),
    Decimal(2),
    2j,
    None,
    np.True_,
    "a\nb",
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "make",
    [
        Swish,
        L2Pooling,
        lambda value: CustomConv(value, 1, 1),
        lambda value: CustomConv(1, 1, (1, value)),
        lambda value: ChannelAttention(8, value),
    ],
    ids=["beta", "kernel_size", "in_channels", "side", "reduction"],
)
def test_odd_types_are_refused_in_a_line(
    make: Callable[[object], nn.Module], value: object
) -> None:
    with pytest.raises(ValueError, match=r"^\w+: \w+ must be an? [^\n]+$"):
        make(value)
