"""Figures of what goes on inside a network: gradients, receptive fields, filters, feature maps.

Each function takes the evidence of an experiment and the folder of its plots, writes PNG files
and returns them with their captions; without the arrays that it needs it returns none.
"""

import math
from pathlib import Path

import numpy as np

from utils.records.study import (
    FACTOR,
    Arrays,
    Evidence,
    gradient_ratios,
    gradient_verdict,
    norms_by_layer,
)
from utils.report.figures.canvas import WIDTH, Picture, new_panels, save
from utils.report.figures.images import plot_grid, plot_receptive_field
from utils.report.figures.plotting import (
    label_layer_norms,
    plot_field_growth,
    plot_gradient_flow,
    plot_layer_norms,
)


def with_array(evidence: Evidence, key: str) -> dict[str, Arrays]:
    """Model -> arrays, of the models whose arrays hold ``key``."""
    return {model: arrays for model, arrays in evidence.arrays.items() if key in arrays}


def draw_gradient_flow(evidence: Evidence, folder: Path) -> list[Picture]:
    """Mean gradient norm by layer, in the first and the last epoch."""
    if not evidence.runs:
        return []
    figure, panels = new_panels(
        list(evidence.runs), 4.2, f"Gradient flow, {evidence.dataset}", columns=3, share_y=True
    )
    for ax, (model, records) in zip(panels, evidence.runs.items(), strict=True):
        norms = norms_by_layer(records)
        by_layer = np.stack(list(norms.values()))  # [layers, epochs]
        plot_gradient_flow(list(norms), by_layer[:, 0], by_layer[:, -1], ax)
        ax.set_title(model, color=evidence.colours[model])
    panels[0].set_ylabel("gradient norm of the weight")
    panels[0].legend(fontsize=9)
    caption = (
        f"Gradient flow, {evidence.dataset}: norm of the gradient at each layer's weight, from "
        "the input (left) to the output (right), mean over the steps of the first and the last "
        "epoch."
    )
    return [Picture(save(figure, folder / "gradient_flow.png"), caption)]


def describe_ratios(ratios: np.ndarray) -> str:
    """First layer's gradient norm over the last layer's, by epoch, and what it is called."""
    extent = "" if np.isnan(ratios).any() else f" {ratios.min():.2g} to {ratios.max():.2g}"
    return f"first / last layer{extent}: {gradient_verdict(ratios)}"


def draw_gradient_norms(evidence: Evidence, folder: Path) -> list[Picture]:
    """Gradient norm of each layer over the epochs, and whether it vanishes or explodes."""
    if not evidence.runs:
        return []
    figure, panels = new_panels(
        list(evidence.runs), 3.3, f"Gradient norms, {evidence.dataset}", columns=2, share_y=True
    )
    verdicts = []
    for ax, (model, records) in zip(panels, evidence.runs.items(), strict=True):
        verdict = describe_ratios(gradient_ratios(records))
        verdicts.append(f"{model} {verdict}")
        plot_layer_norms(norms_by_layer(records), ax)
        ax.set_title(f"{model}\n{verdict}", fontsize=9)
    for ax in panels[::2]:
        ax.set_ylabel("gradient norm of the weight")
    for ax, records in zip(panels, evidence.runs.values(), strict=True):
        label_layer_norms(norms_by_layer(records), ax)  # panels share an axis: all must be drawn
    caption = (
        f"Gradient norm of each layer's weight by epoch, {evidence.dataset}, from the first layer "
        "(dark) to the last (light). Norm of the first layer over that of the last, smallest and "
        f"largest of all epochs (below 1/{FACTOR}: vanishing, above {FACTOR}: exploding): "
        f"{'; '.join(verdicts)}."
    )
    return [Picture(save(figure, folder / "gradient_norms.png"), caption)]


