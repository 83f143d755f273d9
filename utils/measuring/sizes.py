"""Sizes: what a network has before it is trained: parameters, FLOPs, and what it computes."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import models
from utils.data.sources import OFFICIAL
from utils.errors import UserError, few, in_one_line
from utils.measuring.computes import computed
from utils.records.runs import Found, changes, differences, trained_anew
from utils.records.schema import Record, Speed


def sizes(name: str, overrides: Mapping[str, Any], image_shape: Sequence[int]) -> dict[str, Any]:
    """Trained parameters, FLOPs of one image ``[channels, height, width]``, and ``computed``.

    They are those of the untrained network, always the same one: what a network of one's own has
    learned may decide what it computes.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)  # of many small steps: more threads would wait for each other
        torch.manual_seed(0)
        np.random.seed(0)  # a network of one's own may draw from these as well
        random.seed(0)
        try:
            network = models.build(name, **overrides)
            return {
                "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
                "forward_flops": forward_flops(network, image_shape),
                "computes": computed(network, image_shape),
            }
        finally:
            torch.set_num_threads(threads)


def check_sizes(found: Sequence[Found]) -> None:
    """Records are of the networks that ``models/`` has now, by all of ``sizes``.

    Raises: UserError naming the first that is not.
    """
    others = list(of_others(found))
    if not others:
        return
    paths, (_, text) = few(each.path for each, _ in others), others[0]
    how = trained_anew([each for each, _ in others])
    raise UserError(
        f"{paths}: {text}, by the network as it is now; {how}, and so does another --out-dir"
    )


def of_others(found: Sequence[Found]) -> Iterator[tuple[Found, str]]:
    """The records of other networks than ``models/`` has now, and in what they are.

    Raises: UserError where one cannot be built any more.
    """
    now: dict[tuple[str, ...], dict[str, Any]] = {}  # many records are of one network
    for each in found:
        record, overrides = each.record, each.row.overrides
        key = (record.dataset, record.network, str(dict(overrides)))
        if key not in now:
            try:
                now[key] = sizes(record.network, overrides, shape_of(record.dataset))
            except Exception as error:  # anything that one's own network may raise
                raise UserError(
                    f"{each.path}: its network cannot be built any more ({in_one_line(error)}); "
                    "mend it in models/, or its row in experiments/"
                ) from error
        if text := other_than(record, now[key]):
            yield each, text


def shape_of(dataset: str) -> tuple[int, ...]:
    """``[channels, height, width]`` of its images."""
    height, width, *channels = OFFICIAL[dataset].image_shape
    return (*(channels or [1]), height, width)


def other_than(record: Record | Speed, now: Mapping[str, Any]) -> str:
    """In what a record's network differs from one with these ``sizes``; empty where it does not."""
    counts = record.model_dump(include={"parameters", "forward_flops"}, exclude_none=True)
    both = differences(counts, now), changes(record.computes, now["computes"])
    return ", ".join(filter(None, both))


def forward_flops(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Floating-point operations of one image's forward pass; a multiply-add is 2.

    ``image_shape`` is ``[channels, height, width]``. Only convolutions and matrix products
    count, as ``torch.utils.flop_counter`` has it, and those with a vector.
    """
    device = next(network.parameters()).device
    network.eval()
    image = torch.zeros(1, *image_shape, device=device)
    counter = FlopCounterMode(display=False, custom_mapping=ALSO_COUNTED)
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


def _vector_flops(matrix: Sequence[int], vector: Sequence[int], **_: Any) -> int:  # noqa: ANN401
    """A matrix times a vector, or a vector times another."""
    return 2 * math.prod(matrix)


def _bilinear_flops(first: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:  # noqa: ANN401
    """``nn.Bilinear``: ``[batch, features]``, ``[classes, features, features of the second]``."""
    return 2 * first[0] * math.prod(weight)


# what torch leaves out
ALSO_COUNTED = {
    torch.ops.aten.mkldnn_rnn_layer: _lstm_flops,
    torch.ops.aten.mv: _vector_flops,
    torch.ops.aten.dot: _vector_flops,
    torch.ops.aten.vdot: _vector_flops,
    torch.ops.aten.addmv: lambda bias, *others, **_: _vector_flops(*others),
    torch.ops.aten.addbmm: lambda bias, one, other, **_: 2 * math.prod(one) * other[-1],
    torch.ops.aten._trilinear: _bilinear_flops,
}


def step_flops(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Those of one image's forward and backward pass in training, of which the same counts.

    Less than three times the forward pass: nobody needs the gradient of the image itself.
    """
    device = next(network.parameters()).device
    network.eval()  # batch-norm would refuse a batch of one
    with FlopCounterMode(display=False, custom_mapping=ALSO_COUNTED) as counter:
        network(torch.zeros(1, *image_shape, device=device)).sum().backward()
    return counter.get_total_flops()
