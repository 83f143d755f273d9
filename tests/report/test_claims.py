"""Claims find their comparison in the records, and nothing is left unsaid beside the verdict."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments import STUDY
from models.registry import Network
from tests.fake_records import (
    LAYER_LIST,
    NETWORKS,
    make_answers,
    make_diverged,
    make_experiment,
    make_record,
    make_seeds,
    make_speed,
    with_epochs,
    write_cases,
    write_runs,
)
from utils.claim import Claim
from utils.experiment import Compute, LayerCase, Row
from utils.records.files import write_arrays, write_record
from utils.records.runs import run_path
from utils.records.schema import Record
from utils.records.study import gather
from utils.report.claim_text import claims_csv, claims_markdown, csv_rows
from utils.report.claims import Comparison, Finding, conclude, find
from utils.report.rows import to_csv
from utils.report.statistics import Estimate

STYLES = {
    **NETWORKS,
    "CNN5x5": Network(NETWORKS["CNN5x5"].build, "#000000", ("dropout", "strides")),
    "CNN3x3": Network(NETWORKS["CNN3x3"].build, "#000000", ("strides",)),
}
HIGH, LOW = (0.80, 0.81, 0.80, 0.82, 0.81), (0.70, 0.72, 0.71, 0.70, 0.71)
PAIR = (("CNN3x3", "CNN5x5"),)


def claim(kind: str = "greater", **fields: object) -> Claim:
    return Claim("2.1-a", "A is above B.", "А выше Б.", "report", kind, **{"pairs": PAIR, **fields})


def both(
    first: Sequence[float], second: Sequence[float], **others: Sequence[float]
) -> list[Record]:
    """Runs with these test accuracies of CNN3x3, of CNN5x5, and of others."""
    accuracies = {"CNN3x3": first, "CNN5x5": second, **others}
    return [record for each in accuracies.items() for record in make_seeds(*each)]


def findings(
    folder: Path,
    claims: Sequence[Claim],
    records: Sequence[Record],
    passes: Sequence[float] = (),
    **changes: object,
) -> list[Finding]:
    """What is found of them in these records; there is a row for each network that has one."""
    rows = list(dict.fromkeys(record.network for record in records))
    experiment = make_experiment(**{"rows": rows, "claims": tuple(claims), **changes})
    write_runs(folder, experiment, records, passes=passes)
    return find(gather(experiment, folder, STYLES))


def test_a_difference_is_in_points_with_its_interval(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, [claim()], both(HIGH, LOW))
    (row,) = csv_rows(found)
    expected = stats.ttest_ind(100 * np.array(HIGH), 100 * np.array(LOW), equal_var=False)
    interval = expected.confidence_interval()
    assert (row["difference"], row["unit"]) == (pytest.approx(10), "points")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))
    assert row["p"] == row["p_holm"] == pytest.approx(expected.pvalue)
    assert (row["n_a"], row["n_b"], row["margin"]) == (5, 5, 0.5)
    assert (row["dataset"], row["a"], row["b"]) == ("cifar10", "CNN3x3", "CNN5x5")
    assert row["verdict"] == "supported"


def test_the_file_has_these_columns(tmp_path: Path) -> None:
    missing = claim(pairs=(("CNN3x3", "CNN7x7"),))
    experiment = make_experiment(["CNN3x3", "CNN5x5", "CNN7x7"], claims=(claim(), missing))
    write_runs(tmp_path, experiment, both(HIGH, LOW))
    text = claims_csv([gather(experiment, tmp_path, STYLES)])
    lines = list(csv.reader(io.StringIO(text)))
    assert ",".join(lines[0]) == (
        "id,experiment,source,kind,claim,dataset,a,b,metric,unit,n_a,n_b,difference,ci_low,"
        "ci_high,p,p_holm,margin,confounds,verdict"
    )
    assert lines[2] == (
        ["2.1-a", "kernel_size", "report", "greater", "A is above B.", "cifar10"]
        + ["CNN3x3", "CNN7x7"]
        + [""] * 11
        + ["not tested yet: no record of CNN7x7"]
    )


BEST = claim("best", pairs=tuple(("CNN3x3", rival) for rival in ("CNN5x5", "CNN7x7", "DeepCNN")))
LEAD = claim("lead", pairs=(("CNN3x3", "CNN5x5"), ("CNN7x7", "DeepCNN")))
FIELD = claim("exact", pairs=(("CNN3x3", "CNN7x7"),), metric="receptive_field")
UNKNOWN = {"features.0.0": 3, "features.1.0": None}
ALIKE = [0.700, 0.710, 0.720, 0.705, 0.715]
UNSURE = [0.75, 0.89, 0.79, 0.85, 0.74]


@pytest.mark.parametrize(
    ("asked", "records", "verdict"),
    [
        (claim(), both(LOW, HIGH), "refuted"),
        (BEST, both(HIGH, LOW, CNN7x7=LOW, DeepCNN=LOW), "supported"),
        (
            BEST,
            both(HIGH, LOW, CNN7x7=[value + 0.1 for value in HIGH], DeepCNN=LOW),
            "refuted by CNN7x7",
        ),
        (BEST, both(HIGH, LOW, CNN7x7=UNSURE, DeepCNN=LOW), "open: .*"),
        # not "more than …": the margin is in reach
        (LEAD, both(ALIKE, ALIKE, CNN7x7=ALIKE, DeepCNN=ALIKE), "open: about .*"),
        (
            FIELD,
            [*both(HIGH[:3], LOW[:3]), make_record("CNN7x7", fields=UNKNOWN)],
            "open: receptive_field of CNN7x7 is not defined",
        ),
        (
            claim(),
            [*both(HIGH, LOW), make_diverged("CNN5x5", 5)],
            "open: CNN5x5 diverged in 1 of 6 runs",
        ),
    ],
    ids=["below", "best", "not the best", "perhaps the best", "equal leads", "no number", "lost"],
)
def test_a_claim_has_one_verdict_that_says_why(
    asked: Claim, records: Sequence[Record], verdict: str, tmp_path: Path
) -> None:
    (found,) = findings(tmp_path, [asked], records)
    assert re.fullmatch(verdict, found.verdict)
    rows = csv_rows(found)
    assert {row["verdict"] for row in rows} == {found.verdict}
    if asked.kind != "lead":
        assert [(row["a"], row["b"]) for row in rows] == list(asked.pairs)
    assert not (found.comparisons and records[-1].diverged)


def test_rows_that_hardly_vary_make_no_other_comparison_significant(tmp_path: Path) -> None:
    still = {name: (0.4, 0.4001, 0.4, 0.4001, 0.4) for name in ("CNN7x7", "MediumCNN")}
    base, wide = (0.70, 0.7001, 0.70, 0.7001, 0.70), (0.71, 0.75, 0.72, 0.77, 0.70)
    records = both(wide, base, **still)
    pairs = [((name, "CNN5x5"),) for name in ("CNN3x3", *still)]
    claims = [replace(claim(pairs=pair), id=f"2.1-{number}") for number, pair in enumerate(pairs)]
    first, *_ = findings(tmp_path, claims, records, base="CNN5x5")
    (row,) = csv_rows(first)
    accuracies = [100 * np.array(each) for each in (wide, *still.values(), base)]
    assert stats.dunnett(*accuracies[:-1], control=accuracies[-1], rng=0).pvalue[0] < 0.05
    alone = stats.ttest_ind(accuracies[0], accuracies[-1], equal_var=False).pvalue
    assert 0.05 < alone == pytest.approx(float(row["p_holm"]), rel=1e-4)
    assert first.verdict.startswith("open")


def test_with_few_seeds_the_deviation_is_the_experiments(tmp_path: Path) -> None:
    records = both(HIGH[:1], LOW[:1], CNN7x7=[0.6, 0.601, 0.602])
    (found,) = findings(tmp_path, [claim()], records)
    (comparison,) = found.comparisons
    assert comparison.estimate.half == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 * math.sqrt(2))
    assert math.isnan(comparison.levene)
    assert "deviation pooled over the networks" in claims_markdown([found])


def test_one_seed_alone_leaves_it_open(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, [claim()], both([0.8], [0.7]))
    assert found.verdict == "open: 1 seed"
    assert csv_rows(found)[0]["difference"] == pytest.approx(10)
    assert to_csv(csv_rows(found)).splitlines()[1].count(",,,,") == 1  # no interval, no p


def test_an_open_claim_says_how_many_seeds_it_would_take(tmp_path: Path) -> None:
    a, b = [0.700, 0.720, 0.710, 0.690, 0.715], [0.695, 0.712, 0.701, 0.684, 0.708]
    (found,) = findings(tmp_path, [claim()], both(a, b))
    count = int(found.verdict.removeprefix("open: about ").removesuffix(" seeds"))
    deviation = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
    # the usual rule of thumb for a power of 80 %: 16 s² / d²
    assert count == pytest.approx(16 * (deviation / (np.mean(a) - np.mean(b))) ** 2, rel=0.1)


def test_names_that_have_commas_are_told_apart() -> None:
    numbers = ("test_accuracy", "points", (0.8, 0.9), Estimate(-0.1, -0.2, -0.05))
    lost = [Comparison("A", rival, *numbers, verdict="refuted") for rival in ("B", "C", "D, moved")]
    assert conclude(lost[:2]) == "refuted by B, C"
    assert conclude(lost[1:]) == "refuted by C; D, moved"


@pytest.mark.parametrize(
    ("than", "verdict"), [(85.0, "supported"), (75.0, "refuted"), (80.9, "open")]
)
def test_a_constant_is_an_upper_bound(than: float, verdict: str, tmp_path: Path) -> None:
    below = claim("constant", pairs=(("CNN3x3", ""),), than=than)
    (found,) = findings(tmp_path, [below], make_seeds("CNN3x3", HIGH))
    assert found.verdict.partition(":")[0] == verdict
    (row,) = csv_rows(found)
    assert (row["b"], row["n_b"], row["confounds"]) == (f"{than:g} %", None, "")
    assert row["difference"] == pytest.approx(80.8 - than)


@pytest.mark.parametrize(
    ("first", "margin", "verdict"),
    [
        (0.3, None, "supported"),
        (0.3, 0.5, "supported, by less than matters"),
        (0.061, None, "open"),
        (0.061, 0.5, "no difference that matters"),
    ],
)
def test_a_ratio_of_gradients_has_no_margin_but_the_claims_own(
    first: float, margin: float | None, verdict: str, tmp_path: Path
) -> None:
    records = []
    for network, ratio in (("CNN3x3", first), ("CNN5x5", 0.06)):
        for record, noise in zip(make_seeds(network, HIGH), (0, 2, 1, -2, -1), strict=True):
            norms = 3 * [{"features.0.0": ratio + noise / 1000, "classifier.1": 1.0}]
            records.append(with_epochs(record, gradient_norm=norms, gradient_norm_first=norms))
    above = claim(metric="gradient_ratio", margin=margin)
    (found,) = findings(tmp_path, [above], records)
    assert found.verdict.partition(":")[0] == verdict
    assert csv_rows(found)[0]["margin"] == margin


@pytest.mark.parametrize(
    ("parameters", "fields", "verdict"),
    [
        ((200, 100), {}, "supported"),
        ((100, 200), {}, "refuted"),
        ((100, 100), {}, "refuted"),
        ((204, 100), {"than": 2, "margin": 0.05}, "supported"),
        ((196, 100), {"than": 2, "margin": 0.05}, "supported"),
        ((220, 100), {"than": 2, "margin": 0.05}, "refuted"),
        ((180, 100), {"than": 2, "margin": 0.05}, "refuted"),
    ],
)
def test_what_is_exact_needs_one_seed_and_no_p(
    parameters: tuple[int, int], fields: dict, verdict: str, tmp_path: Path
) -> None:
    records = [
        *make_seeds("CNN3x3", [0.8], parameters=parameters[0]),
        *make_seeds("CNN5x5", [0.8], parameters=parameters[1]),
    ]
    (found,) = findings(tmp_path, [claim("exact", metric="parameters", **fields)], records)
    assert found.verdict == verdict
    assert math.isnan(csv_rows(found)[0]["p"])


def test_a_time_is_a_ratio_pass_by_pass_in_both_metrics(tmp_path: Path) -> None:
    records = both([0.8], [0.8])
    found = findings(tmp_path, [claim("time")], records, passes=(1.0, 1.3, 0.8, 1.1, 1.2))
    assert [row["metric"] for each in found for row in csv_rows(each)] == [
        "latency",
        "time_per_image_at_batch_256",
    ]
    for each in found:  # CNN5x5 takes twice as long in every pass, however slow that is
        (row,) = csv_rows(each)
        assert [row["difference"], row["ci_low"], row["ci_high"]] == pytest.approx([-0.5] * 3)
        assert (row["n_a"], row["unit"], row["margin"]) == (5, "ratio", 0.1)
        assert each.verdict == "supported"


def test_where_a_batch_says_the_opposite_both_are_told(tmp_path: Path) -> None:
    one, many = findings(tmp_path, [claim("time")], both([0.8], [0.8]), passes=(1.0, 1.3))
    text = claims_markdown([one, replace(many, verdict="refuted")])
    assert text.count("A is above B.") == 1
    assert "**One image: supported; an image of a batch of 256: refuted.**" in text


def test_one_pass_decides_nothing_about_times(tmp_path: Path) -> None:
    (found, _) = findings(tmp_path, [claim("time")], both([0.8], [0.8]), passes=(1.0,))
    assert found.verdict == "open: 1 pass, 5 are planned"
    assert csv_rows(found)[0]["difference"] == pytest.approx(-0.5)


def test_as_fast_as_a_rival_is_not_the_fastest_and_no_pass_more_will_tell(tmp_path: Path) -> None:
    rows = ("CNN3x3", Row("the same", network="CNN3x3"), "CNN5x5")
    fastest = claim("time", pairs=(("CNN3x3", "the same"), ("CNN3x3", "CNN5x5")))
    records = both([0.8], [0.8])
    (found, _) = findings(tmp_path, [fastest], records, passes=(1.0, 1.2, 0.9), rows=rows)
    assert found.verdict == "open: no difference that matters from the same"


def test_networks_that_were_never_timed_together_are_not_compared(tmp_path: Path) -> None:
    experiment = make_experiment(claims=(claim("time"),))
    write_runs(tmp_path, experiment, [make_record("CNN3x3"), make_record("CNN5x5")], timed=True)
    alone = make_speed().model_copy(update={"began": ("another day",)})
    write_record(tmp_path / "speed" / "cifar10" / "CNN5x5.json", alone)
    (found, _) = find(gather(experiment, tmp_path, STYLES))
    assert found.verdict == "not tested yet: CNN3x3 and CNN5x5 were timed in no common pass"


def test_layers_are_compared_forward_and_with_backward(tmp_path: Path) -> None:
    slower = claim("time", pairs=(("ReLU", "Swish"),))
    similar = claim(
        "exact", pairs=(("Swish", "ReLU"),), metric="mean_absolute_gradient_input",
        than=1, margin=0.1,
    )  # fmt: skip
    cases = tuple(LayerCase(name, object, (1,)) for name, *_ in LAYER_LIST)
    write_cases(tmp_path, "kernel_size")
    found = findings(tmp_path, [slower, similar], [], rows=(), cases=cases, dataset=None)
    assert [row["metric"] for each in found for row in csv_rows(each)] == [
        "forward",
        "forward_and_backward",
        "mean_absolute_gradient_input",
    ]
    assert found[2].verdict == "supported"


def test_each_network_beside_a_number_has_its_own_name(tmp_path: Path) -> None:
    below = claim("constant", pairs=(("CNN3x3", ""), ("CNN5x5", "")), than=90)
    (found,) = findings(tmp_path, [below], both(HIGH, LOW))
    assert [row["a"] for row in csv_rows(found)] == ["CNN3x3", "CNN5x5"]


def test_the_front_is_what_no_other_beats_in_both(tmp_path: Path) -> None:
    records = both([0.7], [0.8], CNN7x7=[0.75])  # each slower than the one before
    optimal = claim("front", pairs=(("CNN5x5", ""),))
    (found,) = findings(tmp_path, [optimal], records, passes=(1.0,))
    assert found.verdict.endswith("front of accuracy and latency: CNN3x3, CNN5x5")
    assert found.verdict.startswith("no claim that data can decide")


@pytest.mark.parametrize(
    ("kind", "metric", "verdict"),
    [
        (
            "constant",
            "log10_initial_gradient_ratio",
            "log10_initial_gradient_ratio of CNN3x3 is not",
        ),
        ("greater", "gradient_ratio", "gradient_ratio of CNN3x3 is not defined"),
        ("exact", "parameters", "parameters of ReLU is 0, to which there is no ratio"),
    ],
)
@pytest.mark.parametrize("norm", [0.0, None])
def test_a_claim_on_what_comes_out_undefined_is_open(
    kind: str, metric: str, verdict: str, norm: float | None, tmp_path: Path
) -> None:
    cases = tuple(LayerCase(name, object, (1,)) for name, *_ in LAYER_LIST)
    write_cases(tmp_path, "kernel_size")
    pairs = (("Swish", "ReLU"),) if kind == "exact" else PAIR
    record = make_record("CNN3x3")
    frozen = {**record.epochs[0].gradient_norm, "features.0.0": norm}
    epochs = {"gradient_norm": [frozen] * 3, "gradient_norm_first": [frozen] * 3}
    records = [with_epochs(record, **epochs), make_record("CNN5x5")]
    asked = claim(kind, metric=metric, than=1.0, margin=0.1, pairs=pairs)
    (found,) = findings(tmp_path, [asked], records, cases=cases)
    assert found.verdict.startswith(f"open: {verdict}")


def test_a_claim_without_its_record_is_not_tested_and_says_so(tmp_path: Path) -> None:
    experiment = make_experiment(claims=(claim(), claim("time")))
    write_runs(tmp_path, experiment, make_seeds("CNN3x3", HIGH), timed=True)
    write_record(tmp_path / "speed" / "cifar10" / "CNN5x5.json", make_speed(2))  # its speed has one
    for found in find(gather(experiment, tmp_path, STYLES)):
        assert found.verdict == "not tested yet: no record of CNN5x5"


def test_confounds_stand_beside_the_verdict_whatever_it_is(tmp_path: Path) -> None:
    records = [
        *make_seeds("CNN3x3", HIGH, parameters=300, precision="float32"),
        *make_seeds("CNN5x5", LOW, parameters=100, forward_flops=24_691_356, fields={}),
    ]
    rows = (Row("CNN3x3", precision="float32"), "CNN5x5")
    claims = [claim(), claim(about=("dropout",)), claim("exact", metric="parameters")]
    experiment = make_experiment(rows, claims=tuple(claims))
    write_runs(tmp_path, experiment, records)
    texts = [csv_rows(each)[0]["confounds"] for each in find(gather(experiment, tmp_path, STYLES))]
    assert texts[0] == (
        "3 times the parameters; 0.5 times the FLOPs; 5 to 2 layers with weights; "
        "dropout in CNN5x5 alone; precision float32 to bfloat16"
    )
    assert texts[1] == texts[0].replace("dropout in CNN5x5 alone; ", "")
    assert texts[2] == texts[0].replace("3 times the parameters; ", "")


@pytest.mark.parametrize(
    ("varied", "texts"),
    [
        ({"recipe": {"epochs": 1}}, ["epochs 3 to 1", "epochs 1 to 3"]),
        (
            {"precision": "float32"},
            ["precision bfloat16 to float32", "precision float32 to bfloat16"],
        ),
        (
            {"recipe": {"muon_rate": 0.02, "muon_decay": 0.1}},  # the decay is Muon's alone
            [
                "muon rate 0.0 to 0.02; muon decay 0.1 in other alone",
                "muon rate 0.02 to 0.0; muon decay 0.1 in other alone",
            ],
        ),
        ({"images": 20}, ["images 20 in other alone"] * 2),
        ({"overrides": {"widths": [48, 96]}}, ["widths [48, 96] in other alone"] * 2),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_a_row_varies_is_a_confound_too(
    varied: dict[str, Any], texts: list[str], tmp_path: Path
) -> None:
    rows = ("CNN3x3", Row("other", "CNN3x3", **varied))
    pairs = ("CNN3x3", "other"), ("other", "CNN3x3")
    claims = tuple(claim(pairs=(pair,)) for pair in pairs)
    experiment = make_experiment(rows, claims=claims, timed=False)
    write_runs(tmp_path, make_experiment(["CNN3x3"]), make_seeds("CNN3x3", HIGH))
    run = rows[1].run("cifar10", experiment.recipe, 0, Compute())
    record, path = make_record(**varied | {"recipe": run.recipe}), run_path(tmp_path, run)
    write_record(path, record)
    write_arrays(path.with_suffix(".npz"), make_answers(record))
    found = find(gather(experiment, tmp_path, STYLES))
    assert [csv_rows(each)[0]["confounds"] for each in found] == texts


def test_a_line_of_the_readme_has_the_sentence_the_verdict_and_the_numbers(tmp_path: Path) -> None:
    records = both(HIGH, LOW)
    text = claims_markdown(findings(tmp_path, [claim()], records))
    sentence, numbers = text.splitlines()
    assert sentence == "- Report: A is above B. **Supported.**"
    assert numbers.startswith("  - CNN3x3 80.80 %, CNN5x5 70.80 %; +10.00 points [+8.78, +11.22]; ")
    assert numbers.endswith("; 5 seeds; what else differs: dropout in CNN5x5 alone.")
    other = replace(claim(), id="2.1-b", text="So is it.")
    twice = claims_markdown(findings(tmp_path, [claim(), other], records)).splitlines()
    assert twice[2] == "- Report: So is it. **Supported.** Numbers above."
    assert len(twice) == 3


def test_no_claim_says_why() -> None:
    for each in (claim for experiment in STUDY for claim in experiment.claims):
        for text in (each.text, each.text_ru):  # which nobody showed
            assert not {"because", "потому", "due"} & set(text.lower().split()), each.id


def test_a_lead_of_few_seeds_has_the_deviation_of_all_networks(tmp_path: Path) -> None:
    accuracies = (HIGH, LOW, HIGH, LOW[:2])
    records = both(*accuracies[:2], CNN7x7=accuracies[2], DeepCNN=accuracies[3])
    (found,) = findings(tmp_path, [LEAD], records)
    groups = [100 * np.array(values) for values in accuracies]
    freedom = sum(map(len, groups)) - 4
    deviation = np.sqrt(sum(((each - each.mean()) ** 2).sum() for each in groups) / freedom)
    half = stats.t.ppf(0.975, freedom) * deviation * np.sqrt(sum(1 / len(each) for each in groups))
    (row,) = csv_rows(found)
    assert row["difference"] - row["ci_low"] == pytest.approx(half)
    assert found.comparisons[0].levene is not None


@pytest.mark.parametrize(
    ("pairs", "times"),
    [
        ((("CNN5x5", "CNN3x3"), ("CNN7x7", "CNN5x5")), (-1, 2, -1)),
        ((("CNN3x3", "CNN7x7"), ("CNN5x5", "CNN7x7")), (1, -1, 0)),
    ],
)
def test_a_row_that_both_pairs_of_a_lead_have_is_one_sample(
    pairs: tuple[tuple[str, str], ...], times: tuple[int, ...], tmp_path: Path
) -> None:
    accuracies = (HIGH, LOW, [0.60, 0.66, 0.62, 0.61, 0.64])
    records = both(*accuracies[:2], CNN7x7=accuracies[2])
    (found,) = findings(tmp_path, [claim("lead", pairs=pairs)], records)
    groups = [100 * np.array(values) for values in accuracies]
    (comparison,) = found.comparisons
    assert comparison.estimate.value == pytest.approx(np.dot(times, [g.mean() for g in groups]))
    squares = [(n * stats.sem(group)) ** 2 for n, group in zip(times, groups, strict=True)]
    assert comparison.estimate.error == pytest.approx(np.sqrt(sum(squares)))
