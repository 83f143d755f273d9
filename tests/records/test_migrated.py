"""Every number of the committed records is the one that was measured, whatever their layout was.

``schema1.json`` holds hashes of all that the records of schema 1 said about a run; machine and
timings apart.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from experiments import STUDY
from utils import REPOSITORY
from utils.experiment import Compute
from utils.records.files import read_json, read_record
from utils.records.runs import run_path
from utils.records.schema import Record

SCHEMA1 = read_json(Path(__file__).with_name("schema1.json"))["records"]
KEYS = (
    "overrides", "dataset", "recipe", "seed", "precision", "device", "data", "parameters",
    "forward_flops", "final", "epochs", "receptive_field", "probe",
)  # fmt: skip


def digest(record: dict[str, Any]) -> str:
    """SHA-256 of what a record of either schema says, layers in their order; nothing for None."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if each is not None}
        return [plain(each) for each in value] if isinstance(value, list) else value

    content = {key: plain(record[key]) for key in KEYS}
    content["data"].pop("validation_images", None)  # schema 1 had none, and no name for it
    content["receptive_field"] = list(content["receptive_field"].items())
    for epoch in content["epochs"]:
        epoch["gradient_norm"] = list(epoch["gradient_norm"].items())
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("old", SCHEMA1, ids=lambda old: f"{old['experiment']}-{old['model']}")
def test_a_migrated_record_says_what_it_said_before(old: dict[str, Any]) -> None:
    (experiment,) = (each for each in STUDY if each.name == old["experiment"])
    (row,) = (row for row in experiment.rows if row.label == old["model"])
    path = run_path(
        REPOSITORY / "results", row.run(experiment.dataset, experiment.recipe, 0, Compute())
    )
    record = read_record(path, Record)
    assert record.final.test_accuracy == old["test_accuracy"]
    assert record.parameters == old["parameters"]
    assert digest(record.model_dump(mode="json")) == old["sha256"]
