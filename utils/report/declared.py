"""Declarations: what tables, figures and claims will need of them, asked before hours are spent."""

import json
import math
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

import numpy as np
from matplotlib.colors import is_color_like
from matplotlib.markers import MarkerStyle
from pydantic import TypeAdapter, ValidationError

from utils.claim import Answer, Claim, OfCases, OfNetworks, OfSeeds
from utils.errors import UserError, in_one_line
from utils.experiment import Compute, Experiment, LayerCase, Row, Styled
from utils.records.files import first_fault
from utils.records.runs import identity
from utils.records.schema import STRANGE
from utils.report.figures import FIGURES
from utils.report.measures import UNITS
from utils.report.rows import EXTRA_COLUMNS, reported_results
from utils.report.short import ASKED

DECLARED = {kind: TypeAdapter(kind) for kind in (Answer, Claim, Row)}

# what an answer may show: differences in points of accuracy
SHOWN_KINDS, SHOWN_METRICS = ("greater", "equal", "best"), ("test_accuracy", "train_accuracy")
# of a recipe: what trains the classifier and the biases, and Muon's own of the same
OF_MUON = {"optimizer": "muon_rate", "learning_rate": "muon_rate", "weight_decay": "muon_decay"}


def check_declared(
    experiments: Sequence[Experiment],
    networks: Mapping[str, Styled],
    answers: Sequence[Answer] = (),
) -> None:
    """Whatever is named is there, and nothing has the name of another.

    ``networks`` is ``models.MODELS``. Raises: UserError with the first that is not so.
    """
    claims = {claim.id: claim for experiment in experiments for claim in experiment.claims}
    for answer in answers:
        for fault in wrong_types(answer) or faults_of_answer(answer, claims):
            raise UserError(f"answer {answer.question!r}: {fault}; mend it in experiments/")
    if text := twice([each.name for each in experiments]):
        raise UserError(f"two experiments are called {text}; the tables of one would be lost")
    if text := twice([claim.id for experiment in experiments for claim in experiment.claims]):
        raise UserError(
            f"two claims are called {text}, and one would stand for the other; mend it in "
            "experiments/"
        )
    of_name: dict[tuple[str | None, str], tuple[str, dict[str, Any] | None]] = {}
    for experiment in experiments:
        for fault in faults(experiment, networks):
            raise UserError(f"experiment {experiment.name}: {fault}; mend it in experiments/")
        for row in experiment.rows:
            label, run = f"{row.label} of {experiment.name}", recorded_as(row, experiment)
            other, first = of_name.setdefault((experiment.dataset, row.run_name), (label, run))
            if run != first:
                raise UserError(
                    f"{label} and {other} are two runs, and both have the files of {row.run_name}; "
                    "call a network otherwise, or say in the row what differs"
                )
            network = networks[row.network]
            if not (is_color_like(network.colour) and network.marker in MarkerStyle.markers):
                raise UserError(
                    f"{row.network}: matplotlib has no colour {network.colour!r} or "
                    f"no marker {network.marker!r}; mend it in models/registry.py"
                )
            if isinstance(network.traits, str):
                raise UserError(
                    f"{row.network}: traits are a tuple, as in "
                    f"({network.traits!r},); mend it in models/registry.py"
                )


