"""Which regulariser brings what, each by itself, and does the answer turn with longer training?"""

from typing import Any

from utils.claim import Claim
from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS, MORE_SEEDS

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
NO_DROPOUT = {"block_dropout": 0.0, "dropout": 0.0}
LONG = {"epochs": 40}


def with_only(*fields: str) -> dict[str, Any]:
    """The fields of the recipe that differ where these alone keep their values."""
    return {key: value for key, value in WITHOUT.items() if key not in fields}


IN_RUSSIAN = {
    "dropout": "Dropout",
    "weight decay": "Weight decay",
    "label smoothing": "Label smoothing",
    "augmentation": "Аугментация",
}
BY_THEMSELVES = tuple(
    Claim(
        f"1.2-{name.replace(' ', '-')}",
        f"{name.capitalize()} by itself raises the test accuracy of CNN3x3 in ten epochs.",
        f"{IN_RUSSIAN[name]} без других регуляризаторов повышает точность CNN3x3 за десять эпох.",
        "ours",
        pairs=((f"CNN3x3, {name}", "CNN3x3, none"),),
        about=fields,
    )
    for name, fields in {"dropout": ("dropout",), **REGULARISERS}.items()
)
CLAIMS = (
    Claim(
        "1.2-reg-dropout",
        "Dropout raises the test accuracy of CNNWithResidualReg.",
        "Dropout повышает точность CNNWithResidualReg на тесте.",
        "ours",
        pairs=(("CNNWithResidualReg", "CNNWithResidualReg, no dropout"),),
        about=("dropout", "block_dropout"),
    ),
    Claim(
        "1.2-reg-gap",
        "Dropout narrows the gap between train and test accuracy of CNNWithResidualReg.",
        "Dropout сужает разрыв между точностью CNNWithResidualReg на обучении и на тесте.",
        "report",
        pairs=(("CNNWithResidualReg, no dropout", "CNNWithResidualReg"),),
        metric="generalization_gap",
        about=("dropout", "block_dropout"),
    ),
    *BY_THEMSELVES,
    Claim(
        "1.2-all",
        "All regularisers together are better than augmentation alone in ten epochs.",
        "Все регуляризаторы вместе лучше одной аугментации за десять эпох.",
        "ours",
        pairs=(("CNN3x3, all", "CNN3x3, augmentation"),),
        about=("dropout", "weight_decay", "muon_decay", "label_smoothing"),
    ),
    Claim(
        "1.2-added-dropout",
        "Added to all the others, dropout raises the test accuracy of CNN3x3 in ten epochs.",
        "Вместе со всеми остальными dropout повышает точность CNN3x3 на тесте за десять эпох.",
        "ours",
        pairs=(("CNN3x3, all", "CNN3x3, all but dropout"),),
        about=("dropout",),
    ),
    Claim(
        "1.2-added-others",
        "Added to augmentation, weight decay and label smoothing raise the test accuracy of CNN3x3 "
        "in ten epochs.",
        "Вместе с аугментацией weight decay и label smoothing повышают точность CNN3x3 на тесте за "
        "десять эпох.",
        "ours",
        pairs=(("CNN3x3, all but dropout", "CNN3x3, augmentation"),),
        about=("weight_decay", "muon_decay", "label_smoothing"),
    ),
    Claim(
        "1.2-all-or-none",
        "All regularisers together are better than none, in ten epochs and in 40.",
        "Все регуляризаторы вместе лучше, чем никаких, и за десять эпох, и за 40.",
        "ours",
        pairs=(
            ("CNN3x3, all", "CNN3x3, none"),
            ("CNN3x3, all, 40 epochs", "CNN3x3, none, 40 epochs"),
        ),
        about=("dropout", *WITHOUT),
    ),
    Claim(
        "1.2-all-longer",
        "In 40 epochs all regularisers together are better than augmentation alone.",
        "За 40 эпох все регуляризаторы вместе лучше одной аугментации.",
        "ours",
        pairs=(("CNN3x3, all, 40 epochs", "CNN3x3, augmentation, 40 epochs"),),
        about=("dropout", "weight_decay", "muon_decay", "label_smoothing"),
    ),
    Claim(
        "1.2-added-dropout-longer",
        "In 40 epochs dropout, added to all the others, raises the test accuracy of CNN3x3.",
        "За 40 эпох dropout вместе со всеми остальными повышает точность CNN3x3 на тесте.",
        "ours",
        pairs=(("CNN3x3, all, 40 epochs", "CNN3x3, all but dropout, 40 epochs"),),
        about=("dropout",),
    ),
    Claim(
        "1.2-reg-dropout-longer",
        "In 40 epochs dropout raises the test accuracy of CNNWithResidualReg.",
        "За 40 эпох dropout повышает точность CNNWithResidualReg на тесте.",
        "ours",
        pairs=(("CNNWithResidualReg, 40 epochs", "CNNWithResidualReg, no dropout, 40 epochs"),),
        about=("dropout", "block_dropout"),
    ),
    Claim(
        "1.2-longer-without",
        "Without any regulariser 40 epochs give a lower test accuracy than ten.",
        "Без регуляризаторов 40 эпох дают меньшую точность на тесте, чем десять.",
        "ours",
        pairs=(("CNN3x3, none", "CNN3x3, none, 40 epochs"),),
        about=("epochs",),
    ),
    Claim(
        "1.2-longer-with",
        "With all regularisers 40 epochs give a higher test accuracy than ten.",
        "Со всеми регуляризаторами 40 эпох дают большую точность на тесте, чем десять.",
        "ours",
        pairs=(("CNN3x3, all, 40 epochs", "CNN3x3, all"),),
        about=("epochs",),
    ),
    Claim(
        "1.2-longer-dropout",
        "Dropout by itself brings more in 40 epochs than in ten.",
        "Один dropout за 40 эпох даёт больше, чем за десять.",
        "ours",
        "lead",
        pairs=(
            ("CNN3x3, dropout, 40 epochs", "CNN3x3, none, 40 epochs"),
            ("CNN3x3, dropout", "CNN3x3, none"),
        ),
        about=("dropout", "epochs"),
    ),
)

