"""docs/recipes.md: what each part of a recipe buys, from the records of the search alone.

Two trials of the same network and seed that differ in one field say what this field is worth,
beside the other fields that both have: the part with and without it.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import mean, variance
from typing import Any

from benchmarks.goals import goal_rows, goals_markdown
from benchmarks.trials import TrialRecipe
from utils.records.files import read_json, write_text
from utils.report.markdown import Column, count, markdown_table, percent
from utils.report.readme import replace_blocks
from utils.report.wording import listed

Record = Mapping[str, Any]
Row = Mapping[str, Any]

# what a trial's record has to have
TRIAL = (
    "start",
    "changes",
    "model",
    "seed",
    "precision",
    "validation_accuracy",
    "cpu_seconds",
    "environment",
)
LEARNED_NOTHING = 0.2  # of ten classes
MUON = tuple(field.name for field in fields(TrialRecipe) if field.name.startswith("muon_"))
DEFAULTS = {field.name: field.default for field in fields(TrialRecipe)}
WITH_HIDDEN_LINEAR = ("FCNet", "DeepFCNet", "SimpleCNN")


def read_trials(paths: Sequence[Path]) -> list[Record]:
    """Those that were made, the changes of each in the order of the recipe's fields."""
    trials = [read_json(path, TRIAL) for path in sorted(paths) if path.exists()]
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
    """The settings that make a difference to this network, every field of Muon's in one.

    Without Muon its decay and steps are nothing, and a network without a hidden linear layer
    trains the same with and without ``muon_linear``.
    """
    found = settings(trial)
    muon = {name: found.pop(name) for name in MUON}
    if not muon["muon_rate"]:
        return {**found, **dict.fromkeys(MUON)}
    if trial["model"] not in WITH_HIDDEN_LINEAR:
        muon["muon_linear"] = None
    return {**found, **muon}


def difference(trial: Record, other: Record) -> tuple[str, ...]:
    """The fields in which two trials differ; going without Muon is one difference."""
    mine, others = parts(trial), parts(other)
    differing = tuple(name for name in mine if mine[name] != others[name])
    if None in (mine["muon_rate"], others["muon_rate"]):
        rest = tuple(name for name in differing if name not in MUON)
        return (*rest, "muon_rate") if "muon_rate" in differing else rest
    return differing


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
    """One row per part, what it stands beside, and network: gains in validation accuracy.

    Compared are all trials of one network and seed that differ in one part, the later declared
    value of a field against the start's, or else the larger against the smaller. Their times can
    be compared where both had the same processor.
    """
    found: dict[tuple[str, str, str], list[tuple[float, float | None]]] = {}
    ordered = sorted(trials, key=lambda trial: trial["seed"])
    for first, second in itertools.combinations(ordered, 2):
        if (first["model"], first["seed"]) != (second["model"], second["seed"]):
            continue
        names = difference(first, second)
        if len(names) != 1:
            continue
        before, after = in_order(first, second, names[0])
        key = (change(before, after, names[0]), beside(before, after), first["model"])
        gain = after["validation_accuracy"] - before["validation_accuracy"]
        found.setdefault(key, []).append((gain, time_ratio(before, after)))
    return [
        {
            "part": part,
            "beside": others,
            "model": model,
            "gains": [gain for gain, _ in pairs],
            "gain": mean(gain for gain, _ in pairs),
            "time": mean(times) if (times := [time for _, time in pairs if time]) else None,
        }
        for (part, others, model), pairs in sorted(found.items())
    ]


def time_ratio(before: Record, after: Record) -> float | None:
    """How many times as long the second took; None where it had another processor."""
    first, second = (trial["environment"]["processor"] for trial in (before, after))
    return after["cpu_seconds"] / before["cpu_seconds"] if first == second else None


def in_order(first: Record, second: Record, name: str) -> tuple[Record, Record]:
    """The trial with the start's value of the field before the other, else the smaller before."""
    start = first["start"].get(name, DEFAULTS[name])
    values = [settings(trial)[name] for trial in (first, second)]
    turned = values[1] == start or (values[0] != start and values[1] < values[0])
    return (second, first) if turned else (first, second)


def change(before: Record, after: Record, name: str) -> str:
    """As in "batch_size 128 → 256"; where Muon comes in, with all that is set of it."""
    text = f"{name} {settings(before)[name]} → {settings(after)[name]}"
    if name == "muon_rate" and not settings(before)[name]:
        rest = {each: value for each, value in parts(after).items() if each in MUON[1:]}
        rest = {each: value for each, value in rest.items() if value not in (None, DEFAULTS[each])}
        text = ", ".join([text, *(f"{each} {value}" for each, value in rest.items())])
    return text


