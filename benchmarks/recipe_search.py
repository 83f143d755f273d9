"""Looks for the recipes of the study, on images held out from the train split.

    candidates, declared here --> trials --> results/recipe_search/ --> docs/recipes.md

Run it with ``make search``: what is on disk is not trained again. Several processes may share the
work, each with other ``--models``.
"""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.command_line import check_before_training, parse_training
from benchmarks.recipe_report import TRIAL, render_recipes, settings
from benchmarks.trials import TrialRecipe, held_out, run_trial
from utils import REPOSITORY
from utils.data.dataset import Dataset, load_dataset
from utils.errors import UserError, exit_code
from utils.experiment import Run
from utils.machine import keep_freed_memory
from utils.records.environment import environment
from utils.records.files import SCHEMA, read_json, write_json
from utils.training.loop import Compute

RESULTS = REPOSITORY / "results" / "recipe_search"
PRECISION = "bfloat16"

Changes = Mapping[str, Any]  # field of TrialRecipe -> value, where it differs from the start


@dataclass(frozen=True)
class Search:
    """Where a search starts from, and what is tried from there, in order."""

    dataset: str
    start: TrialRecipe
    candidates: tuple[tuple[Changes, tuple[str, ...], tuple[int, ...]], ...]  # models, seeds


SGD = {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 5e-4}
MUON_LINEAR = {"muon_rate": 0.02, "muon_linear": True}
LARGE = {"batch_size": 512, "crop_padding": 2}
MEDIUM = {"batch_size": 256, "crop_padding": 2}
MUON = {"muon_rate": 0.02, "muon_decay": 0.1}
CHOSEN = {**MEDIUM, **MUON, "learning_rate": 0.1}
WHOLE = {**CHOSEN, "muon_linear": True, "label_smoothing": 0.1}
FINAL = {**WHOLE, "muon_steps": 3}
INNER = {**CHOSEN, "muon_linear": True, "muon_first": False}
DIGITS = {**MUON, "muon_linear": True, "batch_size": 256, "label_smoothing": 0.1}
CONV, LINEAR, RESIDUAL = ("CNN3x3",), ("DeepFCNet",), ("CNNWithResidual",)

SMALL = ("CNN3x3", "CNN7x7")

