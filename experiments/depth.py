"""What do more convolutions bring, and what do residual connections change?"""

from dataclasses import replace

from utils.claim import Claim
from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS, MORE_SEEDS

HELD = ("optimiser and schedule", "epochs", "augmentation", "data order")


CLAIMS = (
    Claim(
        "2.2-best",
        "MediumCNN is the most accurate of the four networks.",
        "MediumCNN — самая точная из четырёх сетей.",
        "report",
        "best",
        pairs=tuple(("MediumCNN", b) for b in ("ShallowCNN", "DeepCNN", "ResNetLikeCNN")),
    ),
    Claim(
        "2.2-depth",
        "Four convolutions are more accurate than two.",
        "Четыре свёртки точнее двух.",
        "report",
        pairs=(("MediumCNN", "ShallowCNN"),),
    ),
    Claim(
        "2.2-deeper",
        "The deeper plain network, DeepCNN, is less accurate than MediumCNN.",
        "Более глубокая сеть без shortcut, DeepCNN, менее точна, чем MediumCNN.",
        "report",
        pairs=(("MediumCNN", "DeepCNN"),),
    ),
    Claim(
        "2.2-overfits",
        "DeepCNN overfits more than MediumCNN: its gap between train and test is larger.",
        "DeepCNN переобучается сильнее, чем MediumCNN: разрыв между обучением и тестом больше.",
        "report",
        pairs=(("DeepCNN", "MediumCNN"),),
        metric="generalization_gap",
    ),
    Claim(
        "2.2-train-accuracy",
        "DeepCNN's train accuracy is below MediumCNN's.",
        "Точность DeepCNN на обучающих картинках ниже, чем у MediumCNN.",
        "report",
        pairs=(("MediumCNN", "DeepCNN"),),
        metric="train_accuracy",
    ),
    Claim(
        "2.2-resnet",
        "ResNetLikeCNN is as accurate as DeepCNN.",
        "ResNetLikeCNN так же точна, как DeepCNN.",
        "report",
        "equal",
        pairs=(("ResNetLikeCNN", "DeepCNN"),),
    ),
    Claim(
        "2.2-resnet-parameters",
        "ResNetLikeCNN has fewer parameters than DeepCNN.",
        "У ResNetLikeCNN меньше параметров, чем у DeepCNN.",
        "report",
        "exact",
        pairs=(("DeepCNN", "ResNetLikeCNN"),),
        metric="parameters",
    ),
    Claim(
        "2.2-vanishing",
        "DeepCNN's gradients vanish: at its first layer below 1/100 of the last's.",
        "Градиенты DeepCNN затухают: на первом слое меньше 1/100 последнего.",
        "ours",
        "constant",
        pairs=(("DeepCNN", ""),),
        metric="gradient_ratio",
        than=0.01,
    ),
    Claim(
        "2.2-fastest",
        "ShallowCNN is the fastest of the four networks.",
        "ShallowCNN — самая быстрая из четырёх сетей.",
        "report",
        "time",
        pairs=tuple(("ShallowCNN", b) for b in ("MediumCNN", "DeepCNN", "ResNetLikeCNN")),
    ),
    Claim(
        "2.2-smallest",
        "ShallowCNN has the fewest parameters of the four networks.",
        "У ShallowCNN меньше всего параметров из четырёх сетей.",
        "report",
        "exact",
        pairs=tuple((a, "ShallowCNN") for a in ("MediumCNN", "DeepCNN", "ResNetLikeCNN")),
        metric="parameters",
    ),
)


DEPTH = Experiment(
    name="depth",
    subject="Depth in the report's networks",
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
    asks="gap",
    figures=("curves", "gradient_norms", "feature_maps"),
    columns=("receptive_field",),
    reported_table="2.2 depth (CIFAR-10)",
    claims=CLAIMS,
)

LAYERS = ("layers",)

