"""Four layers whose gradients are written by hand: an activation, a pooling, a convolution, a gate.

Each layer is a pair: a ``torch.autograd.Function`` holds the mathematics, with the gradient derived
in its docstring; a thin ``nn.Module`` holds the parameters and checks the arguments.
Throughout, g is dL/dy, the gradient that arrives in backward.

A Function here saves nothing but its own inputs and outputs, and its backward is made of
differentiable operations. That makes the second derivative right: an intermediate that is neither
input nor output would count as a constant in it, without any error.
Forward-mode derivatives (``torch.func.jvp``) PyTorch refuses with a message.
"""

import math
import operator
from contextlib import AbstractContextManager, nullcontext
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn.grad import conv2d_weight

Pair = tuple[int, int]


class SwishFunction(Function):
    """y = x s with s = σ(βx), and so ds/dx = β s (1 - s), ds/dβ = x s (1 - s).

        dy/dx = s + x β s (1 - s) = s + βy (1 - s)
        dy/dβ = x x s (1 - s)     = x y (1 - s)

    Times g, with h = g s:

        dL/dx = h + βy (g - h)          on the way from h to g, as far as βy says
        dL/dβ = Σ y (g - h) x           the sum over x, for which β is one number

    y (1 - s) is 0 at both far ends, so the gradient is finite there; x² (1 - s) would be inf · 0.
    An activation does little with each number: its time is that of reading and writing memory.
    So y and h are one pass each, where ``x * sigmoid(x)`` would be two; and for β = 1, which is
    SiLU, torch has the whole of y and of dL/dx as one pass.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, beta: Tensor | float) -> Tensor:
        """``x`` has any shape; ``beta`` is a tensor without dimensions where it is trained."""
        is_silu = not isinstance(beta, Tensor) and beta == 1
        return F.silu(x) if is_silu else _gated(x, x, beta)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensor) -> None:
        """σ is not saved but computed again: that costs less than another tensor of this size."""
        x, beta = inputs
        is_tensor = isinstance(beta, Tensor)
        ctx.save_for_backward(x, output, beta if is_tensor else None)
        ctx.fixed_beta = None if is_tensor else beta

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        """The gradients of ``x`` and ``beta``."""
        x, y, beta = ctx.saved_tensors
        # grad mode is on where a second derivative may be asked for: the kernel of SiLU's backward
        # has none, and the last line needs h
        may_differentiate = torch.is_grad_enabled()
        if ctx.fixed_beta == 1 and not may_differentiate:
            return torch.ops.aten.silu_backward(grad, x), None
        beta = ctx.fixed_beta if beta is None else beta
        h = _gated(grad, x, beta)
        grad_beta = None
        if ctx.needs_input_grad[1]:
            # summed in β's own dtype: x may be bfloat16 where β is float32
            grad_beta = (y * (grad - h) * x).sum(dtype=beta.dtype)
        lerp = torch.lerp if may_differentiate else Tensor.lerp_
        return lerp(h, grad, beta * y), grad_beta  # h + βy (g - h)


def _gated(value: Tensor, x: Tensor, beta: Tensor | float) -> Tensor:
    """``value`` · σ(βx), of equal shapes.

    σ(βx) is the slope of softplus, log(1 + exp(βx)) / β, so the backward of softplus is this
    product in one pass, for a β that is a number. From βx = 40 on it takes 1 for σ, which there
    is 1 in float64 too.
    """
    if isinstance(beta, Tensor):
        return value * (beta * x).sigmoid_()
    return torch.ops.aten.softplus_backward(value, x, beta, 40)


class Swish(nn.Module):
    """A smooth ReLU that lets small negative values through: y = x σ(βx).

    β = 1 is SiLU, and by its kernels; β = 0 is x / 2, and β → ∞ is ReLU. Input and output have
    the same, any, shape.
    A trained β is one parameter of the layer; a fixed one is a constant outside ``state_dict``.
    Backward reads the output again, as that of ``nn.Sigmoid`` does: do not change it in place.

    Source: Ramachandran et al., Searching for Activation Functions (2017), arXiv:1710.05941.
    Analogues: ``nn.SiLU`` (β = 1), ``nn.ReLU``.
    Raises: ValueError where ``beta`` is not a finite number.
    """

    def __init__(self, beta: float = 1.0, trainable: bool = False) -> None:
        super().__init__()
        number = _as_float(beta)
        if not math.isfinite(number):
            raise _refusal("Swish", "beta", "a finite number", beta)
        self.beta = nn.Parameter(torch.tensor(number)) if trainable else number

    def forward(self, x: Tensor) -> Tensor:
        """``[...]`` to ``[...]``."""
        return SwishFunction.apply(x, self.beta)

    def extra_repr(self) -> str:
        """What ``print(layer)`` shows between the brackets."""
        trainable = isinstance(self.beta, Tensor)
        has_value = not (trainable and self.beta.is_meta)
        value = f"{self.beta.item() if trainable else self.beta:g}" if has_value else "unknown"
        return f"beta={value}, trainable={trainable}"


class L2PoolingFunction(Function):
    """y_w = sqrt(Σ x_i²), the sum over the elements i of window w.

        dy_w/dx_i = x_i / y_w                          (half of 2 x_i, over the root)
        dL/dx_i   = x_i Σ_w g_w / y_w                  over the windows w that contain i

    So g / y is spread back over the windows, the transpose of summing them, and multiplied by x.
    At y_w = 0 the norm has no derivative; we take 0, a subgradient (as any vector of length at
    most 1). Left to autograd it is NaN: the root's infinite slope times 2 x = 0.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, kernel_size: Pair, stride: Pair) -> Tensor:
        """``[batch, channels, height, width]`` to ``[batch, channels, height', width']``."""
        sums = F.avg_pool2d(x.square(), kernel_size, stride, divisor_override=1)
        return sums.sqrt()

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensor) -> None:
        """The norm is an output, so it may be saved."""
        x, ctx.kernel_size, ctx.stride = inputs
        ctx.save_for_backward(x, output)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of ``x``; kernel size and stride have none."""
        x, norm = ctx.saved_tensors
        # g / inf is 0, and so are its own derivatives
        per_norm = grad / norm.masked_fill(norm == 0, math.inf)
        # the transpose of the window sum: each window's number, added to all of its elements
        spread = torch.ops.aten.avg_pool2d_backward(
            per_norm, x, ctx.kernel_size, ctx.stride, (0, 0), False, True, 1
        )
        return x * spread, None, None


class L2Pooling(nn.Module):
    """The L2 norm of each window, a pooling between the mean and the maximum: y = sqrt(Σ x²).

    Input ``[batch, channels, height, width]`` (or without batch), output the same with
    height' = (height - kernel) // stride + 1; what lies beyond the last whole window is left out.
    The stride is the kernel size unless given. The gradient of an all-zero window is 0.
    The squares must fit the dtype, as in the analogue: in float32 and bfloat16 |x| above 1e19
    gives inf, and far below 1e-19 it counts as 0.

    Source: Sermanet et al. (2012), arXiv:1204.3968, Lp pooling with p = 2 and equal weights.
    Analogues: ``nn.LPPool2d(2, kernel_size)``, ``nn.MaxPool2d``.
    Raises: ValueError where kernel or stride is not an int of at least 1 or a pair of them.
    """

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None) -> None:
        super().__init__()
        self.kernel_size = _pair("L2Pooling", "kernel_size", kernel_size, least=1)
        stride = self.kernel_size if stride is None else stride
        self.stride = _pair("L2Pooling", "stride", stride, least=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` to ``[batch, channels, height', width']``."""
        # on CUDA autocast would square in float32; backward runs outside it, in the dtype of x
        with _without_autocast(x):
            y = L2PoolingFunction.apply(_as_batch(self, x), self.kernel_size, self.stride)
        return y if x.dim() == 4 else y.squeeze(0)

    def extra_repr(self) -> str:
        """What ``print(layer)`` shows between the brackets."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class CustomConvFunction(Function):
    """y = M conv(x; W, b), where M adds to each of O channels the mean of all: M = I + 11ᵀ / O.

    M only recombines channels, so it can act on the few filters in place of the large output:

        y = conv(x; V, c),   V = M W:  V_o = W_o + 1/O Σ_p W_p,   c = M b likewise

    A convolution sums products of V and x, so each derivative sums products of g and the other:

        dL/dx = the transposed convolution of g with V
        dL/dV = g correlated with x,    dL/dc_o = Σ g_o over batch and positions
        dL/dW = Mᵀ dL/dV = M dL/dV,     dL/db = M dL/dc       (M is symmetric)
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, pad: Pair) -> Tensor:
        """``[batch, in, height, width]`` to ``[batch, out, height', width']``."""
        bias = None if bias is None else _add_mean(bias)
        return F.conv2d(x, _add_mean(weight), bias, stride, pad)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensor) -> None:
        """V is not saved: it is neither input nor output, and cheap to add up again."""
        x, weight, _, ctx.stride, ctx.pad = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of ``x``, ``weight`` and ``bias``, each where it is asked for."""
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            # rows and columns beyond the last whole window: no output saw them, they get 0
            sides = zip(x.shape[2:], weight.shape[2:], ctx.stride, ctx.pad, strict=True)
            unseen = [(size + 2 * pad - kernel) % stride for size, kernel, stride, pad in sides]
            grad_x = F.conv_transpose2d(
                grad, _add_mean(weight), None, ctx.stride, ctx.pad, output_padding=unseen
            )
        if ctx.needs_input_grad[1]:
            grad_weight = _add_mean(conv2d_weight(x, weight.shape, grad, ctx.stride, ctx.pad))
        if ctx.needs_input_grad[2]:
            grad_bias = _add_mean(grad.sum(dim=(0, 2, 3)))
        return grad_x, grad_weight, grad_bias, None, None


def _add_mean(filters: Tensor) -> Tensor:
    """M of :class:`CustomConvFunction`: each output channel (the first axis) plus their mean."""
    return filters + filters.mean(dim=0, keepdim=True)


class CustomConv(nn.Module):
    """A convolution plus, at every position, the mean of its output over the channels.

        y_o = z_o + 1/O Σ_p z_p,    z = conv(x; weight) + bias

    Input ``[batch, in_channels, height, width]`` (or without batch), output
    ``[batch, out_channels, height', width']``. Sizes, parameters, their names and their initial
    values are those of ``nn.Conv2d``. It is none, for what folds a batch-norm into a convolution
    or quantises one would leave out the mean; look for ``Convolution``, which is either. What asks
    for no type, as ``torch.nn.utils.fusion.fuse_conv_bn_eval`` by itself, must not be given one.

    Analogue: ``nn.Conv2d``.
    Raises: ValueError where an argument is not an int, or a pair, in its range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = _count("CustomConv", "in_channels", in_channels)
        self.out_channels = _count("CustomConv", "out_channels", out_channels)
        self.kernel_size = _pair("CustomConv", "kernel_size", kernel_size, least=1)
        self.stride = _pair("CustomConv", "stride", stride, least=1)
        self.padding = _pair("CustomConv", "padding", padding, least=0)
        analogue = nn.Conv2d(self.in_channels, self.out_channels, self.kernel_size, bias=bias)
        self.weight = analogue.weight
        self.register_parameter("bias", analogue.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, height, width]`` to ``[batch, out_channels, height', width']``."""
        weight, bias = self.weight, self.bias
        if _in_autocast(x) and x.dtype != torch.float64:
            # cast here, not within the Function: backward runs outside autocast, and so meets
            # saved tensors of one dtype
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        batch = _as_batch(self, x, self.in_channels)
        y = CustomConvFunction.apply(batch, weight, bias, self.stride, self.padding)
        return y if x.dim() == 4 else y.squeeze(0)

    def extra_repr(self) -> str:
        """What ``print(layer)`` shows between the brackets."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )


