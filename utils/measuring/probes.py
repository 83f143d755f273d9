"""Probes: what a trained network looks like inside, as arrays beside its record.

    trained network, dataset --probe--> facts for the record, arrays for the .npz beside it

One test image, the first of the canonical order, is behind all activations of all networks, so
that they can be compared. Networks without a convolution have none of this.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from utils.data.batches import normalise
from utils.data.dataset import Dataset
from utils.measuring.receptive_field import (
    ACTIVATIONS,
    UnknownOperationError,
    feature_extractor,
    gradient_receptive_field,
    receptive_fields,
    trace,
)
from utils.records.schema import Probe

log = logging.getLogger(__name__)

PROBE_IMAGE = 0  # its number in the test split
FEATURE_CHANNELS = 16  # kept of each feature map: what a figure has room for
FIELD_IMAGES = 64  # test images over which the measured receptive field is averaged


def probe(network: nn.Module, dataset: Dataset) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Looks into a trained network, which is left in eval mode.

    Returns the facts for its record and the arrays that stand beside it:

    - ``filters`` float32 ``[out, in, kernel, kernel]``: the weight of the first convolution;
    - ``activations`` float16 ``[channels, h, w]``: what comes out behind it and its ReLU;
    - ``feature_maps/<layer>`` float16 ``[at most 16 channels, h, w]``, see ``feature_layers``;
    - ``receptive_field`` float32 ``[height, width]``: see ``gradient_receptive_field``.
    """
    network.eval()
    try:
        fields = receptive_fields(network)
    except UnknownOperationError as error:
        log.warning("no receptive fields and feature maps: %s", error)
        fields = {}
    facts = {
        **sizes(network, dataset),
        "receptive_field": {name: field.size for name, field in fields.items()},
        "probe": Probe(image_class=dataset.classes[int(dataset.y_test[PROBE_IMAGE])]),
    }
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not convolutions or not fields:
        return facts, {}
    first, maps = _feature_maps(network, dataset)
    images = normalise(dataset.x_test[:FIELD_IMAGES], dataset)
    arrays = {
        "filters": _array(convolutions[0].weight, np.float32),
        "activations": _array(first, np.float16),
        **{f"feature_maps/{name}": _array(each, np.float16) for name, each in maps.items()},
        "receptive_field": _array(gradient_receptive_field(network, images), np.float32),
    }
    return facts, arrays


def sizes(network: nn.Module, dataset: Dataset) -> dict[str, int]:
    """Trained parameters, and FLOPs of one image: known of a network that diverged too."""
    return {
        "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "forward_flops": forward_flops(network, dataset.x_test.shape[1:]),
    }


@torch.no_grad()
def _feature_maps(network: nn.Module, dataset: Dataset) -> tuple[Tensor, dict[str, Tensor]]:
    """All channels of the first convolution's activation, and some of every layer's.

    Both are ``[channels, h, w]``, for the probe image.
    """
    layers = feature_layers(network)
    image = normalise(dataset.x_test[PROBE_IMAGE : PROBE_IMAGE + 1], dataset)
    found = feature_extractor(network, list(layers.values()))(image)
    late = late_activations(network)
    maps = {
        name: late.get(name, nn.Identity())(found[source][0]) for name, source in layers.items()
    }
    return next(iter(maps.values())), {name: each[:FEATURE_CHANNELS] for name, each in maps.items()}


def feature_layers(network: nn.Module) -> dict[str, str]:
    """Layer -> where its activation is to be read, in the order of the forward pass.

    A layer is a convolution, read behind the batch-norm and activation that follow it directly,
    or a residual block as a whole, read at its output.
    """
    modules = dict(network.named_modules())
    listed = [name for name in receptive_fields(network) if name in modules]
    blocks = [name for name in listed if any(modules[name].children())]  # not a single layer
    layers: dict[str, str] = {}
    for node in trace(network).nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], nn.Conv2d):
            continue
        block = next((name for name in blocks if node.target.startswith(f"{name}.")), None)
        if block is None:
            layers[node.target] = _activated(node, modules)
        else:
            layers[block] = block
    return layers


def late_activations(network: nn.Module) -> dict[str, nn.Module]:
    """Convolution -> the activation that stands behind a max-pool, where one follows directly.

    In the usual order it would stand before the pool, with the same result; a feature map is shown
    as it is there, activated and not yet pooled.
    """
    modules = dict(network.named_modules())
    late: dict[str, nn.Module] = {}
    for node in trace(network).nodes:
        pool = _follower(node, nn.MaxPool2d, modules)
        activation = pool and _follower(pool, ACTIVATIONS, modules)
        if activation:
            late[node.target] = modules[activation.target]
    return late


def _activated(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """Name of the last module of convolution, batch-norm, activation, as far as they follow."""
    for kind in (nn.BatchNorm2d, ACTIVATIONS):
        node = _follower(node, kind, modules) or node
    return node.target


def _follower(
    node: fx.Node, kind: type | tuple[type, ...], modules: dict[str, nn.Module]
) -> fx.Node | None:
    """The module of this kind that alone reads what the node puts out, or None."""
    users = list(node.users)
    is_module = len(users) == 1 and users[0].op == "call_module"
    return users[0] if is_module and isinstance(modules[users[0].target], kind) else None


def _array(values: Tensor, dtype: type) -> np.ndarray:
    return values.detach().cpu().contiguous().numpy().astype(dtype)


def forward_flops(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Floating-point operations of one image's forward pass; a multiply-add is 2.

    ``image_shape`` is ``[channels, height, width]``. Only convolutions and matrix products
    count, as ``torch.utils.flop_counter`` has it.
    """
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *image_shape, device=device))
    return counter.get_total_flops()


def step_flops(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Those of one image's forward and backward pass in training, of which the same counts.

    Less than three times the forward pass: nobody needs the gradient of the image itself.
    """
    device = next(network.parameters()).device
    network.eval()  # batch-norm would refuse a batch of one
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *image_shape, device=device)).sum().backward()
    return counter.get_total_flops()
