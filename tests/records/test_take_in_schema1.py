"""Records of schema 1 come in with every number as it was."""

import json
import shutil
from pathlib import Path

from results.take_in_schema1 import take_in
from utils import REPOSITORY
from utils.records.files import read_record
from utils.records.schema import Record

RUNS = REPOSITORY / "results" / "runs" / "cifar10"


def write_schema_1(folder: Path, model: str, seed: int) -> None:
    """CNN3x3's record as an earlier version wrote it, under one of the network's names."""
    content = json.loads((RUNS / "CNN3x3-seed0.json").read_text())
    del content["network"], content["part"]
    experiment = {"CNN3x3": "kernel_size", "ShallowCNN": "depth"}[model]
    old = {**content, "schema": 1, "experiment": experiment, "model": model, "seed": seed}
    path = folder / experiment / "runs" / f"{model}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(old))
    shutil.copy(RUNS / "CNN3x3-seed0.npz", path.with_suffix(".npz"))


def test_one_network_under_two_names_becomes_one_record_with_its_numbers(tmp_path: Path) -> None:
    for model in ("CNN3x3", "ShallowCNN"):
        write_schema_1(tmp_path / "old", model, seed=5)
    assert take_in(tmp_path / "old", tmp_path) == 1
    path = tmp_path / "runs" / "cifar10" / "CNN3x3-seed5.json"
    expected = read_record(RUNS / "CNN3x3-seed0.json", Record).model_copy(update={"seed": 5})
    assert read_record(path, Record) == expected
    assert path.with_suffix(".npz").read_bytes() == (RUNS / "CNN3x3-seed0.npz").read_bytes()


def test_what_is_there_stays(tmp_path: Path) -> None:
    write_schema_1(tmp_path / "old", "CNN3x3", seed=5)
    path = tmp_path / "runs" / "cifar10" / "CNN3x3-seed5.json"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert take_in(tmp_path / "old", tmp_path) == 0
    assert path.read_text() == "mine"
