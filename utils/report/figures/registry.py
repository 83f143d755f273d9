"""Figures by name: what an experiment's ``figures`` may list."""

from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError
from utils.records.study import Evidence
from utils.report.figures.inside import (
    draw_activations,
    draw_feature_maps,
    draw_filters,
    draw_gradient_flow,
    draw_gradient_norms,
    draw_receptive_field,
)
from utils.report.figures.layers import (
    draw_activation_functions,
    draw_block_timings,
    draw_layer_timings,
    draw_pooling,
)
from utils.report.figures.training import (
    Picture,
    draw_confusion,
    draw_cost,
    draw_curves,
    draw_overfitting,
    draw_stability,
)

FIGURES: dict[str, Callable[[Evidence, Path], list[Picture]]] = {
    "curves": draw_curves,
    "cost": draw_cost,
    "confusion": draw_confusion,
    "gradient_flow": draw_gradient_flow,
    "overfitting": draw_overfitting,
    "receptive_field": draw_receptive_field,
    "filters": draw_filters,
    "activations": draw_activations,
    "gradient_norms": draw_gradient_norms,
    "feature_maps": draw_feature_maps,
    "activation_functions": draw_activation_functions,
    "pooling": draw_pooling,
    "layer_timings": draw_layer_timings,
    "stability": draw_stability,
    "block_timings": draw_block_timings,
}


def draw(name: str, evidence: Evidence, folder: Path) -> list[Picture]:
    """Draws one of ``FIGURES`` into ``folder``.

    Raises: UserError for an unknown name, with the known ones.
    """
    if name not in FIGURES:
        raise UserError(
            f"experiment {evidence.experiment.name}: unknown figure {name!r}; "
            f"known: {', '.join(FIGURES)}"
        )
    return FIGURES[name](evidence, folder)
