"""Declarations: what tables, figures and claims will need of them, asked before hours are spent."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from matplotlib.colors import is_color_like
from matplotlib.markers import MarkerStyle

from utils.claim import Claim, Kind, Metric
from utils.errors import UserError
from utils.experiment import Experiment, Styled
from utils.records.schema import STRANGE
from utils.report.figures import FIGURES
from utils.report.rows import EXTRA_COLUMNS, reported_results
from utils.report.short import ASKED


def check_declared(experiments: Sequence[Experiment], networks: Mapping[str, Styled]) -> None:
    """Whatever is named is there, and nothing has the name of another.

    ``networks`` is ``models.MODELS``. Raises: UserError with the first that is not so.
    """
    if text := twice([each.name for each in experiments]):
        raise UserError(f"two experiments are called {text}; the tables of one would be lost")
    for experiment in experiments:
        for fault in faults(experiment, networks):
            raise UserError(f"experiment {experiment.name}: {fault}; mend it in experiments/")
        for row in experiment.rows:
            network = networks[row.network or row.label]
            if not (is_color_like(network.colour) and network.marker in MarkerStyle.markers):
                raise UserError(
                    f"{row.network or row.label}: matplotlib has no colour {network.colour!r} or "
                    f"no marker {network.marker!r}; mend it in models/registry.py"
                )


def faults(experiment: Experiment, networks: Mapping[str, Styled]) -> Iterator[str]:
    """What is wrong with an experiment, in words."""
    cases = [each.name for each in experiment.cases]
    names = {*experiment.labels, *cases}
    if text := twice([*experiment.labels, *cases]):
        yield f"two rows or cases are called {text}"
    if experiment.rows and not (experiment.dataset and experiment.recipe):
        yield "has rows, and no dataset or no recipe"
    for text in (experiment.subject, experiment.axis):
        if re.search(f"[{STRANGE}]", text):
            yield f"{text!r} has a line break, | or $"
    named = {
        "network": ([row.network or row.label for row in experiment.rows], networks),
        "dataset": ([experiment.dataset or "mnist"], ("mnist", "cifar10")),
        "figure": (experiment.figures, FIGURES),
        "column": (experiment.columns, EXTRA_COLUMNS),
        "short table": ([experiment.asks], ("", "cases", *ASKED)),
        "base": ([experiment.base], {"", *names}),
        "analogue": ([case.analogue_of or "" for case in experiment.cases], {"", *cases}),
    }
    for what, (found, known) in named.items():
        if unknown := [name for name in found if name not in known]:
            yield f"unknown {what} {unknown[0]!r}; known: {', '.join(filter(None, sorted(known)))}"
    if experiment.timed and len({row.precision for row in experiment.rows}) > 1:
        yield "rows differ in precision, so that no table can have their speed; timed=False"
    table = experiment.reported_table
    if table and not reported_results(table):
        yield f"the report has no table {table!r}"
    for claim in experiment.claims:
        for fault in faults_of_claim(claim, names):
            yield f"claim {claim.id}: {fault}"
    if text := twice([claim.id for claim in experiment.claims]):
        yield f"two claims are called {text}"


def faults_of_claim(claim: Claim, names: set[str]) -> Iterator[str]:
    """What is wrong with a claim; ``names`` are the experiment's rows and cases."""
    if claim.kind not in get_args(Kind) or claim.metric not in get_args(Metric):
        yield f"unknown kind {claim.kind!r} or metric {claim.metric!r}"
    if claim.kind == "front":
        return
    if len(claim.pairs) < 1 + (claim.kind == "lead"):
        yield "has too few pairs"
    if claim.kind == "constant" and claim.than is None:
        yield "has no number (than)"
    for name in {name for pair in claim.pairs for name in pair}:
        if name not in names and not (claim.kind == "constant" and not name):
            yield f"compares {name!r}, which is no row or case"


def twice(names: Sequence[str]) -> str:
    """A name that comes again; empty where there is none."""
    return next((name for name in names if names.count(name) > 1), "")
