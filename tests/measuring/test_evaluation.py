"""Weights beside a record: they give its accuracy, or it is said what is wrong with them."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import models
from tests.fake_records import (
    make_data,
    make_diverged,
    make_experiment,
    make_matrix,
    make_record,
    write_runs,
)
from tests.fakes import TINY_CIFAR10, error_of, make_tiny
from tests.networks import add_network
from tests.training.runs import RUN
from utils.data.dataset import Dataset
from utils.errors import UserError
from utils.experiment import Compute, Row
from utils.measuring.evaluation import (
    Comparison,
    check_weights,
    compare,
    load_weights,
    trained_network,
)
from utils.records.files import read_arrays, write_arrays, write_bytes, write_record
from utils.records.runs import Found
from utils.records.schema import Final, Record
from utils.training.checkpoint import seed_everything, weights_of
from utils.training.loop import build_network, evaluate

DATA = make_tiny(TINY_CIFAR10)
ROW = Row("a name", network="CNN7x7")
EXPERIMENT = make_experiment([ROW])


def record_of(accuracy: float) -> Record:
    data = make_data(fingerprint=DATA.fingerprint)
    final = make_record().final.model_copy(
        update={
            "test_accuracy": accuracy,
            "confusion_matrix": make_matrix(accuracy, data.test_images),
        }
    )
    return make_record("CNN7x7", data=data, final=final, shifted_test_accuracy=None)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The path of a record whose accuracy is that of the weights beside it."""
    torch.manual_seed(0)
    network = models.build("CNN7x7")
    _, accuracy, predictions = evaluate(network, DATA.x_test, DATA.y_test, DATA)
    arrays = {"test_predictions": predictions.byte().numpy()}
    (path,) = write_runs(tmp_path, EXPERIMENT, [record_of(accuracy)], arrays, timed=True)
    write_bytes(path.with_suffix(".safetensors"), weights_of(network))
    return path


def check(path: Path) -> tuple[list[str] | None, str]:
    """Which runs fail, and what is told."""
    lines: list[str] = []
    results = path.parents[2]
    failed = check_weights(EXPERIMENT, ROW, results, lambda _: DATA, Compute(), lines.append)
    return failed, "".join(lines)


def test_weights_that_give_the_accuracy_on_record_are_equal(record: Path) -> None:
    failed, line = check(record)
    assert failed == []
    assert line.startswith("cifar10 CNN7x7-seed0: recorded ")
    assert line.endswith(": equal")


def test_what_a_constructor_draws_is_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Draws(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3072, 10)
            self.order = torch.randperm(3072)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1)[:, self.order])

    add_network(monkeypatch, Draws)
    run = replace(RUN, network="MyNet", seed=3)
    seed_everything(run.seed)
    network = build_network(run)
    path = tmp_path / "MyNet-seed3.safetensors"
    write_bytes(path, weights_of(network))
    torch.manual_seed(9)
    assert torch.equal(trained_network(run, path).order, network.order)


def test_weights_that_give_another_accuracy_fail(record: Path) -> None:
    write_record(record, record_of(0.9))
    failed, line = check(record)
    assert failed == ["CNN7x7-seed0"]
    assert "recorded 90.00%" in line
    assert line.endswith("NOT EQUAL")


def test_weights_that_take_images_for_other_classes_fail(record: Path) -> None:
    """Those of another seed, say: its accuracy may be the same."""
    arrays = read_arrays(record.with_suffix(".npz"))
    arrays["test_predictions"][:5] ^= 1
    write_arrays(record.with_suffix(".npz"), arrays)
    failed, line = check(record)
    assert failed == ["CNN7x7-seed0"]
    assert line.endswith(f": NOT EQUAL, 5 of {len(DATA.y_test)} images taken for another class")


