"""Figures by name: what an experiment's ``figures`` may list; each module has one kind of them.

Imports records and matplotlib, no torch.
"""

from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError
from utils.records.study import Evidence
from utils.report.figures import controls, inside, layers, training
from utils.report.figures.canvas import Picture

__all__ = ["FIGURES", "Picture", "draw"]

FIGURES: dict[str, Callable[[Evidence, Path], list[Picture]]] = {
    "curves": training.draw_curves,
    "confusion": training.draw_confusion,
    "overfitting": training.draw_generalization_gap,
    "stability": training.draw_stability,
    "gradient_flow": inside.draw_gradient_flow,
    "gradient_norms": inside.draw_gradient_norms,
    "receptive_field": inside.draw_receptive_field,
    "filters": inside.draw_filters,
    "activations": inside.draw_activations,
    "feature_maps": inside.draw_feature_maps,
    "activation_functions": layers.draw_activation_functions,
    "pooling": layers.draw_pooling,
    "layer_timings": layers.draw_layer_timings,
    "accuracies": controls.draw_accuracies,
    "along": controls.draw_along,
    "shift": controls.draw_shift,
    "gradient_depth": inside.draw_gradient_depth,
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
