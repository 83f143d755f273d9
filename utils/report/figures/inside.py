"""Figures of what goes on inside a network: gradients, receptive fields, filters, feature maps."""

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from utils.records.study import (
    FACTOR,
    Arrays,
    Evidence,
    gradient_ratios,
    gradient_verdict,
    norms_by_layer,
)
from utils.report.figures.canvas import (
    BLACK,
    GREY,
    Look,
    Picture,
    in_lines,
    legend_below,
    looks,
    new_figure,
    new_panels,
    save,
    title,
)
from utils.report.figures.images import plot_grid, plot_receptive_field
from utils.report.figures.plotting import epoch_axis, log_y_axis
from utils.report.measures import values_of
from utils.report.provenance import seed_ranges
from utils.report.rows import largest_receptive_field
from utils.report.wording import listed

NO_LICENCE = " The image itself is not shown: CIFAR-10 comes without a licence to pass it on."
CHANNELS = 9  # of a feature map that are shown, three by three
FULL = {"color": BLACK, "marker": "o"}  # in legends, where each network has a colour of its own
SHORTCUTS = ("shortcut", "downsample")  # what they are called: here, and in torchvision
HOLLOW = {"linestyle": "--", "fillstyle": "none"}


def with_array(evidence: Evidence, key: str) -> dict[str, Arrays]:
    """Model -> arrays, of the models whose arrays hold ``key``."""
    return {model: arrays for model, arrays in evidence.arrays.items() if key in arrays}


def beside_main_path(layers: Iterable[str]) -> np.ndarray:
    """Which of the layers are convolutions of a shortcut, ``[layers]``."""
    return np.array([any(each in layer for each in SHORTCUTS) for layer in layers])


def draw_gradient_flow(evidence: Evidence, folder: Path) -> list[Picture]:
    """Mean gradient norm by layer, in the first and the last epoch."""
    if not evidence.runs:
        return []
    figure, panels = new_panels(
        list(evidence.runs), 3.8, title(evidence, "gradients by layer"), columns=3, share_y=True
    )
    for ax, model in zip(panels, evidence.runs, strict=True):
        (look,) = looks([model], evidence).values()  # here lines and fill tell epochs apart
        norms = norms_by_layer(evidence.runs[model])
        beside = beside_main_path(norms)
        places = np.cumsum(~beside)  # a shortcut's is that of the layer whose output it joins
        by_layer = np.stack(list(norms.values()))  # [layers, epochs]
        for epoch, style in ((0, {**look, **HOLLOW}), (-1, look)):
            ax.plot(places[~beside], by_layer[~beside, epoch], **style)
            alone = {**style, "linestyle": "none", "marker": "X", "markersize": 7}
            ax.plot(places[beside], by_layer[beside, epoch], **alone)
        log_y_axis(ax)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.set(title=in_lines(model, ax), xlabel="layer, from the input")
    panels[0].set_ylabel("gradient norm of the weight")
    of_shortcut = {"color": BLACK, "linestyle": "none", "marker": "X"}
    legend = {"first epoch": FULL | HOLLOW, "last epoch": FULL, "1×1 of a shortcut": of_shortcut}
    legend_below(figure, legend)
    caption = (
        f"Norm of the gradient at each layer's weight, {evidence.dataset}, from the input (left) "
        "to the output (right), mean over the steps of an epoch and over seeds. A cross is the "
        "1×1 convolution of a shortcut, beside the layer whose output it is added to."
    )
    return [Picture(save(figure, folder / "gradient_flow.png"), caption, ratio_finding(evidence))]


def ratio_finding(evidence: Evidence) -> str:
    """What becomes of each network's gradients on their way to the first layer."""
    called: dict[str, list[str]] = {}
    for model, records in evidence.runs.items():
        called.setdefault(gradient_verdict(gradient_ratios(records)), []).append(model)
    each = (f"{verdict} in {listed(models)}" for verdict, models in called.items())
    return f"From the last layer to the first the gradients are {'; '.join(each)}"


