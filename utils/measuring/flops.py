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


def step_flops(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Those of one image's forward and backward pass in training, of which the same counts.

    Less than three times the forward pass: nobody needs the gradient of the image itself.
    """
    device = next(network.parameters()).device
    network.eval()  # batch-norm would refuse a batch of one
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *image_shape, device=device)).sum().backward()
    return counter.get_total_flops()
