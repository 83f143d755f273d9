"""What steps on which parameter: Muon on the filters of convolutions, SGD or AdamW on the rest.

Muon makes the update of a weight matrix orthogonal: every direction that a layer can learn moves
at the same speed, the weak ones as fast as the strong. In ten epochs that is worth more than any
other part of the recipe (``docs/recipes.md``). Linear layers keep the ordinary optimiser: as
matrices they are so large that Muon's products would cost more than the network's own.

Source: Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon/.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from utils.experiment import Recipe


def build_optimizers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The optimisers of a network, whose parameters each belong to one of them.

    The recipe's own first, fused into one pass over its parameters; then Muon, where the recipe
    has a ``muon_rate`` and the network convolutions.
    """
    filters = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    if not recipe.muon_rate or not filters:
        return [_ordinary(list(network.parameters()), recipe)]
    taken = set(filters)  # a tensor's hash is its identity
    others = [p for p in network.parameters() if p not in taken]
    return [_ordinary(others, recipe), FilterMuon(filters, recipe.muon_rate)]


def _ordinary(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
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


class FilterMuon(torch.optim.Muon):
    """Muon, which takes matrices alone, on filters ``[out, in, height, width]``.

    A layer's filters are one matrix with a row per output channel, ``[out, height * width * in]``,
    in the same memory. No weight decay: batch-norm and the short schedule bound the weights.
    """

    def __init__(self, filters: Sequence[nn.Parameter], rate: float) -> None:
        self.filters = filters
        matrices = [nn.Parameter(as_matrix(weight.detach())) for weight in filters]
        super().__init__(matrices, lr=rate, weight_decay=0.0)

    def step(self) -> None:
        """Hands the gradients over, as matrices, and steps; a filter without one stays."""
        for weight, matrix in zip(self.filters, self.param_groups[0]["params"], strict=True):
            matrix.grad = None if weight.grad is None else as_matrix(weight.grad)
        super().step()


def as_matrix(filters: Tensor) -> Tensor:
    """``[out, in, height, width]`` with the channels last in memory -> ``[out, rest]``, a view.

    Raises: RuntimeError where the channels are not last: a matrix that is a copy learns nothing.
    """
    return filters.permute(0, 2, 3, 1).view(len(filters), -1)
