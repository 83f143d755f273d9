"""Which residual block is worth its price: by itself, and inside the same small network?"""

from collections.abc import Mapping

from models import BasicResidualBlock, BottleneckBlock, WideResidualBlock
from utils.experiment import Experiment, LayerCase, Row
from utils.recipes import CIFAR10_RECIPE, CONTROL_SEEDS
from utils.report.wording import Numbers, best, listed, more_or_less, ranking

Table = Mapping[str, Numbers]  # column -> block or model -> number

BLOCK_INPUT = (4, 64, 32, 32)  # the report's input of section 3.2


def block_conclusions(table: Table) -> list[str]:
    """What the blocks' tables say, in the numbers of their records."""
    parameters, seconds = table["parameters"], table["seconds_100_iterations"]
    accuracy, spread = table["test_accuracy"], table["batch_loss_iqr"]
    basic, narrow, wide = "BasicResidualBlock", "BottleneckBlock", "WideResidualBlock"
    signed = table["signed_mean_gradient_input"]
    return [
        f"By themselves: the bottleneck has {parameters[narrow] / parameters[basic]:.0%} of the "
        f"basic block's parameters and takes {seconds[narrow] / seconds[basic]:.0%} of its time "
        f"forward; the wide block {parameters[wide] / parameters[basic]:.1f} times the parameters "
        f"and {seconds[wide] / seconds[basic]:.1f} times the time.",
        f"Inside the same network, from the best down: {ranking(accuracy)}. The wide block scores "
        f"{more_or_less(accuracy['WideBlockNet'] - accuracy['BasicBlockNet'])} than the basic one, "
        f"the bottleneck {more_or_less(accuracy['BottleneckBlockNet'] - accuracy['BasicBlockNet'])}"
        ".",
        f"Batch losses of the last epoch spread most in {best(spread)}: an inter-quartile range of "
        + listed([f"{spread[model]:.3f} ({model})" for model in spread])
        + f". On the train split they end in this order: {ranking(table['train_accuracy'])}.",
        f"The signed mean gradient says nothing about a block. Where a batch-norm stands on every "
        f"path it is zero up to rounding ({signed[wide]:.1g} for the wide block); an identity "
        f"shortcut adds a constant, the part of units that ReLU lets through over their number "
        f"({signed[basic]:.3g} for the basic block, {signed[narrow]:.3g} for the bottleneck).",
    ]


RESIDUAL_BLOCKS = Experiment(
    name="residual_blocks",
    question="What do width and a bottleneck cost, and what do they bring inside a network?",
    dataset="cifar10",
    rows=(Row("BasicBlockNet"), Row("BottleneckBlockNet"), Row("WideBlockNet")),
    cases=(
        LayerCase("BasicResidualBlock", lambda: BasicResidualBlock(64, 64), BLOCK_INPUT),
        LayerCase("BottleneckBlock", lambda: BottleneckBlock(64, 64), BLOCK_INPUT),
        LayerCase("WideResidualBlock", lambda: WideResidualBlock(64, 128), BLOCK_INPUT),
    ),
    cases_are="block",
    recipe=CIFAR10_RECIPE,
    varied=("residual block",),
    held=("stem", "pooling", "classifier", "optimiser and schedule", "epochs", "data order"),
    not_tuned=("learning rate per network", "number of parameters"),
    figures=("curves", "stability", "block_timings"),
    columns=("stability",),
    in_overview=False,  # they frame a single block
    conclusions=block_conclusions,
)

SCALES = {"¼": 0.25, "½": 0.5, "1": 1.0, "2": 2.0}  # of both learning rates
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
    question="Is a block's lead one at its best learning rate, or at one learning rate?",
    dataset="cifar10",
    rows=(
        *(
            Row(f"basic, rate × {name}", "BasicBlockNet", recipe=rates(scale))
            for name, scale in SCALES.items()
        ),
        *(
            Row(f"bottleneck, rate × {name}", "BottleneckBlockNet", EQUAL_SIZE, rates(scale))
            for name, scale in SCALES.items()
        ),
    ),
    recipe=CIFAR10_RECIPE,
    seeds=CONTROL_SEEDS,
    timed=False,
    varied=("residual block", "learning rate"),
    held=("number of parameters ± 2 %", "stem", "pooling", "schedule", "epochs", "data order"),
    not_tuned=("weight decay",),
    in_overview=False,
)
