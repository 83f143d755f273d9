"""Runs on disk: one path for one run, none for two, and the one rule of what shares a table."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fake_records import RECIPE, make_data, make_experiment, make_record, write_runs
from tests.fakes import error_of
from utils.experiment import Compute, Recipe, Row, Run
from utils.records.files import write_record
from utils.records.runs import (
    Found,
    check_together,
    find_files,
    find_record,
    find_records,
    identity,
    run_path,
    speed_path,
    trained_anew,
)

RESULTS = Path("results")
ROW = Row("CNN3x3")
PART = "train minus validation"


def run_of(row: Row, seed: int = 0, dataset: str = "cifar10", recipe: Recipe = RECIPE) -> Run:
    return row.run(dataset, recipe, seed, Compute())


def test_rows_with_the_same_run_share_its_files() -> None:
    first, second = run_of(Row("CNN3x3")), run_of(Row("ShallowCNN", network="CNN3x3"))
    assert run_path(RESULTS, first) == run_path(RESULTS, second)
    assert run_path(RESULTS, first) == Path("results/runs/cifar10/CNN3x3-seed0.json")
    assert speed_path(RESULTS, first) == Path("results/speed/cifar10/CNN3x3.json")


def test_runs_that_differ_have_files_of_their_own() -> None:
    rows = [
        Row("A", "CNN3x3"),
        Row("A", "CNN3x3", overrides={"widths": (8, 16)}),
        Row("A", "CNN3x3", recipe={"epochs": 2}),
        Row("A", "CNN3x3", recipe={"flip": True}),
        Row("A", "CNN3x3", part=PART),
        Row("A", "CNN3x3", precision="float32"),
        Row("A", "CNN3x3", precision="bfloat16"),
        Row("A", "CNN5x5"),
    ]
    runs = [
        run_of(row, seed, data) for row in rows for seed in (0, 1) for data in ("mnist", "cifar10")
    ]
    assert len({run_path(RESULTS, run) for run in runs}) == len(runs)


def test_records_are_found_by_row_and_then_by_seed(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN5x5", "CNN3x3"])
    records = [make_record("CNN3x3", 10), make_record("CNN3x3", 9), make_record("CNN5x5", 0)]
    write_runs(tmp_path, experiment, records)
    found = [(each.row.label, each.record.seed) for each in find_records(experiment, tmp_path)]
    assert found == [("CNN5x5", 0), ("CNN3x3", 9), ("CNN3x3", 10)]


@pytest.mark.parametrize(
    "row, other",
    [
        (Row("CNN5x5"), Row("CNN5x5-60k")),
        (Row("CNN5x5"), Row("CNN5x5", recipe={"epochs": 2})),
        (Row("CNN5x5"), Row("CNN5x5", part=PART)),
        (Row("CNN5x5"), Row("CNN5x5", network="CNN5x5", precision="float32")),
        (Row("CNN5x5", recipe={"epochs": 2}), Row("CNN5x5", recipe={"epochs": 2, "flip": True})),
        (Row("CNN(5)x5"), Row("CNN5x5")),
        (Row("CNN.x5"), Row("CNN5x5")),
        (Row("CNN5+x5"), Row("CNN5x5")),
        (Row("CNN5x5"), Row("CNN5x5-seed3")),
    ],
)
def test_a_record_is_never_taken_for_another_rows(row: Row, other: Row, tmp_path: Path) -> None:
    write_record_of(tmp_path, run_of(other, seed=1))
    assert find_records(make_experiment([row]), tmp_path) == []
    write_record_of(tmp_path, run_of(row, seed=2))
    (found,) = find_records(make_experiment([row]), tmp_path)
    assert found.record.seed == 2


def write_record_of(results: Path, run: Run) -> None:
    made = make_record(seed=run.seed)
    final = made.final.model_copy(update={"validation_accuracy": 0.5})
    changes = {"network": run.network, "part": run.part, "recipe": run.recipe, "final": final}
    changes |= {"precision": run.compute.precision, "epochs": (), "timings": None}
    write_record(run_path(results, run), made.model_copy(update=changes))


@pytest.mark.parametrize(
    ("name", "difference"),
    [("CNN3x3-seed7", "seed 0 (not 7)"), ("CNN5x5-seed0", "network CNN3x3 (not CNN5x5)")],
)
def test_a_record_that_was_copied_under_another_name_is_told(
    name: str, difference: str, tmp_path: Path
) -> None:
    experiment = make_experiment(["CNN3x3", "CNN5x5"])
    (path,) = write_runs(tmp_path, experiment, [make_record("CNN3x3", 0)])
    copy = path.with_name(f"{name}.json")
    copy.write_bytes(path.read_bytes())
    message = error_of(lambda: find_records(experiment, tmp_path))
    assert message == f"{copy}: the record of another run, {difference}; delete it"


def test_what_lies_beside_the_records_is_not_read(tmp_path: Path) -> None:
    (path,) = write_runs(tmp_path, make_experiment(["CNN3x3"]), [make_record()])
    path.with_suffix(".checkpoint.pt").touch()
    path.with_name("CNN3x3-seedx.json").touch()
    path.with_name("CNN3x3-seed0.json.1.tmp").touch()
    assert [each.path for each in find_records(make_experiment(["CNN3x3"]), tmp_path)] == [path]


def test_a_run_and_its_record_are_known_by_the_same_identity() -> None:
    run = run_of(Row("CNN3x3", overrides={"widths": (8, 16)}, part=PART), seed=3)
    run = replace(run, compute=Compute("cuda:1", "bfloat16", 4))
    expected = identity(run)
    assert expected["overrides"] == {"widths": [8, 16]}  # as JSON gives it back
    assert expected["device"] == "cuda"
    record = make_record(seed=3, overrides={"widths": [8, 16]}, device="cuda")
    final = record.final.model_copy(update={"validation_accuracy": 0.5})
    assert identity(record.model_copy(update={"part": PART, "final": final})) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"network": "CNN5x5"},
        {"overrides": {"widths": (8, 17)}},
        {"dataset": "mnist"},
        {"part": PART},
        {"recipe": replace(RECIPE, flip=True)},
        {"seed": 1},
        {"compute": Compute(precision="bfloat16")},
        {"compute": Compute(device="cuda")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_makes_a_run_is_in_its_identity(change: dict[str, Any]) -> None:
    run = run_of(Row("CNN3x3", overrides={"widths": (8, 16)}))
    assert identity(replace(run, **change)) != identity(run)
    assert identity(replace(run, compute=Compute(threads=9), name="x")) == identity(run)


# --- what may share a table ---------------------------------------------------------------------


def together(
    *rows_and_records: tuple[Row, dict[str, Any]], recipe: Recipe | None = None
) -> Callable[[], None]:
    found = [
        Found(Path(f"{row.label}.json"), row, make_record(**changes))
        for row, changes in rows_and_records
    ]
    return lambda: check_together(found, "do something", recipe)


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"recipe": replace(RECIPE, flip=True)}, "flip True (not False)"),
        ({"data": make_data(fingerprint="0" * 64)}, f"images {'0' * 64} (not {'f' * 64})"),
        (
            {"recipe": replace(RECIPE, epochs=1, learning_rate=0.1), "device": "mps"},
            "epochs 1 (not 3), learning_rate 0.1 (not 0.002)",
        ),
    ],
)
def test_rows_that_differ_in_more_than_they_declare_share_no_table(
    changes: dict[str, Any], text: str
) -> None:
    check = together((Row("A"), {}), (Row("B"), changes), (Row("C"), {}))
    assert error_of(check) == f"B.json: made with {text}; do something"


def test_rows_of_other_networks_seeds_machines_and_precisions_share_a_table() -> None:
    together(
        (Row("A"), {}),
        (Row("B"), {"seed": 1, "network": "CNN5x5", "overrides": {"widths": [1, 2]}}),
        (Row("C"), {"device": "cuda", "precision": "float32"}),
    )()


def test_a_row_that_varies_a_field_of_the_recipe_may_differ_in_that_alone() -> None:
    row = Row("B", recipe={"flip": True})
    together((Row("A"), {}), (row, {"recipe": replace(RECIPE, flip=True)}), (Row("C"), {}))()
    check = together((Row("A"), {}), (row, {"recipe": replace(RECIPE, flip=True, epochs=2)}))
    assert error_of(check) == "B.json: made with epochs 2 (not 3); do something"
    others = (Row("C"), {"recipe": replace(RECIPE, flip=True)})
    check = together((Row("A"), {}), (row, {"recipe": replace(RECIPE, flip=True)}), others)
    assert error_of(check) == "C.json: made with flip True (not False); do something"


def test_rows_that_vary_other_fields_are_compared_in_those_that_both_have() -> None:
    first = (Row("A", recipe={"flip": True}), {"recipe": replace(RECIPE, flip=True)})
    second = (Row("B", recipe={"epochs": 1}), {"recipe": replace(RECIPE, epochs=1)})
    third = (Row("C"), {"recipe": replace(RECIPE, epochs=2)})
    together(first, second)()
    check = together(second, first, third)  # the first row says nothing of its epochs
    assert error_of(check) == "C.json: made with epochs 2 (not 3); do something"


def test_a_recipe_that_all_must_have_comes_before_the_first_row() -> None:
    together((Row("A"), {}), recipe=RECIPE)()
    check = together((Row("A"), {}), recipe=replace(RECIPE, epochs=5))
    assert error_of(check) == "A.json: made with epochs 3 (not 5); do something"


@pytest.mark.parametrize(
    "changes, counts",
    [({}, True), ({"device": "cuda"}, True), ({"precision": "float32"}, False)],
    ids=["the same", "another device", "another precision"],
)
def test_a_row_with_a_precision_of_its_own_takes_the_studys_record_in_that_precision(
    changes: dict[str, Any], counts: bool, tmp_path: Path
) -> None:
    write_runs(tmp_path, make_experiment(["CNN3x3"]), [make_record(**changes)])
    run = run_of(Row("CNN3x3", precision="bfloat16"))
    assert (find_record(run, tmp_path / "benchmarks", also=tmp_path) is not None) == counts
    assert find_record(run, tmp_path / "benchmarks") is None


def test_a_record_that_is_a_link_to_nowhere_is_not_trained_again(tmp_path: Path) -> None:
    path = run_path(tmp_path, run_of(ROW))
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "not mounted")
    for find in (
        lambda: find_record(run_of(ROW), tmp_path),
        lambda: find_records(make_experiment([ROW.label]), tmp_path),
    ):
        assert error_of(find) == f"{path}: cannot be read (a broken link); mend that to go on"


def test_a_folder_that_may_not_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    assert find_files(ROW, "cifar10", tmp_path, ".json") == []  # there is none
    for link in (tmp_path / "a" / "runs", tmp_path / "b" / "runs" / "cifar10"):
        link.parent.mkdir(parents=True)
        link.symlink_to(tmp_path / "not mounted")
        results = tmp_path / link.relative_to(tmp_path).parts[0]
        message = error_of(lambda results=results: find_files(ROW, "cifar10", results, ".json"))
        assert message == f"{link}: cannot be read (a broken link); mend that to go on"
    monkeypatch.setattr(os, "listdir", forbidden)
    message = error_of(lambda: find_files(ROW, "cifar10", tmp_path, ".json"))
    folder = tmp_path / "runs" / "cifar10"
    assert message == f"{folder}: cannot be read (Permission denied); mend that to go on"


def test_a_seed_has_one_name(tmp_path: Path) -> None:
    (path,) = write_runs(tmp_path, make_experiment(["CNN3x3"]), [make_record("CNN3x3", 0)])
    for seed in ("00", "٠", "+0"):
        shutil.copy(path, path.with_name(f"CNN3x3-seed{seed}.json"))
    assert find_files(Row("CNN3x3"), "cifar10", tmp_path, ".json") == [path]


def test_the_flags_that_train_anew_are_of_rows_with_the_same_seeds(tmp_path: Path) -> None:
    rows = {"A": (2, 10), "B, wide": (10, 2), "C": (2,)}
    found = [
        Found(tmp_path, Row(label, "CNN3x3"), make_record(seed=seed))
        for label, seeds in rows.items()
        for seed in seeds
    ]
    assert trained_anew(found) == "--fresh --models A 'B, wide' --seeds 2 10 trains anew"
