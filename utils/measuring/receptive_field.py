"""Receptive fields: how much of the image a unit can see, and how much it does see.

    network --trace--> graph --walk, layer by layer--> theoretical field (size, jump, start)
    network, images --gradient at the centre unit--> measured field [height, width]

The theoretical field is the square of input pixels that can reach a unit at all; the measured one
is how strongly each pixel does, which is far from even: most of the weight lies at the centre.

Source: Araujo et al., Computing Receptive Fields of CNNs (2019), distill.pub, for the arithmetic;
Luo et al., Understanding the Effective Receptive Field (2016), arXiv:1701.04128, for the gradient.
"""

import functools
import itertools
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torchvision.ops import SqueezeExcitation

from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from models.locally_connected import LocallyConnected2d
from utils.measuring.graph import calls, function_of, outputs, trace
from utils.measuring.layouts import REDUCING_FUNCTIONS, RESHAPING_FUNCTIONS, ROWS, layout_of

# Layers that move a window over the image, each with kernel_size and stride.
WINDOWED = (
    nn.Conv2d,
    CustomConv,
    LocallyConnected2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.LPPool2d,
    L2Pooling,
)

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

# Layers that look at one position at a time (in eval mode, as batch-norm has constants there, but
# for one that takes its numbers from the batch even then).
POINTWISE = (*ACTIVATIONS, nn.Identity, nn.BatchNorm2d, nn.ChannelShuffle, nn.Dropout, nn.Dropout2d)

# The same as functions and methods; where two maps meet in one, the fields are joined.
# fmt: off
ACTIVATION_FUNCTIONS = {
    "relu", "relu_", "leaky_relu", "elu", "gelu", "silu", "hardswish", "softplus", "sigmoid",
    "tanh",
}
POINTWISE_FUNCTIONS = {
    *ACTIVATION_FUNCTIONS,
    "add", "iadd", "sub", "isub", "mul", "imul", "truediv", "neg", "contiguous", "clone", "dropout",
}
STACKING_FUNCTIONS = {"cat", "concat", "concatenate"}
# fmt: on


# Behind these a unit sees the whole image, or what it sees depends on the image's size.
ENDING = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.BatchNorm2d,
    nn.Flatten,
    nn.GroupNorm,
    nn.Linear,
    nn.Unflatten,
    ChannelAttention,
    SqueezeExcitation,
)
# fmt: off
ENDING_FUNCTIONS = {
    *REDUCING_FUNCTIONS, *RESHAPING_FUNCTIONS, *STACKING_FUNCTIONS, "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
}
# What depends on no pixel.
SHAPE_FUNCTIONS = {"dim", "numel", "size"}
SHAPE_ATTRIBUTES = {"device", "dtype", "ndim", "shape"}
# They end it where the size of their window is the map's own.
POOLING_FUNCTIONS = {"avg_pool2d", "max_pool2d"}
RESHAPED = (
    "view, reshape, flatten or a mean without keepdim: not known what a unit behind it sees; "
    "nn.ChannelShuffle is"
)
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
    # of the image, at its edges: so much are there fewer units, or with ceil_mode less than that
    lost: int = field(default=0, compare=False)
    spared: int = field(default=0, compare=False)

    def through(
        self, kernel: int, stride: int, padding: int, dilation: int, lost: int = 0, spared: int = 0
    ) -> "Field":
        """The field behind a layer that moves a window over this map."""
        return Field(
            size=self.size + dilation * (kernel - 1) * self.jump,
            jump=self.jump * stride,
            start=self.start - padding * self.jump,
            lost=self.lost + lost * self.jump,
            spared=self.spared + spared * self.jump,
        )

    def joined(self, other: "Field") -> "Field":
        """The field where two paths of one jump meet: whatever either of them sees.

        Where both are centred at the same pixel, as in our blocks, its size is the maximum.
        """
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Field(end - start, self.jump, start, self.lost, self.spared)

    def window(self, unit: int) -> tuple[int, int]:
        """First pixel that the unit sees, and the first behind the last one."""
        first = self.start + unit * self.jump
        return first, first + self.size


class Layer(NamedTuple):
    """A convolution, a pooling or a residual block on the way through a network."""

    # along height and width; None: its units see the whole image, or what depends on its size
    fields: tuple[Field, Field] | None
    output: fx.Node  # what it puts out; for a block that of its last operation
    block: str = ""  # which call of which module the block is; empty for what is none

    @property
    def size(self) -> int | None:
        """Pixels that its units see along the longer side."""
        return max(each.size for each in self.fields) if self.fields else None