def describe_ratios(ratios: np.ndarray) -> str:
    """First layer's gradient norm over the last layer's, by epoch, and what it is called."""
    extent = "" if np.isnan(ratios).any() else f" {ratios.min():.2g} to {ratios.max():.2g}"
    return f"first / last layer{extent}: {gradient_verdict(ratios)}"


def draw_gradient_norms(evidence: Evidence, folder: Path) -> list[Picture]:
    """Gradient norms at both ends of each network over the epochs: do they vanish or explode?"""
    if not evidence.runs:
        return []
    figure, panels = new_panels(
        list(evidence.runs), 2.9, title(evidence, "gradients by epoch"), columns=2, share_y=True
    )
    for ax, model in zip(panels, evidence.runs, strict=True):
        (look,) = looks([model], evidence).values()  # here lines and fill tell layers apart
        records = evidence.runs[model]
        norms = norms_by_layer(records)
        path = list(np.array(list(norms.values()))[~beside_main_path(norms)])
        first, *between, last = path if path[1:] else 2 * list(norms.values())
        epochs = np.arange(1, len(first) + 1)
        if between:
            low, high = np.min(between, 0), np.max(between, 0)
            ax.fill_between(epochs, low, high, color=GREY, alpha=0.3, lw=2)
        ax.plot(epochs, first, **look)
        ax.plot(epochs, last, **{**look, **HOLLOW})
        log_y_axis(ax)
        epoch_axis(ax, len(first))
        ax.set_title(
            f"{in_lines(model, ax)}\n{describe_ratios(gradient_ratios(records))}", fontsize=9
        )
    for ax in panels[::2]:
        ax.set_ylabel("gradient norm of the weight")
    band = {"color": GREY, "alpha": 0.3, "linewidth": 8}
    legend = {"first layer": FULL, "last layer": FULL | HOLLOW, "layers between": band}
    legend_below(figure, legend)
    caption = (
        f"Gradient norm of the weights of the first and the last layer by epoch, "
        f"{evidence.dataset}, mean over the steps and over seeds; band: from the smallest to the "
        "largest of the layers between, without shortcuts. Above each panel the first layer's "
        f"norm over the last one's, smallest and largest of all epochs (below 1/{FACTOR}: "
        f"vanishing, above {FACTOR}: exploding)."
    )
    return [Picture(save(figure, folder / "gradient_norms.png"), caption, ratio_finding(evidence))]


