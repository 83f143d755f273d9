"""Receptive fields: how much of the image a unit can see, and how much it does see.

    network --trace--> graph --walk, layer by layer--> theoretical field (size, jump, start)
    network, images --gradient at the centre unit--> measured field [height, width]

The theoretical field is the square of input pixels that can reach a unit at all; the measured one
is how strongly each pixel does, which is far from even: most of the weight lies at the centre.

Source: Araujo et al., Computing Receptive Fields of CNNs (2019), distill.pub, for the arithmetic;
Luo et al., Understanding the Effective Receptive Field (2016), arXiv:1701.04128, for the gradient.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import SqueezeExcitation

from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish

# Layers that stay whole in the graph: torch.fx cannot see into our Functions, and torchvision's
# feature extractor does not look into layers of its own package.
OPAQUE = (ChannelAttention, CustomConv, L2Pooling, SqueezeExcitation, Swish)

# Layers that move a window over the image, each with kernel_size and stride.
WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d, L2Pooling)

ACTIVATIONS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Softplus,
    nn.Sigmoid,
    nn.Tanh,
    Swish,
)

# Layers that look at one position at a time (in eval mode, as batch-norm has constants there).
POINTWISE = (*ACTIVATIONS, nn.Identity, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d)

# The same as functions and methods; where two maps meet in one, the fields are joined.
# fmt: off
POINTWISE_FUNCTIONS = {
    "add", "iadd", "sub", "isub", "mul", "imul", "truediv", "neg", "cat", "contiguous", "clone",
    "dropout", "relu", "relu_", "leaky_relu", "elu", "gelu", "silu", "hardswish", "softplus",
    "sigmoid", "tanh",
}
# fmt: on


# Behind these a unit sees the whole image, or what it sees depends on the image's size.
ENDING = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Flatten,
    nn.GroupNorm,
    nn.Linear,
    ChannelAttention,
    SqueezeExcitation,
)
# fmt: off
ENDING_FUNCTIONS = {
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "amax", "flatten", "getattr", "mean", "reshape",
    "size", "sum", "view",
}
# fmt: on


class UnknownOperationError(ValueError):
    """An operation of which it is not known what a unit behind it sees."""


@dataclass(frozen=True)
class Field:
    """What the units of a feature map see along one axis of the image, in input pixels.

    Unit u sees the pixels from ``start + u * jump`` up to, not including, that plus ``size``;
    pixels outside the image are padding.
    """

    size: int = 1
    jump: int = 1
    start: int = 0

    def through(self, kernel: int, stride: int, padding: int, dilation: int) -> "Field":
        """The field behind a layer that moves a window over this map."""
        return Field(
            size=self.size + dilation * (kernel - 1) * self.jump,
            jump=self.jump * stride,
            start=self.start - padding * self.jump,
        )

    def joined(self, other: "Field") -> "Field":
        """The field where two paths meet: whatever either of them sees.

        Where both are centred at the same pixel, as in our blocks, its size is the maximum.
        """
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Field(end - start, max(self.jump, other.jump), start)

    def window(self, unit: int) -> tuple[int, int]:
        """First pixel that the unit sees, and the first behind the last one."""
        first = self.start + unit * self.jump
        return first, first + self.size


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Our own layers stay whole, as PyTorch's do."""
        return isinstance(m, OPAQUE) or super().is_leaf_module(m, module_qualified_name)


def trace(network: nn.Module) -> fx.Graph:
    """The network's operations, in the order in which they run."""
    return _Tracer().trace(network)


def feature_extractor(network: nn.Module, layers: list[str]) -> nn.Module:
    """A network in eval mode that maps images to ``{layer: its output}``; it shares the weights.

    A layer that holds others (a residual block) gives what its last operation gives.
    """
    extractor = create_feature_extractor(
        network, layers, tracer_kwargs={"leaf_modules": list(OPAQUE)}
    )
    return extractor.eval()


