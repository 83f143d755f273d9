"""Does bfloat16 change what the study finds? The same runs in both precisions, over seeds.

    declared rows, one per network and precision --train--> records --> differences

Networks that train in minutes have three seeds, two dear ones a single seed. In bfloat16 a training
step computes its convolutions and matrix products, forward and backward (autocast), and Muon's;
parameters, loss and evaluation are float32 in either case.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from experiments import cnn_vs_fc, depth, kernel_size
from utils.cli import Options
from utils.experiment import Compute, Experiment, Precision, declared_runs
from utils.records.environment import machine_name
from utils.records.runs import find_record, find_records
from utils.records.schema import Record
from utils.report.markdown import Column, markdown_table, percent_cell
from utils.report.wording import listed
from utils.runner import main

TITLE = "Does bfloat16 change what the study finds?"
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
                network=row.network or row.label,
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


@dataclass(frozen=True)
class Pair:
    """One network with the same seeds in both precisions."""

    network: str
    records: Mapping[Precision, Sequence[Record]]  # by seed

    def accuracies(self, precision: Precision) -> list[float]:
        """Test accuracies in one precision, by seed."""
        return [record.final.test_accuracy for record in self.records[precision]]

    @property
    def differences(self) -> list[float]:
        """bfloat16 less float32, each seed with itself."""
        wide, narrow = (self.accuracies(precision) for precision in PRECISIONS)
        return [b - a for a, b in zip(wide, narrow, strict=True)]

    @property
    def seed_deviation(self) -> float | None:
        """The standard deviation over the seeds, pooled over both precisions."""
        if len(self.differences) < 2:
            return None
        return mean(stdev(self.accuracies(precision)) ** 2 for precision in PRECISIONS) ** 0.5


def read_pairs(results: Path) -> list[Pair]:
    """The networks all of whose runs are on record below ``results`` or in the study."""
    pairs = []
    for experiment in EXPERIMENTS:
        own = results / "benchmarks"
        device = next((each.record.device for each in find_records(experiment, own)), "cpu")
        runs = declared_runs(experiment, compute=Compute(device))
        found = {key: find_record(run, own, results) for key, run in runs.items()}
        for network in dict.fromkeys(row.network for row in experiment.rows):
            labels = {precision: f"{network}, {precision}" for precision in PRECISIONS}
            records = {
                precision: [record for (name, _), record in found.items() if name == label]
                for precision, label in labels.items()
            }
            if all(record for each in records.values() for record in each):
                pairs.append(Pair(network, records))
    return pairs


def accuracy_column(precision: Precision) -> Column:
    """Mean and deviation over the seeds."""

    def text(pair: Pair) -> str:
        values = pair.accuracies(precision)
        return percent_cell(mean(values), stdev(values) if len(values) > 1 else None)

    return f"{precision}, %", text


COLUMNS: list[Column] = [
    ("Model", lambda pair: pair.network),
    ("Seeds", lambda pair: str(len(pair.differences))),
    *map(accuracy_column, PRECISIONS),
    ("Difference, points", lambda pair: f"{100 * mean(pair.differences):+.2f}"),
    ("Deviation over seeds", lambda pair: percent_cell(pair.seed_deviation)),
]


def verdict(pairs: Sequence[Pair]) -> str:
    """The mean difference in a sentence."""
    every = [difference for pair in pairs for difference in pair.differences]
    error = stdev(every) / len(every) ** 0.5 if every[1:] else None
    standard_error = f" with a standard error of {100 * error:.2f}" if error else ""
    return (
        f"bfloat16 less float32, test accuracy: {100 * mean(every):+.2f} points in the mean of "
        f"{len(every)} pairs{standard_error}."
    )


def markdown(results: Path) -> str:
    """The table, what it says, and how to read it; empty where no network is trained in both."""
    pairs = read_pairs(results)
    if not pairs:
        return ""
    records = [record for pair in pairs for each in pair.records.values() for record in each]
    machines = dict.fromkeys(machine_name(record.environment) for record in records)
    missing = len({row.network for each in EXPERIMENTS for row in each.rows}) - len(pairs)
    caption = (
        "Test accuracy after the last epoch, mean ± standard deviation over seeds; difference: "
        "bfloat16 less float32, each seed with itself, the mean; deviation over seeds: pooled over "
        "both precisions. What the study has on record is taken from there. Trained on "
        f"{listed(list(machines))}."
    )
    if missing:
        caption += f" Not trained yet: {missing} networks."
    return "\n\n".join([markdown_table(pairs, COLUMNS), verdict(pairs), caption])


def readme(results: Path, plots: Path) -> dict[str, str]:
    """The README's block; nothing is drawn in ``plots``."""
    pairs = read_pairs(results)
    return {"precision": verdict(pairs)} if pairs else {}


def show(options: Options) -> None:
    """Prints the table; ``benchmarks.bench --render`` puts it into docs/benchmarks.md."""
    print(markdown(options.also) or "no network is trained in both precisions yet")


if __name__ == "__main__":
    sys.exit(main(EXPERIMENTS, __doc__, render=show, folder="benchmarks"))
