"""Which regulariser brings what, each by itself, and does the answer turn with longer training?"""

from typing import Any

from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS

# the recipe without all that regularises, and what each regulariser sets
WITHOUT = {
    "weight_decay": 0.0,
    "muon_decay": 0.0,
    "label_smoothing": 0.0,
    "crop_padding": 0,
    "flip": False,
}
REGULARISERS = {
    "weight decay": ("weight_decay", "muon_decay"),
    "label smoothing": ("label_smoothing",),
    "augmentation": ("crop_padding", "flip"),
}
DROPOUT = {"dropout": 0.3}  # CNNWithResidualReg's before its classifier
LONG = {"epochs": 40}


def with_only(*fields: str) -> dict[str, Any]:
    """The fields of the recipe that differ where these alone keep their values."""
    return {key: value for key, value in WITHOUT.items() if key not in fields}


REGULARISATION = Experiment(
    name="regularisation",
    question="What does each regulariser bring by itself, in 10 epochs and in 40?",
    dataset="cifar10",
    rows=(
        Row("CNNWithResidualReg"),
        Row(
            "CNNWithResidualReg, no dropout",
            "CNNWithResidualReg",
            overrides={"block_dropout": 0.0, "dropout": 0.0},
        ),
        Row("none", "CNN3x3", recipe=with_only()),
        Row("dropout", "CNN3x3", DROPOUT, with_only()),
        *(Row(name, "CNN3x3", recipe=with_only(*fields)) for name, fields in REGULARISERS.items()),
        Row("all", "CNN3x3", DROPOUT),
        Row("none, 40 epochs", "CNN3x3", recipe={**with_only(), **LONG}, seeds=CONTROL_SEEDS[:3]),
        Row(
            "dropout, 40 epochs",
            "CNN3x3",
            DROPOUT,
            {**with_only(), **LONG},
            seeds=CONTROL_SEEDS[:3],
        ),
        Row("all, 40 epochs", "CNN3x3", DROPOUT, LONG, seeds=CONTROL_SEEDS[:3]),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("regularisers", "epochs"),
    held=("optimiser and rates", "data order"),
    not_tuned=("strength of each regulariser",),
    figures=("accuracies",),
    in_overview=False,
)
