"""Do convolutional networks live on neighbouring pixels, on shared weights, on unmoved images?

``locality``: the pixels of every image in one fixed random order. A fully connected network can
learn from them what it could before; a convolution looks at pixels that are neighbours no longer.
``weight_sharing``: between the two a network that looks at neighbouring pixels, as a convolution
does, with weights of its own at each place.
``shift``: the trained networks on test images that are moved by a few pixels.
"""

from typing import Any

from utils.claim import Claim
from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS, MNIST_RECIPE, MORE_SEEDS

# a crop of a permuted image is something else than a permuted crop
PLAIN_MNIST = {"crop_padding": 0}
PLAIN_CIFAR = {"crop_padding": 0, "flip": False}


def rows(
    connected: str, convolutional: str, plain: dict[str, Any], seeds: tuple[int, ...] | None = None
) -> tuple[Row, ...]:
    """Both networks with the images as they are and permuted; ``seeds`` of the connected one."""
    return (
        Row(connected, recipe=plain, seeds=seeds),
        Row(f"{connected}, permuted", connected, recipe=plain, seeds=seeds, permuted=True),
        Row(convolutional, recipe=plain),
        Row(f"{convolutional}, permuted", convolutional, recipe=plain, permuted=True),
    )


def claims(
    section: str, connected: str, convolutional: str, things: str, of_things: str
) -> tuple[Claim, ...]:
    """What a random order of the pixels does to each, and to the lead of one over the other.

    ``things`` are what the images show, ``of_things`` the same in Russian, in the genitive.
    """
    order = f"with the pixels of all {things} in one random order"
    in_order = f"если пиксели всех {of_things} одинаково перемешать"
    usual, permuted = ((f"{convolutional}{how}", f"{connected}{how}") for how in ("", ", permuted"))
    return (
        Claim(
            f"{section}-permuted-fc",
            f"{connected} is as accurate {order}.",
            f"{connected} столь же точна, {in_order}.",
            "ours",
            "equal",
            pairs=((f"{connected}, permuted", connected),),
            about=("permuted",),
        ),
        Claim(
            f"{section}-permuted-cnn",
            f"{convolutional} is less accurate {order}.",
            f"{convolutional} менее точна, {in_order}.",
            "ours",
            pairs=((convolutional, f"{convolutional}, permuted"),),
            about=("permuted",),
        ),
        Claim(
            f"{section}-locality",
            f"{order.capitalize()} {convolutional} falls behind {connected}.",
            f"{in_order.capitalize()}, {convolutional} отстаёт от {connected}.",
            "ours",
            pairs=(permuted[::-1],),
            about=("convolutions", "permuted"),
        ),
        Claim(
            f"{section}-locality-lead",
            f"The lead of {convolutional} over {connected} is larger while pixels have their "
            "neighbours.",
            f"Отрыв {convolutional} от {connected} больше, пока пиксели стоят рядом со своими "
            "соседями.",
            "ours",
            "lead",
            pairs=(usual, permuted),
            about=("convolutions", "permuted"),
        ),
    )


ABOUT_LOCALITY: dict[str, Any] = {
    "timed": False,
    "varied": ("network", "order of the pixels"),
    "held": ("optimiser and schedule", "epochs", "no augmentation", "data order"),
    "not_tuned": ("learning rate per network",),
    "figures": ("accuracies",),
    "control": True,
}
LOCALITY_MNIST = Experiment(
    name="locality_mnist",
    subject="Pixels in random order",
    question="What is left of a convolutional network's lead when no pixel has its neighbours?",
    dataset="mnist",
    rows=rows("FCNet", "SimpleCNN", PLAIN_MNIST, MORE_SEEDS),
    recipe=MNIST_RECIPE,
    seeds=CONTROL_SEEDS,
    claims=claims("1.1", "FCNet", "SimpleCNN", "digits", "цифр"),
    **ABOUT_LOCALITY,
)
LOCALITY_CIFAR = Experiment(
    name="locality_cifar",
    subject="Pixels in random order",
    question="The same on photographs, where neighbouring pixels say more",
    dataset="cifar10",
    rows=rows("DeepFCNet", "CNN3x3", PLAIN_CIFAR),
    recipe=CIFAR10_RECIPE,
    seeds=MORE_SEEDS,
    claims=claims("1.2", "DeepFCNet", "CNN3x3", "photographs", "фотографий"),
    **ABOUT_LOCALITY,
)