def walk(network: nn.Module) -> dict[str, Layer]:
    """Name -> layer, in the order of the forward pass.

    Listed are convolutions, poolings and the joins of residual blocks. A layer has the name of its
    module, a join that of its block; what is called again has a number behind it. Every path is
    followed, and fields end on it at ``ENDING``.
    Raises: UnknownOperationError where it meets any other operation before.
    """
    modules = dict(network.named_modules())
    # None: they have ended on the way to this node
    fields: dict[fx.Node, tuple[Field, Field] | None] = {}
    constants, layouts = set[fx.Node](), dict[fx.Node, str]()
    names: dict[Hashable, str] = {}
    layers: dict[str, Layer] = {}
    for node in trace(network).nodes:
        if node.op == "placeholder":
            fields[node], layouts[node] = (Field(), Field()), ""
            continue
        if _is_constant(node, constants):
            constants.add(node)
            continue
        sources = [each for each in node.all_input_nodes if each not in constants]
        seen = _where_they_meet([fields[each] for each in sources])
        fields[node] = None
        module = modules[node.target] if node.op == "call_module" else None
        before = [layouts[each] for each in sources]
        sees_all = any(fields[each] is None and not layouts[each] for each in sources)
        loses_channels = _is_over_channels(node) and not _is_pointwise(node, module)
        layouts[node] = "" if sees_all else layout_of(node, module, before, loses_channels)
        if isinstance(module, WINDOWED):
            if layouts[node] not in ("", ROWS):
                raise UnknownOperationError(RESHAPED)
            fields[node] = seen and tuple(
                each.through(**_window(module, axis)) for axis, each in enumerate(seen)
            )
            call, path = [*calls(node).items()][-1]
            layers[_name(call, path, names, modules)] = Layer(fields[node], node)
        elif seen is None or node.op == "output":
            continue
        elif _is_pointwise(node, module):
            fields[node] = seen
            if len(sources) > 1:
                name, end, call = _join(node, names, modules)
                layers.pop(name, None)  # of two joins in a block the later one is its end
                layers[name] = Layer(seen, end, call)
        else:
            _check_ends(node, module)
    return layers


def field_sizes(network: nn.Module) -> dict[str, int | None]:
    """Layer of ``walk`` -> pixels that its units see along the longer side.

    None where they see the whole image, or what depends on its size.
    Raises: UnknownOperationError, as ``walk`` does.
    """
    return {name: layer.size for name, layer in walk(network).items()}


def _where_they_meet(maps: Sequence[tuple[Field, Field] | None]) -> tuple[Field, Field] | None:
    """What units see along height and width that are made of these maps.

    None where one has ended, or is another's size: a gate that was pooled of the whole map, say,
    which meets every position of it.
    """
    if not maps or None in maps:
        return None
    for along in zip(*maps, strict=True):
        apart = max(each.lost - each.spared for each in along) - min(each.lost for each in along)
        jumps = {each.jump for each in along}
        if len(jumps) > 1 or apart >= max(jumps):  # less is what a stride leaves over
            return None
    high, wide = (functools.reduce(Field.joined, along) for along in zip(*maps, strict=True))
    return high, wide


def _name(call: Hashable, path: str, names: dict[Hashable, str], modules: Collection[str]) -> str:
    """What a layer is called, by its call; ``names`` are those given so far."""
    if call not in names:
        taken = {*modules, *names.values()}
        numbered = (f"{path}_{number}" for number in itertools.count(1))
        free = (name for name in itertools.chain([path], numbered) if name not in taken)
        names[call] = path if call == path else next(free)
    return names[call]


def _join(
    node: fx.Node, names: dict[Hashable, str], modules: Mapping[str, nn.Module]
) -> tuple[str, fx.Node, str]:
    """What a join is called, the last operation of its block, and that block's call."""
    call, end = _block(node, modules)
    path = calls(node).get(call, ".".join([*calls(node).values(), node.name][-2:]))
    return _name(call or node, path, names, modules), end, call


