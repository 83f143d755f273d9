"""Do convolutional networks live on neighbouring pixels, and what is a moved image to them?

``locality``: the pixels of every image in one fixed random order. A fully connected network can
learn from them what it could before; a convolution looks at pixels that are neighbours no longer.
``shift``: the trained networks on test images that are moved by a few pixels.
"""

from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS, MNIST_RECIPE

# a crop of a permuted image is something else than a permuted crop
PLAIN_MNIST = {"crop_padding": 0}
PLAIN_CIFAR = {"crop_padding": 0, "flip": False}
HELD = ("optimiser and schedule", "epochs", "no augmentation", "data order")

LOCALITY_MNIST = Experiment(
    name="locality_mnist",
    question="What is left of a convolutional network's lead when no pixel has its neighbours?",
    dataset="mnist",
    rows=(
        Row("FCNet", recipe=PLAIN_MNIST),
        Row("FCNet, permuted", "FCNet", recipe=PLAIN_MNIST, permuted=True),
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
    in_overview=False,
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
    in_overview=False,
)

SHIFT_MNIST = Experiment(
    name="shift_mnist",
    question="How much accuracy is left when the test digits are moved by 0 to 6 pixels?",
    dataset="mnist",
    rows=(Row("FCNet"), Row("SimpleCNN")),
    recipe=MNIST_RECIPE,
    seeds=CONTROL_SEEDS[:3],
    timed=False,
    varied=("network",),
    held=("optimiser and schedule", "epochs", "augmentation: crops of up to 2 pixels"),
    not_tuned=("learning rate per network",),
    figures=("shift",),
    in_overview=False,
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
    seeds=CONTROL_SEEDS[:3],
    timed=False,
    varied=("network", "global pooling before the linear layer"),
    held=("optimiser and schedule", "epochs", "augmentation: crops of up to 2 pixels, mirroring"),
    not_tuned=("learning rate per network",),
    figures=("shift",),
    in_overview=False,
)
