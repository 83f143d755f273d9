"""Confounds: what differs between two that are compared, beside what the comparison is about."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from utils.records.schema import Record
from utils.records.study import Evidence, first_known
from utils.report.rows import largest_receptive_field

NEAR = 0.01  # sizes that differ by less are the same


def confounds_of(a: str, b: str, metric: str, about: Collection[str], evidence: Evidence) -> str:
    """What a has that b has not, in words; "none" where nothing on record differs."""
    if a in evidence.runs:
        found = _of_networks(a, b, metric, about, evidence)
    else:
        found = _of_cases(a, b, metric, evidence)
    return "; ".join(found) or "none"


def _of_networks(
    a: str, b: str, metric: str, about: Collection[str], evidence: Evidence
) -> list[str]:
    first, second = evidence.runs[a], evidence.runs[b]
    found = []
    for name, word in (("parameters", "parameters"), ("forward_flops", "FLOPs")):
        if name != metric:
            found += _times(first_known(first, name), first_known(second, name), word)
    layers = [len(records[0].epochs[0].gradient_norm) for records in (first, second)]
    if layers[0] != layers[1]:
        found.append(f"{layers[0]} to {layers[1]} layers with weights")
    fields = [largest_receptive_field(records) for records in (first, second)]
    seen = all(first_known(records, "receptive_field") for records in (first, second))
    if seen and fields[0] != fields[1] and "receptive_field" not in (metric, *about):
        sizes = " to ".join(str(size) if size else "the whole image" for size in fields)
        found.append(f"receptive field {sizes}{' pixels' if all(fields) else ''}")
    traits = [evidence.styles[label].traits for label in (a, b)]
    traits = traits if first[0].network != second[0].network else [(), ()]
    for mine, others, label in ((*traits, a), (*traits[::-1], b)):
        alone = [trait for trait in mine if trait not in others and trait not in about]
        found += [f"{', '.join(alone)} in {label} alone"] if alone else []
    return found + _of_conditions((a, b), about, evidence)


def _of_conditions(
    labels: tuple[str, str], about: Collection[str], evidence: Evidence
) -> list[str]:
    """What was trained differently; where the machines differ docs/methods.md says so."""
    compared = [row for row in evidence.experiment.rows if row.label in labels]
    precise = any(row.precision for row in compared)  # else it is the machines'
    mine, others = (_fields(evidence.runs[label][0], precise) for label in labels)

    def told(name: str) -> str:
        values = [str(each[name]) for each in (mine, others) if name in each]
        alone = "" if values[1:] else f" in {labels[name in others]} alone"
        return f"{name.replace('_', ' ')} {' to '.join(values)}{alone}"

    names = dict.fromkeys([*mine, *others])
    return [
        told(name) for name in names if mine.get(name) != others.get(name) and name not in about
    ]


def _fields(record: Record, precise: bool) -> dict[str, Any]:
    """What a row can vary of a run, the network apart; with ``precise`` precision too."""
    fields = {key: value for key, value in record.overrides.items() if key != "in_channels"}
    fields |= asdict(record.recipe)
    if not record.recipe.muon_rate:
        del fields["muon_decay"]  # of nobody's weights
    fields |= {"images": record.images} if record.images else {}
    fields |= {"permuted": True} if record.permuted else {}
    fields |= {"part": record.part} if record.part != "train" else {}
    return fields | ({"precision": record.precision} if precise else {})


def _of_cases(a: str, b: str, metric: str, evidence: Evidence) -> list[str]:
    cases = {case.name: case for case in evidence.cases.cases}
    first, second = cases[a], cases[b]
    found = _times(first.parameters, second.parameters, "parameters")
    found = [] if metric == "parameters" else found
    if first.output_shape != second.output_shape:
        found.append(f"output {list(first.output_shape)} to {list(second.output_shape)}")
    return found


def _times(first: float, second: float, word: str) -> list[str]:
    """As in "1.74 times the parameters"; nothing where they are the same."""
    if first == second or (second and abs(first / second - 1) < NEAR):
        return []
    return [f"{first / second:.3g} times the {word}" if second else f"{first} {word} to none"]
