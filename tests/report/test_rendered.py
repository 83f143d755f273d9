"""What is committed is what the records say: tables, README blocks, every figure."""

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import models
import verify_tables
from experiments import STUDY
from experiments.answers import ANSWERS
from tests.fakes import leave_pixels_out, read_once
from utils import REPOSITORY
from utils.data.dataset import SHIPPED_FINGERPRINTS
from utils.errors import SomeFailed
from utils.experiment import Compute, Experiment, declared_runs
from utils.records.runs import SUFFIXES, Found, find_records, run_path
from utils.records.study import Evidence, gather
from utils.report.claims import find
from utils.report.makespan import makespan_text
from utils.report.mcnemar import mcnemar_rows
from utils.report.methods import methods_blocks
from utils.report.original import original_text
from utils.report.overview import render_overview
from utils.report.pages import find_blocks
from utils.report.render import render_experiment

STUDIED = {experiment.name for experiment in STUDY}
RESULTS, PLOTS = REPOSITORY / "results", REPOSITORY / "plots"
PAGES = {
    path: path.read_text(encoding="utf-8")
    for path in (*REPOSITORY.glob("README*.md"), *(REPOSITORY / "docs").glob("*.md"))
}


@pytest.fixture(scope="module", autouse=True)
def _read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        read_once(monkeypatch)
        yield


@pytest.fixture(scope="module")
def every() -> list[Evidence]:
    """The study's committed records."""
    return [gather(experiment, RESULTS, models.MODELS) for experiment in STUDY]


@pytest.fixture(scope="module")
def rendered(
    every: list[Evidence], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], Path]:
    """Everything rendered anew from the committed records: README blocks, folder of the figures."""
    results, plots = (tmp_path_factory.mktemp(name) for name in ("results", "plots"))
    blocks: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_pixels_out(monkeypatch)
        for evidence in every:
            blocks |= render_experiment(evidence, results, plots)
        tested = [row for evidence in every for row in mcnemar_rows(evidence)]
        blocks |= render_overview(every, ANSWERS, plots) | methods_blocks(every, tested)
    blocks["cluster.makespan"] = makespan_text(every)
    blocks["original.conclusions"] = original_text(every)
    return blocks, plots


@pytest.fixture(scope="module")
def found() -> dict[str, list[Found]]:
    """Name of an experiment -> its committed records."""
    return {experiment.name: find_records(experiment, RESULTS) for experiment in STUDY}


@pytest.fixture(scope="module")
def texts(every: list[Evidence]) -> dict[Path, str]:
    read = iter(every)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(verify_tables, "gather", lambda *_: next(read))
        return verify_tables.recomputed()


def test_the_pages_are_what_the_records_say(rendered: tuple[dict[str, str], Path]) -> None:
    blocks, _ = rendered
    found = {
        name: text[start:end].strip().replace("](../plots/", "](plots/")
        for text in PAGES.values()
        for name, (start, end) in find_blocks(text, "").items()
    }
    short = sum(bool(experiment.asks) for experiment in STUDY)
    assert len(blocks) == 3 * len(STUDY) + 2 * short + 7 + 5 + 1 + 1
    for name, text in blocks.items():
        assert found[name] == text.strip(), f"{name}: run `make render`"


def test_how_many_of_the_reports_conclusions_hold_is_counted_from_the_claims(
    every: list[Evidence],
) -> None:
    verdicts: dict[str, set[str]] = {}
    for finding in (found for evidence in every for found in find(evidence)):
        if finding.claim.source == "report":
            word = finding.verdict.partition(",")[0].partition(" by ")[0]
            verdicts.setdefault(finding.claim.id, set()).add(word)
    counts = Counter(next(iter(each)) for each in verdicts.values() if len(each) == 1)
    text = PAGES[REPOSITORY / "docs" / "original_report.md"]
    supported, refuted = counts["supported"], counts["refuted"]
    assert (
        f"Of {len(verdicts)} of its conclusions that stand as claims here {supported} are "
        f"supported and {refuted} refuted; in two there is no difference that matters,"
    ) in text
    assert counts["no difference that matters"] == 2


