"""What do more convolutions bring, and what do residual connections change?"""

from collections.abc import Mapping

from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE
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
