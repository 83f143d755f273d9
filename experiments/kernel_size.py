"""What does the size of the kernels do: in the report's networks, and at equal cost?"""

from utils.claim import Claim
from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS, MORE_SEEDS

HELD = ("optimiser and schedule", "epochs", "augmentation", "data order")


KERNEL_SIZE_CLAIMS = (
    Claim(
        "2.1-same-parameters",
        "The networks have about the same number of parameters.",
        "У сетей примерно одинаковое количество параметров.",
        "report",
        "exact",
        pairs=(("CNN3x3", "CNN5x5"), ("CNN3x3", "CNN7x7"), ("CNN3x3", "CNN1x1+3x3")),
        metric="parameters",
        than=1,
        margin=0.1,
    ),
    Claim(
        "2.1-best",
        "In the report's networks 3×3 kernels are the most accurate.",
        "В сетях отчёта ядра 3×3 точнее всех.",
        "report",
        "best",
        pairs=(("CNN3x3", "CNN5x5"), ("CNN3x3", "CNN7x7"), ("CNN3x3", "CNN1x1+3x3")),
    ),
    Claim(
        "2.1-5x5",
        "In the report's networks 5×5 kernels are less accurate than 3×3.",
        "В сетях отчёта ядра 5×5 менее точны, чем 3×3.",
        "report",
        pairs=(("CNN3x3", "CNN5x5"),),
    ),
    Claim(
        "2.1-7x7",
        "In the report's networks 7×7 kernels are less accurate than 3×3.",
        "В сетях отчёта ядра 7×7 менее точны, чем 3×3.",
        "report",
        pairs=(("CNN3x3", "CNN7x7"),),
    ),
    Claim(
        "2.1-1x1+3x3",
        "In the report's networks 1×1+3×3 is slightly less accurate than 3×3.",
        "В сетях отчёта схема 1×1+3×3 чуть менее точна, чем 3×3.",
        "report",
        pairs=(("CNN3x3", "CNN1x1+3x3"),),
    ),
    Claim(
        "2.1-slower",
        "In the report's networks larger kernels are slower than 3×3.",
        "В сетях отчёта большие ядра медленнее, чем 3×3.",
        "report",
        "time",
        pairs=(("CNN3x3", "CNN5x5"), ("CNN3x3", "CNN7x7")),
    ),
    Claim(
        "2.1-1x1+3x3-slower",
        "In the report's networks 1×1+3×3 is slower than 3×3.",
        "В сетях отчёта схема 1×1+3×3 медленнее, чем 3×3.",
        "report",
        "time",
        pairs=(("CNN3x3", "CNN1x1+3x3"),),
    ),
    Claim(
        "2.1-receptive-field",
        "The larger the kernel, the more a unit before the classifier sees.",
        "Чем больше ядро, тем больше видит нейрон перед классификатором.",
        "ours",
        "exact",
        pairs=(("CNN5x5", "CNN3x3"), ("CNN7x7", "CNN5x5")),
        metric="receptive_field",
    ),
)

