"""Tables hold what the records say, in the columns that others read."""

import csv
import io
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from tests.fake_records import (
    BLOCK_LIST,
    NETWORKS,
    make_cases,
    make_data,
    make_diverged,
    make_experiment,
    make_record,
    make_seeds,
    write_cases,
    write_runs,
)
from tests.fakes import error_of
from utils.experiment import Experiment, LayerCase, Row
from utils.records.study import gather
from utils.report.markdown import training_markdown
from utils.report.overview import render_overview
from utils.report.render import render_experiment, stale_tables
from utils.report.rows import (
    case_rows,
    cell,
    largest_receptive_field,
    number,
    to_csv,
    training_rows,
)

REPORTED = {"reported_table": "2.1 kernel size (CIFAR-10)", "columns": ("receptive_field",)}
HEADER = (
    "model,parameters,forward_mflops,latency_ms,latency_ms_iqr,throughput_images_per_second,"
    "training_images_per_second,training_seconds,train_accuracy,train_accuracy_ci,test_accuracy,"
    "test_accuracy_ci,generalization_gap,receptive_field,seeds,reported_parameters,"
    "reported_latency_ms,reported_train_accuracy,reported_test_accuracy"
)


def rows_of(results: Path, experiment: Experiment) -> dict[str, dict]:
    rows = training_rows(gather(experiment, results, NETWORKS))
    return {row["model"]: row for row in rows}


def render(experiment: Experiment, folder: Path) -> dict[str, str]:
    return render_experiment(gather(experiment, folder, NETWORKS), folder, folder / "plots")


def render_all(experiments: Sequence[Experiment], folder: Path) -> dict[str, str]:
    every = [gather(experiment, folder, NETWORKS) for experiment in experiments]
    return render_overview(every, (), folder / "plots")


def read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_a_csv_has_these_columns_and_plain_numbers(tmp_path: Path) -> None:
    experiment = make_experiment(**REPORTED)
    records = [make_record("CNN3x3", parameters=60_362), make_record("CNN5x5", parameters=34_538)]
    write_runs(tmp_path, experiment, records, timed=True)
    render(experiment, tmp_path)
    assert (tmp_path / "kernel_size" / "table.csv").read_text() == (
        f"{HEADER}\n"
        "CNN3x3,60362,12.3457,0.5,0.05,20000,5000,30,0.8,,0.75,,0.05,10,1,"
        "60362,0.48,0.7721,0.7152\n"
        "CNN5x5,34538,12.3457,1,0.1,10000,2500,60,0.8,,0.75,,0.05,10,1,"
        "34538,0.67,0.7283,0.685\n"
    )


