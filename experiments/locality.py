"""Do convolutional networks live on neighbouring pixels, and what is a moved image to them?

``locality``: the pixels of every image in one fixed random order. A fully connected network can
learn from them what it could before; a convolution looks at pixels that are neighbours no longer.
``shift``: the trained networks on test images that are moved by a few pixels.
"""

from utils.claim import Claim
from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS, MNIST_RECIPE, MORE_SEEDS

# a crop of a permuted image is something else than a permuted crop
PLAIN_MNIST = {"crop_padding": 0}
PLAIN_CIFAR = {"crop_padding": 0, "flip": False}
HELD = ("optimiser and schedule", "epochs", "no augmentation", "data order")

LOCALITY_MNIST = Experiment(
    name="locality_mnist",
    question="What is left of a convolutional network's lead when no pixel has its neighbours?",
    dataset="mnist",
    rows=(
        Row("FCNet", recipe=PLAIN_MNIST, seeds=MORE_SEEDS),
        Row("FCNet, permuted", "FCNet", recipe=PLAIN_MNIST, seeds=MORE_SEEDS, permuted=True),
        Row("SimpleCNN", recipe=PLAIN_MNIST),
        Row("SimpleCNN, permuted", "SimpleCNN", recipe=PLAIN_MNIST, permuted=True),
    ),
    recipe=MNIST_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("network", "order of the pixels"),
    held=HELD,
    not_tuned=("learning rate per network",),
    figures=("accuracies",),
    claims=(
        Claim(
            "1.1-permuted-fc",
            "FCNet is as accurate with the pixels of all digits in one random order.",
            "FCNet столь же точна, если пиксели всех цифр одинаково перемешать.",
            "ours",
            "equal",
            pairs=(("FCNet, permuted", "FCNet"),),
            about=("permuted",),
        ),
        Claim(
            "1.1-permuted-cnn",
            "SimpleCNN is less accurate with the pixels of all digits in one random order.",
            "SimpleCNN менее точна, если пиксели всех цифр одинаково перемешать.",
            "ours",
            pairs=(("SimpleCNN", "SimpleCNN, permuted"),),
            about=("permuted",),
        ),
        Claim(
            "1.1-locality",
            "With the pixels of all digits in one random order SimpleCNN falls behind FCNet.",
            "Если пиксели всех цифр одинаково перемешать, SimpleCNN отстаёт от FCNet.",
            "ours",
            pairs=(("FCNet, permuted", "SimpleCNN, permuted"),),
            about=("convolutions", "permuted"),
        ),
    ),
    control=True,
)

LOCALITY_CIFAR = Experiment(
    name="locality_cifar",
    question="The same on photographs, where neighbouring pixels say more",
    dataset="cifar10",
    rows=(
        Row("DeepFCNet", recipe=PLAIN_CIFAR),
        Row("DeepFCNet, permuted", "DeepFCNet", recipe=PLAIN_CIFAR, permuted=True),
        Row("CNN3x3", recipe=PLAIN_CIFAR),
        Row("CNN3x3, permuted", "CNN3x3", recipe=PLAIN_CIFAR, permuted=True),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("network", "order of the pixels"),
    held=HELD,
    not_tuned=("learning rate per network",),
    figures=("accuracies",),
    claims=(
        Claim(
            "1.2-permuted-fc",
            "DeepFCNet is as accurate with the pixels of all photographs in one random order.",
            "DeepFCNet столь же точна, если пиксели всех фотографий одинаково перемешать.",
            "ours",
            "equal",
            pairs=(("DeepFCNet, permuted", "DeepFCNet"),),
            about=("permuted",),
        ),
        Claim(
            "1.2-permuted-cnn",
            "CNN3x3 is less accurate with the pixels of all photographs in one random order.",
            "CNN3x3 менее точна, если пиксели всех фотографий одинаково перемешать.",
            "ours",
            pairs=(("CNN3x3", "CNN3x3, permuted"),),
            about=("permuted",),
        ),
        Claim(
            "1.2-locality",
            "With the pixels of all photographs in one random order CNN3x3 falls behind DeepFCNet.",
            "Если пиксели всех фотографий одинаково перемешать, CNN3x3 отстаёт от DeepFCNet.",
            "ours",
            pairs=(("DeepFCNet, permuted", "CNN3x3, permuted"),),
            about=("convolutions", "permuted"),
        ),
    ),
    control=True,
)

SHIFT_MNIST = Experiment(
    name="shift_mnist",
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
