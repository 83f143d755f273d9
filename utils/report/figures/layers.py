"""Figures of single layers: activation functions, pooling, what hand-written gradients cost."""

import math
from pathlib import Path

from utils.records.study import Evidence
from utils.report.figures.canvas import Picture, extremes, new_figure, new_panels, save, title
from utils.report.figures.plotting import plot_functions, plot_ratios
from utils.report.statistics import log_ratio


def draw_activation_functions(evidence: Evidence, folder: Path) -> list[Picture]:
    """The activations and their derivatives."""
    arrays = evidence.case_arrays
    if not arrays:
        return []
    figure, axes = new_figure(1, 2, 3.8, title(evidence, "activation functions"))
    names = [key.removesuffix("/value") for key in arrays if key.endswith("/value")]
    for ax, kind in zip(axes.flat, ("value", "derivative"), strict=True):
        plot_functions(arrays["x"], {name: arrays[f"{name}/{kind}"] for name in names}, ax)
        ax.set_title(kind)
    caption = (
        f"{', '.join(names).replace('(beta=2)', ' with β = 2')}, and their derivatives: Swish "
        "with β = 1 and SiLU are the same function, ReLU's derivative jumps at 0."
    )
    finding = "Swish and SiLU are one smooth curve below ReLU, which they approach on both sides"
    return [Picture(save(figure, folder / "activation_functions.png"), caption, finding)]


def draw_pooling(evidence: Evidence, folder: Path) -> list[Picture]:
    """What each pooling makes of a real digit; LPPool2d, which is L2Pooling again, is left out."""
    arrays = evidence.case_arrays or {}
    images = {
        key.removeprefix("pooling/"): image
        for key, image in arrays.items()
        if key.startswith("pooling/") and key != "pooling/LPPool2d"
    }
    if not images:
        return []
    heading = title(evidence, "pooling of a digit")
    figure, panels = new_panels(list(images), 2.6, heading, columns=len(images))
    for ax, (name, image) in zip(panels, images.items(), strict=True):
        ax.imshow(image, cmap="gray", interpolation="nearest")  # on its own scale
        ax.set_axis_off()
        size = "×".join(map(str, image.shape))
        ax.set_title(f"{name}\n{size}, at most {image.max():.3g}", fontsize=10)
    names = [name for name in images if name != "input"]
    caption = (
        f"A digit of MNIST and what {', '.join(names)} make of it; each image on its own scale, "
        "its largest value stands above it. LPPool2d makes the same of it as L2Pooling."
    )
    finding = "At half the size max-pooling thickens the strokes, the other poolings blur them"
    return [Picture(save(figure, folder / "pooling.png"), caption, finding)]


def draw_layer_timings(evidence: Evidence, folder: Path) -> list[Picture]:
    """How many times as long a custom layer takes as each of its analogues."""
    cases = {case.name: case for case in evidence.cases.cases} if evidence.cases else {}
    pairs = [(cases[each.analogue_of], each) for each in cases.values() if each.analogue_of]
    if not pairs:
        return []
    ratios = {
        name: [
            log_ratio(*([each.median for each in getattr(case, key)] for case in pair))
            for pair in pairs
        ]
        for name, key in (
            ("forward", "forward_seconds_100"),
            ("forward and backward", "forward_backward_seconds_100"),
        )
    }
    heading = title(evidence, "time against torch's own")
    figure, axes = new_figure(1, 1, 0.55 * len(pairs) + 1.5, heading)
    plot_ratios([f"{own.name}\nto {other.name}" for own, other in pairs], ratios, axes[0, 0])
    caption = (
        "How many times as long each custom layer takes as what torch has in its place, or as "
        "what it is compared with: left of the line it is faster. Bars: 95 % intervals over "
        "passes (Student's t)."
    )
    times = {
        f"{own.name} against {other.name}": math.exp(each.value)
        for (own, other), each in zip(pairs, ratios["forward"], strict=True)
    }
    finding = extremes(times, "Time forward", " times")
    return [Picture(save(figure, folder / "layer_timings.png"), caption, finding)]
