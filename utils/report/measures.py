"""Measures: what the records say of a network, layer or block in one metric.

Accuracies are in per cent, times in seconds. There is one value for each seed or pass, or a single
one of what a network has whatever its seed. A ratio of gradients is NaN where one of them is no
positive number.
"""

import math
from collections.abc import Mapping, Sequence

from utils.claim import Claim
from utils.records.schema import Case, Record, Speed
from utils.records.study import Evidence, first_known, gradient_ratios
from utils.report.rows import largest_receptive_field

LATENCY, AT_BATCH_256 = "latency", "time_per_image_at_batch_256"
FORWARD, BOTH = "forward", "forward_and_backward"
UNITS = {  # metric -> what a difference is in
    "test_accuracy": "points",
    "train_accuracy": "points",
    "generalization_gap": "points",
    "shift_loss": "points",
    "parameters": "parameters",
    "forward_flops": "FLOPs",
    "receptive_field": "pixels",
    **dict.fromkeys((LATENCY, AT_BATCH_256, FORWARD, BOTH), "ratio"),
}


def metrics_of(claim: Claim, evidence: Evidence) -> tuple[str, ...]:
    """The metrics that a claim is looked at in: one, but two for a time.

    The latency of one image is what the report means; at batch 256 it may be the other way round.
    """
    if claim.kind != "time":
        return (claim.metric,)
    return (LATENCY, AT_BATCH_256) if _is_row(claim.pairs[0][0], evidence) else (FORWARD, BOTH)


def values_of(name: str, metric: str, evidence: Evidence) -> list[float]:
    """What there is of the row or case with this name; empty where there is no record."""
    if not _is_row(name, evidence):
        cases = evidence.cases.cases if evidence.cases else ()
        return next((_of_case(case, metric) for case in cases if case.name == name), [])
    if name not in evidence.runs:  # its speed alone is not enough: the confounds are in the record
        return []
    if metric in (LATENCY, AT_BATCH_256):
        return list(by_pass(evidence.speed.get(name), metric).values())
    return _of_records(evidence.runs[name], metric)


def _is_row(name: str, evidence: Evidence) -> bool:
    return name in evidence.experiment.labels


def _of_records(records: Sequence[Record], metric: str) -> list[float]:
    if metric == "generalization_gap":
        finals = [record.final for record in records]
        return [100 * (each.train_accuracy - each.test_accuracy) for each in finals]
    if metric in ("train_accuracy", "test_accuracy"):
        return [100 * getattr(record.final, metric) for record in records]
    if metric == "shift_loss":
        moved = [each for record in records if (each := record.shifted_test_accuracy)]
        return [100 * (each[0] - each[-1]) for each in moved]
    if metric == "log10_initial_gradient_ratio":
        firsts = [record.epochs[0].gradient_norm_first for record in records]
        ends = [(norms[0], norms[-1]) for each in firsts if each and (norms := [*each.values()])]
        return [math.log10(a / b) if a and b else math.nan for a, b in ends]
    if metric == "gradient_ratio":
        return [float(gradient_ratios([record]).min()) for record in records]
    if metric == "receptive_field":
        found = largest_receptive_field(records)
    else:
        found = first_known(records, metric)
    return [] if found is None else [found]


def _of_case(case: Case, metric: str) -> list[float]:
    passes = {FORWARD: case.forward_seconds_100, BOTH: case.forward_backward_seconds_100}
    if metric in passes:
        return [each.median for each in passes[metric]]
    if metric == "parameters":
        return [case.parameters]
    found = case.gradient.mean_absolute_input
    return [math.nan if found is None else found]  # it was not finite


def by_pass(speed: Speed | None, metric: str) -> Mapping[str, float]:
    """When the pass began -> seconds of one image."""
    if speed is None:
        return {}
    if metric == LATENCY:
        seconds = [each.median for each in speed.latency_seconds]
    else:
        seconds = [1 / each.median for each in speed.throughput_images_per_second]
    return dict(zip(speed.began, seconds, strict=True))


def in_the_same_passes(
    a: str, b: str, metric: str, evidence: Evidence
) -> tuple[list[float], list[float]]:
    """The times of both, pass by pass, of the passes that both were in."""
    if not _is_row(a, evidence):  # all cases of a record are in all of its passes
        return values_of(a, metric, evidence), values_of(b, metric, evidence)
    first, second = (by_pass(evidence.speed.get(name), metric) for name in (a, b))
    common = [began for began in first if began in second]
    return [first[began] for began in common], [second[began] for began in common]
