"""What a record may be: read back as it was written, refused where it cannot be true."""

import contextlib
import json
import math

import pytest
from pydantic import ValidationError

from tests.fake_records import (
    ENVIRONMENT,
    edited,
    make_cases,
    make_data,
    make_epoch,
    make_record,
    make_speed,
    quartiles,
)
from utils.records.schema import Cases, Final, Quartiles, Record, Speed, over_passes


def test_a_number_that_is_not_finite_is_none() -> None:
    epoch = make_epoch(1, running_loss=math.nan, train_loss=math.inf, test_loss=-math.inf)
    assert (epoch.running_loss, epoch.train_loss, epoch.test_loss) == (None, None, None)
    epoch = make_epoch(1, batch_loss_quartiles=(1.0, math.nan, math.inf))
    assert epoch.batch_loss_quartiles == (1.0, None, None)
    assert make_epoch(1, gradient_norm={"conv": math.nan}).gradient_norm == {"conv": None}


def test_what_must_be_finite_is_refused_where_it_is_not() -> None:
    with pytest.raises(ValidationError, match="learning_rate"):
        make_epoch(1, learning_rate=math.nan)
    with pytest.raises(ValidationError, match="median"):
        quartiles(math.inf)


def test_every_pass_of_a_speed_measured_all_of_it() -> None:
    assert len(make_speed(passes=(1.0, 2.0)).began) == 2
    with pytest.raises(ValidationError, match="latency_seconds: of 1 passes, began of 2"):
        Speed(**{**dict(make_speed()), "began": ("a", "b")})
    with pytest.raises(ValidationError, match="at least 1 item"):
        make_speed(passes=())
    with pytest.raises(ValidationError, match=r"environment\.device: cpu, of a run on cuda"):
        make_speed(device="cuda")


@pytest.mark.parametrize(
    "at, value, message",
    [
        (("device",), "cuda", "environment.device: cpu, of a run on cuda"),
        (("environment", "device"), "a GPU", "environment.device: a GPU, of a run on cpu"),
        (
            ("cases", 1, "forward_seconds_100"),
            2 * (quartiles(1.0).model_dump(),),
            "cases: not all of as many passes",
        ),
    ],
)
def test_layers_are_measured_on_one_device_in_as_many_passes(
    at: tuple, value: object, message: str
) -> None:
    content = make_cases().model_dump(mode="json")
    with pytest.raises(ValidationError, match=message):
        Cases.model_validate_json(json.dumps(edited(content, at, value)))


def test_several_passes_have_the_quartiles_of_their_medians_and_one_its_rounds() -> None:
    passes = [quartiles(value) for value in (1.0, 2.0, 4.0)]
    assert over_passes(passes) == Quartiles(median=2.0, q1=1.5, q3=3.0)
    assert over_passes(passes[:1]) == passes[0]


def test_a_record_cannot_be_changed() -> None:
    record = make_record()
    with pytest.raises(ValidationError, match="frozen"):
        record.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        record.final.test_accuracy = 1.0


def test_a_run_on_a_part_has_an_accuracy_for_validation_and_need_not_have_another() -> None:
    part = "train minus validation"
    record = make_record(part=part, final=Final(validation_accuracy=0.5))
    assert record.final.test_accuracy is None
    with pytest.raises(ValidationError, match=r"final\.validation_accuracy: missing in a run on"):
        make_record(part=part, final=Final(test_accuracy=0.5))
    with pytest.raises(ValidationError, match=r"final\.test_accuracy: missing in a run on train"):
        make_record(final=Final(validation_accuracy=0.5))


def test_a_record_may_leave_out_what_was_not_kept() -> None:
    least = {
        "schema": 2,
        "network": "CNN3x3",
        "dataset": "cifar10",
        "recipe": make_record().recipe,
        "seed": 0,
        "precision": "float32",
        "device": "cpu",
        "data": make_data(),
        "final": Final(test_accuracy=0.5),
        "environment": ENVIRONMENT,
    }
    record = Record(**least)
    assert (record.epochs, record.parameters, record.timings) == ((), None, None)
    for name in least.keys() - {"schema"}:
        with pytest.raises(ValidationError, match=name):
            Record(**{key: value for key, value in least.items() if key != name})


@pytest.mark.parametrize(("images", "is_told"), [(10_000, True), (10_001, False)])
def test_few_train_images_have_one_loss(images: int, is_told: bool) -> None:
    content = make_record(data=make_data(train_images=images)).model_dump(mode="json")
    content["final"]["train_loss"] += 0.05
    with pytest.raises(ValidationError) if is_told else contextlib.nullcontext():
        Record.model_validate_json(json.dumps(content))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "name, by, is_told_on",
    [
        ("test_loss", 0.05, ["cpu"]),
        ("test_loss", 0.5, ["cpu", "cuda"]),
        ("train_accuracy", 0.2, ["cpu", "cuda"]),
    ],
)
def test_the_last_epoch_is_evaluated_twice_alike(
    device: str, name: str, by: float, is_told_on: list[str]
) -> None:
    """On a GPU the second time may be another kernel's, and rounded otherwise, not by much."""
    content = make_record(device=device).model_dump(mode="json")
    content["final"][name] += by
    text = json.dumps(content)
    if device in is_told_on:
        with pytest.raises(ValidationError, match=f"{name}: not that of the last epoch"):
            Record.model_validate_json(text)
    else:
        Record.model_validate_json(text)