def faults(experiment: Experiment, networks: Mapping[str, Styled]) -> Iterator[str]:
    """What is wrong with an experiment, in words."""
    cases = [each.name for each in experiment.cases]
    names = {*experiment.labels, *cases}
    if text := twice([*experiment.labels, *cases]):
        yield f"two rows or cases are called {text}"
    if same := same_run(experiment):
        yield f"rows {' and '.join(same)} are the same run, which would count twice"
    for what, found in {"figure": experiment.figures, "column": experiment.columns}.items():
        if text := twice(found):
            yield f"{what} {text} is named twice"
    places = [row.at for row in experiment.rows if row.at]
    if text := twice(places):
        yield f"two rows stand at {text}, of which a figure would show one"
    if experiment.rows and not (experiment.dataset and experiment.recipe):
        yield "has rows, and no dataset or no recipe"
    for row in experiment.rows:
        yield from (f"row {row.label}: {fault}" for fault in faults_of_row(row, experiment))
    for case in experiment.cases:
        yield from (f"case {case.name}: {fault}" for fault in faults_of_case(case))
    for text in (experiment.question, experiment.subject, experiment.axis):
        if re.search(f"[{STRANGE}]", text):
            yield f"{text!r} has a line break, | or $"
    named = {
        "network": ([row.network for row in experiment.rows], networks),
        "dataset": ([experiment.dataset or "mnist"], ("mnist", "cifar10")),
        "figure": (experiment.figures, FIGURES),
        "column": (experiment.columns, EXTRA_COLUMNS),
        "short table": ([experiment.asks], ("", "cases", *ASKED)),
        "kind of cases": ([experiment.cases_are], ("layer", "block")),
        "base": ([experiment.base], {"", *names}),
        "analogue": ([case.analogue_of or "" for case in experiment.cases], {"", *cases}),
    }
    for what, (found, known) in named.items():
        if unknown := [name for name in found if name not in known]:
            yield f"unknown {what} {unknown[0]!r}; known: {', '.join(filter(None, sorted(known)))}"
    if experiment.asks in EXTRA_COLUMNS and experiment.asks not in experiment.columns:
        yield f"asks={experiment.asks!r} is of a column that columns={experiment.columns} lacks"
    if experiment.asks == "cases" and not any(case.analogue_of for case in experiment.cases):
        yield "asks='cases' sets cases beside their analogues, and none has one (analogue_of)"
    if experiment.timed and len({row.precision for row in experiment.rows}) > 1:
        yield "rows differ in precision, so that no table can have their speed; timed=False"
    table = experiment.reported_table
    if table and not reported_results(table):
        yield f"the report has no table {table!r}"
    for claim in experiment.claims:
        if claim.kind in ("time", "front") and experiment.rows and not experiment.timed:
            yield f"claim {claim.id}: is of times, and the experiment has timed=False"
        for fault in wrong_types(claim) or faults_of_claim(claim, set(experiment.labels), {*cases}):
            yield f"claim {claim.id}: {fault}"


def same_run(experiment: Experiment) -> tuple[str, ...]:
    """The labels of two rows that are one run, whatever its files are called, or none."""
    seen: list[tuple[str, Any]] = []
    for row in experiment.rows if experiment.recipe else ():
        run = row.run(experiment.dataset, experiment.recipe, 0, Compute())
        found = replace(run, name=""), row.precision
        for label, other in seen:
            if other == found:
                return label, row.label
        seen.append((row.label, found))
    return ()


def faults_of_row(row: Row, experiment: Experiment) -> Iterator[str]:
    """What is wrong with a row; what its network and recipe get is for ``plan.check_recipe``."""
    seeds = row.seeds or experiment.seeds
    yield from wrong_types(replace(row, overrides={}, recipe={}, seeds=seeds))
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**32:
        yield f"seeds={seeds}: give one or more, from 0 to {2**32 - 1}"
    if row.at and isinstance(row.at[1], float) and not math.isfinite(row.at[1]):
        yield f"at={row.at}: its place is no finite number"
    if row.at and re.search(f"[{STRANGE}]", str(row.at[0])):
        yield f"{row.at[0]!r} has a line break, | or $"
    for name, of_muon in OF_MUON.items():
        if name in row.recipe and of_muon not in row.recipe and experiment.recipe.muon_rate:
            yield f"varies {name}, and Muon trains the hidden weights: say its {of_muon} too"


def faults_of_case(case: LayerCase) -> Iterator[str]:
    """What is wrong with a case."""
    shape = case.input_shape
    if not (isinstance(shape, Sequence) and all(type(n) is int and n > 0 for n in shape)):
        yield f"input_shape={shape}: give (batch, …), each 1 or more"
    try:
        pickle.dumps(case.build)  # each pass of the measurement is a process
    except Exception as error:  # whatever a class of one's own may raise
        yield (
            f"its build cannot be given to another process ({in_one_line(error)}); give a class or "
            "functools.partial, and no lambda"
        )


def recorded_as(row: Row, experiment: Experiment) -> dict[str, Any] | None:
    """What its record would say of the row's run; None for what none can hold."""
    try:
        return identity(row.run(str(experiment.dataset), experiment.recipe, 0, Compute()))
    except (TypeError, ValueError):
        return None  # ``plan.check_recipe`` tells