Convolution = nn.Conv2d | CustomConv  # for isinstance


class ChannelAttentionFunction(Function):
    """y = x s,  s = σ(z),  z = (relu(a W0ᵀ) + relu(m W0ᵀ)) W1ᵀ,  a = mean_hw(x),  m = max_hw(x).

    Shapes: x and y ``[batch, channels, height, width]``; a, m, z and s ``[batch, channels]``;
    p = a W0ᵀ and q = m W0ᵀ ``[batch, hidden]``. W1 acts on the sum of both, being linear.
    Backwards through that, with ∂v for dL/dv, · by element and [·] = 1 where true:

        ∂s = Σ_hw g · x                     ∂z = ∂s · s (1 - s)
        ∂W1 = ∂zᵀ (relu p + relu q)         ∂h = ∂z W1
        ∂p = ∂h · [p > 0]                   ∂q = ∂h · [q > 0]
        ∂W0 = ∂pᵀ a + ∂qᵀ m                 ∂a = ∂p W0,  ∂m = ∂q W0
        ∂x = g s + ∂a / (height width) + ∂m at the position of the maximum

    Where several positions share the maximum the first in row order has all of ∂m, as in
    ``nn.AdaptiveMaxPool2d`` and CBAM's own code (``amax`` would divide it between them).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, w0: Tensor, w1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y; and a and m, outputs only so that they may be saved."""
        average, maximum = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))
        gate = torch.sigmoid((F.relu(average @ w0.T) + F.relu(maximum @ w0.T)) @ w1.T)
        return x * gate[..., None, None], average, maximum

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: tuple) -> None:
        """Beside x, everything saved is small."""
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    def backward(
        ctx: FunctionCtx, grad: Tensor, grad_average: Tensor, grad_maximum: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of ``x``, ``w0``, ``w1``; those of a and m arrive in second derivatives."""
        x, w0, w1, average, maximum = ctx.saved_tensors
        p, q = average @ w0.T, maximum @ w0.T  # [batch, hidden]
        hidden = F.relu(p) + F.relu(q)
        gate = torch.sigmoid(hidden @ w1.T)  # [batch, channels]

        grad_z = (grad * x).sum(dim=(2, 3)) * gate * (1 - gate)
        grad_w1 = grad_z.T @ hidden
        grad_hidden = grad_z @ w1
        grad_p, grad_q = grad_hidden * (p > 0), grad_hidden * (q > 0)
        grad_w0 = grad_p.T @ average + grad_q.T @ maximum

        height, width = x.shape[2:]
        per_position = (grad_average + grad_p @ w0) / (height * width)  # [batch, channels]
        grad_x = grad * gate[..., None, None] + per_position[..., None, None]
        at_maximum = (grad_maximum + grad_q @ w0)[..., None]  # [batch, channels, 1]
        grad_x = grad_x.reshape(*x.shape[:2], height * width)
        grad_x = grad_x.scatter_add_(2, _position_of_maximum(x), at_maximum)
        return grad_x.reshape(x.shape), grad_w0, grad_w1


def _position_of_maximum(x: Tensor) -> Tensor:
    """Where each channel is largest, first in row order, as row · width + column.

    ``[batch, channels, height, width]`` to ``[batch, channels, 1]``. A position costs far more than
    a maximum, so it is looked for among the rows' maxima, and then in one row.
    """
    row = x.amax(dim=3).argmax(dim=2, keepdim=True)  # [batch, channels, 1]
    numbers = x.take_along_dim(row[..., None], dim=2)  # of that row, [batch, channels, 1, width]
    return row * x.shape[3] + numbers.argmax(dim=3)


class ChannelAttention(nn.Module):
    """Scales each channel by how much it matters: the channel half of CBAM.

        y = x * sigmoid(mlp(mean_hw(x)) + mlp(max_hw(x))),   mlp(v) = W1 relu(W0 v), shared

    Input and output: ``[batch, channels, height, width]`` (or without batch); the gate is
    ``[batch, channels, 1, 1]``. W0 (``squeeze``) is ``[channels // reduction, channels]``,
    W1 (``expand``) is ``[channels, channels // reduction]``.

    Source: Woo et al., CBAM (2018), arXiv:1807.06521, section 3, equation 2.
    Differs from the paper: the spatial half of CBAM is left out, to measure this one alone.
    Differs from the authors' code: as in the equation, the layers of the MLP have no bias.
    Analogue: ``torchvision.ops.SqueezeExcitation`` pools by mean only.
    Raises: ValueError where ``reduction`` leaves the hidden layer without a unit.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.channels = _count("ChannelAttention", "channels", channels)
        divisor = _as_int(reduction)
        if divisor is None or not 1 <= divisor <= self.channels:
            allowed = f"an int from 1 to channels ({self.channels}), or no hidden unit is left"
            raise _refusal("ChannelAttention", "reduction", allowed, reduction)
        hidden = self.channels // divisor
        self.squeeze = nn.Linear(self.channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, self.channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` to the same."""
        w0, w1 = self.squeeze.weight, self.expand.weight
        if _in_autocast(x):
            w0, w1 = w0.to(x.dtype), w1.to(x.dtype)
        # The products are tiny, autocast has nothing to win; and backward, which runs outside it,
        # must compute the same gate again.
        with _without_autocast(x):
            y, *_ = ChannelAttentionFunction.apply(_as_batch(self, x, self.channels), w0, w1)
        return y if x.dim() == 4 else y.squeeze(0)


def _as_batch(layer: nn.Module, x: Tensor, channels: int | None = None) -> Tensor:
    """``[channels, height, width]`` to a batch of one; any other shape but a batch is refused."""
    if x.dim() not in (3, 4) or channels not in (None, x.shape[-3]):
        image = f"{'channels' if channels is None else channels}, height, width]"
        expected = f"expected [batch, {image} or [{image}"
        raise ValueError(f"{type(layer).__name__}: input has shape {list(x.shape)}, {expected}")
    return x if x.dim() == 4 else x.unsqueeze(0)


def _in_autocast(x: Tensor) -> bool:
    """Whether autocast is on where ``x`` is; the meta device has none."""
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


def _without_autocast(x: Tensor) -> AbstractContextManager:
    """The context in which it is off."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def _as_int(value: object) -> int | None:
    """A whole number of any type, NumPy's too; None for all else, True and False among it."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _as_float(value: object) -> float:
    """A real number of any type; NaN for everything else."""
    try:  # the sum, since NumPy calls a timedelta64 a number
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        return float(value + 0.0) if is_number else math.nan
    except (TypeError, OverflowError):
        return math.nan


def _count(layer: str, name: str, value: object) -> int:
    """``value`` where it is an int of at least 1."""
    number = _as_int(value)
    if number is None or number < 1:
        raise _refusal(layer, name, "an int of at least 1", value)
    return number


def _pair(layer: str, name: str, value: object, least: int) -> Pair:
    """``value`` for height and width: an int stands for both."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    sides = [_as_int(side) for side in pair]
    if len(sides) != 2 or any(side is None or side < least for side in sides):
        allowed = f"an int of at least {least} or a pair of them"
        raise _refusal(layer, name, allowed, value)
    return sides[0], sides[1]


def _refusal(layer: str, name: str, allowed: str, value: object) -> ValueError:
    """One line, whatever it takes to print the value."""
    return ValueError(f"{layer}: {name} must be {allowed}, got {' '.join(repr(value).split())}")
