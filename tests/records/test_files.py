"""Files: whole or not there, and one line for whatever is wrong with one."""

import errno
import json
import math
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fake_records import edited, make_cases, make_epoch, make_record, make_speed
from tests.fakes import error_of
from utils.records.files import (
    is_there,
    read_arrays,
    read_json,
    read_record,
    sweep,
    write_arrays,
    write_atomically,
    write_json,
    write_record,
    write_text,
)
from utils.records.schema import Cases, Record, Speed

AGAIN = "delete it and run the script again"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a record stands that is as it should be."""
    path = tmp_path / "runs" / "CNN3x3-seed0.json"
    write_record(path, make_record(seed=0))
    return path


@pytest.mark.parametrize(
    "record, kind", [(make_record(), Record), (make_speed(), Speed), (make_cases(), Cases)]
)
def test_a_record_is_read_as_it_was_written(record: object, kind: type, tmp_path: Path) -> None:
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json", kind) == record


def test_a_nan_is_null_on_disk_and_none_afterwards(path: Path) -> None:
    epochs = tuple(make_epoch(number, running_loss=math.nan) for number in (1, 2, 3))
    write_record(path, make_record(epochs=epochs))
    assert json.loads(path.read_text())["epochs"][0]["running_loss"] is None
    assert read_record(path, Record).epochs[0].running_loss is None


def test_a_nan_that_no_record_took_in_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "plain.json", {"loss": math.nan})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "at, value, message",
    [
        (("seed",), ..., "seed: Field required"),
        (("seed",), True, "seed: Input should be a valid integer"),
        (("colour",), 1, "colour: Extra inputs are not permitted"),
        (("recipe", "epoch"), 1, "recipe.epoch: Unexpected keyword argument"),
        (("recipe", "epochs"), ..., "recipe.epochs: Field required"),
        (
            ("final", "test_accuracy"),
            1.7,
            "final.test_accuracy: Input should be less than or equal to 1",
        ),
        (
            ("final", "confusion_matrix", 0, 0),
            -1,
            "final.confusion_matrix.0.0: Input should be greater than or equal to 0",
        ),
        (("parameters",), "60362", "parameters: Input should be a valid integer"),
        (("precision",), "float16", "precision: Input should be 'float32' or 'bfloat16'"),
        (("schema",), 3, "record of schema 3, this version reads 2"),
        (("schema",), ..., "record of schema None, this version reads 2"),
        (("schema",), "2", "record of schema '2', this version reads 2"),
        (
            ("overrides",),
            {"widths": [8, math.inf]},
            "overrides: holds a number that is not finite",
        ),
    ],
)
def test_a_wrong_record_costs_one_line_with_file_and_field(
    at: tuple, value: object, message: str, path: Path
) -> None:
    path.write_text(json.dumps(edited(json.loads(path.read_text()), at, value)))
    assert error_of(lambda: read_record(path, Record)) == f"{path}: {message}; {AGAIN}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "record of schema None, this version reads 2; "),
        ("null", "record of schema None, this version reads 2; "),
        ("", "no JSON (Expecting value: line 1 column 1 (char 0)); mend it, or "),
        ('{"schema": 2,\n', "no JSON (Expecting property name enclosed in double quotes: line 2"),
        ("[" * 100_000, "no JSON ("),
    ],
)
def test_what_is_no_record_is_named(content: str, message: str, path: Path) -> None:
    path.write_text(content)
    found = error_of(lambda: read_record(path, Record))
    assert found.startswith(f"{path}: {message}") and found.endswith(AGAIN)


def test_a_mark_before_a_record_is_no_fault(path: Path) -> None:
    before = read_record(path, Record)
    path.write_text(f"\ufeff{path.read_text()}")
    assert read_record(path, Record) == before


@pytest.mark.parametrize("content", [b"\xff\xfe", None], ids=["not UTF-8", "not there"])
def test_a_file_that_is_no_text_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    if content:
        path.write_bytes(content)
    for read in (lambda: read_record(path, Record), lambda: read_json(path)):
        assert error_of(read).startswith(f"{path}: not a readable record (")


def test_plain_values_are_read_as_they_were_written_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    write_json(path, {"σ": [1, 0.1, None]})
    assert read_json(path) == {"σ": [1, 0.1, None]}
    path.write_text("[]")
    assert error_of(lambda: read_json(path)).startswith(f"{path}: not a record; make it again")
    path.write_text("{")
    assert error_of(lambda: read_json(path)).startswith(f"{path}: not readable (Expecting")


def test_a_file_where_a_folder_belongs_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "kernel_size"
    folder.write_text("in the way")
    message = error_of(lambda: write_text(folder / "table.csv", ""))
    assert message.startswith(
        f"{folder / 'table.csv'}: cannot be written ({folder}: File exists); what was saved"
    )


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    arrays = {"feature_maps/stem.0": np.arange(6, dtype=np.float16).reshape(2, 3)}
    write_arrays(tmp_path / "arrays.npz", arrays)
    found = read_arrays(tmp_path / "arrays.npz")
    assert found.keys() == arrays.keys()
    np.testing.assert_array_equal(found["feature_maps/stem.0"], arrays["feature_maps/stem.0"])


@pytest.mark.parametrize(
    "damaged", [lambda whole: b"", lambda whole: whole[:99], lambda whole: b"not arrays"]
)
def test_arrays_that_are_damaged_are_named_with_their_record(
    damaged: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": np.zeros(5000)})
    path.write_bytes(damaged(path.read_bytes()))
    message = error_of(lambda: read_arrays(path))
    assert message.startswith(f"{path}: not a readable array file (")
    assert message.endswith("delete it and the .json of the same name and run the script again")


def test_what_may_not_be_read_is_not_to_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    record, arrays = tmp_path / "record.json", tmp_path / "arrays.npz"
    record.write_text("{}")
    write_arrays(arrays, {"a": np.zeros(3)})
    monkeypatch.setattr(Path, "read_text", forbidden)
    monkeypatch.setattr(np, "load", forbidden)
    for path, read in ((record, lambda path: read_record(path, Record)), (arrays, read_arrays)):
        message = error_of(lambda path=path, read=read: read(path))
        assert message == f"{path}: cannot be read (Permission denied); mend that to go on"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        raise OSError("disk full")

    assert error_of(lambda: write_atomically(path, write)) == (
        f"{path}: cannot be written (disk full); what was saved before is kept and the same "
        "command goes on from it"
    )
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [
        ("record.json", "old")
    ]


@pytest.mark.parametrize("obstacle", ["a folder", "a file above"])
def test_what_stands_in_the_way_of_a_file_is_named(obstacle: str, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "record.json"
    if obstacle == "a folder":
        path.mkdir(parents=True)
    else:
        path.parent.write_text("")
    message = error_of(lambda: write_record(path, make_record()))
    assert message.startswith(f"{path}: cannot be written (")
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_file_is_on_the_disk_before_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *given, name=name, real=real: calls.append(name) or real(*given)
        )
    write_record(path, make_record())
    assert calls == ["fsync", "replace"]


def test_what_killed_writes_left_is_swept_but_not_another_command_s(tmp_path: Path) -> None:
    results, plots = tmp_path / "results", tmp_path / "plots"
    names = (
        "table.md.7.tmp",
        f"cluster-{uuid.uuid4()}.7.tmp",
        "images.12.tmp/mnist.pt",
        "quick/runs/b.json.5.tmp",
    )
    own = ("own.tmp", "notes.2024.tmp", "draft.1.tmp/page")
    files = [folder / name for folder in (results, plots) for name in (*names, *own)]
    for each in files:
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_text("half")
    (results / "quick" / ".lock").touch()
    (results / "elsewhere.md.9.tmp").symlink_to(tmp_path)
    for folder in (results, plots):
        sweep(folder, results)
    left = [each.relative_to(tmp_path).as_posix() for each in files if each.exists()]
    assert left == [
        "results/quick/runs/b.json.5.tmp", *(f"results/{name}" for name in own),
        "plots/quick/runs/b.json.5.tmp", *(f"plots/{name}" for name in own),
    ]  # fmt: skip


@pytest.mark.parametrize("link", ["speed", "speed/cifar10", "speed/cifar10/CNN7x7.json"])
def test_what_lies_behind_a_link_to_nowhere_is_not_taken_for_missing(
    link: str, tmp_path: Path
) -> None:
    file = tmp_path / "speed" / "cifar10" / "CNN7x7.json"
    assert not is_there(file)
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "not mounted")
    message = error_of(lambda: is_there(file))
    assert message == f"{tmp_path / link}: cannot be read (a broken link); mend that to go on"


@pytest.mark.parametrize("place", ["speed", "speed/cifar10"])
def test_what_belongs_where_a_file_is_is_not_taken_for_missing(place: str, tmp_path: Path) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("in the way")
    message = error_of(lambda: is_there(tmp_path / "speed" / "cifar10" / "CNN7x7.json"))
    assert message == f"{tmp_path / place}: cannot be read (Not a directory); mend that to go on"