def _block(join: fx.Node, modules: Mapping[str, nn.Module]) -> tuple[str, fx.Node]:
    """The call of a module that ends in this join, and the last operation in it.

    An activation may follow. "" and the join itself where something else does.
    """
    call = next(reversed(calls(join)), "")
    inside = [node for node in join.graph.nodes if call in calls(node)] if call else [join]
    for node in inside[inside.index(join) + 1 :]:
        module = modules[node.target] if node.op == "call_module" else None
        if node.op != "get_attr" and not _is_pointwise(node, module):
            return "", join
    return call, inside[-1]


def _is_constant(node: fx.Node, constants: Collection[fx.Node]) -> bool:
    """Whether no pixel reaches it: a shape, a parameter, or what is made of ``constants``."""
    is_attribute = function_of(node) == "getattr" and node.args[1] in SHAPE_ATTRIBUTES
    is_shape = is_attribute or function_of(node) in SHAPE_FUNCTIONS
    return node.op != "output" and (is_shape or all(e in constants for e in node.all_input_nodes))


def _is_pointwise(node: fx.Node, module: nn.Module | None) -> bool:
    if isinstance(module, nn.BatchNorm2d):
        return module.running_mean is not None
    if _is_over_channels(node):  # which stay as one
        return bool(node.kwargs.get("keepdim", node.args[2:3] == (True,)))
    if function_of(node) in STACKING_FUNCTIONS:
        # of channels, and not of one map behind the other's edge
        dim = node.kwargs.get("dim", node.kwargs.get("axis", *node.args[1:2] or [0]))
        return dim in (1, -3)
    if function_of(node) == "getattr":
        return node.args[1] == "data"
    return isinstance(module, POINTWISE) or function_of(node) in POINTWISE_FUNCTIONS


def _is_over_channels(node: fx.Node) -> bool:
    axes = node.kwargs.get("dim", node.kwargs.get("axis", *node.args[1:2] or [None]))
    return function_of(node) in REDUCING_FUNCTIONS and axes in (1, -3, [1], [-3], (1,), (-3,))


def _check_ends(node: fx.Node, module: nn.Module | None) -> None:
    """The field is known to end here. Raises: UnknownOperationError where it is not."""
    pools_all = function_of(node) in POOLING_FUNCTIONS and len(node.all_input_nodes) > 1
    if not (isinstance(module, ENDING) or function_of(node) in ENDING_FUNCTIONS or pools_all):
        raise UnknownOperationError(
            f"{type(module).__name__ if module else function_of(node)}: not known what a unit "
            "behind it sees; use a layer such as nn.MaxPool2d, or name it in "
            "utils/measuring/receptive_field.py"
        )


def _window(module: nn.Module, axis: int) -> dict[str, int]:
    """What ``Field.through`` takes of a layer along one axis."""

    def along(value: Any) -> int:  # noqa: ANN401 (an int or a pair, as PyTorch's layers hold them)
        return value[axis] if isinstance(value, tuple | list) else value

    kernel, dilation = along(module.kernel_size), along(getattr(module, "dilation", 1))
    # LPPool2d keeps None where it uses the kernel size
    stride = kernel if module.stride is None else along(module.stride)
    padding, reach = getattr(module, "padding", 0), dilation * (kernel - 1)
    if padding == "same":
        before, lost = reach // 2, 0
    else:
        before = 0 if padding == "valid" else along(padding)
        lost = reach - 2 * before
    spared = (stride - 1) * getattr(module, "ceil_mode", False)
    window = {"kernel": kernel, "stride": stride, "padding": before, "dilation": dilation}
    return window | {"lost": lost, "spared": spared}


def gradient_receptive_field(network: nn.Module, images: Tensor, channels: int = 4) -> Tensor:
    """How strongly each pixel moves the centre unit of a feature map, in eval mode.

    ``images`` are real ones, normalised, ``[images, channels, height, width]``: on a zero image
    ReLU and max-pooling would take paths that no image takes. The feature map is the output of
    the last layer of ``walk`` behind which a unit sees most. Asking each image about each of its
    channels would cost as many backward passes as it has channels; here each image is asked about
    ``channels`` of them, spread evenly, and the next image about the next ones.

    Returns the mean of |d unit / d pixel| over images and channels, ``[height, width]``, divided
    by its maximum. Raises: ValueError for a network without a feature map.
    """
    layers = [layer for layer in walk(network.eval()).values() if layer.fields]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no feature map: no receptive field")
    images = images.detach().clone().requires_grad_()
    largest = max(reversed(layers), key=lambda layer: layer.size)
    (feature_map,) = outputs(network, [largest.output], images)
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
