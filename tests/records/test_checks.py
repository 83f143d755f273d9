"""Records that were edited, copied or torn from their arrays: told with file and field."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fake_records import (
    NETWORKS,
    edited,
    make_arrays,
    make_diverged,
    make_experiment,
    make_record,
    make_speed,
    write_cases,
    write_runs,
)
from tests.fakes import error_of
from utils.errors import UserError
from utils.experiment import Compute
from utils.records.files import read_arrays, write_arrays, write_record
from utils.records.runs import speed_path
from utils.records.study import gather
from utils.report.render import make_tables

EXPERIMENT = make_experiment(
    ["CNN3x3", "CNN5x5"], columns=("receptive_field", "shift", "gradient_ratio", "stability")
)
MAPS = {"features.0.0": (4, 8), "features.1.0": (6, 4)}
BOTH = "delete it and the .json of the same name and run the script again"


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return write(tmp_path)


def write(results: Path) -> list[Path]:
    """Two seeds of one network and one of another, with their arrays and speeds."""
    records = [make_record("CNN3x3", 0), make_record("CNN3x3", 1), make_record("CNN5x5", 0, 0.7)]
    return write_runs(results, EXPERIMENT, records, make_arrays(MAPS), timed=True)


def read(paths: list[Path]) -> object:
    return gather(EXPERIMENT, paths[0].parents[2], NETWORKS)


# --- any edit -----------------------------------------------------------------------------------


def places(content: Any, at: tuple = ()) -> Iterator[tuple]:  # noqa: ANN401
    """The path to every value, inner ones included."""
    yield at
    inside = dict(enumerate(content)) if isinstance(content, list) else content
    for key, value in inside.items() if isinstance(inside, dict) else ():
        yield from places(value, (*at, key))


RECORD = make_record("CNN3x3", 1).model_dump(mode="json")
VALUES = (..., None, True, -1, 0, 1, 1.7, 1e308, "", "\ud800", "x\ny", [], {}, [[1]])
BEYOND = (2**70, 10**400)  # what an index, and what a float can hold


@example(at=("recipe", "epochs"), value=2**70)
@example(at=("recipe", "batch_size"), value=10**400)
@given(
    at=st.sampled_from([at for at in places(RECORD) if at]), value=st.sampled_from(VALUES + BEYOND)
)
def test_an_edited_record_is_a_line_with_its_file_or_makes_a_table(
    at: tuple, value: object, folder: Path
) -> None:
    path = folder / "runs" / "cifar10" / "CNN3x3-seed1.json"
    path.write_text(json.dumps(edited(RECORD, at, value)))
    try:
        evidence = gather(EXPERIMENT, folder, NETWORKS)
    except UserError as error:
        assert str(error).startswith(f"{path}: ") or f"{path.with_suffix('.npz')}: " in str(error)
        assert len(str(error).splitlines()) == 1
    else:
        for text in make_tables(evidence).values():
            text.encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as ``paths``, once for all edits."""
    results = tmp_path_factory.mktemp("results")
    write(results)
    return results