WEIGHT_SHARING = Experiment(
    name="weight_sharing",
    subject="Local connections and shared weights",
    question="How much of the lead comes from looking at neighbours, how much from shared weights?",
    dataset="cifar10",
    rows=(
        Row("DeepFCNet", recipe=PLAIN_CIFAR),
        Row("LocalCNN", recipe=PLAIN_CIFAR, seeds=CONTROL_SEEDS),
        Row("CNN3x3", recipe=PLAIN_CIFAR),
        Row("DeepFCNet, permuted", "DeepFCNet", recipe=PLAIN_CIFAR, permuted=True),
        Row(
            "LocalCNN, permuted",
            "LocalCNN",
            recipe=PLAIN_CIFAR,
            seeds=tuple(range(10, 21)),  # as many as five had asked for
            permuted=True,
        ),
        Row("CNN3x3, permuted", "CNN3x3", recipe=PLAIN_CIFAR, permuted=True),
        Row("LocalCNN, augmented", "LocalCNN", seeds=CONTROL_SEEDS),
        Row("CNN3x3, augmented", "CNN3x3"),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=MORE_SEEDS,
    timed=False,
    varied=("network", "order of the pixels", "augmentation"),
    held=("optimiser and schedule", "epochs", "data order"),
    not_tuned=("learning rate per network",),
    figures=("accuracies",),
    claims=(
        Claim(
            "1.2-local",
            "Local connections, with weights of their own at each place, are more accurate than "
            "full ones.",
            "Локальные связи, у которых в каждом месте свои веса, точнее полных.",
            "ours",
            pairs=(("LocalCNN", "DeepFCNet"),),
            about=("local connections",),
        ),
        Claim(
            "1.2-shared",
            "The same weights at all places are more accurate than weights of their own at each.",
            "Одни и те же веса во всех местах точнее, чем свои в каждом.",
            "ours",
            pairs=(("CNN3x3", "LocalCNN"),),
            about=("convolutions", "local connections"),
        ),
        Claim(
            "1.2-shared-lead",
            "To the lead of CNN3x3 over DeepFCNet shared weights add more than local connections.",
            "В отрыв CNN3x3 от DeepFCNet общие веса вносят больше, чем локальные связи.",
            "ours",
            "lead",
            pairs=(("CNN3x3", "LocalCNN"), ("LocalCNN", "DeepFCNet")),
            about=("convolutions", "local connections"),
        ),
        Claim(
            "1.2-local-neighbours",
            "LocalCNN is less accurate with the pixels of all photographs in one random order.",
            "LocalCNN менее точна, если пиксели всех фотографий одинаково перемешать.",
            "ours",
            pairs=(("LocalCNN", "LocalCNN, permuted"),),
            about=("permuted",),
        ),
        Claim(
            "1.2-local-permuted",
            "With the pixels of all photographs in one random order LocalCNN falls behind "
            "DeepFCNet.",
            "Если пиксели всех фотографий одинаково перемешать, LocalCNN отстаёт от DeepFCNet.",
            "ours",
            pairs=(("DeepFCNet, permuted", "LocalCNN, permuted"),),
            about=("local connections", "permuted"),
        ),
        Claim(
            "1.2-shared-permuted",
            "With the pixels of all photographs in one random order the same weights at all places "
            "are less accurate than weights of their own at each.",
            "Если пиксели всех фотографий одинаково перемешать, одни и те же веса во всех местах "
            "менее точны, чем свои в каждом.",
            "ours",
            pairs=(("LocalCNN, permuted", "CNN3x3, permuted"),),
            about=("convolutions", "local connections", "permuted"),
        ),
        Claim(
            "1.2-shared-augmented",
            "Augmentation brings more where weights are not shared.",
            "Аугментация даёт больше там, где веса не общие.",
            "ours",
            "lead",
            pairs=(("LocalCNN, augmented", "LocalCNN"), ("CNN3x3, augmented", "CNN3x3")),
            about=("crop_padding", "flip"),
        ),
    ),
    control=True,
)

SHIFT_MNIST = Experiment(
    name="shift_mnist",
    subject="Moved images",
    question="How much accuracy is left when the test digits are moved by 0 to 6 pixels?",
    dataset="mnist",
    rows=(Row("FCNet"), Row("SimpleCNN")),
    recipe=MNIST_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("network",),
    held=("optimiser and schedule", "epochs", "augmentation: crops of up to 2 pixels"),
    not_tuned=("learning rate per network",),
    figures=("shift",),
    columns=("shift",),
    claims=(
        Claim(
            "1.1-shift",
            "Digits moved by six pixels cost FCNet more accuracy than SimpleCNN.",
            "Сдвиг цифр на шесть пикселей стоит FCNet больше точности, чем SimpleCNN.",
            "ours",
            pairs=(("FCNet", "SimpleCNN"),),
            metric="shift_loss",
            about=("convolutions",),
        ),
    ),
    control=True,
)

SHIFT_CIFAR = Experiment(
    name="shift_cifar",
    subject="Moved images",
    question="How much is left when test photographs are moved: with and without global pooling?",
    dataset="cifar10",
    rows=(
        Row("DeepFCNet"),
        Row("CNN3x3"),
        Row("CNN3x3, global pooling", "CNN3x3", overrides={"global_pooling": True}),
        Row("ResNetLikeCNN"),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("network", "global pooling before the linear layer"),
    held=("optimiser and schedule", "epochs", "augmentation: crops of up to 2 pixels, mirroring"),
    not_tuned=("learning rate per network",),
    figures=("shift",),
    columns=("shift",),
    claims=(
        Claim(
            "1.2-shift",
            "Photographs moved by six pixels cost DeepFCNet more accuracy than CNN3x3.",
            "Сдвиг фотографий на шесть пикселей стоит DeepFCNet больше точности, чем CNN3x3.",
            "ours",
            pairs=(("DeepFCNet", "CNN3x3"),),
            metric="shift_loss",
            about=("convolutions",),
        ),
        Claim(
            "1.2-shift-resnet",
            "ResNetLikeCNN, which has global pooling, loses less to a shift of six pixels than "
            "CNN3x3.",
            "ResNetLikeCNN с её глобальным усреднением теряет от сдвига на шесть пикселей меньше, "
            "чем CNN3x3.",
            "ours",
            pairs=(("CNN3x3", "ResNetLikeCNN"),),
            metric="shift_loss",
        ),
        Claim(
            "1.2-shift-pooling",
            "With global pooling CNN3x3 loses less to a shift of six pixels.",
            "С глобальным усреднением CNN3x3 теряет от сдвига на шесть пикселей меньше.",
            "ours",
            pairs=(("CNN3x3", "CNN3x3, global pooling"),),
            metric="shift_loss",
            about=("global_pooling",),
        ),
        Claim(
            "1.2-pooling",
            "CNN3x3 is more accurate without global pooling, on images where they are.",
            "На несдвинутых картинках CNN3x3 точнее без глобального усреднения.",
            "ours",
            pairs=(("CNN3x3", "CNN3x3, global pooling"),),
            about=("global_pooling",),
        ),
    ),
    control=True,
)
