"""Probes: what a trained network looks like inside, as arrays beside its record.

    trained network, dataset --probe--> facts for the record, arrays for the .npz beside it

One test image, the first of the canonical order, is behind all activations of all networks, so
that they can be compared. Networks without a convolution have none of this, and what a network of
one's own does not let be seen is left out, with a line.
"""

import functools
import logging
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn

from models import Convolution
from utils.data.batches import normalise
from utils.data.dataset import Dataset
from utils.errors import in_one_line
from utils.measuring.graph import calls, function_of, outputs
from utils.measuring.receptive_field import (
    ACTIVATION_FUNCTIONS,
    ACTIVATIONS,
    field_sizes,
    gradient_receptive_field,
    walk,
)
from utils.records.schema import Probe

log = logging.getLogger(__name__)

PROBE_IMAGE = 0  # its number in the test split
FEATURE_CHANNELS = 16  # kept of each feature map: what a figure has room for
FIELD_IMAGES = 64  # test images over which the measured receptive field is averaged


def probe(
    network: nn.Module, dataset: Dataset, name: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Looks into a trained network of this name, which is left in eval mode.

    Returns the facts for its record and the arrays that stand beside it:

    - ``filters`` float32 ``[out, in, kernel, kernel]``: the weight of the first convolution;
    - ``activations`` float16 ``[channels, h, w]``: what comes out behind it and its ReLU;
    - ``feature_maps/<layer>`` float16 ``[at most 16 channels, h, w]``, see ``feature_layers``;
    - ``receptive_field`` float32 ``[height, width]``: see ``gradient_receptive_field``.
    """
    network.eval()
    fields = seen("receptive fields and feature maps", name, lambda: field_sizes(network))
    facts = {
        "receptive_field": fields,
        "probe": Probe(image_class=dataset.classes[int(dataset.y_test[PROBE_IMAGE])]),
    }
    arrays: dict[str, np.ndarray] = {}
    if fields:
        arrays |= seen("feature maps", name, lambda: _feature_maps(network, dataset))
    if fields and list(fields.values())[-1]:
        arrays |= seen("measured receptive field", name, lambda: _field(network, dataset))
    return facts, arrays


def seen(what: str, name: str, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a look into the network shows; nothing, and a line, where it cannot be had."""
    try:
        return look()
    except Exception as error:  # anything that one's own network may raise
        tell_once(f"{name}: no {what}: {in_one_line(error)}")
        return {}


@functools.cache  # not again with every seed
def tell_once(text: str) -> None:
    """A warning."""
    log.warning(text)


def _field(network: nn.Module, dataset: Dataset) -> dict[str, np.ndarray]:
    images = normalise(dataset.x_test[:FIELD_IMAGES], dataset)
    return {"receptive_field": _array(gradient_receptive_field(network, images), np.float32)}


@torch.no_grad()
def _feature_maps(network: nn.Module, dataset: Dataset) -> dict[str, np.ndarray]:
    """What the first convolution has learned and gives, and some channels of every layer."""
    layers = feature_layers(network)
    if not layers:
        return {}
    image = normalise(dataset.x_test[PROBE_IMAGE : PROBE_IMAGE + 1], dataset)
    found = outputs(network, [layer.read_at for layer in layers.values()], image)
    maps = {
        name: layer.late(each[0])
        for (name, layer), each in zip(layers.items(), found, strict=True)
        if each.dim() == 4
    }
    if not maps:
        return {}
    first = next(iter(maps))
    shown = {"activations": maps[first]}
    shown |= {f"feature_maps/{name}": each[:FEATURE_CHANNELS] for name, each in maps.items()}
    return {
        "filters": _array(layers[first].convolution.weight, np.float32),
        **{name: _array(each, np.float16) for name, each in shown.items()},
    }


class FeatureLayer(NamedTuple):
    """A layer whose activation is shown."""

    convolution: nn.Module  # itself, or the first one of a block
    read_at: fx.Node
    # In the usual order an activation behind a max-pool would stand before it, with the same
    # result; a feature map is shown as it is there, activated and not yet pooled.
    late: Callable[[Tensor], Tensor]


def feature_layers(network: nn.Module) -> dict[str, FeatureLayer]:
    """Name -> layer, in the order of the forward pass.

    A layer is a convolution, read behind the batch-norm and activation that follow it directly,
    or a residual block as a whole, read at its output.
    """
    modules, layers = dict(network.named_modules()), walk(network)
    blocks = {layer.block: name for name, layer in layers.items() if layer.block}
    found: dict[str, FeatureLayer] = {}
    for name, layer in layers.items():
        node = layer.output
        if layer.block or not _is(node, Convolution, modules):
            continue
        block = next((blocks[call] for call in blocks if call in calls(node)), None)
        if block:
            whole = FeatureLayer(modules[node.target], layers[block].output, nn.Identity())
            found.setdefault(block, whole)
        else:
            late = _late_activation(node, modules)
            found[name] = FeatureLayer(modules[node.target], _activated(node, modules), late)
    return found


def _late_activation(node: fx.Node, modules: Mapping[str, nn.Module]) -> Callable[[Tensor], Tensor]:
    """The activation that stands behind a max-pool, where one follows directly."""
    pool = _follower(node, nn.MaxPool2d, modules)
    activation = pool and _follower(pool, ACTIVATIONS, modules)
    if not activation:
        return nn.Identity()
    if activation.op == "call_module":
        return modules[activation.target]
    function, rest = activation.target, activation.args[1:]
    if isinstance(function, str):  # a method
        function = getattr(Tensor, function)
    return lambda x: function(x, *rest, **activation.kwargs)


def _activated(node: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node:
    """The last of convolution, batch-norm, activation, as far as they follow."""
    for kind in (nn.BatchNorm2d, ACTIVATIONS):
        node = _follower(node, kind, modules) or node
    return node


def _follower(
    node: fx.Node, kind: type | tuple[type, ...], modules: Mapping[str, nn.Module]
) -> fx.Node | None:
    """The module of this kind that alone reads what the node puts out, or None."""
    users = list(node.users)
    return users[0] if len(users) == 1 and _is(users[0], kind, modules) else None


def _is(
    node: fx.Node, kind: type | UnionType | tuple[type, ...], modules: Mapping[str, nn.Module]
) -> bool:
    if kind is ACTIVATIONS and function_of(node) in ACTIVATION_FUNCTIONS:
        return True
    return node.op == "call_module" and isinstance(modules[node.target], kind)


def _array(values: Tensor, dtype: type) -> np.ndarray:
    """What is too large for the type is its largest number."""
    most = float(np.finfo(dtype).max)
    return values.detach().cpu().contiguous().clamp(-most, most).numpy().astype(dtype)
