"""docs/recipes.md: what each part of a recipe buys, from the records of the search alone.

Two trials of the same network and seed that differ in one field say what this field is worth,
beside the other fields that both have: the part with and without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.goals import goal_rows, goals_markdown
from benchmarks.trials import TrialRecipe
from utils.markdown import Column, count, markdown_table, percent
from utils.readme import replace_blocks
from utils.records import read_json, write_text

Record = Mapping[str, Any]
Row = Mapping[str, Any]

WITH_HIDDEN_LINEAR = ("FCNet", "DeepFCNet", "SimpleCNN")


def read_trials(results: Path, dataset: str) -> list[Record]:
    """All trials of a dataset, the changes of each in the order of the recipe's fields."""
    trials = [read_json(path) for path in sorted((results / dataset).glob("*.json"))]
    for trial in trials:
        trial["changes"] = {
            field.name: trial["changes"][field.name]
            for field in fields(TrialRecipe)
            if field.name in trial["changes"]
        }
    return trials


def settings(record: Record) -> dict[str, Any]:
    """Every field of the trial's recipe; one that came later was at its default.

    A field that is no more was never changed: a part that was left out before it was tried.
    """
    found = {**record["start"], **record["changes"]}
    return {field.name: found.get(field.name, field.default) for field in fields(TrialRecipe)}


def parts(trial: Record) -> dict[str, Any]:
    """The changes that make a difference: a part for hidden linear layers needs one."""
    linear = trial["model"] in WITH_HIDDEN_LINEAR
    return {k: value for k, value in trial["changes"].items() if linear or k != "muon_linear"}


def describe(changes: Mapping[str, Any]) -> str:
    """The changes as a reader meets them in the code."""
    return ", ".join(f"{field} {value}" for field, value in changes.items()) or "the start"


def trial_rows(trials: Sequence[Record]) -> list[Row]:
    """One row per recipe: the validation accuracy of every network, mean over its seeds."""
    models = list(dict.fromkeys(trial["model"] for trial in trials))
    by_recipe: dict[str, list[Record]] = {}
    for trial in trials:
        by_recipe.setdefault(describe(trial["changes"]), []).append(trial)
    rows = [
        {"recipe": recipe, **{model: _accuracies(group, model) for model in models}}
        for recipe, group in by_recipe.items()
    ]
    return sorted(rows, key=lambda row: (row["recipe"] != "the start", row["recipe"]))


def _accuracies(trials: Sequence[Record], model: str) -> list[float]:
    return [trial["validation_accuracy"] for trial in trials if trial["model"] == model]


def part_rows(trials: Sequence[Record]) -> list[Row]:
    """One row per field that differs, beside what, and network: gains in validation accuracy."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    by_key = {(describe(parts(trial)), trial["model"], trial["seed"]): trial for trial in trials}
    for trial in trials:
        for field, value in parts(trial).items():
            others = {key: kept for key, kept in parts(trial).items() if key != field}
            without = by_key.get((describe(others), trial["model"], trial["seed"]))
            if without is None:
                continue
            change = f"{field} {settings(without)[field]} → {value}"
            gain = trial["validation_accuracy"] - without["validation_accuracy"]
            time = trial["cpu_seconds"] / without["cpu_seconds"]
            found.setdefault((change, describe(others), trial["model"]), []).append((gain, time))
    return [
        {
            "part": part,
            "beside": beside,
            "model": model,
            "gains": [gain for gain, _ in pairs],
            "gain": mean(gain for gain, _ in pairs),
            "time": mean(time for _, time in pairs),
        }
        for (part, beside, model), pairs in sorted(found.items())
    ]


def points(fraction: float) -> str:
    """A difference of accuracies, in points, with its sign."""
    return f"{100 * fraction:+.2f}"


PART_COLUMNS: list[Column] = [
    ("Part", lambda row: row["part"]),
    ("beside", lambda row: row["beside"]),
    ("Model", lambda row: row["model"]),
    ("Gain, points", lambda row: points(row["gain"])),
    ("of each seed", lambda row: ", ".join(map(points, row["gains"]))),
    ("Processor time", lambda row: f"× {row['time']:.2f}"),
]


def trial_markdown(trials: Sequence[Record]) -> str:
    """Every recipe that was tried, with every network."""
    rows = trial_rows(trials)
    models = [name for name in rows[0] if name != "recipe"]

    def column(model: str) -> Column:
        def text(row: Row) -> str:
            found = row[model]
            seeds = f" ({len(found)} seeds)" if len(found) > 1 else ""
            return percent(mean(found)) + seeds if found else ""

        return (f"{model}, %", text)

    return markdown_table(rows, [("Recipe", lambda row: row["recipe"]), *map(column, models)])


def dataset_markdown(trials: Sequence[Record]) -> str:
    """The two tables of one dataset and what they cost."""
    start = ", ".join(f"{field} {value}" for field, value in trials[0]["start"].items())
    hours = sum(trial["cpu_seconds"] for trial in trials) / 3600
    return "\n\n".join(
        [
            f"The start: {start}.",
            "What each part buys:",
            markdown_table(part_rows(trials), PART_COLUMNS),
            "Every recipe that was tried, mean validation accuracy:",
            trial_markdown(trials),
            f"{count(len(trials))} trainings, {hours:.1f} core-hours.",
        ]
    )


def render_recipes(results: Path, document: Path, datasets: Sequence[str]) -> None:
    """Renders the blocks of docs/recipes.md; the text around them is written by hand."""
    blocks = {
        dataset: dataset_markdown(trials)
        for dataset in datasets
        if (trials := read_trials(results, dataset))
    }
    if rows := goal_rows(results.parent):
        blocks["goals"] = goals_markdown(rows)
    text = document.read_text(encoding="utf-8")
    write_text(document, replace_blocks(text, blocks, str(document)))