SEARCHES = (
    Search(
        "cifar10",
        TrialRecipe(10, "sgd", 0.05, 5e-4, crop_padding=4, flip=True),
        (
            ({}, CONV + LINEAR, (0, 1)),
            ({}, RESIDUAL, (0,)),
            # one change at a time
            ({"muon_rate": 0.02}, CONV + RESIDUAL, (0,)),
            ({"muon_rate": 0.01}, CONV, (0,)),
            ({"muon_rate": 0.05}, CONV, (0,)),
            ({"batch_size": 64}, CONV + LINEAR, (0,)),
            ({"learning_rate": 0.1}, LINEAR, (0,)),
            ({"learning_rate": 0.025}, LINEAR, (0,)),
            ({"crop_padding": 2}, LINEAR, (0,)),
            ({"whitening": True}, LINEAR, (0,)),
            # with Muon, which is worth most
            ({"muon_rate": 0.02, "crop_padding": 2}, CONV + RESIDUAL, (0,)),
            ({"muon_rate": 0.02, "batch_size": 64}, CONV, (0,)),
            ({"muon_rate": 0.02, "batch_size": 256}, CONV + RESIDUAL, (0,)),
            ({**MUON_LINEAR, "batch_size": 512, "crop_padding": 2}, LINEAR, (0,)),
            ({"crop_padding": 1}, LINEAR, (0,)),
            ({"crop_padding": 2, "batch_size": 256}, LINEAR, (0,)),
            ({"muon_rate": 0.02, "learning_rate": 0.1}, CONV, (0,)),
            # with Muon a larger batch is no worse
            ({**LARGE, "muon_rate": 0.02}, CONV, (0,)),
            ({**LARGE, "muon_rate": 0.04}, CONV, (0,)),
            ({**LARGE, **MUON_LINEAR, "muon_decay": 0.1}, LINEAR, (0,)),
            ({**MEDIUM, **MUON}, CONV, (0,)),
            ({**LARGE, **MUON_LINEAR, "muon_decay": 0.3}, LINEAR, (0,)),
            ({**MEDIUM, "muon_rate": 0.02, "muon_decay": 0.3}, CONV, (0,)),
            ({**MEDIUM, "muon_rate": 0.02}, CONV, (0,)),
            ({**LARGE, **MUON_LINEAR, "muon_decay": 0.1, "learning_rate": 0.1}, LINEAR, (0,)),
            (CHOSEN, RESIDUAL, (0,)),
            ({**CHOSEN, "batch_size": 512}, CONV + RESIDUAL, (0,)),
            ({**MUON, "muon_linear": True, "batch_size": 512}, LINEAR, (0,)),
            # with and without, two networks, two seeds
            ({}, ("CNN7x7",), (0, 1)),
            (CHOSEN, SMALL, (0, 1)),
            ({**MEDIUM, "learning_rate": 0.1}, SMALL, (0, 1)),
            ({**CHOSEN, "label_smoothing": 0.1}, SMALL, (0, 1)),
            ({**CHOSEN, "label_smoothing": 0.1}, RESIDUAL, (0,)),
            ({**CHOSEN, "muon_linear": True, "label_smoothing": 0.1}, LINEAR, (0,)),
            ({**CHOSEN, "label_smoothing": 0.1, "crop_padding": 4}, RESIDUAL, (0,)),
            ({**CHOSEN, "label_smoothing": 0.2}, SMALL + RESIDUAL, (0,)),
            ({**CHOSEN, "average_decay": 0.98}, SMALL, (0, 1)),
            ({**CHOSEN, "alternating_flip": True}, SMALL, (0, 1)),
            # Muon between the layers alone: not on the one that meets the image
            ({**INNER, "label_smoothing": 0.1}, LINEAR + SMALL, (0, 1)),
            # and with fewer steps to an orthogonal update
            (FINAL, LINEAR + SMALL + RESIDUAL, (0,)),
            ({**WHOLE, "muon_steps": 2}, LINEAR + SMALL, (0,)),
            (FINAL, SMALL, (1,)),
            ({**WHOLE, "muon_steps": 1}, LINEAR + CONV, (0,)),
            # and beside that, what is left of the list
            ({**FINAL, "dirac": True}, RESIDUAL, (0,)),
            ({**FINAL, "norm_rate": 4.0}, RESIDUAL, (0,)),
            ({**FINAL, "muon_rate": 0.01}, CONV, (0,)),
            # what was chosen, with one thing changed: two networks, two seeds
            *(
                ({**FINAL, **changed}, SMALL, (0, 1))
                for changed in (
                    {"muon_rate": 0.0, "learning_rate": 0.05},
                    {"muon_decay": 0.0},
                    {"label_smoothing": 0.0},
                    {"batch_size": 128},
                    {"learning_rate": 0.05},
                    {"crop_padding": 4},
                    {"warmup": 0.4},
                    {"weight_decay": 0.0},
                    {"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.05},
                )
            ),
            (FINAL, LINEAR, (1,)),
            ({**FINAL, "muon_rate": 0.0, "learning_rate": 0.05}, LINEAR, (0, 1)),
            # large layers at a fraction of the cost: in blocks of rows, or not in every step
            ({**FINAL, "muon_rows": 128}, LINEAR, (0, 1)),
            ({**FINAL, "muon_rows": 256}, LINEAR, (0,)),
            ({**FINAL, "muon_every": 8}, LINEAR, (0, 1)),
        ),
    ),
    Search(
        "mnist",
        TrialRecipe(10, "adamw", 2e-3, 0.05, crop_padding=2),
        (
            ({}, ("FCNet",), (0, 1)),
            ({}, ("SimpleCNN",), (0,)),
            # one change at a time
            ({"batch_size": 64}, ("FCNet",), (0,)),
            ({"batch_size": 256}, ("FCNet",), (0,)),
            ({"batch_size": 512, "learning_rate": 4e-3}, ("FCNet",), (0,)),
            ({"learning_rate": 4e-3}, ("FCNet",), (0,)),
            ({"learning_rate": 1e-3}, ("FCNet",), (0,)),
            ({"crop_padding": 1}, ("FCNet",), (0,)),
            ({"affine_degrees": 10.0}, ("FCNet",), (0, 1)),
            ({"label_smoothing": 0.1}, ("FCNet",), (0, 1)),
            ({"average_decay": 0.99}, ("FCNet",), (0, 1)),
            ({"whitening": True}, ("FCNet",), (0,)),
            (SGD, ("FCNet", "SimpleCNN"), (0,)),
            ({"label_smoothing": 0.1}, ("SimpleCNN",), (0,)),
            # with Muon
            ({"muon_rate": 0.02}, ("SimpleCNN",), (0,)),
            ({**MUON_LINEAR, "batch_size": 512}, ("FCNet", "SimpleCNN"), (0,)),
            ({**SGD, **MUON_LINEAR, "batch_size": 512}, ("FCNet", "SimpleCNN"), (0,)),
            ({**MUON_LINEAR, "batch_size": 256}, ("FCNet", "SimpleCNN"), (0,)),
            ({**MUON_LINEAR, "batch_size": 512, "affine_degrees": 10.0}, ("FCNet",), (0,)),
            # with what CIFAR-10 has chosen
            (DIGITS, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "batch_size": 128}, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "muon_first": False}, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "muon_rate": 0.01}, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "muon_decay": 0.05}, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "muon_decay": 0.2}, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "label_smoothing": 0.0}, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "affine_degrees": 10.0}, ("FCNet",), (0, 1, 2)),
            ({}, ("FCNet",), (2,)),
            ({**DIGITS, "muon_steps": 3}, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "muon_steps": 2}, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "muon_steps": 1}, ("FCNet",), (0, 1, 2)),
            ({**DIGITS, "muon_steps": 3, "muon_rate": 0.01}, ("FCNet", "SimpleCNN"), (0, 1)),
            ({}, ("SimpleCNN",), (1,)),
            *(
                ({**DIGITS, "muon_steps": 3, "muon_rate": 0.01, **changed}, ("FCNet",), (0, 1))
                for changed in ({"muon_rows": 128}, {"muon_every": 8})
            ),
        ),
    ),
)

