"""Sizes: what a network has before it is trained: parameters, FLOPs, and what it computes."""

import functools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

import models
from utils.data.sources import OFFICIAL
from utils.errors import UserError, few, in_one_line
from utils.records.runs import ROUNDING, Found, changes, differences, trained_anew
from utils.records.schema import Computes, Record, Speed

PERIOD = 8191  # a prime: after so many numbers those of a fixed formula come again
# Of weights: with the first a signal lasts through shortcuts that add to it, and with the second
# through many layers without any.
GAINS = (1, 2)
LEAST = 1e-6  # norm of initial weights: 0 has a logarithm too


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


class Dropout(TorchFunctionMode):
    """Notes dropout with its rates, a layer's and a function's, in the order of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Whatever is called; dropout is in eval mode too."""
        kwargs = kwargs or {}
        if "dropout" in (name := getattr(function, "__name__", "")) and kwargs.get("p"):
            self.found.append(f"{name} {float(kwargs['p']):g}")
        return function(*args, **kwargs)


@torch.no_grad()
def computed(network: nn.Module, image_shape: Sequence[int]) -> Computes | None:
    """What an untrained network is, beside its sizes; it is left as it was.

    Its logits are those in eval mode of one image, with the image and all that is trained filled
    by a formula, for each of ``GAINS``. They are the same on every machine: none are kept that
    change by more than rounding where all that they come from is another in its sixth digit. None
    where there are none.
    """
    norms = [float(torch.linalg.vector_norm(each)) for each in network.parameters()]
    initial = sum(math.log(max(norm, LEAST)) for norm in norms) / max(1, len(norms))
    image = scattered(image_shape)[None] * torch.linspace(0, 10, image_shape[-1])
    logits = []
    try:
        with filled(network) as fill:
            for gain in GAINS:
                fill(gain)
                with Dropout() as dropout:
                    (found,) = network.eval()(image)
                for each in (image, *tensors_of(network)):
                    each.addcmul_(each, scattered(each.shape).roll(1), value=1e-6)
                (again,) = network(image)
                is_stable = (found - again).abs().max() < ROUNDING / 5 * found.abs().max()
                logits.append(tuple(map(rounded, found.tolist())) if is_stable else ())
        return Computes(
            logits=tuple(logits),
            dropout=(*dropout.found, *rates_inside(network)),
            initial=rounded(initial),
            torch=".".join(torch.__version__.split(".")[:2]),
        )
    except Exception:  # anything that one's own network may raise, and numbers that are none
        return None


@contextmanager
@torch.no_grad()
def filled(network: nn.Module) -> Iterator[Callable[[float], None]]:
    """Gives what fills all that is trained by a formula, at this gain; it is put back afterwards.

    Zeros that a network may begin with, in its head or behind its branches, would hide the rest.
    """
    held = tensors_of(network)
    before = [each.clone() for each in held]

    @torch.no_grad()
    def fill(gain: float) -> None:
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(filling(name, parameter.shape, gain))

    try:
        yield fill
    finally:  # a layer that was made once, as a default argument is, may be others' as well
        for each, as_built in zip(held, before, strict=True):
            if not each.equal(as_built):
                each.copy_(as_built)


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Its parameters and buffers, as far as they are floating-point numbers that can be put in."""
    return [
        each
        for each in (*network.parameters(), *network.buffers())
        if each.is_floating_point() and each.layout == torch.strided and 0 not in each.stride()
    ]


def rates_inside(network: nn.Module) -> Iterator[str]:
    """Rates of what drops within layers that have no call for it, or drops whole branches."""
    for module in network.modules():
        for name in ("dropout", "drop_prob", "p"):
            rate = vars(module).get(name)
            if isinstance(rate, float) and rate and not isinstance(module, _DropoutNd):
                yield f"{type(module).__name__} {rate:g}"


def filling(name: str, shape: Sequence[int], gain: float) -> Tensor:
    """Weights times ``gain``, by which a signal neither vanishes nor overflows; scales around 1."""
    if len(shape) > 1:
        return gain * scattered(shape) / math.prod(shape[1:]) ** 0.5
    return scattered(shape) / 10 + (0 if "bias" in name else 1)


def scattered(shape: Sequence[int]) -> Tensor:
    """Numbers in [-1, 1] in no order that a network could see, float32 of this shape."""
    count = math.prod(shape)
    return cosines().repeat(count // PERIOD + 1)[:count].view(shape)


@functools.cache
def cosines() -> Tensor:
    """Those of the squares of 0, 1, 2, …, modulo ``PERIOD``, which is how many there are."""
    return (torch.arange(PERIOD) ** 2 % PERIOD).double().cos().float()


def rounded(number: float) -> float:
    """To six digits: a record is read by people, too."""
    return float(f"{number:.6g}")


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
