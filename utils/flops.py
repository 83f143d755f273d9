"""FLOPs: how much arithmetic one image costs, whatever the machine."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


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
