"""Do convolutional networks beat fully connected ones on images, and by how much?

The networks of one experiment see the same images in the same order, augmented alike, under the
same recipe: they differ, nothing else does.
"""

from collections.abc import Mapping

from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, MNIST_RECIPE
from utils.report.wording import Numbers, more_or_less, percent, points, ranking

Table = Mapping[str, Numbers]  # column -> model -> number


def mnist_conclusions(table: Table) -> list[str]:
    """What the MNIST table says, in the numbers of its records."""
    accuracy, parameters = table["test_accuracy"], table["parameters"]
    flops, latency = table["forward_mflops"], table["latency_ms"]
    errors = {model: 1 - value for model, value in accuracy.items()}
    return [
        f"From the best down: {ranking(accuracy)}. FCNet makes "
        f"{errors['FCNet'] / errors['SimpleCNN']:.1f} times the errors of SimpleCNN and "
        f"{errors['FCNet'] / errors['CNNWithResidual']:.1f} times those of CNNWithResidual.",
        f"It is not the number of parameters: CNNWithResidual has "
        f"{parameters['CNNWithResidual'] / parameters['FCNet']:.0%} of FCNet's. A convolution "
        "uses one small kernel at every position, so what it learns about a stroke in one corner "
        "holds in all of them; a fully connected layer has to learn it anew for each.",
        f"The price is arithmetic, not memory: CNNWithResidual spends "
        f"{flops['CNNWithResidual'] / flops['FCNet']:.0f} times the FLOPs of FCNet on an image, "
        f"and answers after {latency['CNNWithResidual']:.2f} ms where FCNet needs "
        f"{latency['FCNet']:.2f} ms.",
        f"SimpleCNN scores {more_or_less(accuracy['SimpleCNN'] - accuracy['FCNet'])} on the test "
        f"split than FCNet at {latency['SimpleCNN'] / latency['FCNet']:.1f} times its latency.",
    ]


def cifar_conclusions(table: Table) -> list[str]:
    """What the CIFAR-10 table says, in the numbers of its records."""
    accuracy, gap = table["test_accuracy"], table["generalization_gap"]
    parameters = table["parameters"]
    plain, regularised = "CNNWithResidual", "CNNWithResidualReg"
    difference = accuracy[regularised] - accuracy[plain]
    verdict = (
        "Dropout narrows the gap and does not raise the accuracy: the report's conclusion that it "
        "improves generalisation does not follow from a smaller gap."
        if difference < 0 and gap[regularised] < gap[plain]
        else "The regularised network is also the wider one, so the difference is not dropout's "
        "alone."
    )
    return [
        f"From the best down: {ranking(accuracy)}. On photographs CNNWithResidual scores "
        f"{more_or_less(accuracy[plain] - accuracy['DeepFCNet'])} than DeepFCNet, which has "
        f"{parameters['DeepFCNet'] / parameters[plain]:.0f} times its parameters.",
        f"DeepFCNet reaches {percent(table['train_accuracy']['DeepFCNet'])} on the train split, "
        f"CNNWithResidual {percent(table['train_accuracy'][plain])}: within ten epochs of randomly "
        "cropped and mirrored images the fully connected network does not even fit what it was "
        "shown. A moved or mirrored object is a new pattern to it.",
        f"The regularised network scores {more_or_less(difference)} on the test split than the "
        f"plain one, and its gap between train and test is {points(gap[regularised])} against "
        f"{points(gap[plain])}. {verdict}",
    ]


MNIST_COMPARISON = Experiment(
    name="mnist_comparison",
    question="Does a convolutional network beat a fully connected one where that is good already?",
    dataset="mnist",
    rows=(Row("FCNet"), Row("SimpleCNN"), Row("CNNWithResidual")),
    recipe=MNIST_RECIPE,
    varied=("architecture",),
    held=("optimiser and schedule", "epochs", "augmentation", "data order"),
    not_tuned=("learning rate per network", "number of parameters"),
    figures=("curves", "cost"),
    reported_table="1.1 MNIST",
    conclusions=mnist_conclusions,
)

CIFAR_COMPARISON = Experiment(
    name="cifar_comparison",
    question="How far do fully connected networks fall behind on photographs? Does dropout help?",
    dataset="cifar10",
    rows=(
        Row("DeepFCNet"),
        Row("CNNWithResidual", overrides={"in_channels": 3}),
        Row("CNNWithResidualReg"),
    ),
    recipe=CIFAR10_RECIPE,
    varied=("architecture", "dropout"),
    held=("optimiser and schedule", "epochs", "augmentation", "data order"),
    not_tuned=("learning rate per network", "dropout rates", "number of parameters"),
    figures=("curves", "cost", "confusion", "gradient_flow", "overfitting"),
    reported_table="1.2 CIFAR-10",
    conclusions=cifar_conclusions,
)
