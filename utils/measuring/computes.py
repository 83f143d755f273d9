"""What a network computes, untrained: told from another by a few numbers that a record can hold.

network, filled by a formula --one image--> logits; what drops, and how large weights begin
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.overrides import TorchFunctionMode

from utils.records.runs import ROUNDING
from utils.records.schema import Computes

PERIOD = 8191  # a prime: after so many numbers those of a fixed formula come again
# Of weights: with the first a signal lasts through shortcuts that add to it, and with the second
# through many layers without any.
GAINS = (1, 2)
POWER_ITERATIONS = 15  # as in the newer spectral norm, which makes them when it is built
LEAST = 1e-6  # norm of initial weights: 0 has a logarithm too


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
    by a formula, for each of ``GAINS``; and where that does not tell, as with spectral norm, with
    weights as they begin. They are the same on every machine: none are kept that change by more
    than rounding where all that they come from is another in its sixth digit. None where there are
    none.
    """
    weights = [each for each in network.parameters() if each.is_floating_point()]
    norms = [float(torch.linalg.vector_norm(each)) for each in weights]
    initial = sum(math.log(max(norm, LEAST)) for norm in norms) / max(1, len(norms))
    image = scattered(image_shape)[None] * torch.linspace(0, 10, image_shape[-1])
    try:
        logits = [logits_of(network, image, gain) for gain in GAINS]
        # what weights are computed from may come to nothing, or to anything, where it is filled
        if not any(logits) or any(map(is_parametrized, network.modules())):
            logits.append(logits_of(network, image))
        with Dropout() as dropout:
            network(image)
        return Computes(
            logits=tuple(logits),
            dropout=(*dropout.found, *rates_inside(network)),
            initial=rounded(initial),
            torch=".".join(torch.__version__.split(".")[:2]),
        )
    except Exception:  # anything that one's own network may raise, and numbers that are none
        return None


def logits_of(network: nn.Module, image: Tensor, gain: float | None = None) -> tuple[float, ...]:
    """Logits of an image ``[1, channels, height, width]``, with weights as they begin or filled.

    Empty where rounding would decide them.
    """
    with filled(network) as fill:
        if gain:
            fill(gain)
        settle(network)
        (found,) = network.eval()(image)
        moved = image.clone()
        # what weights are computed from may be counts: orthogonal's diagonal is
        for each in (moved, *(tensors_of(network) if gain else ())):
            finite = each.where(each.isfinite(), 0)  # a mask may have infinity in it
            each.addcmul_(finite, scattered(each.shape).roll(1), value=1e-6)
        (again,) = network(moved)
    is_stable = (found - again).abs().max() < ROUNDING / 5 * found.abs().max()
    return tuple(map(rounded, found.tolist())) if is_stable else ()


def settle(network: nn.Module) -> None:
    """Has spectral norm by hooks begin with what a weight's largest direction is, not any."""
    for module in network.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                for _ in range(POWER_ITERATIONS):
                    hook.compute_weight(module, do_power_iteration=True)


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
            # one that has another shape by now is for the trial to tell of
            if each.shape == as_built.shape and not each.equal(as_built):
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