def draw_receptive_field(evidence: Evidence, folder: Path) -> list[Picture]:
    """Measured receptive field per model with the theoretical square, and its growth by layer."""
    found = with_array(evidence, "receptive_field")
    if not found:
        return []
    figure, panels = new_panels(list(found), 2.6, f"Receptive fields, {evidence.dataset}")
    sizes = {}
    for ax, (model, arrays) in zip(panels, found.items(), strict=True):
        fields = evidence.inside[model].receptive_field
        # a shortcut runs beside the layers whose fields it cannot widen
        sizes[model] = [size for layer, size in fields.items() if "shortcut" not in layer]
        side = sizes[model][-1]
        plot_receptive_field(arrays["receptive_field"], side, ax)
        ax.set_title(f"{model}\n{side}x{side} pixels", fontsize=10)
        ax.tick_params(labelsize=8)
    caption = (
        f"Receptive field of a unit in the middle of the last feature map, {evidence.dataset}: "
        "mean absolute gradient at each input pixel over real test images (bright: large, square "
        "root scale) with the theoretical square, whose side stands in the title."
    )
    pictures = [Picture(save(figure, folder / "receptive_field.png"), caption)]
    image = next(iter(found.values()))["receptive_field"].shape[0]
    figure, panels = new_panels(
        ["growth"], 3.2, f"Theoretical receptive field by layer, {evidence.dataset}"
    )
    plot_field_growth(sizes, evidence.colours, image, panels[0])
    ends = ", ".join(f"{model} {values[-1]}" for model, values in sizes.items())
    caption = (
        f"Theoretical receptive field behind each convolution, pooling and residual join, "
        f"{evidence.dataset}, in pixels; at the end: {ends}."
    )
    return [*pictures, Picture(save(figure, folder / "receptive_field_by_layer.png"), caption)]


def draw_filters(evidence: Evidence, folder: Path) -> list[Picture]:
    """The weights of the first convolution, as small colour images."""
    found = with_array(evidence, "filters")
    if not found:
        return []
    figure, panels = new_panels(list(found), 2.5, f"First-layer filters, {evidence.dataset}")
    for ax, (model, arrays) in zip(panels, found.items(), strict=True):
        filters = arrays["filters"]  # [out, in, height, width]
        plot_grid(filters, ax, columns=math.ceil(math.sqrt(len(filters))))
        ax.set_title(f"{model}\n{len(filters)} of {'x'.join(map(str, filters.shape[2:]))}")
    caption = (
        f"Filters of the first convolution after training, {evidence.dataset}; each on its own "
        "scale, the input channels as red, green and blue."
    )
    return [Picture(save(figure, folder / "filters.png"), caption)]


def draw_activations(evidence: Evidence, folder: Path) -> list[Picture]:
    """What the first convolution makes of one test image."""
    found = with_array(evidence, "activations")
    if not found:
        return []
    image_class = _probe_class(evidence, found)
    figure, panels = new_panels(list(found), 2.5, f"First-layer activations, {evidence.dataset}")
    for ax, (model, arrays) in zip(panels, found.items(), strict=True):
        maps = arrays["activations"]  # [channels, height, width]
        plot_grid(maps, ax, columns=math.ceil(math.sqrt(len(maps))))
        ax.set_title(f"{model}\n{len(maps)} channels")
    caption = (
        f"Activations of the first convolution for one test image of the class {image_class}, "
        f"{evidence.dataset}; each channel on its own scale."
    )
    return [Picture(save(figure, folder / "activations.png"), caption)]


def _probe_class(evidence: Evidence, models: dict[str, Arrays]) -> str:
    """The class of the image behind the activations: it is the same for all models."""
    return evidence.inside[next(iter(models))].probe.image_class


def draw_feature_maps(evidence: Evidence, folder: Path) -> list[Picture]:
    """Per model, one strip of feature maps for each convolution."""
    pictures = []
    for model, arrays in evidence.arrays.items():
        maps = {
            key.removeprefix("feature_maps/"): array
            for key, array in arrays.items()
            if key.startswith("feature_maps/")
        }
        if maps:
            pictures.append(_draw_model_maps(evidence, folder, model, maps))
    return pictures


def _draw_model_maps(
    evidence: Evidence, folder: Path, model: str, maps: dict[str, np.ndarray]
) -> Picture:
    most = max(len(array) for array in maps.values())
    figure, panels = new_panels(
        list(maps),
        WIDTH / (most + 1.5) + 0.1,
        f"Feature maps of {model}, {evidence.dataset}",
        columns=1,
    )
    for ax, (layer, array) in zip(panels, maps.items(), strict=True):
        blank = np.full((most - len(array), *array.shape[1:]), np.nan, array.dtype)
        plot_grid(np.concatenate([array, blank]), ax, columns=most)
        height, width = array.shape[1:]
        ax.text(
            -0.01, 0.5, f"{layer}\n{height}x{width}", transform=ax.transAxes, fontsize=8,
            ha="right", va="center",
        )  # fmt: skip
    image_class = evidence.inside[model].probe.image_class
    caption = (
        f"Feature maps of {model} behind each convolution or residual block, from the input "
        f"(top) to the output, for one test image of the class {image_class}, {evidence.dataset}: "
        "the first channels, each on its own scale."
    )
    return Picture(save(figure, folder / f"feature_maps_{model}.png"), caption)