MATCHED_CLAIMS = (
    Claim(
        "2.1-equal-parameters",
        "The networks have the same number of parameters within 1 %.",
        "У сетей одинаковое количество параметров с точностью до 1 %.",
        "ours",
        "exact",
        pairs=tuple(
            ("CNN3x3-60k", f"{kernel}-60k") for kernel in ("CNN5x5", "CNN7x7", "CNN1x1+3x3")
        ),
        metric="parameters",
        than=1,
        margin=0.01,
    ),
    Claim(
        "2.1-equal-best",
        "At equal parameters 3×3 kernels are the most accurate.",
        "При равном числе параметров ядра 3×3 точнее всех.",
        "report",
        "best",
        pairs=tuple(
            ("CNN3x3-60k", f"{kernel}-60k") for kernel in ("CNN5x5", "CNN7x7", "CNN1x1+3x3")
        ),
    ),
    Claim(
        "2.1-equal-5x5",
        "At equal parameters 5×5 kernels are less accurate than 3×3.",
        "При равном числе параметров ядра 5×5 менее точны, чем 3×3.",
        "report",
        pairs=(("CNN3x3-60k", "CNN5x5-60k"),),
    ),
    Claim(
        "2.1-equal-7x7",
        "At equal parameters 7×7 kernels are less accurate than 3×3.",
        "При равном числе параметров ядра 7×7 менее точны, чем 3×3.",
        "report",
        pairs=(("CNN3x3-60k", "CNN7x7-60k"),),
    ),
    Claim(
        "2.1-equal-1x1+3x3",
        "At equal parameters 1×1+3×3 is slightly less accurate than 3×3.",
        "При равном числе параметров схема 1×1+3×3 чуть менее точна, чем 3×3.",
        "report",
        pairs=(("CNN3x3-60k", "CNN1x1+3x3-60k"),),
    ),
    Claim(
        "2.1-equal-slower",
        "At equal parameters larger kernels are slower than 3×3.",
        "При равном числе параметров большие ядра медленнее, чем 3×3.",
        "report",
        "time",
        pairs=(("CNN3x3-60k", "CNN5x5-60k"), ("CNN3x3-60k", "CNN7x7-60k")),
    ),
    Claim(
        "2.1-equal-flops",
        "At equal parameters larger kernels take more FLOPs.",
        "При равном числе параметров большие ядра требуют больше FLOPs.",
        "ours",
        "exact",
        pairs=(("CNN5x5-60k", "CNN3x3-60k"), ("CNN7x7-60k", "CNN5x5-60k")),
        metric="forward_flops",
    ),
)


KERNEL_SIZE = Experiment(
    name="kernel_size",
    subject="Kernel size in the report's networks",
    question="Which kernel size classifies best, where wider kernels come with fewer channels?",
    dataset="cifar10",
    rows=(Row("CNN3x3"), Row("CNN5x5"), Row("CNN7x7"), Row("CNN1x1+3x3")),
    recipe=CIFAR10_RECIPE,
    varied=("kernel size", "number of parameters"),
    held=HELD,
    not_tuned=("learning rate per network",),
    asks="receptive_field",
    figures=("curves", "receptive_field", "filters", "activations"),
    columns=("receptive_field",),
    reported_table="2.1 kernel size (CIFAR-10)",
    claims=KERNEL_SIZE_CLAIMS,
)

KERNEL_SIZE_MATCHED = Experiment(
    name="kernel_size_matched",
    subject="Kernel size at equal parameters",
    question="Which kernel size classifies best when each network has 60,362 parameters ± 1 %?",
    dataset="cifar10",
    rows=(
        Row("CNN3x3-60k", network="CNN3x3"),
        Row("CNN5x5-60k"),
        Row("CNN7x7-60k"),
        Row("CNN1x1+3x3-60k"),
    ),
    recipe=CIFAR10_RECIPE,
    varied=("kernel size", "channels, so that the parameters stay"),
    held=("number of parameters", *HELD),
    not_tuned=("learning rate per network", "FLOPs, which grow with the kernel"),
    figures=("curves", "receptive_field", "filters", "activations"),
    columns=("receptive_field",),
    claims=MATCHED_CLAIMS,
)

