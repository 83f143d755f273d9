"""How many images does a network need: is a convolutional one better because it needs fewer?

Each run trains on a part drawn with its seed and repeated to the full length: an epoch has as many
steps as ever, so that less data is not less training.
"""

from typing import Any

from utils.claim import Claim
from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS, MNIST_RECIPE


def rows(every: int, *networks: str) -> tuple[Row, ...]:
    """Each network on 1,000, on 10,000 and on ``every`` image."""
    return tuple(
        Row(f"{network}, {images:,} images", network, images=images, at=(network, images))
        if images < every
        else Row(network, at=(network, images))
        for network in networks
        for images in (1_000, 10_000, every)
    )


def claims(section: str, connected: str, convolutional: str) -> tuple[Claim, ...]:
    """The convolutional network leads at each number of images, by most with the fewest."""
    few, some, every = (
        tuple(f"{network}{images}" for network in (convolutional, connected))
        for images in (", 1,000 images", ", 10,000 images", "")
    )
    return (
        Claim(
            f"{section}-sample-size",
            f"{convolutional} is more accurate than {connected} at each number of train images.",
            f"{convolutional} точнее, чем {connected}, при любом числе обучающих картинок.",
            "ours",
            pairs=(few, some, every),
            about=("convolutions",),
        ),
        Claim(
            f"{section}-sample-size-lead",
            f"The lead of {convolutional} over {connected} is largest with 1,000 train images.",
            f"Отрыв {convolutional} от {connected} больше всего на 1000 обучающих картинок.",
            "ours",
            "lead",
            pairs=(few, some, every),
            about=("convolutions",),
        ),
    )


TENFOLD = Claim(  # put when all rows were known
    "1.1-sample-size-tenfold",
    "SimpleCNN is as accurate with 1,000 train images as FCNet with 10,000.",
    "SimpleCNN на 1000 обучающих картинок столь же точна, как FCNet на 10 000.",
    "ours",
    "equal",
    pairs=(("SimpleCNN, 1,000 images", "FCNet, 10,000 images"),),
    about=("convolutions", "images"),
)

ABOUT: dict[str, Any] = {
    "seeds": CONTROL_SEEDS,
    "timed": False,
    "varied": ("network", "number of different train images"),
    "held": ("optimiser and schedule", "number of steps", "augmentation"),
    "not_tuned": ("recipe per number of images",),
    "figures": ("along",),
    "axis": "number of different train images",
    "control": True,
}
SAMPLE_SIZE_MNIST = Experiment(
    name="sample_size_mnist",
    subject="Fewer train images",
    question="How far do 1,000 and 10,000 of the 60,000 digits get each network?",
    dataset="mnist",
    rows=rows(60_000, "FCNet", "SimpleCNN"),
    recipe=MNIST_RECIPE,
    claims=(*claims("1.1", "FCNet", "SimpleCNN"), TENFOLD),
    **ABOUT,
)
SAMPLE_SIZE_CIFAR = Experiment(
    name="sample_size_cifar",
    subject="Fewer train images",
    question="How far do 1,000 and 10,000 of the 50,000 photographs get each network?",
    dataset="cifar10",
    rows=rows(50_000, "DeepFCNet", "CNN3x3"),
    recipe=CIFAR10_RECIPE,
    claims=claims("1.2", "DeepFCNet", "CNN3x3"),
    **ABOUT,
)
