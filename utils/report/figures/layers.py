"""Figures of single layers and blocks: activation functions, pooling, what they cost.

Each function takes the evidence of an experiment and the folder of its plots, writes PNG files
and returns them with their captions; without the records that it needs it returns none.
"""

from collections.abc import Sequence
from pathlib import Path

from utils.records.schema import Case, over_passes
from utils.records.study import Evidence
from utils.report.figures.canvas import Picture, new_figure, new_panels, save
from utils.report.figures.images import plot_image
from utils.report.figures.plotting import plot_functions, plot_timings

TIMED = {  # field of a layer or block -> title
    "forward_seconds_100": "forward",
    "forward_backward_seconds_100": "forward and backward",
}


def draw_activation_functions(evidence: Evidence, folder: Path) -> list[Picture]:
    """The activations and their derivatives."""
    arrays = evidence.case_arrays
    if not arrays:
        return []
    figure, axes = new_figure(1, 2, 3.8, "Activation functions")
    names = [key.removesuffix("/value") for key in arrays if key.endswith("/value")]
    for ax, kind in zip(axes.flat, ("value", "derivative"), strict=True):
        plot_functions(arrays["x"], {name: arrays[f"{name}/{kind}"] for name in names}, ax)
        ax.set_title(kind)
    caption = (
        f"Value and derivative of {', '.join(names)}; Swish with β = 1 and SiLU are the same "
        "function, ReLU's derivative jumps at 0."
    )
    return [Picture(save(figure, folder / "activation_functions.png"), caption)]


def draw_pooling(evidence: Evidence, folder: Path) -> list[Picture]:
    """What each pooling makes of a real digit."""
    arrays = evidence.case_arrays or {}
    images = {
        key.removeprefix("pooling/"): image
        for key, image in arrays.items()
        if key.startswith("pooling/")
    }
    if not images:
        return []
    figure, panels = new_panels(list(images), 2.3, "Pooling of a digit", columns=len(images))
    for ax, (name, image) in zip(panels, images.items(), strict=True):
        plot_image(image, ax)
        size = "x".join(map(str, image.shape))
        ax.set_title(f"{name}\n{size}, at most {image.max():.3g}", fontsize=9)
    names = [name for name in images if name != "input"]
    caption = (
        f"A digit of MNIST and what {', '.join(names)} make of it; each image on its own scale, "
        "its largest value stands above it."
    )
    return [Picture(save(figure, folder / "pooling.png"), caption)]


def draw_layer_timings(evidence: Evidence, folder: Path) -> list[Picture]:
    """Time of the custom layers beside that of their analogues."""
    if not evidence.cases:
        return []
    cases = evidence.cases.cases
    custom = [case.analogue_of is None for case in cases]
    names = [
        case.name if own else f"beside it: {case.name}"
        for case, own in zip(cases, custom, strict=True)
    ]
    caption = (
        "Seconds of 100 iterations, forward and forward with backward: custom layers (filled) "
        "and, below each, its analogues (hollow); bars: inter-quartile range."
    )
    title = "Custom layers and their analogues"
    return [_draw_timings(cases, names, custom, title, caption, folder / "layer_timings.png")]


def draw_block_timings(evidence: Evidence, folder: Path) -> list[Picture]:
    """Time of each residual block."""
    if not evidence.cases:
        return []
    cases = evidence.cases.cases
    names = [case.name for case in cases]
    caption = (
        "Seconds of 100 iterations of each residual block, forward and forward with backward; "
        "bars: inter-quartile range."
    )
    file = folder / "block_timings.png"
    return [_draw_timings(cases, names, [True] * len(names), "Residual blocks", caption, file)]


def _draw_timings(
    cases: Sequence[Case],
    names: Sequence[str],
    emphasised: Sequence[bool],
    title: str,
    caption: str,
    file: Path,
) -> Picture:
    figure, axes = new_figure(1, 2, 1.4 + 0.36 * len(names), title, share_y=True)
    for ax, (key, heading) in zip(axes.flat, TIMED.items(), strict=True):
        found = [over_passes(getattr(case, key)) for case in cases]
        quartiles = [(each.q1, each.median, each.q3) for each in found]
        plot_timings(names, quartiles, emphasised, ax)
        ax.set_title(heading)
        ax.set_xlabel("seconds of 100 iterations")
    return Picture(save(figure, file), caption)