def test_the_tables_are_what_the_records_say(
    texts: dict[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = {path for pattern in ("*/*.csv", "*/*.md") for path in RESULTS.glob(pattern)}
    tables = {path for path in committed if path.parent.name in STUDIED}
    tables |= {RESULTS / "claims.csv", RESULTS / "mcnemar.csv"}
    assert set(texts) == tables | set(PAGES)
    monkeypatch.setattr(verify_tables, "recomputed", lambda: texts)
    verify_tables.verify()


def test_a_table_or_page_that_is_not_what_the_records_say_is_named(
    texts: dict[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = [RESULTS / "depth" / "table.csv", REPOSITORY / "docs" / "depth.md"]
    changed = {path: texts[path].replace("ShallowCNN", "DeeperCNN") for path in stale}
    monkeypatch.setattr(verify_tables, "recomputed", lambda: texts | changed)
    monkeypatch.setattr(verify_tables.precision, "markdown", lambda _: "| stale |")
    told = r"records say: results/depth/table\.csv, docs/depth\.md, docs/speed\.md; run"
    with pytest.raises(SomeFailed, match=told):
        verify_tables.verify()


@pytest.mark.parametrize(
    "make, is_held",
    [
        (lambda path: path.write_text("σ\n", encoding="utf-8"), True),
        (lambda path: path.write_bytes("σ\n".encode()[:-1]), False),
        (lambda path: path.write_bytes("σ\n".encode() + b"\xff"), False),
        (lambda path: None, False),
        (Path.mkdir, False),
        (os.mkfifo, False),
    ],
    ids=["whole", "cut off", "no text", "missing", "a folder", "a pipe"],
)
def test_whatever_stands_in_place_of_a_table_is_compared(
    make: Callable[[Path], object], is_held: bool, tmp_path: Path
) -> None:
    make(path := tmp_path / "table.csv")
    assert verify_tables.holds(path, "σ\n") == is_held


def test_every_figure_is_committed_and_none_is_left_over(
    rendered: tuple[dict[str, str], Path],
) -> None:
    _, plots = rendered
    drawn = {path.relative_to(plots) for path in plots.rglob("*.png")}
    committed = {
        path.relative_to(PLOTS)
        for path in PLOTS.rglob("*.png")
        if not {"quick", "benchmarks"} & set(path.relative_to(PLOTS).parts)
    }
    assert drawn == committed


@pytest.mark.parametrize(
    "experiment", [each for each in STUDY if each.rows], ids=lambda each: each.name
)
def test_the_shipped_records_are_the_declared_runs_and_more_seeds_of_them(
    experiment: Experiment, found: dict[str, list[Found]]
) -> None:
    mine = found[experiment.name]
    runs = declared_runs(experiment).values()
    assert {each.path for each in mine} >= {run_path(RESULTS, run) for run in runs}
    for each in mine:
        run = each.row.run(experiment.dataset, experiment.recipe, each.record.seed, Compute())
        assert run_path(RESULTS, run) == each.path
        assert each.record.recipe == run.recipe
        assert each.record.data.fingerprint == SHIPPED_FINGERPRINTS[experiment.dataset]
        assert len(each.record.epochs) == run.recipe.epochs


def test_no_file_of_a_run_is_left_over(found: dict[str, list[Found]]) -> None:
    records = {each.path for mine in found.values() for each in mine}
    files = [path for path in (RESULTS / "runs").rglob("*") if path.is_file()]
    assert {path.with_suffix(".json") for path in files if path.suffix in SUFFIXES} == records


def test_every_row_is_at_least_as_accurate_as_the_report() -> None:
    compared = 0
    for path in RESULTS.glob("*/t*.csv"):
        for row in csv.DictReader(path.open(encoding="utf-8")):
            if row.get("reported_test_accuracy"):
                assert float(row["test_accuracy"]) >= float(row["reported_test_accuracy"]), row
                assert int(row["parameters"]) == int(row["reported_parameters"])
                compared += 1
    assert compared == 14


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_no_page_has_a_placeholder(page: Path) -> None:
    found = re.findall(r"^(?:[A-Z]{3,}|.*\b(?:TODO|FIXME|TBD|XXX)\b.*)$", PAGES[page], re.MULTILINE)
    assert not found


def anchors(text: str) -> set[str]:
    """What links to the headings of a page end in."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not target.startswith("http"):
            assert path.exists(), target
            assert not anchor or anchor in anchors(PAGES[path]), target


def test_what_is_committed_stays_under_30_mb() -> None:
    files = [
        path
        for folder in (RESULTS, PLOTS)
        for path in folder.rglob("*")
        if path.suffix in (".json", ".npz", ".png", ".csv", ".md") and "quick" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files) < 30e6
