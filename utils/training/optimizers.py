"""What steps on which parameter: Muon on the hidden weights, SGD or AdamW on all the rest.

Muon brings the update of a weight matrix nearer to an orthogonal one, in which every direction that
a layer can learn in would move at the same speed: the weak ones catch up with the strong. In ten
epochs that is worth more than any other part of the recipe (``docs/recipes.md``). It is meant for
weights between hidden layers; the classifier, biases and batch-norm keep the ordinary optimiser.

Source: Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon/.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models import Weighted
from utils.experiment import Recipe

MUON_MOMENTUM = 0.95
# Of the iteration that makes an update orthogonal. Its authors take 5; with 3 the networks are as
# accurate, and the step of a large linear layer takes two thirds (docs/recipes.md).
MUON_STEPS = 3
# The iteration's time grows with the cube of a matrix: of one with more rows and columns than
# MUON_LARGE it would be most of a training step. There an orthogonal update serves several steps.
MUON_LARGE, MUON_EVERY = 128, 8
MUON_POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # the authors': steepest at 0, in 5 steps near 1


def build_optimizers(
    network: nn.Module, recipe: Recipe, dtype: torch.dtype
) -> list[torch.optim.Optimizer]:
    """The optimisers of a network, whose parameters each belong to one of them.

    The recipe's own first, fused into one pass over its parameters; then Muon, where the recipe
    has a ``muon_rate``, with its products in ``dtype``.
    """
    hidden = hidden_weights(network)
    if not recipe.muon_rate or not hidden:
        return [ordinary_optimizer(list(network.parameters()), recipe)]
    taken = set(hidden)  # a tensor's hash is its identity
    others = [p for p in network.parameters() if p not in taken]
    return [ordinary_optimizer(others, recipe), HiddenMuon(hidden, recipe, dtype)]


def hidden_weights(network: nn.Module) -> list[nn.Parameter]:
    """The weights of all layers that have one (``Weighted``) but the one declared last, each once.

    One that is computed from other parameters (weight norm) is none of them, and one that is tied
    to the last layer's belongs to that.
    """
    layers = [each for each in network.modules() if isinstance(each, Weighted)]
    weights = [dict(each.named_parameters(recurse=False)).get("weight") for each in layers]
    # a frozen copy may stand behind the network: the last is that of those that are trained
    *hidden, last = [each for each in weights if each is None or each.requires_grad] or [None]
    return [each for each in dict.fromkeys(hidden) if each is not None and each is not last]


def ordinary_optimizer(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum where it has any."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
    sgd = torch.optim.SGD(
        parameters,
        recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    sgd.register_step_pre_hook(begin_late)
    return sgd


def begin_late(sgd: torch.optim.SGD, *_: object) -> None:
    """Gives a momentum of 0 to what has its first gradient in a later step than others.

    torch's fused step takes momenta of all or of none. From 0 the first is the gradient itself,
    as where a momentum is begun. Stochastic depth needs it.
    """
    for parameter in sgd.param_groups[0]["params"] if sgd.state else ():
        if parameter.grad is not None and parameter not in sgd.state:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


class HiddenMuon(torch.optim.Optimizer):
    """Muon on linear weights and on filters, which are taken as matrices (``as_matrix``).

    In bfloat16 it steps as ``torch.optim.Muon`` does, to the last bit. That one knows no other
    precision, which many processors must emulate.
    Differs from it: the update of a large matrix is made orthogonal in every ``MUON_EVERY``-th step
    alone, and is taken again in those between. Muon's momentum is a mean over some twenty steps,
    so that the update turns slowly.
    """

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        recipe: Recipe,
        dtype: torch.dtype,
        every: int = MUON_EVERY,
    ) -> None:
        super().__init__(weights, {"lr": recipe.muon_rate, "weight_decay": recipe.muon_decay})
        self.dtype, self.every = dtype, every

    @property
    def cycle(self) -> int:
        """After how many steps its work begins anew: what is timed has a multiple of them."""
        return self.every if any(map(is_large, self.param_groups[0]["params"])) else 1

    @torch.no_grad()
    def step(self) -> None:
        """One step on every weight that has a gradient."""
        (group,) = self.param_groups
        for weight in group["params"]:
            if weight.grad is not None:
                self._step_on(weight, group["lr"], group["weight_decay"])

    def _step_on(self, weight: nn.Parameter, rate: float, decay: float) -> None:
        """Nesterov momentum, made orthogonal; larger by sqrt(rows / columns) where it is tall."""
        matrix, gradient = as_matrix(weight), as_matrix(weight.grad)
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"]
        momentum.lerp_(gradient, 1 - MUON_MOMENTUM)
        update = gradient.lerp(momentum, MUON_MOMENTUM).to(self.dtype)
        rows, columns = matrix.shape[-2:]
        matrix.mul_(1 - rate * decay)
        scale = math.sqrt(max(1, rows / columns))
        matrix.add_(self._direction(update, state), alpha=-rate * scale)

    def _direction(self, update: Tensor, state: dict[str, Any]) -> Tensor:
        """The orthogonal ``[..., rows, columns]`` to step along; of a large matrix the latest."""
        if not is_large(update):
            return orthogonal(update, MUON_STEPS)
        step = state.get("step", 0)
        if step % self.every == 0:
            state["direction"] = orthogonal(update, MUON_STEPS)
        state["step"] = step + 1
        return state["direction"]


def is_large(weight: Tensor) -> bool:
    """Whether an orthogonal update of it would be most of a training step."""
    return min(as_matrix(weight).shape[-2:]) > MUON_LARGE


def steps_in_cycle(optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """After how many steps the work of all of them begins anew; 1 where every step is alike."""
    return max((each.cycle for each in optimizers if isinstance(each, HiddenMuon)), default=1)


def orthogonal(matrix: Tensor, steps: int) -> Tensor:
    """U V^T of ``matrix`` = U S V^T, roughly: every direction as large as the others.

    Each of the Newton-Schulz ``steps`` applies the odd polynomial a s + b s³ + c s⁵ to all
    singular values s at once, with matrix products alone. They start between 0 and 1, since the
    matrix is divided by its norm, and the large ones end near 1.
    ``[places, rows, columns]`` are as many matrices, each by itself.
    """
    if matrix.dim() == 3:
        return torch.vmap(orthogonal, (0, None))(matrix, steps)
    a, b, c = MUON_POLYNOMIAL
    is_tall = len(matrix) > matrix.shape[1]
    x = matrix.T if is_tall else matrix  # the smaller of the two products x xᵀ and xᵀ x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def as_matrix(weight: Tensor) -> Tensor:
    """``[out, in, height, width]`` with the channels last in memory -> ``[out, rest]``, a view.

    A linear layer's weight is a matrix already, and that of LocallyConnected2d one for each place.
    Raises: RuntimeError where the channels are not last: a matrix that is a copy learns nothing.
    """
    return weight.permute(0, 2, 3, 1).view(len(weight), -1) if weight.dim() == 4 else weight