def test_several_seeds_give_the_mean_and_half_its_interval(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"], **REPORTED)
    write_runs(tmp_path, experiment, make_seeds("CNN3x3", [0.70, 0.74, 0.75]))
    row = rows_of(tmp_path, experiment)["CNN3x3"]
    assert row["seeds"] == 3
    assert row["test_accuracy"] == pytest.approx(0.73)
    deviation = math.sqrt((0.03**2 + 0.01**2 + 0.02**2) / 2)
    half = 4.302653 * deviation / math.sqrt(3)  # Student's t with two degrees of freedom
    assert row["test_accuracy_ci"] == pytest.approx(half)
    blocks = render(experiment, tmp_path)
    assert "| 73.00 ± 6.57 |" in blocks["kernel_size.table"]
    assert ", 3 seeds, bfloat16 on an A Processor. " in blocks["kernel_size.table"]


def test_times_are_those_of_the_middle_pass(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    write_runs(tmp_path, experiment, [make_record()], passes=(1.0, 1.1, 3.0))
    row = rows_of(tmp_path, experiment)["CNN3x3"]
    assert (row["latency_ms"], row["latency_ms_iqr"]) == pytest.approx((0.55, 0.5))
    caption = render(experiment, tmp_path)["kernel_size.table"]
    assert "Times: A Processor (2 threads), 3 passes, training in" in caption


def test_without_a_speed_record_its_columns_are_empty(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    write_runs(tmp_path, experiment, [make_record()])
    blocks = render(experiment, tmp_path)
    (line,) = read_table(tmp_path / "kernel_size" / "table.csv")
    assert [line[name] for name in ("latency_ms", "latency_ms_iqr", "training_seconds")] == [""] * 3
    assert "Latency" not in blocks["kernel_size.table"]
    assert "speed was not measured: run the script with --measure" in blocks["kernel_size.table"]


def test_a_model_without_reported_numbers_has_empty_cells(tmp_path: Path) -> None:
    experiment = make_experiment(["MyNet"], **REPORTED)
    write_runs(tmp_path, experiment, [make_record("MyNet")])
    row = rows_of(tmp_path, experiment)["MyNet"]
    assert [value for name, value in row.items() if name.startswith("reported")] == [None] * 4


def test_the_receptive_field_is_a_column_where_it_is_the_question(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    write_runs(tmp_path, experiment, [make_record()])
    assert "receptive_field" not in rows_of(tmp_path, experiment)["CNN3x3"]
    asked = make_experiment(["CNN3x3"], columns=("receptive_field",))
    assert rows_of(tmp_path, asked)["CNN3x3"]["receptive_field"] == 10


@pytest.mark.parametrize(
    "fields, largest",
    [({"big": 13, "small": 3}, 13), ({"big": None, "small": 3}, None), ({}, None)],
)
def test_of_branches_the_one_that_sees_most_counts(
    fields: dict[str, int], largest: int | None
) -> None:
    assert largest_receptive_field([make_record(fields=fields)]) == largest


def test_the_caption_says_how_it_was_measured(tmp_path: Path) -> None:
    experiment = make_experiment(**REPORTED)
    records = [make_record("CNN3x3", parameters=60_362), make_record("CNN5x5", parameters=34_538)]
    write_runs(tmp_path, experiment, records, timed=True)
    evidence = gather(experiment, tmp_path, NETWORKS)
    caption = training_markdown(training_rows(evidence), evidence).rsplit("|\n", 1)[1]
    for part in (
        "CIFAR-10, 3 epochs, seed 0, bfloat16 on an A Processor.",
        "Varied: kernel size. Held equal: epochs. Not tuned: learning rate.",
        "Times: A Processor (2 threads), 1 pass, training in bfloat16.",
        "The reported parameter counts are the same.",
    ):
        assert part in caption
    assert "synthetic" not in caption


def test_the_caption_has_every_length_and_the_seeds_of_moved_images(tmp_path: Path) -> None:
    rows = [Row("CNN3x3"), Row("longer", "CNN5x5", recipe={"epochs": 6})]
    experiment = make_experiment(rows, columns=("shift",))
    recipe = replace(experiment.recipe, epochs=6)
    long = make_record("CNN5x5", recipe=recipe, shifted_test_accuracy=None)
    write_runs(tmp_path, experiment, [make_record(), make_record(seed=1), long])
    evidence = gather(experiment, tmp_path, NETWORKS)
    caption = training_markdown(training_rows(evidence), evidence)
    assert ", 3 or 6 epochs, " in caption
    assert " Seeds whose test images were moved: CNN3x3 0, 1. " in caption


def test_a_synthetic_dataset_is_called_one(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    data = make_data(synthetic=True, description="shapes")
    write_runs(tmp_path, experiment, [make_record(data=data)])
    evidence = gather(experiment, tmp_path, NETWORKS)
    assert "synthetic stand-in: shapes" in training_markdown(training_rows(evidence), evidence)


def test_parameters_that_differ_from_the_report_show_it(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"], **REPORTED)
    write_runs(tmp_path, experiment, [make_record(parameters=60_363)])
    table = render(experiment, tmp_path)["kernel_size.table"]
    assert "| 60,363 | 60,362 |" in table
    assert "parameter counts are the same" not in table


def test_layers_stand_beside_their_analogues_and_the_report() -> None:
    rows = {row["layer"]: row for row in case_rows(make_cases(), "layer")}
    assert list(rows["Swish"])[:3] == ["layer", "output_shape", "parameters"]
    assert rows["Swish"] == {
        "layer": "Swish",
        "output_shape": "4x3x32x32",
        "parameters": 0,
        "signed_mean_gradient_input": 4.1e-05,
        "signed_mean_gradient_weights": None,
        "mean_absolute_gradient_input": 0.4,
        "mean_absolute_gradient_weights": None,
        "seconds_100_iterations": 0.004,
        "seconds_100_iterations_iqr": pytest.approx(0.0004),
        "forward_backward_seconds_100_iterations": 0.012,
        "forward_backward_seconds_100_iterations_iqr": pytest.approx(0.0012),
        "analogue_of": None,
        "comment": "1.3 times the time of SiLU, 2.0 times the time of ReLU, forward and backward",
        "reported_signed_mean_gradient_input": 4.09e-05,
        "reported_signed_mean_gradient_weights": None,
        "reported_seconds_100_iterations": 0.0033,
    }
    assert rows["SiLU"]["comment"] == "analogue of Swish"


def test_the_reported_attention_is_the_one_behind_the_convolution() -> None:
    rows = {row["layer"]: row for row in case_rows(make_cases(), "layer")}
    key = "reported_signed_mean_gradient_weights"
    assert rows["CustomConv + ChannelAttention"][key] == 0.00156
    assert rows["ChannelAttention"][key] is None


def test_blocks_are_compared_to_the_first_and_to_the_report() -> None:
    first, second = case_rows(make_cases(BLOCK_LIST), "block")
    assert next(iter(first)) == "block"
    assert (first["reported_parameters"], first["reported_seconds_100_iterations"]) == (74112, 2.08)
    assert second["comment"] == "0.5 times the time of BasicResidualBlock, forward and backward"


def test_layers_and_blocks_are_rendered_by_the_records_that_exist(tmp_path: Path) -> None:
    write_cases(tmp_path, "custom_layers")
    layers = make_experiment([], name="custom_layers", cases_are="layer")
    blocks = render(layers, tmp_path)
    lines = read_table(tmp_path / "custom_layers" / "table.csv")
    assert next(iter(lines[0])) == "layer"
    assert not any("accuracy" in column for column in lines[0])
    assert any(line["output_shape"] == "4x3x16x16" for line in lines)
    assert "3, 16, 16]" not in blocks["custom_layers.table"]


def test_what_was_trained_with_blocks_stands_apart_with_its_stability(tmp_path: Path) -> None:
    write_cases(tmp_path, "residual_blocks", BLOCK_LIST)
    experiment = make_experiment(
        ["BasicBlockNet"],
        name="residual_blocks",
        cases=tuple(LayerCase(name, nn.Identity, (1, 1, 1, 1)) for name, *_ in BLOCK_LIST),
        cases_are="block",
        columns=("stability",),
    )
    record = make_record("BasicBlockNet")
    write_runs(tmp_path, experiment, [record])
    blocks = render(experiment, tmp_path)
    (line,) = read_table(tmp_path / "residual_blocks" / "training.csv")
    spreads = [
        each.batch_loss_quartiles[2] - each.batch_loss_quartiles[0] for each in record.epochs
    ]
    assert float(line["batch_loss_iqr"]) == pytest.approx(spreads[-1], rel=1e-5)
    assert float(line["batch_loss_iqr_mean"]) == pytest.approx(np.mean(spreads), rel=1e-5)
    assert line["gradient_norm_largest"] == "3.8"
    assert read_table(tmp_path / "residual_blocks" / "table.csv")[0]["block"]
    assert "BottleneckBlock" in blocks["residual_blocks.table"]
    assert "BasicBlockNet" in blocks["residual_blocks.table"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (60_362, "60362"),
        (1_234_567.8, "1234568"),
        (0.1 + 0.2, "0.3"),
        (4.76e-07, "4.76e-07"),
        ("Swish", "Swish"),
    ],
)
def test_a_cell_is_a_plain_number(value: object, text: str) -> None:
    assert cell(value) == text


def test_text_with_commas_survives_a_csv() -> None:
    rows = [{"layer": "a", "comment": "b, c"}]
    assert list(csv.DictReader(io.StringIO(to_csv(rows)))) == rows


def test_nothing_is_rendered_without_records(tmp_path: Path) -> None:
    blocks = render(make_experiment(), tmp_path) | render_all([make_experiment()], tmp_path)
    assert not any(blocks.values())
    assert not list(tmp_path.iterdir())


def test_tables_of_records_that_are_gone_are_named_and_kept(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    write_runs(tmp_path, experiment, [make_record("CNN3x3")])
    filled = {name for name, text in render(experiment, tmp_path).items() if text}
    tables = sorted((tmp_path / "kernel_size").iterdir())
    (tmp_path / "kernel_size" / "training.md").touch()  # somebody's own
    assert stale_tables(gather(experiment, tmp_path, NETWORKS), tmp_path) == []
    shutil.rmtree(tmp_path / "runs")
    blocks = render(experiment, tmp_path)
    assert filled <= blocks.keys()
    assert not any(blocks.values())
    assert stale_tables(gather(experiment, tmp_path, NETWORKS), tmp_path) == tables
    write_runs(tmp_path, experiment, [make_diverged("CNN3x3", 0)])
    assert stale_tables(gather(experiment, tmp_path, NETWORKS), tmp_path) == tables


@pytest.mark.parametrize(("gone", "of"), [("runs", "training"), ("x/cases.json", "table")])
def test_where_records_of_one_kind_are_gone_their_table_is_named(
    gone: str, of: str, tmp_path: Path
) -> None:
    write_cases(tmp_path, "x", BLOCK_LIST)
    cases = tuple(LayerCase(name, nn.Identity, (1, 1, 1, 1)) for name, *_ in BLOCK_LIST)
    experiment = make_experiment(["CNN3x3"], name="x", cases=cases)
    write_runs(tmp_path, experiment, [make_record("CNN3x3")])
    render(experiment, tmp_path)
    assert stale_tables(gather(experiment, tmp_path, NETWORKS), tmp_path) == []
    (tmp_path / gone).rename(tmp_path / "elsewhere")
    stale = stale_tables(gather(experiment, tmp_path, NETWORKS), tmp_path)
    assert stale == [tmp_path / "x" / f"{of}.{suffix}" for suffix in ("csv", "md")]


def test_no_rows_are_an_empty_file() -> None:
    assert to_csv([]) == ""


def test_the_overview_has_one_row_for_a_run_under_two_names(tmp_path: Path) -> None:
    experiments = [
        make_experiment(["CNN3x3"], reported_table="2.1 kernel size (CIFAR-10)"),
        make_experiment([Row("ShallowCNN", "CNN3x3"), "DeepCNN"], name="depth"),
        make_experiment(["FCNet"], name="mnist_comparison", dataset="mnist"),
    ]
    write_runs(tmp_path, experiments[1], [make_record("CNN3x3"), make_record("DeepCNN")])
    write_runs(tmp_path, experiments[2], [make_record("FCNet", fields={}, dataset="mnist")])
    blocks = render_all(experiments, tmp_path)
    assert [name for name, text in blocks.items() if text] == ["overview.table"]
    cells = [line.split(" | ") for line in blocks["overview.table"].splitlines()[2:5]]
    assert [(line[0], line[2]) for line in cells] == [
        ("| CNN3x3 = ShallowCNN", "kernel_size, depth"),
        ("| DeepCNN", "depth"),
        ("| FCNet", "mnist_comparison"),
    ]


def test_a_row_that_varies_the_recipe_is_another_run_of_the_overview(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3", Row("no flip", "CNN3x3", recipe={"flip": False})])
    write_runs(tmp_path, experiment, [make_record("CNN3x3")])
    blocks = render_all([experiment], tmp_path)
    table = blocks["overview.table"]
    assert "| CNN3x3 |" in table
    assert "| no flip |" in table


def test_a_run_that_diverged_is_a_word_and_no_number(tmp_path: Path) -> None:
    experiment = make_experiment()
    records = [
        make_record("CNN3x3", 0, 0.7),
        make_diverged("CNN3x3", 1),
        make_diverged("CNN5x5", 0),
    ]
    write_runs(tmp_path, experiment, records)
    rows = rows_of(tmp_path, experiment)
    assert (rows["CNN3x3"]["test_accuracy"], rows["CNN3x3"]["diverged"]) == (0.7, 1)
    assert (rows["CNN5x5"]["test_accuracy"], rows["CNN5x5"]["seeds"]) == (None, 0)
    table = render(experiment, tmp_path)["kernel_size.table"]
    (line,) = [line for line in table.splitlines() if line.startswith("| CNN5x5 |")]
    assert line.count("diverged") == 2  # train and test accuracy


def test_a_number_of_the_report_that_is_none_is_told() -> None:
    assert number({"parameters": "12"}, "parameters", int) == 12
    assert number({"parameters": ""}, "parameters", int) is None
    text = error_of(lambda: number({"parameters": "many"}, "parameters", int))
    assert text.endswith("parameters 'many' is no number; restore the file from the repository")
