"""Sizes: the parameters and FLOPs of a network, which it has before it is trained."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import models
from utils.data.sources import OFFICIAL
from utils.errors import UserError, in_one_line
from utils.records.runs import Found, differences


def sizes(name: str, overrides: Mapping[str, Any], image_shape: Sequence[int]) -> dict[str, int]:
    """Trained parameters, and FLOPs of one image ``[channels, height, width]``.

    They are those of the untrained network, always the same one: what a network of one's own has
    learned may decide what it computes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = models.build(name, **overrides)
        return {
            "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "forward_flops": forward_flops(network, image_shape),
        }


def check_sizes(found: Sequence[Found]) -> None:
    """Records are of the networks that ``models/`` has now, by their parameters and FLOPs.

    Raises: UserError naming the first that is not.
    """
    now: dict[tuple[str, ...], dict[str, int]] = {}  # many records are of one network
    for each in found:
        record, overrides = each.record, each.row.overrides
        key = (record.dataset, record.network, str(dict(overrides)))
        if key not in now:
            height, width, *channels = OFFICIAL[record.dataset].image_shape
            try:
                shape = (*(channels or [1]), height, width)
                now[key] = sizes(record.network, overrides, shape)
            except Exception as error:  # anything that one's own network may raise
                raise UserError(
                    f"{each.path}: its network cannot be built any more ({in_one_line(error)}); "
                    "mend it in models/, or its row in experiments/"
                ) from error
        of_record = record.model_dump(include=set(now[key]), exclude_none=True)
        if text := differences(of_record, now[key]):
            raise UserError(
                f"{each.path}: {text}, by the network as it is now; delete it and run the script "
                "again"
            )


def forward_flops(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Floating-point operations of one image's forward pass; a multiply-add is 2.

    ``image_shape`` is ``[channels, height, width]``. Only convolutions and matrix products
    count, as ``torch.utils.flop_counter`` has it.
    """
    device = next(network.parameters()).device
    network.eval()
    image = torch.zeros(1, *image_shape, device=device)
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _lstm_flops}
    )
    # attention in single products: in one piece nothing would be counted on a CPU
    is_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), counter:
            network(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)
    return counter.get_total_flops()


def _lstm_flops(inputs: Sequence[int], *weights: Any, **_: Any) -> int:  # noqa: ANN401
    """An LSTM's layer in one direction, which is a single operation on a CPU.

    ``inputs`` is ``[steps, batch, features]``, and then come the shapes of its two weights.
    """
    return 2 * math.prod(inputs[:2]) * sum(math.prod(shape) for shape in weights[:2])


def step_flops(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Those of one image's forward and backward pass in training, of which the same counts.

    Less than three times the forward pass: nobody needs the gradient of the image itself.
    """
    device = next(network.parameters()).device
    network.eval()  # batch-norm would refuse a batch of one
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *image_shape, device=device)).sum().backward()
    return counter.get_total_flops()
