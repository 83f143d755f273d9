"""Do convolutional networks beat fully connected ones on images, and by how much?

The networks of one experiment see the same images in the same order, augmented alike, under the
same recipe: they differ, nothing else does.
"""

from utils.claim import Claim
from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, MNIST_RECIPE

MNIST_CLAIMS = (
    Claim(
        "1.1-simple-cnn",
        "SimpleCNN classifies MNIST better than FCNet.",
        "SimpleCNN классифицирует MNIST лучше, чем FCNet.",
        "report",
        pairs=(("SimpleCNN", "FCNet"),),
        about=("convolutions",),
    ),
    Claim(
        "1.1-residual-cnn",
        "CNNWithResidual classifies MNIST better than FCNet.",
        "CNNWithResidual классифицирует MNIST лучше, чем FCNet.",
        "report",
        pairs=(("CNNWithResidual", "FCNet"),),
        about=("convolutions",),
    ),
    Claim(
        "1.1-best",
        "On MNIST CNNWithResidual is the most accurate of the three networks.",
        "На MNIST CNNWithResidual — самая точная из трёх сетей.",
        "report",
        "best",
        pairs=(("CNNWithResidual", "FCNet"), ("CNNWithResidual", "SimpleCNN")),
    ),
    Claim(
        "1.1-fastest",
        "FCNet is the fastest of the three networks.",
        "FCNet — самая быстрая из трёх сетей.",
        "report",
        "time",
        pairs=(("FCNet", "SimpleCNN"), ("FCNet", "CNNWithResidual")),
    ),
    Claim(
        "1.1-slowest",
        "CNNWithResidual is the slowest of the three networks.",
        "CNNWithResidual — самая медленная из трёх сетей.",
        "report",
        "time",
        pairs=(("FCNet", "CNNWithResidual"), ("SimpleCNN", "CNNWithResidual")),
    ),
    Claim(
        "1.1-optimal",
        "SimpleCNN is the optimal choice.",
        "SimpleCNN — оптимальный выбор.",
        "report",
        "front",
        pairs=(("SimpleCNN", ""),),
    ),
    Claim(
        "1.1-parameters",
        "FCNet has more parameters than CNNWithResidual.",
        "У FCNet больше параметров, чем у CNNWithResidual.",
        "ours",
        "exact",
        pairs=(("FCNet", "CNNWithResidual"),),
        metric="parameters",
    ),
)

CIFAR_CLAIMS = (
    Claim(
        "1.2-cnn",
        "CNNWithResidual classifies CIFAR-10 better than DeepFCNet.",
        "CNNWithResidual классифицирует CIFAR-10 лучше, чем DeepFCNet.",
        "report",
        pairs=(("CNNWithResidual", "DeepFCNet"),),
        about=("convolutions",),
    ),
    Claim(
        "1.2-parameters",
        "DeepFCNet has 24 times the parameters of CNNWithResidual.",
        "У DeepFCNet в 24 раза больше параметров, чем у CNNWithResidual.",
        "report",
        "exact",
        pairs=(("DeepFCNet", "CNNWithResidual"),),
        metric="parameters",
        than=24,
        margin=0.05,
    ),
    Claim(
        "1.2-below-40",
        "DeepFCNet stays below 40 % on CIFAR-10.",
        "DeepFCNet не достигает 40 % на CIFAR-10.",
        "report",
        "constant",
        pairs=(("DeepFCNet", ""),),
        than=40,
    ),
    Claim(
        "1.2-regularised-accuracy",
        "The regularised network has the higher test accuracy.",
        "У регуляризованной сети точность на тесте выше.",
        "ours",
        pairs=(("CNNWithResidualReg", "CNNWithResidual"),),
        about=("dropout",),
    ),
    Claim(
        "1.2-regularised-gap",
        "The regularised network has the smaller gap between train and test accuracy.",
        "У регуляризованной сети меньше разрыв между точностью на обучении и на тесте.",
        "report",
        pairs=(("CNNWithResidual", "CNNWithResidualReg"),),
        metric="generalization_gap",
        about=("dropout",),
    ),
    Claim(
        "1.2-test-above-train",
        "The regularised network is more accurate on test images than on train images.",
        "Регуляризованная сеть точнее на тестовых картинках, чем на обучающих.",
        "report",
        "constant",
        pairs=(("CNNWithResidualReg", ""),),
        metric="generalization_gap",
        than=0,
    ),
)


MNIST_COMPARISON = Experiment(
    name="mnist_comparison",
    subject="Fully connected or convolutional",
    question="Does a convolutional network beat a fully connected one where that is good already?",
    dataset="mnist",
    rows=(Row("FCNet"), Row("SimpleCNN"), Row("CNNWithResidual")),
    recipe=MNIST_RECIPE,
    varied=("architecture",),
    held=("optimiser and schedule", "epochs", "augmentation", "data order"),
    not_tuned=("learning rate per network", "number of parameters"),
    asks="latency",
    figures=("curves",),
    reported_table="1.1 MNIST",
    claims=MNIST_CLAIMS,
)

CIFAR_COMPARISON = Experiment(
    name="cifar_comparison",
    subject="Fully connected or convolutional",
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
    asks="gap",
    figures=("curves", "confusion", "gradient_flow", "overfitting"),
    reported_table="1.2 CIFAR-10",
    claims=CIFAR_CLAIMS,
)