@pytest.mark.parametrize(
    ("apart", "fewer", "is_equal"),
    [(0, 0, True), (1, 1, True), (10, 3, True), (10, 4, False), (11, 0, False), (0, 4, False)],
)
def test_few_images_of_ten_thousand_are_rounding(apart: int, fewer: int, is_equal: bool) -> None:
    comparison = Comparison(0.9, 0.9 - fewer / 10_000, apart, 10_000)
    assert comparison.is_equal == is_equal
    assert ("NOT EQUAL" not in str(comparison)) == is_equal


def cut(record: Path) -> None:
    path = record.with_suffix(".safetensors")
    path.write_bytes(path.read_bytes()[:-100])


def foreign(record: Path) -> None:
    write_bytes(record.with_suffix(".safetensors"), weights_of(models.build("CNN5x5")))


def more(record: Path) -> None:
    network = models.build("CNN7x7")
    network.register_buffer("extra", torch.zeros(2))
    write_bytes(record.with_suffix(".safetensors"), weights_of(network))


def of_other_images(record: Path) -> None:
    write_record(record, make_record("CNN7x7"))


def a_pipe(record: Path) -> None:
    path = record.with_suffix(".safetensors")
    path.unlink()
    os.mkfifo(path)


def of_a_run_that_diverged(record: Path) -> None:
    write_record(record, make_diverged("CNN7x7", 0))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (a_pipe, "{path}: not readable as safetensors (not a file); restore it"),
        (of_a_run_that_diverged, "{path}: of an earlier training, the one on record diverged;"),
        (cut, "{path}: not readable as safetensors ("),
        (foreign, "{path}: of another network, features.0.0.weight is float32 ["),
        (more, "{path}: of another network, extra is float32 [2] (not expected); restore it"),
        (Path.unlink, "{path}: no record beside it; restore that, or train it again"),
        (of_other_images, "{record}: of other images than tiny here"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_file_that_is_not_what_it_should_be_fails_with_a_line(
    spoil: Callable[[Path], None], text: str, record: Path
) -> None:
    spoil(record)
    failed, line = check(record)
    assert failed == ["CNN7x7-seed0"]
    path = record.with_suffix(".safetensors")
    assert line.startswith(f"CNN7x7-seed0: {text.format(path=path, record=record)}")
    assert "\n" not in line


def test_a_network_that_takes_no_state_dict_is_told(tmp_path: Path) -> None:
    network = nn.Linear(2, 3)
    network.register_buffer("mask", torch.zeros(1).expand(3))
    path = tmp_path / "a.safetensors"
    path.write_bytes(weights_of(network))
    message = error_of(lambda: load_weights(path, network))
    assert message.startswith(
        f"{path}: the network does not take it (RuntimeError: While copying the "
    )
    assert "\n" not in message
    network.load_state_dict = None  # whatever one's own may raise
    message = error_of(lambda: load_weights(path, network))
    assert message.startswith(f"{path}: the network does not take it (TypeError: 'NoneType' object")


def test_a_record_without_a_test_accuracy_is_told(tmp_path: Path) -> None:
    row = Row("held out", "CNN7x7", part="train minus validation")
    data, final = make_data(fingerprint=DATA.fingerprint), Final(validation_accuracy=0.5)
    found = Found(tmp_path, row, make_record("CNN7x7", part=row.part, data=data, final=final))
    run = row.run("cifar10", found.record.recipe, 0, Compute())
    assert error_of(lambda: compare(found, run, DATA)) == (
        f"{tmp_path}: final.test_accuracy: missing, there is none to compare with"
    )


def test_a_row_without_weights_is_told_from_one_whose_weights_are_right(record: Path) -> None:
    assert check(record)[0] == []
    record.with_suffix(".safetensors").unlink()
    assert check(record) == (None, "")


def test_images_that_cannot_be_had_are_no_fault_of_the_weights(record: Path) -> None:
    def load(name: str) -> Dataset:
        raise UserError(f"{name}: not at hand")

    results = record.parents[2]
    arguments = (EXPERIMENT, ROW, results, load, Compute(), print)
    assert error_of(lambda: check_weights(*arguments)) == "cifar10: not at hand"