def draw_gradient_depth(evidence: Evidence, folder: Path) -> list[Picture]:
    """Gradient norm by layer in the first step and the last epoch, a panel for each series."""
    series: dict[str, dict[float, str]] = {}  # series -> place on the axis -> row
    for row in evidence.experiment.rows:
        records = evidence.runs.get(row.label)
        if row.at and records and records[0].epochs[0].gradient_norm_first:
            series.setdefault(row.at[0], {})[row.at[1]] = row.label
    if not series:
        return []
    figure, axes = new_figure(2, len(series), 6, title(evidence, "gradients by layer"), "row")
    lines: dict[str, Look] = {}  # place on the axis -> its line in the legend
    ends: dict[Axes, list[int]] = {}  # the last layers of its networks
    for column, (name, rows) in zip(axes.T, series.items(), strict=True):
        for (layers, label), style in zip(rows.items(), cycle(("-", "--", ":")), strict=False):
            epochs = evidence.runs[label][0].epochs
            (look,) = looks([label], evidence).values()
            look = {"color": look["color"], "linestyle": style, "marker": "."}
            lines[place_words(layers, evidence)] = {"color": BLACK, "linestyle": style}
            for ax, norms in zip(
                column, (epochs[0].gradient_norm_first, epochs[-1].gradient_norm), strict=True
            ):
                values = np.array(list(norms.values()), dtype=float)[~beside_main_path(norms)]
                values[values <= 0] = np.nan  # has no place on a logarithmic axis
                ax.plot(np.arange(1, len(values) + 1), values, **look, lw=1.6, markevery=[-1])
                at = {"xytext": (3, 3), "textcoords": "offset points", "fontsize": 9}
                ax.annotate(f"{layers:g}", (len(values), values[-1]), **at)
                ax.set_yscale("log")
                ends.setdefault(ax, []).append(len(values))
                ax.set_xticks(sorted({1, *ends[ax]}))
        column[0].set_title(in_lines(name, column[0]))
        column[1].set_xlabel("layer, from the input")
    axes[0, 0].set_ylabel("gradient norm, first step")
    axes[1, 0].set_ylabel("gradient norm, last epoch")
    legend_below(figure, lines)
    seeds = {evidence.runs[label][0].seed for rows in series.values() for label in rows.values()}
    caption = (
        f"Norm of the gradient at each layer's weight, {evidence.dataset}, seed "
        f"{seed_ranges(seeds)}: in the first step (above) and in the last epoch, mean over its "
        "steps (below). Each line is one network and ends at its last layer; norms of zero are not "
        "there, nor are shortcuts."
    )
    finding = "In the first step the first layer's gradient norm over the last layer's is "
    finding += "; ".join(
        f"{first_step_ratio(rows[max(rows)], evidence)} in {place_words(max(rows), evidence)}, "
        f"{name}"
        for name, rows in series.items()
    )
    return [Picture(save(figure, folder / "gradient_depth.png"), caption, finding)]


def place_words(place: float, evidence: Evidence) -> str:
    """As in "44 layers", where the axis is the "number of layers", else "hidden units: 44"."""
    what = evidence.experiment.axis
    if what.startswith("number of "):
        return f"{place:g} {what.removeprefix('number of ')}"
    return f"{what}: {place:g}" if what else f"{place:g}"


def first_step_ratio(label: str, evidence: Evidence) -> str:
    """The first layer's gradient norm over the last's in the first step, as in "10^-17.1"."""
    power = values_of(label, "log10_initial_gradient_ratio", evidence)[0]
    return "undefined" if math.isnan(power) else f"10^{power:z.1f}"


def draw_receptive_field(evidence: Evidence, folder: Path) -> list[Picture]:
    """Measured receptive field per model with the theoretical square."""
    found = with_array(evidence, "receptive_field")
    sides = {
        model: side
        for model in found
        if (side := largest_receptive_field([evidence.inside[model]]))
    }
    if not sides:
        return []
    figure, panels = new_panels(list(sides), 2.9, title(evidence, "receptive fields"))
    for ax, (model, side) in zip(panels, sides.items(), strict=True):
        plot_receptive_field(found[model]["receptive_field"], side, ax)
        ax.set_title(f"{in_lines(model, ax)}\n{side}×{side} pixels", fontsize=10)
        ax.tick_params(labelsize=8)
    caption = (
        f"Receptive field of a unit in the middle of the last feature map, {evidence.dataset}: "
        "mean absolute gradient at each input pixel over real test images (bright: large, square "
        "root scale) with the theoretical square, whose side stands in the title."
    )
    finding = "Receptive fields are as wide as " + listed(
        [f"{side} pixels in {model}" for model, side in sides.items()]
    )
    return [Picture(save(figure, folder / "receptive_field.png"), caption, finding)]


