"""What steps on which parameter: Muon on the hidden weights, SGD or AdamW on all the rest.

Muon makes the update of a weight matrix orthogonal: every direction that a layer can learn moves
at the same speed, the weak ones as fast as the strong. In ten epochs that is worth more than any
other part of the recipe (``docs/recipes.md``). It is meant for weights between hidden layers; the
classifier, biases and batch-norm keep the ordinary optimiser.

Source: Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon/.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from utils.experiment import Recipe

# Of the iteration that makes an update orthogonal. torch's own number is 5; with 3 the networks
# are as accurate, and the step of a large linear layer takes two thirds (docs/recipes.md).
MUON_STEPS = 3


def build_optimizers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The optimisers of a network, whose parameters each belong to one of them.

    The recipe's own first, fused into one pass over its parameters; then Muon, where the recipe
    has a ``muon_rate``.
    """
    *hidden, _ = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if not recipe.muon_rate or not hidden:
        return [ordinary_optimizer(list(network.parameters()), recipe)]
    taken = set(hidden)  # a tensor's hash is its identity
    others = [p for p in network.parameters() if p not in taken]
    return [ordinary_optimizer(others, recipe), HiddenMuon(hidden, recipe)]


def ordinary_optimizer(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
    return torch.optim.SGD(
        parameters,
        recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


class HiddenMuon(torch.optim.Muon):
    """Muon, which takes matrices alone, on linear weights and on filters.

    A layer's filters ``[out, in, height, width]`` are one matrix with a row per output channel,
    ``[out, height * width * in]``, in the same memory.
    """

    def __init__(self, weights: Sequence[nn.Parameter], recipe: Recipe) -> None:
        self.weights = weights
        matrices = [nn.Parameter(as_matrix(weight.detach())) for weight in weights]
        super().__init__(
            matrices, recipe.muon_rate, weight_decay=recipe.muon_decay, ns_steps=MUON_STEPS
        )

    def step(self) -> None:
        """Hands the gradients over, as matrices, and steps; a weight without one stays."""
        for weight, matrix in zip(self.weights, self.param_groups[0]["params"], strict=True):
            matrix.grad = None if weight.grad is None else as_matrix(weight.grad)
        super().step()


def as_matrix(weight: Tensor) -> Tensor:
    """``[out, in, height, width]`` with the channels last in memory -> ``[out, rest]``, a view.

    A linear layer's weight is a matrix already.
    Raises: RuntimeError where the channels are not last: a matrix that is a copy learns nothing.
    """
    return weight if weight.dim() == 2 else weight.permute(0, 2, 3, 1).view(len(weight), -1)