def plain(value: object) -> object:
    """NumPy's number as Python's, a range as what is in it, anything else as text."""
    if isinstance(value, range):
        return list(value)
    return value.item() if isinstance(value, np.generic) else str(value)


def wrong_types(declared: Answer | Claim | Row) -> list[str]:
    """The first field that is not of its declared type, in words; any sequence is a tuple."""
    try:
        text = json.dumps(asdict(declared), default=plain)
        DECLARED[type(declared)].validate_json(text, strict=True)
    except ValidationError as error:
        return [first_fault(error).replace("a valid array", "a tuple")]
    return []


def faults_of_claim(claim: Claim, rows: set[str], cases: set[str]) -> Iterator[str]:
    """What is wrong with a claim; ``rows`` and ``cases`` are the names of the experiment's."""
    if re.search(f"[{STRANGE}]", claim.id + claim.text + claim.text_ru):
        yield "its id or text has a line break, | or $"
    if not all(isinstance(each, tuple) for each in (claim.about, claim.pairs, *claim.pairs)):
        yield "its pairs and what it is about are tuples, and each pair is one"
        return
    if claim.kind == "front":
        return
    if len(claim.pairs) < 1 + (claim.kind == "lead"):
        yield "has too few pairs"
    if claim.kind == "constant" and claim.than is None:
        yield "has no number (than)"
    if claim.margin is not None and not 0 < claim.margin < math.inf:
        yield f"margin {claim.margin:g}: must be above 0 and finite"
    if claim.than is not None and not math.isfinite(claim.than):
        yield f"its number (than) is {claim.than:g}"
    if claim.kind == "exact" and claim.than and not claim.margin:
        yield "has no margin of its number (than)"
    for a, b in claim.pairs:
        if a == b or claim.pairs.count((a, b)) > 1:
            yield f"compares {a!r} with {'itself' if a == b else f'{b!r} twice'}"
    ends = 1 if claim.kind == "constant" else 2
    names = {name for pair in claim.pairs for name in pair[:ends]}
    for name in names - rows - cases:
        yield f"compares {name!r}, which is no row or case"
    if names & rows and names & cases:
        yield "compares rows with cases"
    if claim.kind == "time":
        return
    if names & cases and claim.kind != "exact":
        yield f"kind {claim.kind!r}: of cases there are exact and time"
    known = get_args(OfCases if names & cases else OfNetworks if claim.kind == "exact" else OfSeeds)
    if claim.metric not in known:
        yield f"kind {claim.kind!r} cannot be of {claim.metric}, but of {', '.join(known)}"
    if claim.kind == "equal" and claim.margin is None and UNITS.get(claim.metric) != "points":
        yield f"needs a margin, since {claim.metric} has none of its own"


def faults_of_answer(answer: Answer, claims: Mapping[str, Claim]) -> Iterator[str]:
    """What is wrong with an answer; ``claims`` are the study's, by their ids."""
    if not answer.shown:
        yield "shows no comparison"
    for name, _verdict in answer.rests_on:
        if name not in claims:
            yield f"rests on claim {name}, and no experiment has it"
    for shown in answer.shown:
        claim = claims.get(shown.claim)
        if claim is None:
            yield f"shows claim {shown.claim}, and no experiment has it"
        elif not 0 <= shown.pair < len(claim.pairs):
            yield f"shows pair {shown.pair} of claim {claim.id}, which has {len(claim.pairs)}"
        elif claim.kind not in SHOWN_KINDS or claim.metric not in SHOWN_METRICS:
            yield (
                f"shows claim {claim.id}, of kind {claim.kind!r} and of {claim.metric}; its axis "
                f"is for {', '.join(SHOWN_KINDS)} of {' or '.join(SHOWN_METRICS)}"
            )
    labels = [text for shown in answer.shown for text in (shown.label, shown.label_ru)]
    texts = (answer.question, answer.question_ru, answer.answer, answer.answer_ru, *labels)
    if strange := [text for text in texts if re.search(f"[{STRANGE}]", text)]:
        yield f"{strange[0]!r} has a line break, | or $"


def twice(names: Sequence[str]) -> str:
    """A name that comes again; empty where there is none."""
    return next((name for name in names if names.count(name) > 1), "")