def receptive_fields(network: nn.Module, axis: int = 0) -> dict[str, Field]:
    """Layer name -> theoretical field of its output, in the order of the forward pass.

    Listed are convolutions, poolings and, under the name of the block, the joins of residual
    blocks; a layer that is called again has a number behind its name. The walk follows every path
    and ends on it at ``ENDING``. ``axis`` 0 is height, 1 width.
    Raises: UnknownOperationError where it meets any other operation before.
    """
    modules = dict(network.named_modules())
    fields: dict[fx.Node, Field | None] = {}  # None: the walk has ended on the way to this node
    layers: dict[str, Field] = {}
    for node in trace(network).nodes:
        if node.op == "placeholder":
            fields[node] = Field()
            continue
        sources = [fields[source] for source in node.all_input_nodes if source.op != "get_attr"]
        fields[node] = None
        if node.op in ("get_attr", "output") or None in sources or not sources:
            continue
        field = sources[0]
        for other in sources[1:]:
            field = field.joined(other)
        module = modules[node.target] if node.op == "call_module" else None
        if isinstance(module, WINDOWED):
            again = sum(
                name == node.target or name.startswith(f"{node.target}_") for name in layers
            )
            name = f"{node.target}_{again}" if again else node.target
            fields[node] = layers[name] = field.through(**_window(module, axis))
        elif isinstance(module, POINTWISE) or _function(node) in POINTWISE_FUNCTIONS:
            fields[node] = field
            if len(sources) > 1:
                layers[_owner(node) or node.name] = field
        elif not isinstance(module, ENDING) and _function(node) not in ENDING_FUNCTIONS:
            raise UnknownOperationError(
                f"{type(module).__name__ if module else _function(node)}: not known what a unit "
                "behind it sees; use a layer such as nn.MaxPool2d, or name it in "
                "utils/measuring/receptive_field.py"
            )
    return layers


def _owner(node: fx.Node) -> str:
    """Name of the module in whose ``forward`` an operation stands; empty for the network itself."""
    stack = list(node.meta.get("nn_module_stack", {}))
    return stack[-1] if stack else ""


def _function(node: fx.Node) -> str:
    """Name of the function or method that an operation calls; empty for a module."""
    if node.op not in ("call_function", "call_method"):
        return ""
    return node.target if isinstance(node.target, str) else node.target.__name__


def _window(module: nn.Module, axis: int) -> dict[str, int]:
    """Kernel, stride, padding and dilation of a layer along one axis."""

    def along(value: Any) -> int:  # noqa: ANN401 (an int or a pair, as PyTorch's layers hold them)
        return value[axis] if isinstance(value, tuple | list) else value

    kernel, dilation = along(module.kernel_size), along(getattr(module, "dilation", 1))
    # LPPool2d keeps None where it uses the kernel size
    stride = kernel if module.stride is None else along(module.stride)
    padding = getattr(module, "padding", 0)
    if isinstance(padding, str):
        padding = {"valid": 0, "same": dilation * (kernel - 1) // 2}[padding]
    return {
        "kernel": kernel,
        "stride": stride,
        "padding": along(padding),
        "dilation": dilation,
    }


def gradient_receptive_field(network: nn.Module, images: Tensor, channels: int = 4) -> Tensor:
    """How strongly each pixel moves the centre unit of the last feature map, in eval mode.

    ``images`` are real ones, normalised, ``[images, channels, height, width]``: on a zero image
    ReLU and max-pooling would take paths that no image takes. The last feature map is the output
    of the last layer of ``receptive_fields``. Asking each image about each of its channels would
    cost as many backward passes as it has channels; here each image is asked about ``channels`` of
    them, spread evenly, and the next image about the next ones.

    Returns the mean of |d unit / d pixel| over images and channels, ``[height, width]``, divided
    by its maximum. Raises: ValueError for a network without a feature map.
    """
    layers = list(receptive_fields(network))
    if not layers:
        raise ValueError(f"{type(network).__name__} has no feature map: no receptive field")
    images = images.detach().clone().requires_grad_()
    feature_map = feature_extractor(network, layers[-1:])(images)[layers[-1]]
    _, width, rows, columns = feature_map.shape
    centre = feature_map[:, :, rows // 2, columns // 2]  # [images, width]
    passes = min(channels, width)
    first = torch.arange(len(images), device=images.device)
    heat = torch.zeros(images.shape[2:], device=images.device)
    for number in range(passes):
        asked = (first + number * width // passes) % width
        units = centre.gather(1, asked.unsqueeze(1)).sum()  # images do not meet: the sum is apart
        (gradient,) = torch.autograd.grad(units, images, retain_graph=True)
        heat += gradient.abs().mean(dim=(0, 1))
    return heat / heat.max().clamp_min(torch.finfo(heat.dtype).tiny)
