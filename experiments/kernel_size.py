"""What does the size of the kernels do: in the report's networks, and at equal parameters?"""

from collections.abc import Mapping

from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS
from utils.report.wording import Numbers, listed, more_or_less, points, ranking

Table = Mapping[str, Numbers]  # column -> model -> number

LARGE_DROP = 0.1  # a fall of the test accuracy within one epoch that says: not quite stable
HELD = ("optimiser and schedule", "epochs", "augmentation", "data order")


def kernel_size_conclusions(table: Table) -> list[str]:
    """What the table of the report's networks says, in the numbers of its records."""
    accuracy, parameters = table["test_accuracy"], table["parameters"]
    field, flops = table["receptive_field"], table["forward_mflops"]
    fields = listed([f"{field[model]:.0f} pixels ({model})" for model in field])
    return [
        f"From the best down: {ranking(accuracy)}.",
        f"This does not show what a kernel size does. The report set out to compare kernels at "
        f"equal size, but CNN7x7 has {parameters['CNN7x7'] / parameters['CNN3x3']:.0%} of the "
        "parameters of CNN3x3: kernel and capacity change together. The next table separates them.",
        f"What a unit before the classifier sees along one side: {fields}. What an image costs: "
        f"{listed([f'{flops[model]:.1f} MFLOPs ({model})' for model in flops])}.",
    ]


def matched_conclusions(table: Table) -> list[str]:
    """What the table at equal parameter count says, in the numbers of its records."""
    accuracy, flops = table["test_accuracy"], table["forward_mflops"]
    small, middle, large = "CNN3x3-60k", "CNN5x5-60k", "CNN7x7-60k"
    caveat = (
        "With one seed each, it is not known how much of this another seed would change."
        if max(table["seeds"].values()) == 1
        else "The spread over seeds stands beside each accuracy."
    )
    drop = table["largest_drop"]
    shaken = [f"{model} by {points(drop[model])}" for model in drop if drop[model] > LARGE_DROP]
    return [
        f"At an equal number of parameters, from the best down: {ranking(accuracy)}.",
        f"Against 3×3, the 5×5 network scores {more_or_less(accuracy[middle] - accuracy[small])} "
        f"and the 7×7 network {more_or_less(accuracy[large] - accuracy[small])}. {caveat}",
        *(
            [
                "From one epoch to the next the test accuracy fell in "
                f"{listed(shaken)}: the shared learning rate is high for it, and part of its "
                "distance may be the recipe's and not the kernel's."
            ]
            if shaken
            else []
        ),
        f"Equal parameters are not equal work: {large} spends "
        f"{flops[large] / flops[small]:.1f} times the FLOPs of {small}, since its weights stand "
        "in the convolutions, each used at every position, and not in the classifier.",
    ]


KERNEL_SIZE = Experiment(
    name="kernel_size",
    question="Which kernel size classifies best, where wider kernels come with fewer channels?",
    dataset="cifar10",
    rows=(Row("CNN3x3"), Row("CNN5x5"), Row("CNN7x7"), Row("CNN1x1+3x3")),
    recipe=CIFAR10_RECIPE,
    varied=("kernel size", "number of parameters"),
    held=HELD,
    not_tuned=("learning rate per network",),
    figures=("curves", "cost", "receptive_field", "filters", "activations"),
    columns=("receptive_field",),
    reported_table="2.1 kernel size (CIFAR-10)",
    conclusions=kernel_size_conclusions,
)

KERNEL_SIZE_MATCHED = Experiment(
    name="kernel_size_matched",
    question="Which kernel size classifies best when each network has 60,362 parameters ± 1 %?",
    dataset="cifar10",
    rows=(
        Row("CNN3x3-60k", network="CNN3x3"),
        Row("CNN5x5-60k"),
        Row("CNN7x7-60k"),
        Row("CNN1x1+3x3-60k"),
    ),
    recipe=CIFAR10_RECIPE,
    varied=("kernel size", "channels, so that the parameters stay"),
    held=("number of parameters", *HELD),
    not_tuned=("learning rate per network", "FLOPs, which grow with the kernel"),
    figures=("curves", "cost", "receptive_field", "filters", "activations"),
    columns=("receptive_field",),
    conclusions=matched_conclusions,
)

KERNEL_SIZE_EQUAL_FLOPS = Experiment(
    name="kernel_size_equal_flops",
    question="Which kernel size classifies best at 11.3 MFLOPs an image, give or take 2 %?",
    dataset="cifar10",
    rows=(
        Row("CNN3x3-11MFLOP", "CNN3x3"),
        Row("CNN5x5-11MFLOP", "CNN5x5", overrides={"widths": (18, 37)}),
        Row("CNN7x7-11MFLOP", "CNN7x7", overrides={"widths": (12, 25)}),
        Row("CNN1x1+3x3-11MFLOP", "CNN1x1+3x3", overrides={"widths": (12, 24, 24, 50)}),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("kernel size", "channels, so that the FLOPs stay"),
    held=("FLOPs of an image", *HELD),
    not_tuned=("learning rate per network", "parameters, which shrink as the kernel grows"),
    columns=("receptive_field",),
    in_overview=False,
)