@pytest.mark.parametrize(
    "at, value, message",
    [
        (("final", "test_accuracy"), 0.76, "final.test_accuracy: not that of the last epoch"),
        (
            ("final", "confusion_matrix", 0, 0),
            751,
            "final.confusion_matrix: of 10001 images, not 10000 (data.test_images)",
        ),
        (("data", "test_images"), 9_999, "final.confusion_matrix: of 10000 images, not 9999"),
        (("epochs", 2), ..., "epochs: 2 of 3, or not in order"),
        (("epochs", 2, "epoch"), 2, "epochs: 3 of 3, or not in order"),
        (("timings", "epoch_seconds", 0), ..., "timings.epoch_seconds: of 2, not 3"),
        (("recipe", "momentum"), -1.0, "recipe: a number that is negative or not finite"),
        (
            ("final", "train_accuracy"),
            0.1,
            "final.train_accuracy: not that of the last epoch and the other images",
        ),
        (("epochs", 0, "gradient_norm_total"), -1.0, "epochs.0.gradient_norm_total: Input should"),
        (("epochs", 0, "gradient_norm", "classifier.1"), -1.0, "epochs.0.gradient_norm.classifier"),
        (("epochs", 0, "batch_loss_quartiles", 0), 9.0, "epochs.0: batch_loss_quartiles: not in"),
        (("device",), "toaster", "device: Input should be 'cpu', 'cuda' or 'mps'"),
        (("environment", "device"), "a GPU", "environment.device: a GPU, of a run on cpu"),
        (("data", "fingerprint"), "f" * 63, "data.fingerprint: String should match pattern"),
        (("data", "description"), "$CIFAR_10$", "data.description: String should match pattern"),
        (("data", "classes", 3), "a|b", "data.classes.3: String should match pattern"),
        (("environment", "processor"), "a\nb", "environment.processor: String should match"),
        (("probe", "image_class"), "sheep", "probe.image_class: 'sheep' is none of data.classes"),
        (
            ("epochs", 1, "gradient_norm_first", "classifier.1"),
            ...,
            "epochs.gradient_norm: the layers differ between epochs",
        ),
        (("parameters",), 60_363, "parameters 60363 (not 60362), by the other seeds of CNN3x3"),
        (("parameters",), None, "parameters: missing"),
        (("shifted_test_accuracy", 6), ..., "shifts 6 (not 7), by the other seeds of CNN3x3"),
        (("data", "description"), "MNIST", "made with description MNIST (not CIFAR-10)"),
        (("data", "synthetic"), True, "made with synthetic True (not False)"),
        (("data", "train_images"), 49_999, "made with train_images 49999 (not 50000)"),
        (
            ("diverged",),
            {"epoch": 4, "step": 1, "learning_rate": 0.1},
            "diverged.epoch: after the last of 3",
        ),
        (
            ("diverged",),
            {"epoch": 2, "step": 1, "learning_rate": 0.1},
            "epochs: 3 of 1, or not in order",
        ),
    ],
)
def test_what_does_not_fit_together_is_told_with_file_and_field(
    at: tuple, value: object, message: str, paths: list[Path]
) -> None:
    paths[1].write_text(json.dumps(edited(RECORD, at, value)))
    assert error_of(lambda: read(paths)).startswith(f"{paths[1]}: {message}")


def test_a_diverged_run_has_no_result(paths: list[Path]) -> None:
    record = make_diverged("CNN3x3", 1).model_dump(mode="json")
    paths[1].write_text(json.dumps(edited(record, ("final", "test_accuracy"), 0.5)))
    message = error_of(lambda: read(paths))
    assert message.startswith(f"{paths[1]}: final: there is none of a run that diverged")


# --- copies -------------------------------------------------------------------------------------


def test_arrays_that_are_another_runs_are_told(paths: list[Path]) -> None:
    own, other = paths[1].with_suffix(".npz"), paths[2].with_suffix(".npz")
    shutil.copy(other, own)
    assert error_of(lambda: read(paths)) == (
        f"{own}: test_predictions: not those of final.confusion_matrix; {BOTH}"
    )


def test_a_speed_that_is_another_networks_is_told(paths: list[Path]) -> None:
    results = paths[0].parents[2]
    run, other = (row.run("cifar10", EXPERIMENT.recipe, 0, Compute()) for row in EXPERIMENT.rows)
    shutil.copy(speed_path(results, run), speed_path(results, other))
    assert error_of(lambda: read(paths)) == (
        f"{speed_path(results, other)}: network: cifar10/CNN3x3 (not cifar10/CNN5x5); run the "
        "script whose table shows it with --measure"
    )
    write_record(speed_path(results, other), make_speed(2))  # as older records are, without it
    read(paths)


# --- arrays -------------------------------------------------------------------------------------

Change = Callable[[dict[str, np.ndarray]], object]


