"""Does the machine matter, does the precision? The same runs twice, over networks and seeds.

    declared rows, one per network and precision --train--> records --+--> differences
    the study's records of the same networks and seeds              --+

Networks that train in minutes have three seeds, two dear ones a single seed. In bfloat16 a training
step computes its convolutions and matrix products, forward and backward (autocast), and Muon's;
parameters, loss and evaluation are float32 in either case.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from statistics import stdev

from experiments import STUDY, cnn_vs_fc, depth, kernel_size
from utils.cli import Options
from utils.experiment import Experiment, Precision
from utils.records.environment import machine
from utils.records.runs import find_records, identity
from utils.records.schema import Record
from utils.report.markdown import Column, markdown_table
from utils.report.statistics import mean, pooled_deviation
from utils.report.wording import listed
from utils.runner import main

TITLE = "Does the machine matter, does the precision?"
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
SEEDS = (0, 1, 2)
DEAR = ("CNNWithResidual", "DeepCNN")  # one with batch-norm and one without: a single seed


def in_both(experiment: Experiment, labels: Sequence[str]) -> Experiment:
    """These rows of an experiment, each in either precision."""
    rows = [row for row in experiment.rows if row.label in labels]
    return replace(
        experiment,
        name=f"precision_{experiment.name}",
        question=TITLE,
        rows=tuple(
            replace(
                row,
                label=f"{row.label}, {precision}",
                precision=precision,
                seeds=SEEDS[:1] if row.label in DEAR else SEEDS,
            )
            for row in rows
            for precision in PRECISIONS
        ),
        timed=False,
    )


EXPERIMENTS = (
    in_both(cnn_vs_fc.MNIST_COMPARISON, ("FCNet", "SimpleCNN")),
    in_both(cnn_vs_fc.CIFAR_COMPARISON, ("DeepFCNet", "CNNWithResidual")),
    in_both(kernel_size.KERNEL_SIZE, kernel_size.KERNEL_SIZE.labels),
    in_both(depth.DEPTH, ("DeepCNN",)),
)


Pair = tuple[Record, Record]  # one run, trained twice


@dataclass(frozen=True)
class Comparison:
    """What differs between the two records of each pair, and those pairs."""

    title: str
    pairs: Sequence[Pair]

    @property
    def differences(self) -> list[float]:
        """Test accuracy of the second less that of the first, in points."""
        return [
            100 * (second.final.test_accuracy - first.final.test_accuracy)
            for first, second in self.pairs
        ]

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the mean difference, at 95 %: Student's t over the pairs."""
        found = mean(self.differences)
        return (found.low, found.high) if self.pairs[1:] else None


def is_other_device(first: Record, second: Record) -> bool:
    """The CPU and then a GPU, in one precision."""
    return (first.device, second.device) == ("cpu", "cuda") and first.precision == second.precision


def is_other_precision(first: Record, second: Record) -> bool:
    """float32 and then bfloat16, both on the CPU."""
    return (first.precision, second.precision) == PRECISIONS and first.device == second.device


def is_other_precision_alone(first: Record, second: Record) -> bool:
    """The same on the same processor."""
    is_one = machine(first.environment) == machine(second.environment)
    return is_one and is_other_precision(first, second)


QUESTIONS: dict[str, Callable[[Record, Record], bool]] = {
    "GPU less CPU, in one precision": is_other_device,
    "bfloat16 less float32, on one processor": is_other_precision_alone,
    "bfloat16 less float32, on one processor or two": is_other_precision,
}


def kind(record: Record) -> str:
    """What is trained, whatever the seed, the device and the precision."""
    return json.dumps({**identity(record), "seed": None, "precision": None, "device": None})


def read_records(results: Path) -> list[Record]:
    """The study's records below ``results`` and those of this module that did not diverge."""
    found = [each for every in STUDY for each in find_records(every, results)]
    found += [each for every in EXPERIMENTS for each in find_records(every, results / "benchmarks")]
    return list({each.path: each.record for each in found if not each.record.diverged}.values())


def comparisons(records: Sequence[Record]) -> list[Comparison]:
    """Each of ``QUESTIONS`` that has a pair among them."""
    runs: dict[tuple[str, int], list[Record]] = {}
    for each in records:
        runs.setdefault((kind(each), each.seed), []).append(each)
    pairs = [pair for same in runs.values() for pair in permutations(same, 2)]
    asked = [
        Comparison(title, [pair for pair in pairs if is_asked(*pair)])
        for title, is_asked in QUESTIONS.items()
    ]
    return [each for each in asked if each.pairs]


def seed_difference(records: Sequence[Record]) -> float | None:
    """Standard deviation of the difference between two seeds of one network, in points.

    Pooled over those that were trained alike. None where none has two seeds.
    """
    alike: dict[tuple[str, ...], list[float]] = {}
    for each in records:
        how = kind(each), each.precision, machine(each.environment)
        alike.setdefault(how, []).append(100 * each.final.test_accuracy)
    deviation, freedom = pooled_deviation(list(alike.values()))
    return 2**0.5 * deviation if freedom else None


COLUMNS: list[Column] = [
    ("Compared", lambda each: each.title),
    ("Pairs", lambda each: str(len(each.pairs))),
    ("Mean difference, points", lambda each: f"{mean(each.differences).value:+z.2f}"),
    (
        "95 % interval",
        lambda each: "{:+z.2f} to {:+z.2f}".format(*each.interval) if each.interval else "",
    ),
    ("Standard deviation", lambda each: f"{stdev(each.differences):.2f}" if each.interval else ""),
]


DECISION = (
    "So accuracy differs by less than matters on CIFAR-10, 0.5 points (on MNIST 0.1 would matter, "
    "for which its pairs are too few), and speed decides. There processors differ: one "
    "trains convolutional networks faster in bfloat16, another that lists the same instructions "
    "more slowly. float32 is the default, `--precision bfloat16` asks for the other, and the "
    "scripts then time a convolution and say so where it is slower."
)


def markdown(results: Path) -> str:
    """Title, table and how to read it; empty where no run was trained twice."""
    records = read_records(results)
    found = comparisons(records)
    if not found:
        return ""
    paired = [record for each in found for pair in each.pairs for record in pair]
    networks = {kind(each) for each in paired}
    machines = dict.fromkeys(machine(each.environment) for each in paired)
    caption = (
        f"Test accuracy after the last epoch of {len(networks)} networks, each pair with one seed "
        f"and recipe, trained on {listed(list(machines))}; interval of the mean: Student's t over "
        "the pairs."
    )
    if seeds := seed_difference([each for each in records if kind(each) in networks]):
        caption += (
            " To compare a single pair with: the difference between two seeds of one network, "
            f"trained alike, has a standard deviation of {seeds:.2f}."
        )
    return "\n\n".join([f"## {TITLE}", markdown_table(found, COLUMNS), caption, DECISION])


def show(options: Options) -> None:
    """Prints the table; ``benchmarks.bench --render`` puts it into docs/speed.md."""
    print(markdown(options.also) or "no run is on record from two machines or in two precisions")


if __name__ == "__main__":
    sys.exit(main(EXPERIMENTS, __doc__, render=show, folder="benchmarks"))
