"""The study on disk: what of it shares a table, and what is read from its numbers."""

import math
from pathlib import Path

import numpy as np
import pytest

from tests.fake_records import (
    NETWORKS,
    make_experiment,
    make_record,
    make_speed,
    with_epochs,
    write_runs,
)
from tests.fakes import error_of
from utils.experiment import Compute, Row
from utils.records.files import write_record
from utils.records.runs import speed_path
from utils.records.schema import Speed
from utils.records.study import first_known, gather, gradient_ratios, gradient_verdict, loss_spread
from utils.report.figures.inside import describe_ratios


def test_rows_stand_in_the_order_of_the_experiment_with_the_style_of_their_network(
    tmp_path: Path,
) -> None:
    experiment = make_experiment(["CNN7x7", Row("ShallowCNN", "CNN3x3"), "CNN5x5"])
    records = [make_record(network) for network in ("CNN3x3", "CNN5x5", "CNN7x7")]
    write_runs(tmp_path, experiment, records)
    evidence = gather(experiment, tmp_path, NETWORKS)
    assert list(evidence.runs) == ["CNN7x7", "ShallowCNN", "CNN5x5"]
    assert evidence.styles["ShallowCNN"] == NETWORKS["CNN3x3"]


@pytest.mark.parametrize(
    "other, how",
    [
        (make_speed(precision="float32"), "1 pass of float32"),
        (make_speed(passes=(1.0, 2.0)), "2 passes of bfloat16"),
    ],
)
def test_speeds_that_were_measured_otherwise_share_no_table(
    other: Speed, how: str, tmp_path: Path
) -> None:
    experiment = make_experiment()
    write_runs(tmp_path, experiment, [make_record("CNN3x3"), make_record("CNN5x5")], timed=True)
    run = experiment.rows[1].run("cifar10", experiment.recipe, 0, Compute())
    write_record(speed_path(tmp_path, run), other)
    assert error_of(lambda: gather(experiment, tmp_path, NETWORKS)) == (
        f"{tmp_path / 'kernel_size'}: the speed of CNN5x5 was measured in {how} on A Processor "
        "(2 threads), that of CNN3x3 in 1 pass of bfloat16 on A Processor (2 threads); run the "
        "script whose table shows it with --measure"
    )


def test_arrays_are_those_of_the_first_seed_that_was_looked_into(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    elsewhere = make_record(seed=0, probe=None, receptive_field=None)
    records = [elsewhere, make_record(seed=1), make_record(seed=2)]
    for record in records:
        filters = np.full((1, 1, 1, 1), record.seed, np.float32)
        write_runs(tmp_path, experiment, [record], {"filters": filters})
    evidence = gather(experiment, tmp_path, NETWORKS)
    assert evidence.inside["CNN3x3"].seed == 1
    assert evidence.arrays["CNN3x3"]["filters"].item() == 1


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.0, 0.005], "vanishing"),
        ([0.5, 1.0], "neither vanishing nor exploding"),
        ([500.0, 1.0], "exploding"),
        ([1.0, math.nan], "not defined: a norm is not a positive number"),
    ],
)
def test_gradients_are_called_what_their_ratio_says_in_any_epoch(
    ratios: list[float], verdict: str
) -> None:
    assert gradient_verdict(np.array(ratios)) == verdict


def test_a_fact_of_the_network_is_taken_from_the_first_record_that_has_it() -> None:
    without, has = make_record(receptive_field=None), make_record(seed=1)
    assert first_known([without, has], "receptive_field") == has.receptive_field
    assert first_known([without], "receptive_field") is None


def test_the_spread_of_an_epoch_is_the_inter_quartile_range_of_its_losses() -> None:
    quartiles = [(1.0, 2.0, 4.0), (1.0, 1.5, 2.0), (None, None, None)]
    (spread,) = loss_spread([with_epochs(make_record(), batch_loss_quartiles=quartiles)])
    assert spread[:2].tolist() == [3.0, 1.0]
    assert math.isnan(spread[2])


def test_ratios_are_those_of_the_first_layer_to_the_last_by_epoch() -> None:
    norms = [
        {"first": 1.0, "middle": 1.0, "last": 0.0},
        {"first": 3.0, "middle": 7.0, "last": 1.0},
        {"first": 0.2, "middle": 7.0, "last": 0.4},
    ]
    ratios = gradient_ratios([with_epochs(make_record(), gradient_norm=norms)])
    assert math.isnan(ratios[0])
    assert ratios[1:].tolist() == pytest.approx([3.0, 0.5])
    assert describe_ratios(ratios[1:]).startswith("first / last layer 0.5 to 3: neither")