def test_arrays_that_are_missing_are_told_before_anything_is_trained(paths: list[Path]) -> None:
    path = paths[1].with_suffix(".npz")
    path.unlink()
    assert error_of(lambda: read(paths)) == (
        f"{path}: missing beside the record; restore it, or delete the .json of the same name and "
        "run the script again"
    )
    path.mkdir()
    assert error_of(lambda: read(paths)).startswith(f"{path}: not a readable array file (not a")


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("test_predictions", None, "not those of final.confusion_matrix"),
        ("test_predictions", np.zeros(10_000, np.uint8), "not those of final.confusion_matrix"),
        ("test_predictions", np.full(10_000, 255, np.uint8), "not those of final.confusion"),
        ("test_predictions", np.zeros((), np.float16), "not those of final.confusion_matrix"),
        ("test_correct", None, "not of 10000 images"),
        ("test_correct", np.zeros(1_249, np.uint8), "not of 10000 images"),
        ("test_correct", np.zeros((), bool), "not of 10000 images"),
        ("test_correct", np.zeros(1_250, np.uint8), "0 right, not final.test_accuracy"),
        ("filters", np.zeros((4, 3)), "not 4 dimensions of numbers"),
        ("activations", np.zeros((0, 3, 3)), "not 3 dimensions of numbers"),
        ("receptive_field", np.array("text"), "not 2 dimensions of numbers"),
        ("feature_maps/features.0.0", np.zeros(3), "not 3 dimensions of numbers"),
    ],
)
def test_arrays_that_are_not_the_records_are_told(
    name: str, value: np.ndarray | None, message: str, paths: list[Path]
) -> None:
    path = paths[0].with_suffix(".npz")
    arrays = read_arrays(path)
    arrays.pop(name)
    write_arrays(path, arrays if value is None else {**arrays, name: value})
    assert error_of(lambda: read(paths)).startswith(f"{path}: {name}: {message}")


def test_predictions_in_another_order_than_which_are_right_are_told(paths: list[Path]) -> None:
    path = paths[0].with_suffix(".npz")
    arrays = read_arrays(path)
    np.random.default_rng(0).shuffle(arrays["test_predictions"])
    write_arrays(path, arrays)
    message = error_of(lambda: read(paths))
    assert message == f"{path}: test_correct: not of these test_predictions; {BOTH}"


@given(where=st.integers(0, 10**9), flip=st.integers(1, 255))
def test_a_flipped_byte_in_the_arrays_is_harmless_or_one_line(
    where: int, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    write_arrays(path, {"filters": np.zeros(9, np.float32), "activations": np.zeros(3)})
    content = bytearray(path.read_bytes())
    content[where % len(content)] ^= flip
    path.write_bytes(content)
    try:
        read_arrays(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: not a readable array file (")


@pytest.mark.parametrize("field", ["probe", "receptive_field"])
def test_a_record_without_what_stands_beside_its_pictures_is_told(
    field: str, paths: list[Path]
) -> None:
    record = make_record("CNN5x5", 0, 0.7).model_dump(mode="json")
    paths[2].write_text(json.dumps({**record, field: None}))
    assert error_of(lambda: read(paths)).startswith(f"{paths[2]}: {field}: missing, though")


@pytest.mark.parametrize(
    "change, message",
    [
        (None, "missing beside cases.json"),
        (lambda arrays: arrays.pop("x"), "Swish/value: has no use for a figure"),
        (lambda arrays: arrays.pop("ReLU/derivative"), "ReLU/value: has no use for a figure"),
        (
            lambda arrays: arrays.update({"SiLU/derivative": np.zeros(3)}),
            "SiLU/value: has no use for a figure",
        ),
        (
            lambda arrays: arrays.update({"pooling/MaxPool2d": np.zeros(3)}),
            "pooling/MaxPool2d: has no use for a figure",
        ),
    ],
)
def test_arrays_of_layers_that_make_no_figure_are_told(
    change: Change | None, message: str, tmp_path: Path
) -> None:
    experiment = make_experiment([], name="custom_layers", figures=("activation_functions",))
    write_cases(tmp_path, "custom_layers")
    gather(experiment, tmp_path, NETWORKS)
    path = tmp_path / "custom_layers" / "cases.npz"
    if change is None:
        path.unlink()
    else:
        arrays = read_arrays(path)
        change(arrays)
        write_arrays(path, arrays)
    assert error_of(lambda: gather(experiment, tmp_path, NETWORKS)) == (
        f"{path}: {message}; run the script whose table shows it with --measure"
    )


def test_layers_of_another_experiment_are_told(tmp_path: Path) -> None:
    from experiments.residual_blocks import RESIDUAL_BLOCKS

    write_cases(tmp_path, "residual_blocks")
    path = tmp_path / "residual_blocks" / "cases.json"
    message = error_of(lambda: gather(RESIDUAL_BLOCKS, tmp_path, NETWORKS))
    assert message.startswith(f"{path}: cases: Swish, SiLU, ")
    assert message.endswith("); run the script whose table shows it with --measure")