REGULARISATION = Experiment(
    name="regularisation",
    subject="Regularisers of CNN3x3 and CNNWithResidualReg",
    question="What does each regulariser bring by itself, in 10 epochs and in 40?",
    dataset="cifar10",
    rows=(
        Row("CNNWithResidualReg"),
        Row(
            "CNNWithResidualReg, no dropout",
            "CNNWithResidualReg",
            overrides=NO_DROPOUT,
        ),
        Row("CNN3x3, none", "CNN3x3", recipe=with_only(), seeds=MORE_SEEDS),
        Row("CNN3x3, dropout", "CNN3x3", DROPOUT, with_only()),
        Row("CNN3x3, weight decay", "CNN3x3", recipe=with_only(*REGULARISERS["weight decay"])),
        *(
            Row(
                f"CNN3x3, {name}", "CNN3x3", recipe=with_only(*REGULARISERS[name]), seeds=MORE_SEEDS
            )
            for name in ("label smoothing", "augmentation")
        ),
        Row("CNN3x3, all but dropout", "CNN3x3", seeds=MORE_SEEDS),
        Row("CNN3x3, all", "CNN3x3", DROPOUT, seeds=MORE_SEEDS),
        Row("CNN3x3, none, 40 epochs", "CNN3x3", recipe={**with_only(), **LONG}),
        Row("CNN3x3, dropout, 40 epochs", "CNN3x3", DROPOUT, {**with_only(), **LONG}),
        Row(
            "CNN3x3, augmentation, 40 epochs",
            "CNN3x3",
            recipe={**with_only("crop_padding", "flip"), **LONG},
        ),
        Row("CNN3x3, all but dropout, 40 epochs", "CNN3x3", recipe=LONG),
        Row("CNN3x3, all, 40 epochs", "CNN3x3", DROPOUT, LONG),
        Row("CNNWithResidualReg, 40 epochs", "CNNWithResidualReg", recipe=LONG),
        Row(
            "CNNWithResidualReg, no dropout, 40 epochs",
            "CNNWithResidualReg",
            NO_DROPOUT,
            LONG,
        ),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("regularisers", "epochs"),
    held=("optimiser and rates", "data order"),
    not_tuned=("strength of each regulariser",),
    figures=("accuracies",),
    claims=CLAIMS,
    control=True,
)