def draw_filters(evidence: Evidence, folder: Path) -> list[Picture]:
    """The weights of the first convolution, as small colour images."""
    found = with_array(evidence, "filters")
    if not found:
        return []
    figure, panels = new_panels(list(found), 2.5, title(evidence, "first-layer filters"))
    for ax, (model, arrays) in zip(panels, found.items(), strict=True):
        filters = arrays["filters"]  # [out, in, height, width]
        plot_grid(filters, ax, columns=math.ceil(math.sqrt(len(filters))))
        size = "×".join(map(str, filters.shape[2:]))
        ax.set_title(f"{in_lines(model, ax)}\n{len(filters)} of {size}", fontsize=10)
    in_colour = all(arrays["filters"].shape[1] == 3 for arrays in found.values())
    caption = (
        f"Filters of the first convolution after training, {evidence.dataset}; each on its own "
        f"scale{', the input channels as red, green and blue' if in_colour else ''}."
    )
    sizes = (
        f"{len(each['filters'])} of {'×'.join(map(str, each['filters'].shape[2:]))} in {model}"
        for model, each in found.items()
    )
    finding = f"Small {'colour patches' if in_colour else 'patches'}, {listed(list(sizes))}"
    return [Picture(save(figure, folder / "filters.png"), caption, finding)]


def draw_activations(evidence: Evidence, folder: Path) -> list[Picture]:
    """What the first convolution makes of one test image."""
    found = with_array(evidence, "activations")
    if not found:
        return []
    figure, panels = new_panels(list(found), 2.5, title(evidence, "first-layer activations"))
    for ax, (model, arrays) in zip(panels, found.items(), strict=True):
        maps = arrays["activations"]  # [channels, height, width]
        plot_grid(maps, ax, columns=math.ceil(math.sqrt(len(maps))))
        ax.set_title(f"{in_lines(model, ax)}\n{len(maps)} channels", fontsize=10)
    caption = (
        f"Activations of the first convolution for {probe_image(evidence, found)}; each channel "
        "on its own scale."
    )
    finding = f"What the first convolutions of {listed(list(found))} find in one image"
    return [Picture(save(figure, folder / "activations.png"), caption, finding)]


def probe_image(evidence: Evidence, models: Mapping[str, object]) -> str:
    """The image behind the activations, which is the same for all models."""
    shown = evidence.inside[next(iter(models))].probe.image_class
    return f"one test image of the class {shown}, {evidence.dataset}"


def draw_feature_maps(evidence: Evidence, folder: Path) -> list[Picture]:
    """A row for each network, from input to output: some channels behind each layer."""
    found = {
        model: maps
        for model, arrays in evidence.arrays.items()
        if (maps := {key: each for key, each in arrays.items() if key.startswith("feature_maps/")})
    }
    if not found:
        return []
    columns = max(map(len, found.values()))
    heading = title(evidence, "feature maps")
    figure, axes = new_figure(len(found), columns, 1.85 * len(found) + 0.5, heading)
    for row, (model, maps) in zip(axes, found.items(), strict=True):
        numbers: Counter[str] = Counter()
        inside = evidence.inside[model]
        weighted, seen = inside.epochs[0].gradient_norm, inside.receptive_field or {}
        for ax, (layer, each) in zip(row, maps.items(), strict=False):
            name = layer.removeprefix("feature_maps/")
            once = re.sub(r"_\d+$", "", name)  # of what is called again
            has_parts = any(other.startswith((f"{name}.", f"{once}.")) for other in seen)
            kind = "block" if has_parts and once not in weighted else "convolution"
            numbers[kind] += 1
            plot_grid(each[:CHANNELS], ax, columns=math.isqrt(CHANNELS))
            size = "×".join(map(str, each.shape[1:]))
            ax.set_title(f"{kind} {numbers[kind]}\n{size}", fontsize=8)
        for unused in row[len(maps) :]:
            unused.remove()
        at = {"transform": row[0].transAxes, "ha": "right", "va": "center", "rotation": 90}
        row[0].text(-0.05, 0.5, textwrap.fill(model, 24), fontsize=10, **at)
    caption = (
        "Feature maps behind each convolution or residual block, from the input (left) to the "
        f"output, for {probe_image(evidence, found)}: the first {CHANNELS} channels, each on its "
        f"own scale.{NO_LICENCE if evidence.experiment.dataset == 'cifar10' else ''}"
    )
    finding = f"One image in {listed(list(found))}, from the first layer to the last"
    return [Picture(save(figure, folder / "feature_maps.png"), caption, finding)]
