"""What do more convolutions bring, and what do residual connections change?"""

from collections.abc import Mapping

from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS
from utils.records.study import EXTREMES
from utils.report.wording import Numbers, best, listed, more_or_less, percent, ranking

Table = Mapping[str, Numbers]  # column -> model -> number

HELD = ("optimiser and schedule", "epochs", "augmentation", "data order")


def depth_conclusions(table: Table) -> list[str]:
    """What the depth table says, in the numbers of its records."""
    accuracy, train = table["test_accuracy"], table["train_accuracy"]
    parameters, verdict = table["parameters"], table["gradient_verdict"]
    smallest, largest = table["gradient_ratio_smallest"], table["gradient_ratio_largest"]
    ratios = [f"{smallest[model]:.2f} to {largest[model]:.2f} ({model})" for model in smallest]
    two, four, six = (accuracy[model] for model in ("ShallowCNN", "MediumCNN", "DeepCNN"))
    extreme = [f"{word} in {model}" for model, word in verdict.items() if word in EXTREMES]
    return [
        f"From the best down: {ranking(accuracy)}.",
        f"From two to four convolutions: {more_or_less(four - two)}; from four to six: "
        f"{more_or_less(six - four)}. DeepCNN ends with a train accuracy of "
        f"{percent(train['DeepCNN'])}, the others with {percent(train['ShallowCNN'])}, "
        f"{percent(train['MediumCNN'])} and {percent(train['ResNetLikeCNN'])}: what the report "
        "calls overfitting, a low train accuracy, would be slow optimisation.",
        "Mean gradient norm of the first layer divided by the last layer's, smallest and largest "
        f"of all epochs: {listed(ratios)}. "
        + (
            f"Gradients are {listed(extreme)}."
            if extreme
            else "At these depths gradients neither vanish nor explode, and residual connections "
            "have nothing to rescue."
        ),
        f"ResNetLikeCNN has {parameters['ResNetLikeCNN'] / parameters['DeepCNN']:.0%} of the "
        f"parameters of DeepCNN and scores "
        f"{more_or_less(accuracy['ResNetLikeCNN'] - accuracy['DeepCNN'])}. It differs in "
        "batch-norm and in global pooling too, so the shortcut cannot be credited alone. "
        f"Best of the four: {best(accuracy)}.",
    ]


DEPTH = Experiment(
    name="depth",
    question="What do more convolutions bring, and what do residual connections change?",
    dataset="cifar10",
    rows=(
        Row("ShallowCNN", network="CNN3x3"),
        Row("MediumCNN"),
        Row("DeepCNN"),
        Row("ResNetLikeCNN"),
    ),
    recipe=CIFAR10_RECIPE,
    varied=("depth", "residual connections with batch-norm", "number of parameters"),
    held=HELD,
    not_tuned=("learning rate per network",),
    figures=("curves", "cost", "gradient_norms", "feature_maps"),
    columns=("receptive_field",),
    reported_table="2.2 depth (CIFAR-10)",
    conclusions=depth_conclusions,
)

PLAIN = {"add_shortcut": False}
BARE = {"add_shortcut": False, "norm": False}
THREE_SEEDS, ONE_SEED = CONTROL_SEEDS[:3], CONTROL_SEEDS[:1]


def ladder(layers: int) -> tuple[Row, ...]:
    """Networks of one depth: residual, plain, and plain without batch-norm."""
    depth = {"layers": layers}
    return (
        Row(f"{layers} layers, residual", "LadderNet", depth),
        Row(f"{layers} layers, plain", "LadderNet", {**depth, **PLAIN}),
        Row(
            f"{layers} layers, plain, no batch-norm", "LadderNet", {**depth, **BARE}, seeds=ONE_SEED
        ),
    )


DEPTH_LADDER = Experiment(
    name="depth_ladder",
    question="At which depth do plain networks stop learning, and do residual ones go on?",
    dataset="cifar10",
    rows=(*ladder(8), *ladder(20), *ladder(44)),
    recipe=CIFAR10_RECIPE,
    seeds=THREE_SEEDS,
    timed=False,
    varied=("depth", "shortcuts", "batch-norm"),
    held=("width of each stage", *HELD),
    not_tuned=("learning rate per depth",),
    in_overview=False,
)

SHORTCUT = Experiment(
    name="shortcut",
    question="What do the shortcuts of ResNetLikeCNN bring by themselves?",
    dataset="cifar10",
    rows=(Row("ResNetLikeCNN"), Row("ResNetLikeCNN, no shortcut", "ResNetLikeCNN", PLAIN)),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("shortcuts, with the 1×1 projection of the second",),
    held=HELD,
    not_tuned=("learning rate per network",),
    in_overview=False,
)