DEPTH_MATCHED = Experiment(
    name="depth_matched",
    subject="Depth at equal parameters",
    question="What do more convolutions bring when each network has 60,362 parameters ± 1 %?",
    dataset="cifar10",
    rows=(
        Row("ShallowCNN-60k", "CNN3x3"),
        Row("MediumCNN-60k", "MediumCNN", {"widths": (11, 22, 46, 46)}),
        Row("DeepCNN-60k", "DeepCNN", {"widths": (11, 22, 43)}),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=tuple(range(10, 21)),  # as many as five had asked for, to close what they left open
    timed=False,
    varied=("depth", "channels, so that the parameters stay"),
    held=("number of parameters", *HELD),
    not_tuned=("learning rate per network", "FLOPs"),
    figures=("accuracies",),
    columns=("receptive_field",),
    claims=(
        Claim(
            "2.2-equal-parameters",
            "The networks have the same number of parameters within 1 %.",
            "У сетей одинаковое количество параметров с точностью до 1 %.",
            "ours",
            "exact",
            pairs=(("ShallowCNN-60k", "MediumCNN-60k"), ("ShallowCNN-60k", "DeepCNN-60k")),
            metric="parameters",
            than=1,
            margin=0.01,
        ),
        Claim(
            "2.2-equal-depth",
            "At equal parameters four convolutions are more accurate than two.",
            "При равном числе параметров четыре свёртки точнее двух.",
            "ours",
            pairs=(("MediumCNN-60k", "ShallowCNN-60k"),),
            about=LAYERS,
        ),
        Claim(
            "2.2-equal-deeper",
            "At equal parameters six convolutions are more accurate than four.",
            "При равном числе параметров шесть свёрток точнее четырёх.",
            "ours",
            pairs=(("DeepCNN-60k", "MediumCNN-60k"),),
            about=LAYERS,
        ),
    ),
    control=True,
)

PLAIN = {"add_shortcut": False}
BARE = {"add_shortcut": False, "norm": False}


def ladder(layers: int) -> tuple[Row, ...]:
    """Networks of one depth: residual, plain, and plain without batch-norm."""
    depth = {"layers": layers}
    return (
        Row(f"{layers} layers, residual", "LadderNet", depth, at=("residual", layers)),
        Row(
            f"{layers} layers, plain",
            "LadderNet",
            {**depth, **PLAIN},
            at=("plain", layers),
        ),
        Row(
            f"{layers} layers, plain, no batch-norm",
            "LadderNet",
            {**depth, **BARE},
            at=("plain, no batch-norm", layers),
        ),
    )


SHORTCUTS, NORMS = ("add_shortcut",), ("norm",)
LADDER_CLAIMS = (
    Claim(
        "2.2-deep-vanishing",
        "In a plain network of 44 layers gradients vanish: the first layer's is less than a "
        "hundredth of the last one's before training.",
        "В обычной сети из 44 слоёв градиент затухает: до обучения у первого слоя он меньше сотой "
        "доли того, что у последнего.",
        "ours",
        "constant",
        pairs=(("44 layers, plain", ""),),
        metric="log10_initial_gradient_ratio",
        than=-2,
    ),
    Claim(
        "2.2-deep-vanishing-bare",
        "In a plain network of 44 layers without batch-norm gradients vanish in the same sense.",
        "В обычной сети из 44 слоёв без batch-norm градиент затухает в том же смысле.",
        "ours",
        "constant",
        pairs=(("44 layers, plain, no batch-norm", ""),),
        metric="log10_initial_gradient_ratio",
        than=-2,
    ),
    Claim(
        "2.2-no-start",
        "A plain network of 44 layers without batch-norm does not start to learn: it stays below "
        "11 %, where guessing has 10.",
        "Обычная сеть из 44 слоёв без batch-norm не начинает учиться: остаётся ниже 11 %, при 10 у "
        "угадывания.",
        "ours",
        "constant",
        pairs=(("44 layers, plain, no batch-norm", ""),),
        than=11,
    ),
    Claim(
        "2.2-degradation",
        "From 20 to 44 layers a plain network becomes worse on the images that it is trained on.",
        "От 20 к 44 слоям обычная сеть хуже даже на тех картинках, на которых её обучают.",
        "ours",
        pairs=(("20 layers, plain", "44 layers, plain"),),
        metric="train_accuracy",
        about=("layers",),
    ),
    Claim(
        "2.2-degradation-residual",
        "A residual network of 44 layers is as accurate on the test images as one of 20.",
        "Residual-сеть из 44 слоёв столь же точна на тесте, как из 20.",
        "ours",
        "equal",
        pairs=(("44 layers, residual", "20 layers, residual"),),
        about=("layers",),
    ),
    *(
        Claim(
            f"2.2-shortcuts-{layers}",
            f"Shortcuts make a network of {layers} layers more accurate.",
            f"Shortcut делают сеть из {layers} слоёв точнее.",
            "ours",
            pairs=((f"{layers} layers, residual", f"{layers} layers, plain"),),
            about=SHORTCUTS,
        )
        for layers in (8, 20, 44)
    ),
    Claim(
        "2.2-norm-20",
        "Batch-norm makes a plain network of 20 layers more accurate.",
        "Batch-norm делает обычную сеть из 20 слоёв точнее.",
        "ours",
        pairs=(("20 layers, plain", "20 layers, plain, no batch-norm"),),
        about=NORMS,
    ),
)

DEPTH_LADDER = Experiment(
    name="depth_ladder",
    subject="Depth with and without shortcuts",
    question="At which depth do plain networks stop learning, and do residual ones go on?",
    dataset="cifar10",
    rows=(*ladder(8), *ladder(20), *ladder(44)),
    recipe=CIFAR10_RECIPE,
    seeds=MORE_SEEDS,
    timed=False,
    varied=("depth", "shortcuts", "batch-norm"),
    held=("width of each stage", *HELD),
    not_tuned=("learning rate per depth",),
    figures=("along", "gradient_depth"),
    columns=("gradient_ratio",),
    axis="number of layers",
    claims=LADDER_CLAIMS,
    control=True,
)

SGD_ALONE = {"muon_rate": 0.0}


def with_either_optimiser(layers: int) -> tuple[Row, ...]:
    """The ladder's residual and plain networks of one depth, with Muon and with SGD alone."""
    rows = ladder(layers)[:2]
    muon = (replace(row, at=(f"{row.at[0]}, Muon", layers)) for row in rows)
    sgd = (
        replace(
            row,
            label=f"{row.label}, SGD",
            at=(f"{row.at[0]}, SGD", layers),
            recipe=SGD_ALONE,
            # five had left open whether the deeper residual network is as accurate
            seeds=MORE_SEEDS if layers > 8 and row is rows[0] else CONTROL_SEEDS,
        )
        for row in rows
    )
    return (*muon, *sgd)


# put before the first network of SGD's had been trained
DEPTH_LADDER_SGD = Experiment(
    name="depth_ladder_sgd",
    subject="Depth and shortcuts without Muon",
    question="Does what is found about depth hang on Muon? The same networks with SGD alone",
    dataset="cifar10",
    rows=tuple(row for layers in (8, 20, 44) for row in with_either_optimiser(layers)),
    recipe=CIFAR10_RECIPE,
    seeds=MORE_SEEDS,
    timed=False,
    varied=("optimiser of the convolutions", "depth", "shortcuts"),
    held=("width of each stage", "batch-norm", "schedule", *HELD[1:]),
    not_tuned=("learning rate per depth", "learning rate of SGD without Muon"),
    figures=("along",),
    columns=("gradient_ratio",),
    axis="number of layers",
    claims=(
        Claim(
            "2.2-sgd-degradation",
            "With SGD alone too a plain network of 44 layers is worse than one of 20 on the images "
            "that it is trained on.",
            "И с одним SGD обычная сеть из 44 слоёв хуже, чем из 20, даже на тех картинках, на "
            "которых её обучают.",
            "ours",
            pairs=(("20 layers, plain, SGD", "44 layers, plain, SGD"),),
            metric="train_accuracy",
            about=LAYERS,
        ),
        *(
            Claim(
                f"2.2-sgd-shortcuts-{layers}",
                f"With SGD alone too shortcuts make a network of {layers} layers more accurate.",
                f"И с одним SGD shortcut делают сеть из {layers} слоёв точнее.",
                "ours",
                pairs=((f"{layers} layers, residual, SGD", f"{layers} layers, plain, SGD"),),
                about=SHORTCUTS,
            )
            for layers in (20, 44)
        ),
        Claim(
            "2.2-sgd-deeper-residual",
            "With SGD alone too a residual network of 44 layers is as accurate as one of 20.",
            "И с одним SGD residual-сеть из 44 слоёв столь же точна, как из 20.",
            "ours",
            "equal",
            pairs=(("44 layers, residual, SGD", "20 layers, residual, SGD"),),
            about=LAYERS,
        ),
        # the first networks of SGD's had been seen when these two were put
        *(
            Claim(
                f"2.2-sgd-more-{layers}",
                f"At {layers} layers shortcuts bring more with SGD alone than with Muon.",
                f"При {layers} слоях shortcut дают с одним SGD больше, чем с Muon.",
                "ours",
                "lead",
                pairs=tuple(
                    (f"{layers} layers, residual{with_}", f"{layers} layers, plain{with_}")
                    for with_ in (", SGD", "")
                ),
                about=SHORTCUTS,
            )
            for layers in (20, 44)
        ),
        *(
            Claim(
                f"2.2-muon-{shape}-44",
                f"Muon makes a {shape} network of 44 layers more accurate than SGD alone.",
                f"С Muon {russian} из 44 слоёв точнее, чем с одним SGD.",
                "ours",
                pairs=((f"44 layers, {shape}", f"44 layers, {shape}, SGD"),),
                about=tuple(SGD_ALONE),
            )
            for shape, russian in (("residual", "residual-сеть"), ("plain", "обычная сеть"))
        ),
    ),
    control=True,
)

HE_WEIGHTS = {"he_weights": True}
HE = tuple(HE_WEIGHTS)

INITIAL_WEIGHTS = Experiment(
    name="initial_weights",
    subject="Initial weights without batch-norm and shortcuts",
    question="Do gradients vanish for the depth, or for the initial weights?",
    dataset="cifar10",
    rows=tuple(
        row
        for layers in (20, 44)
        for row in (
            Row(
                f"{layers} layers, default weights",
                "LadderNet",
                {"layers": layers, **BARE},
                at=("default weights", layers),
            ),
            Row(
                f"{layers} layers, He weights",
                "LadderNet",
                {"layers": layers, **BARE, **HE_WEIGHTS},
                seeds=CONTROL_SEEDS,
                at=("He weights", layers),
            ),
        )
    ),
    recipe=CIFAR10_RECIPE,
    seeds=MORE_SEEDS,
    timed=False,
    varied=("initial weights of the convolutions", "depth"),
    held=("width of each stage", *HELD),
    not_tuned=("learning rate per network",),
    figures=("gradient_depth",),
    columns=("gradient_ratio",),
    axis="number of layers",
    claims=(
        Claim(
            "2.2-he-gradient",
            "With He's initial weights the first layer's gradient is larger before training, in "
            "comparison with the last one's, than with torch's defaults.",
            "С начальными весами Хе градиент первого слоя до обучения больше относительно "
            "последнего, чем с весами torch по умолчанию.",
            "ours",
            pairs=(("44 layers, He weights", "44 layers, default weights"),),
            metric="log10_initial_gradient_ratio",
            about=HE,
        ),
        Claim(
            "2.2-he-44",
            "Without batch-norm and shortcuts He's initial weights make a network of 44 layers "
            "more accurate.",
            "Без batch-norm и shortcut начальные веса Хе делают сеть из 44 слоёв точнее.",
            "ours",
            pairs=(("44 layers, He weights", "44 layers, default weights"),),
            about=HE,
        ),
        Claim(
            "2.2-he-20",
            "Without batch-norm and shortcuts He's initial weights make a network of 20 layers "
            "more accurate.",
            "Без batch-norm и shortcut начальные веса Хе делают сеть из 20 слоёв точнее.",
            "ours",
            pairs=(("20 layers, He weights", "20 layers, default weights"),),
            about=HE,
        ),
    ),
    control=True,
)

SHORTCUT = Experiment(
    name="shortcut",
    subject="ResNetLikeCNN with and without shortcuts",
    question="What do the shortcuts of ResNetLikeCNN bring by themselves?",
    dataset="cifar10",
    rows=(Row("ResNetLikeCNN"), Row("ResNetLikeCNN, no shortcut", "ResNetLikeCNN", PLAIN)),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("shortcuts, with the 1×1 projection of the second",),
    held=HELD,
    not_tuned=("learning rate per network",),
    figures=("accuracies",),
    claims=(
        Claim(
            "2.2-shortcuts",
            "Shortcuts by themselves make ResNetLikeCNN more accurate.",
            "Shortcut сами по себе делают ResNetLikeCNN точнее.",
            "report",
            pairs=(("ResNetLikeCNN", "ResNetLikeCNN, no shortcut"),),
            about=("add_shortcut",),
        ),
    ),
    control=True,
)
