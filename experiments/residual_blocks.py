"""Which residual block is worth its price: by itself, and inside the same small network?"""

from functools import partial

from models import BasicResidualBlock, BottleneckBlock, WideResidualBlock
from utils.claim import Claim
from utils.experiment import Experiment, LayerCase, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS

BLOCK_INPUT = (4, 64, 32, 32)  # the report's input of section 3.2


CLAIMS = (
    Claim(
        "3.2-best",
        "Inside the same network the wide block is the most accurate.",
        "Внутри одной и той же сети широкий блок точнее всех.",
        "report",
        "best",
        pairs=(("WideBlockNet", "BasicBlockNet"), ("WideBlockNet", "BottleneckBlockNet")),
    ),
    Claim(
        "3.2-basic",
        "Inside the same network the basic block is more accurate than the bottleneck.",
        "Внутри одной и той же сети базовый блок точнее, чем bottleneck.",
        "report",
        pairs=(("BasicBlockNet", "BottleneckBlockNet"),),
    ),
    Claim(
        "3.2-parameters",
        "The bottleneck has the fewest parameters, the basic block fewer than the wide one.",
        "Меньше всего параметров у bottleneck, у базового блока меньше, чем у широкого.",
        "report",
        "exact",
        pairs=(
            ("BasicResidualBlock", "BottleneckBlock"),
            ("WideResidualBlock", "BasicResidualBlock"),
        ),
        metric="parameters",
    ),
    Claim(
        "3.2-time",
        "The bottleneck is the fastest, the basic block faster than the wide one.",
        "Bottleneck быстрее всех, базовый блок быстрее широкого.",
        "report",
        "time",
        pairs=(
            ("BottleneckBlock", "BasicResidualBlock"),
            ("BasicResidualBlock", "WideResidualBlock"),
        ),
    ),
)


RESIDUAL_BLOCKS = Experiment(
    name="residual_blocks",
    subject="Residual blocks in a small network",
    question="What do width and a bottleneck cost, and what do they bring inside a network?",
    dataset="cifar10",
    rows=(Row("BasicBlockNet"), Row("BottleneckBlockNet"), Row("WideBlockNet")),
    cases=(
        LayerCase("BasicResidualBlock", partial(BasicResidualBlock, 64, 64), BLOCK_INPUT),
        LayerCase("BottleneckBlock", partial(BottleneckBlock, 64, 64), BLOCK_INPUT),
        LayerCase("WideResidualBlock", partial(WideResidualBlock, 64, 128), BLOCK_INPUT),
    ),
    cases_are="block",
    recipe=CIFAR10_RECIPE,
    varied=("residual block",),
    held=("stem", "pooling", "classifier", "optimiser and schedule", "epochs", "data order"),
    not_tuned=("learning rate per network", "number of parameters"),
    asks="latency",
    figures=("curves", "stability"),
    columns=("stability",),
    claims=CLAIMS,
)

SCALES = {"¼": 0.25, "½": 0.5, "1": 1.0, "2": 2.0, "4": 4.0, "8": 8.0}  # of both learning rates
EQUAL_SIZE = {"out_channels": 248}  # the bottleneck at the basic block's parameters


def rates(scale: float) -> dict[str, float]:
    """The fields of the recipe that differ where both rates are scaled."""
    if scale == 1:
        return {}
    return {
        "learning_rate": scale * CIFAR10_RECIPE.learning_rate,
        "muon_rate": scale * CIFAR10_RECIPE.muon_rate,
    }


BLOCK_LEARNING_RATE = Experiment(
    name="block_learning_rate",
    subject="Residual blocks by learning rate",
    question="Is a block's lead one at its best learning rate, or at one learning rate?",
    dataset="cifar10",
    rows=(
        *(
            Row(
                f"basic, rate × {name}",
                "BasicBlockNet",
                recipe=rates(scale),
                at=("basic", scale),
            )
            for name, scale in SCALES.items()
        ),
        *(
            Row(
                f"bottleneck, rate × {name}",
                "BottleneckBlockNet",
                EQUAL_SIZE,
                rates(scale),
                at=("bottleneck", scale),
            )
            for name, scale in SCALES.items()
        ),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("residual block", "learning rate"),
    held=("number of parameters ± 1 %", "stem", "pooling", "schedule", "epochs", "data order"),
    not_tuned=("weight decay",),
    figures=("along",),
    axis="both learning rates, times the recipe's",
    claims=(
        Claim(
            "3.2-equal-size",
            "At equal parameters the bottleneck is more accurate than the basic block, at each of "
            "six learning rates.",
            "При равном числе параметров bottleneck точнее basic-блока, при каждой из шести "
            "скоростей обучения.",
            "ours",
            pairs=tuple((f"bottleneck, rate × {name}", f"basic, rate × {name}") for name in SCALES),
        ),
        Claim(
            "3.2-rate",
            "Both blocks are more accurate at twice the recipe's learning rates.",
            "Оба блока точнее при удвоенных скоростях обучения рецепта.",
            "ours",
            pairs=tuple(
                (f"{block}, rate × 2", f"{block}, rate × 1") for block in ("bottleneck", "basic")
            ),
            about=("learning_rate", "muon_rate"),
        ),
        Claim(
            "3.2-rate-too-high",
            "Both blocks are less accurate at eight times the recipe's learning rates than at "
            "twice.",
            "Оба блока менее точны при восьмикратных скоростях обучения, чем при удвоенных.",
            "ours",
            pairs=tuple(
                (f"{block}, rate × 2", f"{block}, rate × 8") for block in ("bottleneck", "basic")
            ),
            about=("learning_rate", "muon_rate"),
        ),
    ),
    control=True,
)
