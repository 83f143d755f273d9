"""What each part of the recipes buys, on 5,000 images held out from the train split.

    declared candidates: the recipe with one part changed --train--> records --+--> docs/recipes.md
    results/benchmarks/recipe_search.csv: all that was tried before           --+

The test split decides nothing. To try a candidate of your own, add it to ``CANDIDATES`` and run
``make search``.
"""

import csv
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from experiments import STUDY
from utils import REPOSITORY
from utils.cli import Options
from utils.errors import UserError, in_one_line
from utils.experiment import Experiment, Row
from utils.recipes import CIFAR10_RECIPE, MNIST_RECIPE
from utils.records.files import MISSHAPEN
from utils.records.runs import find_files, find_records
from utils.report.markdown import Column, markdown_table, percent_cell
from utils.report.pages import render_pages
from utils.report.statistics import mean as estimate
from utils.report.statistics import pooled_deviation
from utils.report.wording import listed
from utils.runner import main

log = logging.getLogger(__name__)

CHOSEN, ORDINARY = "as chosen", "the ordinary recipe"
# what is changed of the recipe, one part at a time; without Muon the rate of the rest is halved,
# since at 0.1 one of two seeds of CNN7x7 learned nothing
CANDIDATES: Mapping[str, Mapping[str, Any]] = {
    CHOSEN: {},
    "without Muon": {"muon_rate": 0.0, "learning_rate": 0.05},
    "without decay under Muon": {"muon_decay": 0.0},
    "without label smoothing": {"label_smoothing": 0.0},
    "batches of 128": {"batch_size": 128},
    "learning rate of 0.05": {"learning_rate": 0.05},
    "crops by 4 pixels": {"crop_padding": 4},
    "rate rises over 0.4 of the steps": {"warmup": 0.4},
    "weight decay under Muon alone": {"weight_decay": 0.0},
    "AdamW beside Muon": {"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.05},
}


def candidates(networks: Sequence[str], names: Sequence[str]) -> tuple[Row, ...]:
    """Rows of these candidates for each of the networks."""
    return tuple(
        Row(
            f"{network}, {name}",
            network,
            recipe=CANDIDATES[name],
            part="train minus validation",
            precision="bfloat16",
        )
        for network in networks
        for name in names
    )


COMMON: dict[str, Any] = {
    "question": "What does each part of the recipe buy?",
    "varied": ("one part of the recipe",),
    "held": ("network", "epochs", "images"),
    "not_tuned": ("the other parts beside the changed one",),
    "seeds": (0, 1),
    "timed": False,
}
EXPERIMENTS = (
    Experiment(
        name="recipe_cifar10",
        dataset="cifar10",
        recipe=CIFAR10_RECIPE,
        rows=(
            *candidates(("CNN3x3", "CNN7x7"), tuple(CANDIDATES)),
            *candidates(("DeepFCNet",), (CHOSEN, "without Muon")),
        ),
        **COMMON,
    ),
    Experiment(
        name="recipe_mnist",
        dataset="mnist",
        recipe=MNIST_RECIPE,
        rows=candidates(("FCNet", "SimpleCNN"), (CHOSEN,)),
        **COMMON,
    ),
)


def accuracies(experiment: Experiment, results: Path) -> dict[str, dict[str, list[float | None]]]:
    """Candidate -> network -> validation accuracy of each seed on record; None: it diverged."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for each in find_records(experiment, results):
        candidate = each.row.label.removeprefix(f"{each.row.network}, ")
        networks = found.setdefault(candidate, {})
        networks.setdefault(each.row.network, []).append(each.record.final.validation_accuracy)
    return found


def candidates_markdown(
    experiment: Experiment, results: Path, search: Sequence[Mapping[str, str]] = ()
) -> str:
    """Every candidate with its networks: mean over the seeds, and the difference to the chosen.

    The ordinary recipe, from which the search started, stands last.
    """
    found = accuracies(experiment, results)
    networks = list(dict.fromkeys(row.network for row in experiment.rows))
    for line in search:
        if line["recipe"] == "the start" and line["network"] in networks:
            values = found.setdefault(ORDINARY, {}).setdefault(line["network"], [])
            values.append(float(line["validation_accuracy"]))

    def column(network: str) -> Column:
        def text(candidate: str) -> str:
            trained = found[candidate].get(network, ())
            values, best = finite(trained), finite(found.get(CHOSEN, {}).get(network, ()))
            gone = len(trained) - len(values)
            told = [f"{gone} of {len(trained)} diverged"] if gone else []
            if not values:
                return "".join(told)
            if best and candidate != CHOSEN:
                told.insert(0, f"{100 * (mean(values) - mean(best)):+z.2f}")
            cell = percent_cell(mean(values))
            return f"{cell} ({', '.join(told)})" if told else cell

        return f"{network}, %", text

    shown = [name for name in (*CANDIDATES, ORDINARY) if name in found]
    return markdown_table(shown, [("Recipe", str), *map(column, networks)]) if shown else ""


def finite(values: Sequence[float | None]) -> list[float]:
    """The accuracies of those that did not diverge."""
    return [each for each in values if each is not None]


def deviations_markdown(experiment: Experiment, results: Path) -> str:
    """By how much two seeds of one recipe differ, pooled over the candidates.

    Empty where no candidate has two seeds.
    """
    by_network: dict[str, list[list[float]]] = {}
    for networks in accuracies(experiment, results).values():
        for network, values in networks.items():
            by_network.setdefault(network, []).append([100 * each for each in finite(values)])
    pooled = {name: pooled_deviation(each) for name, each in by_network.items()}
    found = [f"{value:.2f} on {name}" for name, (value, freedom) in pooled.items() if freedom]
    if not found:
        return ""
    return f"The standard deviation over seeds of one recipe, in points: {listed(found)}."


def read_search(path: Path) -> list[dict[str, str]]:
    """The lines of ``recipe_search.csv``, one per training.

    Raises: UserError naming the file where it is not as it was committed.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:  # some editors put a mark first
            found = list(csv.DictReader(lines))
        for line in found:
            if not all(line[key] for key in ("dataset", "network", "recipe")):
                raise ValueError(f"incomplete: {line}")
            float(line["validation_accuracy"] or line["test_accuracy"])  # it has either
    except (csv.Error, *MISSHAPEN) as error:
        raise UserError(
            f"{path}: not the table of the search ({in_one_line(error)}); restore it"
        ) from error
    return found


def reached_markdown(lines: Sequence[Mapping[str, str]], results: Path) -> str:
    """The study's test accuracies beside those of the recipe that the search started from."""
    before = {(line["dataset"], line["network"]): line["test_accuracy"] for line in lines}
    rows: dict[tuple[str, str], tuple[str, str, list[float], float]] = {}
    for experiment in (each for each in STUDY if each.reported_table):
        found = find_records(experiment, results)
        for row in experiment.rows:
            key = experiment.dataset, row.run_name
            label = f"{rows[key][0]} = {row.label}" if key in rows else row.label
            values = finite([each.record.final.test_accuracy for each in found if each.row is row])
            ordinary = before.get((experiment.dataset, row.label))
            if values and ordinary:
                rows[key] = label, experiment.dataset, values, float(ordinary)
    columns: list[Column] = [
        ("Network", lambda row: row[0]),
        ("Dataset", lambda row: {"mnist": "MNIST", "cifar10": "CIFAR-10"}[row[1]]),
        ("Ordinary recipe, %", lambda row: percent_cell(row[3])),
        (
            "This recipe, %",
            lambda row: percent_cell(mean(row[2]), estimate(row[2]).half if row[2][1:] else None),
        ),
    ]
    return markdown_table(list(rows.values()), columns)


def blocks(results: Path) -> dict[str, str]:
    """The rendered parts of docs/recipes.md."""
    lines = read_search(results / "benchmarks" / "recipe_search.csv")
    found = {"reached": reached_markdown([e for e in lines if e["test_accuracy"]], results)}
    for experiment in EXPERIMENTS:
        records = experiment, results / "benchmarks"
        if not any(
            find_files(row, experiment.dataset, records[1], ".json") for row in experiment.rows
        ):
            log.info("%s: no records below %s yet", experiment.name, records[1])
            continue
        tried = [line for line in lines if line["dataset"] == experiment.dataset]
        table, below = candidates_markdown(*records, tried), deviations_markdown(*records)
        found[experiment.dataset] = f"{table}\n\n{below}".rstrip()
    return found


def render(options: Options) -> None:
    """Writes docs/recipes.md where the command works on the study; prints the tables elsewhere."""
    if options.is_study:
        render_pages(REPOSITORY, blocks(options.also))
    else:
        for experiment in options.experiments:
            print(
                candidates_markdown(experiment, options.results) or "no candidate is on record yet"
            )


if __name__ == "__main__":
    sys.exit(main(EXPERIMENTS, __doc__, render=render, folder="benchmarks"))