KERNEL_SIZE_EQUAL_FLOPS = Experiment(
    name="kernel_size_equal_flops",
    subject="Kernel size at equal FLOPs",
    question="Which kernel size classifies best at 11.3 MFLOPs an image, give or take 2 %?",
    dataset="cifar10",
    rows=(
        Row("CNN3x3-11MFLOP", "CNN3x3", seeds=MORE_SEEDS),
        Row("CNN5x5-11MFLOP", "CNN5x5", overrides={"widths": (18, 37)}),
        Row("CNN7x7-11MFLOP", "CNN7x7", overrides={"widths": (12, 25)}),
        Row(
            "CNN1x1+3x3-11MFLOP",
            "CNN1x1+3x3",
            overrides={"widths": (12, 24, 24, 50)},
            seeds=MORE_SEEDS,
        ),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("kernel size", "channels, so that the FLOPs stay"),
    held=("FLOPs of an image", *HELD),
    not_tuned=("learning rate per network", "parameters, which shrink as the kernel grows"),
    figures=("accuracies",),
    columns=("receptive_field",),
    claims=(
        Claim(
            "2.1-flops",
            "The networks spend the same FLOPs on an image within 2 %.",
            "Сети тратят на картинку одинаково много FLOPs, с точностью до 2 %.",
            "ours",
            "exact",
            pairs=tuple(
                ("CNN3x3-11MFLOP", other)
                for other in ("CNN5x5-11MFLOP", "CNN7x7-11MFLOP", "CNN1x1+3x3-11MFLOP")
            ),
            metric="forward_flops",
            than=1,
            margin=0.02,
        ),
        Claim(
            "2.1-same-flops",
            "At equal FLOPs 3×3 kernels are more accurate than 5×5 and 7×7.",
            "При равном числе FLOPs ядра 3×3 точнее, чем 5×5 и 7×7.",
            "ours",
            pairs=(
                ("CNN3x3-11MFLOP", "CNN5x5-11MFLOP"),
                ("CNN3x3-11MFLOP", "CNN7x7-11MFLOP"),
            ),
        ),
        Claim(
            "2.1-same-flops-mixed",
            "At equal FLOPs 1×1+3×3 is as accurate as 3×3.",
            "При равном числе FLOPs 1×1+3×3 столь же точна, как 3×3.",
            "ours",
            "equal",
            pairs=(("CNN1x1+3x3-11MFLOP", "CNN3x3-11MFLOP"),),
        ),
    ),
    control=True,
)


EQUAL_COST_PAIRS = tuple(
    ("CNN3x3-equal", other) for other in ("CNN5x5-equal", "CNN7x7-equal", "CNN1x1+3x3-equal")
)

KERNEL_SIZE_EQUAL_COST = Experiment(
    name="kernel_size_equal_cost",
    subject="Kernel size at equal parameters and FLOPs",
    question="Which kernel size classifies best at 60,362 parameters and 11.3 MFLOPs an image, "
    "both give or take 2 %?",
    dataset="cifar10",
    rows=(
        Row("CNN3x3-equal", "CNN3x3", seeds=MORE_SEEDS),
        # two widths for two conditions: of 5×5 and of 7×7 no other comes as close
        Row("CNN5x5-equal", "CNN5x5", overrides={"widths": (12, 62)}),
        Row("CNN7x7-equal", "CNN7x7", overrides={"widths": (6, 63)}),
        # as in the report's network each 1×1 has half the channels of the 3×3 behind it
        Row(
            "CNN1x1+3x3-equal",
            "CNN1x1+3x3",
            overrides={"widths": (6, 13, 32, 64)},
            seeds=(*CONTROL_SEEDS, 15, 16, 17),  # as many as five had left open
        ),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("kernel size", "channels, so that parameters and FLOPs stay"),
    held=("number of parameters", "FLOPs of an image", *HELD),
    not_tuned=("learning rate per network",),
    figures=("accuracies",),
    columns=("receptive_field",),
    claims=(
        Claim(
            "2.1-cost-parameters",
            "The networks have the same number of parameters within 2 %.",
            "У сетей одинаковое количество параметров с точностью до 2 %.",
            "ours",
            "exact",
            pairs=EQUAL_COST_PAIRS,
            metric="parameters",
            than=1,
            margin=0.02,
        ),
        Claim(
            "2.1-cost-flops",
            "The networks spend the same FLOPs on an image within 2 %.",
            "Сети тратят на картинку одинаково много FLOPs, с точностью до 2 %.",
            "ours",
            "exact",
            pairs=EQUAL_COST_PAIRS,
            metric="forward_flops",
            than=1,
            margin=0.02,
        ),
        Claim(
            "2.1-cost",
            "At equal parameters and FLOPs 3×3 kernels are more accurate than 5×5 and 7×7.",
            "При равном числе параметров и FLOPs ядра 3×3 точнее, чем 5×5 и 7×7.",
            "ours",
            pairs=EQUAL_COST_PAIRS[:2],
        ),
        Claim(
            "2.1-cost-mixed",
            "At equal parameters and FLOPs 1×1+3×3 is as accurate as 3×3.",
            "При равном числе параметров и FLOPs 1×1+3×3 столь же точна, как 3×3.",
            "ours",
            "equal",
            pairs=(("CNN1x1+3x3-equal", "CNN3x3-equal"),),
        ),
    ),
    control=True,
)
