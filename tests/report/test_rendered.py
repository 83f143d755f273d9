"""What is committed is what the records say: tables, README blocks, every figure."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import bench
from benchmarks.recipe_report import render_recipes
from benchmarks.recipe_search import declared_paths
from tests.test_scripts import EXPERIMENTS
from utils import REPOSITORY
from utils.data.dataset import SHIPPED_FINGERPRINTS
from utils.records.files import read_runs, write_text
from utils.report.readme import find_blocks
from utils.report.render import render_experiment, render_overview

RESULTS, PLOTS = REPOSITORY / "results", REPOSITORY / "plots"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """Everything rendered anew from a copy of the committed records: README blocks, folder."""
    folder = tmp_path_factory.mktemp("rendered")
    for experiment in EXPERIMENTS:
        shutil.copytree(
            RESULTS / experiment.name,
            folder / "results" / experiment.name,
            ignore=shutil.ignore_patterns("table.*", "training.*", "*.pt", ".lock"),
        )
    blocks: dict[str, str] = {}
    for experiment in EXPERIMENTS:
        blocks |= render_experiment(experiment, folder / "results", folder / "plots")
    blocks |= render_overview(folder / "results", folder / "plots")
    page, of_benchmarks = bench.render(RESULTS / "benchmarks", folder / "plots")
    write_text(folder / "docs" / "benchmarks.md", page)
    return blocks | of_benchmarks, folder


def test_the_readme_is_what_the_records_say(rendered: tuple[dict[str, str], Path]) -> None:
    blocks, _ = rendered
    found = {
        name: README[start:end].strip() for name, (start, end) in find_blocks(README, "").items()
    }
    assert set(found) == set(blocks)
    for name, text in blocks.items():
        assert found[name] == text.strip(), f"{name}: run `make render`"


def test_the_tables_are_what_the_records_say(rendered: tuple[dict[str, str], Path]) -> None:
    _, folder = rendered
    tables = sorted((folder / "results").rglob("*.csv")) + sorted(
        (folder / "results").rglob("*.md")
    )
    assert len(tables) == 16  # seven experiments and the block networks, each as CSV and Markdown
    for table in tables:
        committed = RESULTS / table.relative_to(folder / "results")
        assert committed.read_text() == table.read_text(), f"{committed}: run `make render`"


def test_the_benchmarks_page_is_what_the_records_say(rendered: tuple[dict[str, str], Path]) -> None:
    _, folder = rendered
    page = REPOSITORY / "docs" / "benchmarks.md"
    assert page.read_text() == (folder / "docs" / "benchmarks.md").read_text(), "run `make render`"


def test_the_recipes_page_is_what_the_records_say(tmp_path: Path) -> None:
    page = REPOSITORY / "docs" / "recipes.md"
    shutil.copy(page, tmp_path)
    render_recipes(declared_paths(), RESULTS, tmp_path / page.name)
    assert page.read_text() == (tmp_path / page.name).read_text(), "run `make render`"


def test_every_figure_is_committed_and_none_is_left_over(
    rendered: tuple[dict[str, str], Path],
) -> None:
    _, folder = rendered
    drawn = {path.relative_to(folder / "plots") for path in (folder / "plots").rglob("*.png")}
    committed = {
        path.relative_to(PLOTS) for path in PLOTS.rglob("*.png") if "quick" not in path.parts
    }
    assert drawn == committed


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda each: each.name)
def test_the_shipped_records_are_the_declared_runs_on_the_full_data(experiment: object) -> None:
    records = read_runs(RESULTS, experiment.name)
    assert {(record["model"], record["seed"]) for record in records} == {
        (model, seed) for model in experiment.models for seed in experiment.seeds
    }
    for record in records:
        assert record["recipe"] == vars(experiment.recipe)
        assert record["overrides"] == experiment.overrides.get(record["model"], {})
        assert record["data"]["fingerprint"] == SHIPPED_FINGERPRINTS[experiment.dataset]
        assert len(record["epochs"]) == experiment.recipe.epochs


def test_every_row_is_at_least_as_accurate_as_the_report() -> None:
    compared = 0
    for path in RESULTS.glob("*/t*.csv"):
        for row in csv.DictReader(path.open(encoding="utf-8")):
            if row.get("reported_test_accuracy"):
                assert float(row["test_accuracy"]) >= float(row["reported_test_accuracy"]), row
                assert int(row["parameters"]) == int(row["reported_parameters"])
                compared += 1
    assert compared == 14


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", README):
        if not target.startswith("http"):
            assert (REPOSITORY / target).exists(), target
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
    for anchor in re.findall(r"\]\(#([^)]+)\)", README):
        assert anchor in anchors


def test_what_is_committed_stays_under_30_mb() -> None:
    files = [
        path
        for folder in (RESULTS, PLOTS)
        for path in folder.rglob("*")
        if path.suffix in (".json", ".npz", ".png", ".csv", ".md") and "quick" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files) < 30e6
