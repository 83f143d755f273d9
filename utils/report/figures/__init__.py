"""Figures by name: what an experiment's ``figures`` may list; each module has one kind of them.

Each function takes the evidence of an experiment and the folder of its plots, writes PNG files
and returns them with their captions; without the records or arrays that it needs it returns none.
Imports records and matplotlib, no torch.
"""

from collections.abc import Callable
from pathlib import Path

from utils.records.study import Evidence
from utils.report.figures import controls, inside, layers, training
from utils.report.figures.canvas import Picture

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