OVERRIDES = {"cifar10": {"CNNWithResidual": {"in_channels": 3}}, "mnist": {}}


def trial_path(dataset: str, changes: Changes, model: str, seed: int) -> Path:
    """Where the record of a trial stands."""
    name = "+".join(f"{field}={value}" for field, value in sorted(changes.items())) or "start"
    return RESULTS / dataset / f"{name}--{model}-seed{seed}.json"


def declared_trials(search: Search) -> Iterator[tuple[Changes, Run, Path]]:
    """All candidates with every network and seed, in their order."""
    for changes, names, seeds in search.candidates:
        for model, seed in itertools.product(names, seeds):
            recipe = replace(search.start, **changes)
            overrides = OVERRIDES[search.dataset].get(model, {})
            run = Run("search", model, search.dataset, recipe, seed, overrides)
            yield changes, run, trial_path(search.dataset, changes, model, seed)


def missing(search: Search, only: Sequence[str] | None) -> Iterator[tuple[Changes, Run, Path]]:
    """The declared trials that have no record yet, in their order; ``only`` these models.

    Raises: UserError where a record was made with something else than is declared.
    """
    for changes, run, path in declared_trials(search):
        if path.exists():
            check_trial(path, run.recipe)
        elif only is None or run.model in only:
            yield changes, run, path


def declared_paths() -> dict[str, list[Path]]:
    """Where the records of each dataset's trials stand."""
    return {search.dataset: [path for _, _, path in declared_trials(search)] for search in SEARCHES}


def check_trial(path: Path, recipe: TrialRecipe) -> None:
    """Raises: UserError where the trial's record is of another recipe or precision."""
    record = read_json(path, TRIAL)
    if (settings(record), record["precision"]) != (asdict(recipe), PRECISION):
        raise UserError(f"{path}: of another recipe than is declared; delete it and search again")


def run_search(search: Search, data: Dataset, only: Sequence[str] | None) -> None:
    """Runs what is missing, and writes a record after each trial."""
    compute = Compute(torch.device("cpu"), PRECISION)
    for changes, run, path in missing(search, only):
        outcome = run_trial(run, data, compute)
        record = {
            "schema": SCHEMA,
            "dataset": search.dataset,
            "fingerprint": data.fingerprint,
            "start": asdict(search.start),
            "changes": dict(changes),
            "model": run.model,
            "seed": run.seed,
            "precision": compute.precision,
            **outcome,
            "environment": environment(compute.device),
        }
        write_json(path, record)
        print(
            f"{path.stem}: {outcome['validation_accuracy']:.2%}, {outcome['cpu_seconds']:.0f} s",
            flush=True,
        )


def search_and_render(argv: Sequence[str] | None) -> None:
    """Trains what is missing and renders."""
    every = [names for search in SEARCHES for _, names, _ in search.candidates]
    known = list(dict.fromkeys(itertools.chain(*every)))
    options = parse_training("recipe_search", __doc__, known, argv)
    keep_freed_memory()
    for search in SEARCHES:
        if any(missing(search, options.models)) and not options.no_train:
            check_before_training(RESULTS / search.dataset, PRECISION)
            data = held_out(load_dataset(search.dataset, options.data_dir))
            run_search(search, data, options.models)
    render_recipes(declared_paths(), RESULTS.parent, REPOSITORY / "docs" / "recipes.md")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 2 for a mistake of the user's, 130 for Ctrl-C."""
    then = "the same command goes on after the last trial"
    return exit_code(lambda: search_and_render(argv), then)


if __name__ == "__main__":
    sys.exit(main())