def beside(before: Record, after: Record) -> str:
    """What differs from the start in both trials of a pair."""
    start = {**DEFAULTS, **after["start"]}
    shared = parts(before).items() & parts(after).items()
    return describe(
        {
            name: value
            for name, value in parts(after).items()
            if (name, value) in shared and value not in (None, start[name])
        }
    )


def points(fraction: float) -> str:
    """A difference of accuracies, in points, with its sign."""
    return f"{100 * fraction:+.2f}"


PART_COLUMNS: list[Column] = [
    ("Part", lambda row: row["part"]),
    ("beside", lambda row: row["beside"]),
    ("Model", lambda row: row["model"]),
    ("Gain, points", lambda row: points(row["gain"])),
    ("of each seed", lambda row: ", ".join(map(points, row["gains"]))),
    ("Processor time", lambda row: f"× {row['time']:.2f}" if row["time"] else ""),
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


def parts_markdown(rows: Sequence[Row]) -> list[str]:
    """What several seeds say, and folded away what rests on one."""
    several = [row for row in rows if len(row["gains"]) > 1]
    single = [row for row in rows if len(row["gains"]) == 1]
    texts = []
    if several:
        texts += ["What each part buys, with several seeds:", markdown_table(several, PART_COLUMNS)]
    if single:
        title = "With one seed, whose gain may be chance"
        table = markdown_table(single, PART_COLUMNS)
        texts += [f"<details><summary>{title}</summary>", table, "</details>"]
    return texts


def seed_deviations(trials: Sequence[Record]) -> dict[str, tuple[float, int]]:
    """For each network: by how much seeds of one recipe differ, and of how many recipes that is.

    The standard deviation, pooled over the recipes with several seeds. A training that learned
    nothing says nothing about it, and is left out.
    """
    by_recipe: dict[tuple[str, str], list[float]] = {}
    for trial in trials:
        if trial["validation_accuracy"] > LEARNED_NOTHING:
            key = trial["model"], str(sorted(parts(trial).items()))
            by_recipe.setdefault(key, []).append(trial["validation_accuracy"])
    several = {key: values for key, values in by_recipe.items() if len(values) > 1}
    found = {}
    for model in dict.fromkeys(model for model, _ in several):
        groups = [values for (name, _), values in several.items() if name == model]
        squares = sum(variance(values) * (len(values) - 1) for values in groups)
        found[model] = (squares / sum(len(values) - 1 for values in groups)) ** 0.5, len(groups)
    return found


def deviations_markdown(trials: Sequence[Record]) -> str:
    """What the gains are to be read with; empty where no recipe has several seeds."""
    found = [
        f"{100 * deviation:.2f} on {model} ({count(recipes)} recipe{'s' if recipes > 1 else ''})"
        for model, (deviation, recipes) in seed_deviations(trials).items()
    ]
    return (
        f"By how many points seeds of one recipe differ, as a standard deviation: {listed(found)}. "
        "The standard error of a gain over two seeds is as large."
        if found
        else ""
    )


def dataset_markdown(trials: Sequence[Record]) -> str:
    """The two tables of one dataset and what they cost."""
    known = settings({"start": trials[0]["start"], "changes": {}})
    start = ", ".join(f"{field} {value}" for field, value in known.items())
    hours = sum(trial["cpu_seconds"] for trial in trials) / 3600
    return "\n\n".join(
        [
            f"The start: {start}.",
            *filter(None, [deviations_markdown(trials)]),
            *parts_markdown(part_rows(trials)),
            "Every recipe that was tried, mean validation accuracy:",
            trial_markdown(trials),
            f"{count(len(trials))} trainings, {hours:.1f} core-hours.",
        ]
    )


def render_recipes(trials: Mapping[str, Sequence[Path]], results: Path, document: Path) -> None:
    """Renders the blocks of docs/recipes.md; the text around them is written by hand.

    ``trials`` are the declared ones of each dataset, ``results`` has the study's records.
    """
    blocks = {
        dataset: dataset_markdown(made)
        for dataset, paths in trials.items()
        if (made := read_trials(paths))
    }
    if rows := goal_rows(results):
        blocks["goals"] = goals_markdown(rows)
    text = document.read_text(encoding="utf-8")
    write_text(document, replace_blocks(text, blocks, str(document)))
