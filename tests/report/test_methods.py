"""What the page on methods says of made-up records."""

from pathlib import Path

import numpy as np
import pytest

from tests.fake_records import (
    NETWORKS,
    make_data,
    make_experiment,
    make_record,
    make_seeds,
    write_runs,
)
from utils.claim import Claim
from utils.records.study import gather
from utils.report.mcnemar import mcnemar_rows, mcnemar_text
from utils.report.methods import correlation_text, images_text, methods_blocks, spread_row
from utils.report.statistics import detectable

PAIR = (("CNN3x3", "CNN5x5"),)
CLAIMS = (
    Claim("a", "A.", "А.", "ours", pairs=PAIR),
    Claim("b", "B.", "Б.", "ours", "equal", pairs=(PAIR[0][::-1],)),  # the same two
    Claim("c", "C.", "В.", "ours", pairs=PAIR, metric="generalization_gap"),
)
EXPERIMENT = make_experiment(claims=CLAIMS)


def predicted(folder: Path, first: list[int], second: list[int]) -> None:
    """Ten test images, whose labels are 0 to 9, seen by both networks."""
    for name, numbers in (("CNN3x3", first), ("CNN5x5", second)):
        accuracy = float(np.mean(np.array(numbers) == np.arange(10)))
        record = make_record(name, 0, accuracy, data=make_data(test_images=10))
        matrix = np.eye(10, dtype=int)[numbers].tolist()  # one image of each class
        final = record.final.model_copy(update={"confusion_matrix": tuple(map(tuple, matrix))})
        record = record.model_copy(update={"final": final})
        arrays = {
            "test_predictions": np.array(numbers, np.uint8),
            "test_correct": np.packbits(np.array(numbers) == np.arange(10)),
        }
        write_runs(folder, EXPERIMENT, [record], arrays)


def test_images_that_one_alone_has_right_are_counted_once_a_pair(tmp_path: Path) -> None:
    predicted(tmp_path, [0, 1, 2, 3, 4, 5, 6, 7, 0, 0], [0, 1, 2, 0, 0, 0, 0, 0, 8, 0])
    (row,) = mcnemar_rows(gather(EXPERIMENT, tmp_path, NETWORKS))
    assert (row["a"], row["b"], row["seed"]) == ("CNN3x3", "CNN5x5", 0)
    assert (row["only_a_right"], row["only_b_right"]) == (5, 1)
    assert row["difference"] == pytest.approx(40)
    assert row["p"] == pytest.approx(2 * (1 + 6) / 2**6)
    text = mcnemar_text([row, row | {"p": 1e-9}])
    assert text.startswith("Of 2 pairs 1 differ with p < 0.001. The others:\n\n| A |")
    assert text.count("CNN5x5") == 1


def test_without_a_common_seed_the_page_still_stands(tmp_path: Path) -> None:
    write_runs(tmp_path, EXPERIMENT, [make_record("CNN3x3", 0), make_record("CNN5x5", 1)])
    blocks = methods_blocks([gather(EXPERIMENT, tmp_path, NETWORKS)], [])
    assert blocks["methods.mcnemar"] == "No predictions yet."
    assert blocks["methods.correlation"] == "There are too few seeds to tell."
    assert blocks["methods.provenance"] == (
        "- *kernel_size*: 2 seeds: 0, 1 on an A Processor; bfloat16."
    )


def test_the_spread_is_that_of_all_networks_together(tmp_path: Path) -> None:
    accuracies = {"CNN3x3": (0.80, 0.81, 0.82), "CNN5x5": (0.70, 0.72, 0.74)}
    records = [record for each in accuracies.items() for record in make_seeds(*each)]
    write_runs(tmp_path, EXPERIMENT, records)
    evidence = gather(EXPERIMENT, tmp_path, NETWORKS)
    row = spread_row(evidence)
    assert row["deviation"] == pytest.approx(np.sqrt((1 + 4) / 2))
    assert row[9] == f"{detectable(row['deviation'], 9, 16):.2f}"
    assert "+1.00 in the mean of 1 pairs" in correlation_text([evidence])  # both rise evenly


def test_what_ten_thousand_images_can_show(tmp_path: Path) -> None:
    write_runs(tmp_path, EXPERIMENT, [make_record("CNN3x3")])
    text = images_text([gather(EXPERIMENT, tmp_path, NETWORKS)])
    assert "±0.8 points at 80 %" in text
    assert "±0.2 points at 99 %" in text
