"""Tables hold what the records say, in the columns that others read."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from tests.fake_records import (
    make_blocks,
    make_experiment,
    make_layers,
    make_run,
    make_speed,
    write_blocks,
    write_layers,
    write_runs,
)
from utils.errors import UserError
from utils.experiment import Experiment
from utils.records.files import write_json
from utils.records.study import gather
from utils.report.markdown import training_markdown
from utils.report.render import render_experiment, render_overview
from utils.report.rows import block_rows, cell, layer_rows, to_csv, training_rows

REPORTED = {"reported_table": "2.1 kernel size (CIFAR-10)", "figures": ()}
HEADER = (
    "model,parameters,forward_mflops,latency_ms,latency_ms_iqr,throughput_images_per_second,"
    "training_images_per_second,training_seconds,train_accuracy,train_accuracy_sd,test_accuracy,"
    "test_accuracy_sd,generalization_gap,receptive_field,seeds,reported_parameters,"
    "reported_latency_ms,reported_train_accuracy,reported_test_accuracy"
)


def rows_of(results: Path, experiment: Experiment) -> dict[str, dict]:
    return {row["model"]: row for row in training_rows(gather(experiment, results))}


def read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_a_csv_has_these_columns_and_plain_numbers(tmp_path: Path) -> None:
    experiment = make_experiment(**REPORTED)
    runs = [make_run("CNN3x3", parameters=60_362), make_run("CNN5x5", parameters=34_538)]
    write_runs(tmp_path, experiment, runs, speed=make_speed(experiment.models))
    render_experiment(experiment, tmp_path, tmp_path / "plots")
    assert (tmp_path / "kernel_size" / "table.csv").read_text() == (
        f"{HEADER}\n"
        "CNN3x3,60362,12.3457,0.5,0.05,20000,5000,30,0.8,,0.75,,0.05,10,1,"
        "60362,0.48,0.7721,0.7152\n"
        "CNN5x5,34538,12.3457,1,0.1,10000,2500,60,0.8,,0.75,,0.05,10,1,"
        "34538,0.67,0.7283,0.685\n"
    )


def test_several_seeds_give_mean_and_sample_deviation(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"], **REPORTED)
    accuracies = [0.70, 0.74, 0.75]
    runs = [make_run(seed=seed, test_accuracy=value) for seed, value in enumerate(accuracies)]
    write_runs(tmp_path, experiment, runs)
    row = rows_of(tmp_path, experiment)["CNN3x3"]
    assert row["seeds"] == 3
    assert row["test_accuracy"] == pytest.approx(0.73)
    assert row["test_accuracy_sd"] == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.02**2) / 2))
    blocks = render_experiment(experiment, tmp_path, tmp_path / "plots")
    assert "| 73.00 ± 2.65 |" in blocks["kernel_size.table"]
    assert "seeds 0, 1, 2; ± is the sample standard deviation" in blocks["kernel_size.table"]


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    write_runs(tmp_path, experiment, [make_run()])
    assert rows_of(tmp_path, experiment)["CNN3x3"]["test_accuracy_sd"] is None


def test_without_a_speed_record_its_columns_are_empty(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"], figures=())
    write_runs(tmp_path, experiment, [make_run()])
    blocks = render_experiment(experiment, tmp_path, tmp_path / "plots")
    (line,) = read_table(tmp_path / "kernel_size" / "table.csv")
    assert [line[name] for name in ("latency_ms", "latency_ms_iqr", "training_seconds")] == [""] * 3
    assert "Latency" not in blocks["kernel_size.table"]
    assert "speed was not measured: run the script with --measure" in blocks["kernel_size.table"]


def test_a_model_without_reported_numbers_has_empty_cells(tmp_path: Path) -> None:
    experiment = make_experiment(["MyNet"], **REPORTED)
    write_runs(tmp_path, experiment, [make_run("MyNet")])
    row = rows_of(tmp_path, experiment)["MyNet"]
    assert [value for name, value in row.items() if name.startswith("reported")] == [None] * 4


def test_the_receptive_field_is_a_column_where_it_is_the_question(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"], name="cifar_comparison")
    write_runs(tmp_path, experiment, [make_run()])
    assert "receptive_field" not in rows_of(tmp_path, experiment)["CNN3x3"]


def test_models_stand_in_the_order_of_the_experiment(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN7x7", "CNN3x3", "CNN5x5"])
    write_runs(tmp_path, experiment, [make_run(model) for model in ("CNN3x3", "CNN5x5", "CNN7x7")])
    assert list(rows_of(tmp_path, experiment)) == ["CNN7x7", "CNN3x3", "CNN5x5"]


@pytest.mark.parametrize("of_the_speed", [False, True])
def test_mixed_precision_is_an_error(tmp_path: Path, of_the_speed: bool) -> None:
    experiment = make_experiment()
    other = "bfloat16" if of_the_speed else "float32"
    runs = [make_run("CNN3x3"), make_run("CNN5x5", precision=other)]
    speed = make_speed(experiment.models, precision="float32") if of_the_speed else None
    write_runs(tmp_path, experiment, runs, speed=speed)
    with pytest.raises(UserError) as error:
        gather(experiment, tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'kernel_size'}: the records differ in precision (bfloat16 and float32), one "
        "table must share it; run the script again with --fresh, or with an --out-dir of its own"
    )


def test_the_caption_says_how_it_was_measured(tmp_path: Path) -> None:
    experiment = make_experiment(**REPORTED)
    runs = [make_run("CNN3x3", parameters=60_362), make_run("CNN5x5", parameters=34_538)]
    write_runs(tmp_path, experiment, runs, speed=make_speed(experiment.models))
    evidence = gather(experiment, tmp_path)
    caption = training_markdown(training_rows(evidence), evidence).rsplit("|\n", 1)[1]
    for part in (
        "CIFAR-10: 50,000 train and 10,000 test images; 3 epochs, seed 0.",
        "Trained in bfloat16 on A Processor (2 threads).",
        "those of the last epoch",
        "Varied: kernel size. Held equal: epochs. Not tuned: learning rate.",
        "a multiply-add is 2, and only convolutions and matrix products count",
        "medians over 7 rounds",
        "in float32: latency at batch 1, throughput at batch 256",
        "training step is in bfloat16 at batch 128",
        "the parameter counts are the same",
    ):
        assert part in caption
    assert "synthetic" not in caption


def test_a_synthetic_dataset_is_called_one(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    data = {**make_run()["data"], "synthetic": True, "description": "shapes"}
    write_runs(tmp_path, experiment, [make_run(data=data)])
    evidence = gather(experiment, tmp_path)
    assert "synthetic stand-in: shapes" in training_markdown(training_rows(evidence), evidence)


def test_parameters_that_differ_from_the_report_show_it(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"], **REPORTED)
    write_runs(tmp_path, experiment, [make_run(parameters=60_363)])
    table = render_experiment(experiment, tmp_path, tmp_path / "plots")["kernel_size.table"]
    assert "| 60,363 | 60,362 |" in table
    assert "parameter counts are the same" not in table


def test_layers_stand_beside_their_analogues_and_the_report() -> None:
    rows = {row["layer"]: row for row in layer_rows(make_layers())}
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
    rows = {row["layer"]: row for row in layer_rows(make_layers())}
    key = "reported_signed_mean_gradient_weights"
    assert rows["CustomConv + ChannelAttention"][key] == 0.00156
    assert rows["ChannelAttention"][key] is None


def test_blocks_are_compared_to_the_first_and_to_the_report() -> None:
    first, second = block_rows(make_blocks())
    assert next(iter(first)) == "block"
    assert (first["reported_parameters"], first["reported_seconds_100_iterations"]) == (74112, 2.08)
    assert second["comment"] == "0.5 times the time of BasicResidualBlock, forward and backward"


def test_layers_and_blocks_are_rendered_by_the_records_that_exist(tmp_path: Path) -> None:
    write_layers(tmp_path)
    layers = make_experiment([], name="custom_layers", figures=())
    blocks = render_experiment(layers, tmp_path, tmp_path / "plots")
    lines = read_table(tmp_path / "custom_layers" / "table.csv")
    assert next(iter(lines[0])) == "layer"
    assert not any("accuracy" in column for column in lines[0])
    assert "| [4, 3, 16, 16] |" in blocks["custom_layers.table"]


def test_what_was_trained_with_blocks_stands_apart_with_its_stability(tmp_path: Path) -> None:
    write_blocks(tmp_path)
    experiment = make_experiment(["BasicBlockNet"], name="residual_blocks", figures=())
    run = make_run("BasicBlockNet")
    write_runs(tmp_path, experiment, [run])
    blocks = render_experiment(experiment, tmp_path, tmp_path / "plots")
    (line,) = read_table(tmp_path / "residual_blocks" / "training.csv")
    spreads = [
        entry["batch_loss_quartiles"][2] - entry["batch_loss_quartiles"][0]
        for entry in run["epochs"]
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


def conclude(columns: dict) -> list[str]:
    accuracy = columns["test_accuracy"]
    return [f"{100 * (accuracy['CNN3x3'] - accuracy['CNN5x5']):.1f} points ahead."]


def test_conclusions_are_filled_from_the_table(tmp_path: Path) -> None:
    experiment = make_experiment(conclusions=conclude, figures=())
    write_runs(tmp_path, experiment, [make_run("CNN3x3", test_accuracy=0.8), make_run("CNN5x5")])
    blocks = render_experiment(experiment, tmp_path, tmp_path / "plots")
    assert blocks["kernel_size.conclusions"] == "- 5.0 points ahead."


def test_conclusions_wait_for_every_model(tmp_path: Path) -> None:
    experiment = make_experiment(conclusions=conclude, figures=())
    write_runs(tmp_path, experiment, [make_run("CNN3x3")])
    blocks = render_experiment(experiment, tmp_path, tmp_path / "plots")
    assert blocks["kernel_size.conclusions"] == "No conclusions yet: no record of CNN5x5."


def test_conclusions_wait_for_what_was_not_measured(tmp_path: Path) -> None:
    experiment = make_experiment(
        conclusions=lambda columns: [f"{columns['latency_ms']['CNN3x3']} ms"], figures=()
    )
    write_runs(tmp_path, experiment, [make_run("CNN3x3"), make_run("CNN5x5")])
    blocks = render_experiment(experiment, tmp_path, tmp_path / "plots")
    conclusion = blocks["kernel_size.conclusions"]
    assert conclusion == "No conclusions yet: latency_ms of CNN3x3 was not measured."


def test_a_conclusion_about_an_unknown_row_is_a_defect(tmp_path: Path) -> None:
    experiment = make_experiment(
        ["CNN3x3"], conclusions=lambda columns: [columns["latency_ms"]["CNN3×3"]], figures=()
    )
    write_runs(tmp_path, experiment, [make_run("CNN3x3")])
    with pytest.raises(KeyError, match="'CNN3×3' has no row; there are CNN3x3"):
        render_experiment(experiment, tmp_path, tmp_path / "plots")


def test_nothing_is_rendered_without_records(tmp_path: Path) -> None:
    assert render_experiment(make_experiment(), tmp_path, tmp_path / "plots") == {}
    assert render_overview(tmp_path, tmp_path / "plots") == {}
    assert not list(tmp_path.iterdir())


def test_the_overview_finds_the_same_network_under_two_names(tmp_path: Path) -> None:
    for name, model in (("kernel_size", "CNN3x3"), ("depth", "ShallowCNN")):
        experiment = make_experiment([model], name=name, figures=(), reported_table=None)
        write_runs(tmp_path, experiment, [make_run(model)], speed=make_speed([model]))
        render_experiment(experiment, tmp_path, tmp_path / "plots")
    other = make_experiment(["FCNet"], name="mnist_comparison", dataset="mnist", figures=())
    run = make_run("FCNet", fields={}, dataset="mnist", parameters=242_762)
    write_runs(tmp_path, other, [run])
    render_experiment(other, tmp_path, tmp_path / "plots")
    blocks = render_overview(tmp_path, tmp_path / "plots")
    assert list(blocks) == ["overview.figure", "overview.table", "overview.same_network"]
    assert blocks["overview.table"].index("FCNet") < blocks["overview.table"].index("ShallowCNN")
    same = blocks["overview.same_network"]
    assert "CNN3x3" in same and "ShallowCNN" in same and "FCNet" not in same
    assert (tmp_path / "plots" / "overview.png").exists()


def test_a_record_that_is_no_json_is_named(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    write_json(tmp_path / "kernel_size" / "runs" / "CNN3x3-seed0.json", {"schema": 0})
    with pytest.raises(UserError, match=r"CNN3x3-seed0\.json: record of schema 0"):
        gather(experiment, tmp_path)
