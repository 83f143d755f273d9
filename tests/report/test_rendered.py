"""What is committed is what the records say: tables, README blocks, every figure."""

import csv
import re
import shutil
from pathlib import Path

import pytest

import models
import verify_tables
from experiments import STUDY
from experiments.answers import ANSWERS
from utils import REPOSITORY
from utils.data.dataset import SHIPPED_FINGERPRINTS
from utils.errors import SomeFailed
from utils.experiment import Compute, Experiment, declared_runs
from utils.records.checks import right_of
from utils.records.files import write_text
from utils.records.runs import SUFFIXES, find_records, run_path
from utils.report.claim_text import claims_csv
from utils.report.figures import canvas
from utils.report.makespan import makespan_text
from utils.report.methods import methods_blocks
from utils.report.overview import render_overview
from utils.report.pages import find_blocks
from utils.report.render import render_experiment

STUDIED = {experiment.name for experiment in STUDY}
RESULTS, PLOTS = REPOSITORY / "results", REPOSITORY / "plots"
PAGES = {
    path: path.read_text(encoding="utf-8")
    for path in (*REPOSITORY.glob("README*.md"), *(REPOSITORY / "docs").glob("*.md"))
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """Everything rendered anew from a copy of the committed records: README blocks, folder."""
    folder = tmp_path_factory.mktemp("rendered")
    results, plots = folder / "results", folder / "plots"
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(canvas, "DPI", 20)  # which figures there are, not what is on them
    for name in ("runs", "speed"):
        shutil.copytree(RESULTS / name, results / name)
    for experiment in STUDY:
        for path in (RESULTS / experiment.name).glob("cases.*"):
            (results / experiment.name).mkdir(exist_ok=True)
            shutil.copy(path, results / experiment.name)
    blocks: dict[str, str] = {}
    for experiment in STUDY:
        blocks |= render_experiment(experiment, results, plots, models.MODELS)
    blocks |= render_overview(STUDY, ANSWERS, results, plots, models.MODELS)
    write_text(results / "claims.csv", claims_csv(STUDY, results, models.MODELS))
    blocks |= methods_blocks(STUDY, results, models.MODELS)
    blocks["cluster.makespan"] = makespan_text(STUDY, results)
    monkeypatch.undo()
    return blocks, folder


def test_the_pages_are_what_the_records_say(rendered: tuple[dict[str, str], Path]) -> None:
    blocks, _ = rendered
    found = {
        name: text[start:end].strip().replace("](../plots/", "](plots/")
        for text in PAGES.values()
        for name, (start, end) in find_blocks(text, "").items()
    }
    short = sum(bool(experiment.asks) for experiment in STUDY)
    assert len(blocks) == 3 * len(STUDY) + 2 * short + 7 + 4 + 1
    for name, text in blocks.items():
        assert found[name] == text.strip(), f"{name}: run `make render`"


def test_the_tables_are_what_the_records_say() -> None:
    texts = verify_tables.recomputed()
    committed = {path for pattern in ("*/*.csv", "*/*.md") for path in RESULTS.glob(pattern)}
    tables = {path for path in committed if path.parent.name in STUDIED}
    assert tables | {RESULTS / "claims.csv", RESULTS / "mcnemar.csv"} == set(texts)
    verify_tables.verify()


def test_a_table_that_is_not_what_the_records_say_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = verify_tables.recomputed()
    path = RESULTS / "depth" / "table.csv"
    monkeypatch.setattr(verify_tables, "recomputed", lambda: {**texts, path: texts[path] + " "})
    with pytest.raises(SomeFailed, match=r"records say: results/depth/table\.csv; run"):
        verify_tables.verify()


def test_every_figure_is_committed_and_none_is_left_over(
    rendered: tuple[dict[str, str], Path],
) -> None:
    _, folder = rendered
    drawn = {path.relative_to(folder / "plots") for path in (folder / "plots").rglob("*.png")}
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
    experiment: Experiment,
) -> None:
    found = {each.path: each for each in find_records(experiment, RESULTS)}
    runs = declared_runs(experiment).values()
    assert found.keys() >= {run_path(RESULTS, run) for run in runs}
    for each in found.values():
        run = each.row.run(experiment.dataset, experiment.recipe, each.record.seed, Compute())
        assert run_path(RESULTS, run) == each.path
        assert each.record.recipe == run.recipe
        assert each.record.data.fingerprint == SHIPPED_FINGERPRINTS[experiment.dataset]
        assert len(each.record.epochs) == run.recipe.epochs


@pytest.mark.parametrize("experiment", STUDY, ids=lambda each: each.name)
def test_what_was_classified_rightly_makes_the_accuracy_on_record(experiment: Experiment) -> None:
    for each in find_records(experiment, RESULTS):
        right = right_of(each.path.with_suffix(".npz"), each.record.data.test_images)
        assert right.mean() == each.record.final.test_accuracy, each.path


def test_no_file_of_a_run_is_left_over() -> None:
    records = {each.path for experiment in STUDY for each in find_records(experiment, RESULTS)}
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
