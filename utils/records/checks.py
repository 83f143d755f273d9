"""What no record can say of itself: whether its arrays, its other seeds and its experiment agree.

record, arrays beside it, records of the same row  -->  nothing, or one line with file and field
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.experiment import Experiment
from utils.records.environment import machine_name
from utils.records.files import AGAIN, BOTH_AGAIN, read_arrays, read_record
from utils.records.runs import Found, differences, trained_anew
from utils.records.schema import Cases, Record, Speed

Arrays = Mapping[str, np.ndarray]

MEASURE = "run the script whose table shows it with --measure"
# of arrays that become figures; feature maps have as many as activations
DIMENSIONS = {"filters": 4, "activations": 3, "receptive_field": 2}
OF_CASES = ("activation_functions", "pooling")  # figures that need arrays


def check_complete(found: Found) -> None:
    """A table has what only a condensed record may lack.

    Raises: UserError naming the file and the field.
    """
    record = found.record
    needed = {"parameters": record.parameters, "forward_flops": record.forward_flops}
    if not record.diverged:
        needed |= {
            "epochs": record.epochs or None,
            "final.train_accuracy": record.final.train_accuracy,
            "final.test_accuracy": record.final.test_accuracy,
            "final.confusion_matrix": record.final.confusion_matrix,
        }
    for name, value in needed.items():
        if value is None:
            raise UserError(f"{found.path}: {name}: missing; {AGAIN}")


def check_seeds(found: Sequence[Found]) -> None:
    """The seeds of a row are of one network.

    Raises: UserError naming the first file that differs from those before it, and in what.
    """
    seen: dict[str, Any] = {}
    for each in found:
        facts = facts_of_network(each.record)
        if text := differences(facts, seen):
            raise UserError(
                f"{each.path}: {text}, by the other seeds of {each.row.label}; {AGAIN}; after a "
                f"change in models/ {trained_anew(found)}"
            )
        seen = facts | seen


def facts_of_network(record: Record) -> dict[str, Any]:
    """What does not depend on the seed, as far as the record has it."""
    facts = {
        "parameters": record.parameters,
        "forward_flops": record.forward_flops,
        "receptive_field": record.receptive_field,
        "gradient_norm of": ", ".join(record.epochs[0].gradient_norm),
        "shifts": record.shifted_test_accuracy and len(record.shifted_test_accuracy),
    }
    return {name: value for name, value in facts.items() if value is not None}


def check_arrays(found: Found) -> None:
    """What was predicted makes the confusion matrix and the accuracy on record.

    Raises: UserError naming the file and the array.
    """
    path, record = found.path.with_suffix(".npz"), found.record
    columns = np.sum(record.final.confusion_matrix, axis=0)
    arrays = read_arrays(path, ("test_predictions", "test_correct"))
    predicted = arrays.get("test_predictions", np.empty(0))
    is_usable = predicted.dtype == np.uint8 and predicted.ndim == 1
    counts = np.bincount(predicted, minlength=len(columns)) if is_usable else np.empty(0)
    if counts.tolist() != columns.tolist():
        raise UserError(
            f"{path}: test_predictions: not those of final.confusion_matrix; {BOTH_AGAIN}"
        )
    right = unpacked(arrays, path, record.data.test_images)
    if right.sum() != round(record.final.test_accuracy * record.data.test_images):
        raise UserError(
            f"{path}: test_correct: {right.sum()} right, not final.test_accuracy; {BOTH_AGAIN}"
        )
    of_class = np.bincount(predicted[right], minlength=len(columns))
    if of_class.tolist() != np.diagonal(record.final.confusion_matrix).tolist():
        raise UserError(f"{path}: test_correct: not of these test_predictions; {BOTH_AGAIN}")


def right_of(path: Path, images: int) -> np.ndarray:
    """Which test images the run classified rightly, ``[images]`` in their canonical order.

    ``path`` is that of the arrays beside the run's record.
    Raises: UserError where it cannot be read, or holds something else.
    """
    return unpacked(read_arrays(path, ("test_correct",)), path, images)


def unpacked(arrays: Arrays, path: Path, images: int) -> np.ndarray:
    """What ``right_of`` gives, of the arrays read from ``path``."""
    found = arrays.get("test_correct")
    if found is None or found.dtype != np.uint8 or found.shape != (-(-images // 8),):
        raise UserError(f"{path}: test_correct: not of {images} images; {BOTH_AGAIN}")
    return np.unpackbits(found, count=images).astype(bool)


def check_pictures(found: Found, arrays: Arrays) -> None:
    """Arrays that become figures have the shape for it, and their record what stands beside them.

    Raises: UserError naming the file and the array or field.
    """
    path, record = found.path.with_suffix(".npz"), found.record
    for name, array in arrays.items():
        maps = name.startswith("feature_maps/")
        wanted = DIMENSIONS["activations" if maps else name] if maps or name in DIMENSIONS else None
        if wanted and (array.ndim != wanted or not array.size or array.dtype.kind != "f"):
            raise UserError(f"{path}: {name}: not {wanted} dimensions of numbers; {BOTH_AGAIN}")
        field = "receptive_field" if name == "receptive_field" else "probe"
        if wanted and name != "filters" and not getattr(record, field):
            raise UserError(f"{found.path}: {field}: missing, though there are arrays; {AGAIN}")


def check_cases(
    cases: Cases | None, arrays: Arrays | None, experiment: Experiment, folder: Path
) -> None:
    """The layers or blocks on record are the experiment's, and its figures have their arrays.

    Raises: UserError naming the file and the field or array.
    """
    if not cases:
        return
    names, declared = [each.name for each in cases.cases], [each.name for each in experiment.cases]
    if declared and names != declared:
        raise UserError(
            f"{folder / 'cases.json'}: cases: {', '.join(names)} (not {', '.join(declared)}); "
            f"{MEASURE}"
        )
    path = folder / "cases.npz"
    if arrays is None and set(OF_CASES) & set(experiment.figures):
        raise UserError(f"{path}: missing beside cases.json; {MEASURE}")
    for name, array in (arrays or {}).items():
        if name.startswith("pooling/"):
            is_right = array.ndim == 2
        else:
            derivative = arrays.get(name.replace("/value", "/derivative"), np.empty(0))
            shapes = {each.shape for each in (array, derivative, arrays.get("x", np.empty(0)))}
            is_right = array.ndim == 1 and len(shapes) == 1
        if not (is_right and array.size and array.dtype.kind == "f"):
            raise UserError(f"{path}: {name}: has no use for a figure; {MEASURE}")


def read_speed(path: Path) -> Speed:
    """Reads how fast a network is.

    Raises: UserError naming the file, where it is another network's too.
    """
    speed, own = read_record(path, Speed), f"{path.parent.name}/{path.stem}"
    if speed.network not in (own, None):  # as it was not always written
        raise UserError(f"{path}: network: {speed.network} (not {own}); {MEASURE}")
    return speed


def check_speed(speeds: Mapping[str, Speed], folder: Path) -> None:
    """A table's speeds are of one machine and precision, in as many passes.

    Raises: UserError naming the first row whose is not.
    """
    ways = {
        label: f"{len(speed.began)} pass{'es' if len(speed.began) > 1 else ''} of "
        f"{speed.precision} on {machine_name(speed.environment)}"
        for label, speed in speeds.items()
    }
    for label, how in ways.items():
        other, before = next(iter(ways.items()))
        if how != before:
            raise UserError(
                f"{folder}: the speed of {label} was measured in {how}, that of {other} in "
                f"{before}; {MEASURE}"
            )
