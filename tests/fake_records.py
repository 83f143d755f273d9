"""Made-up records in the shape of real ones: nothing is trained, nothing is measured."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import models
from models.registry import Network
from utils.experiment import Compute, Experiment, Recipe, Row
from utils.records.files import write_arrays, write_record
from utils.records.runs import run_path, speed_path
from utils.records.schema import (
    TRAIN_PART,
    BatchSizes,
    Case,
    Cases,
    Data,
    Diverged,
    Environment,
    Epoch,
    Final,
    Gradient,
    Probe,
    Quartiles,
    Record,
    Speed,
    Timings,
)

RECIPE = Recipe(epochs=3, optimizer="adamw", learning_rate=2e-3, weight_decay=0.01)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LAYERS = {"features.0.0": 3, "features.0.1": 4, "features.1.0": 8, "features.1.1": 10}
NETWORKS = {**models.MODELS, "MyNet": Network(models.CNN3x3, "#56B4E9")}
ENVIRONMENT = Environment(
    python="3.12.0",
    torch="2.14.0",
    torchvision="0.29.0",
    numpy="2.0.0",
    system="Linux",
    processor="A Processor",
    device="cpu",
    threads=2,
)


def make_experiment(
    rows: Sequence[str | Row] = ("CNN3x3", "CNN5x5"), **changes: object
) -> Experiment:
    declared = {
        "name": "kernel_size",
        "question": "Which kernel is best?",
        "dataset": "cifar10",
        "rows": tuple(Row(row) if isinstance(row, str) else row for row in rows),
        "recipe": RECIPE,
        "varied": ("kernel size",),
        "held": ("epochs",),
        "not_tuned": ("learning rate",),
    }
    return Experiment(**{**declared, **changes})


def make_record(
    network: str = "CNN3x3",
    seed: int = 0,
    test_accuracy: float = 0.75,
    fields: Mapping[str, int] = LAYERS,
    recipe: Recipe = RECIPE,
    **changes: object,
) -> Record:
    """A run's record; ``fields`` are the receptive fields of its layers, empty for none."""
    names = [name for name in fields if len(name) % 2 == 0] or ["layers.1"]  # no poolings
    layers = [*names, "classifier.1"]
    data = changes.get("data") or make_data()
    given = {
        "network": network,
        "dataset": "cifar10",
        "recipe": recipe,
        "seed": seed,
        "precision": "bfloat16",
        "device": "cpu",
        "data": data,
        "parameters": 60_362,
        "forward_flops": 12_345_678,
        "receptive_field": dict(fields),
        "probe": Probe(image_class="ship"),
        "shifted_test_accuracy": tuple(test_accuracy - 0.02 * pixels for pixels in range(7)),
        "final": Final(
            train_loss=0.5,
            train_accuracy=test_accuracy + 0.05,
            test_loss=0.7,
            test_accuracy=test_accuracy,
            confusion_matrix=make_matrix(test_accuracy, data.test_images),
        ),
        "epochs": tuple(
            make_epoch(epoch, test_accuracy, layers, seed) for epoch in range(1, recipe.epochs + 1)
        ),
        "environment": ENVIRONMENT.model_copy(update={"device": changes.get("device", "cpu")}),
        "timings": Timings(epoch_seconds=(1.0,) * recipe.epochs),
    }
    given |= changes
    if given["final"].test_accuracy is not None and given["epochs"]:
        *others, last = given["epochs"]
        of_final = given["final"].model_dump(include={"test_loss", "test_accuracy"})
        of_final["train_accuracy"] = given["final"].train_accuracy or last.train_accuracy
        if data.train_images <= TRAIN_PART:  # of all of them
            of_final["train_loss"] = given["final"].train_loss
        given["epochs"] = (*others, last.model_copy(update=of_final))
    return Record(**given)


def make_seeds(network: str, accuracies: Sequence[float], **fields: object) -> list[Record]:
    """A record for each of these test accuracies, with seeds from 0."""
    return [make_record(network, seed, value, **fields) for seed, value in enumerate(accuracies)]


def make_matrix(accuracy: float, images: int) -> tuple[tuple[int, ...], ...]:
    """Rightly classified images and others, spread evenly as far as they go."""
    right = round(accuracy * images)
    matrix = np.full((10, 10), (images - right) // 90)
    np.fill_diagonal(matrix, right // 10)
    matrix[0, :2] += right % 10, (images - right) % 90
    return tuple(map(tuple, matrix.tolist()))


def make_answers(record: Record) -> dict[str, np.ndarray]:
    """The arrays that the confusion matrix of a record comes from; its right images come first."""
    matrix = np.array(record.final.confusion_matrix)
    right = np.arange(record.data.test_images) < matrix.trace()
    counts = np.concatenate([matrix.diagonal(), matrix.sum(0) - matrix.diagonal()])
    return {
        "test_predictions": np.repeat(np.tile(np.arange(10, dtype=np.uint8), 2), counts),
        "test_correct": np.packbits(right),
    }


def make_diverged(network: str, seed: int) -> Record:
    """The record of a run that came to no result."""
    record = make_record(network, seed)
    where = Diverged(epoch=1, step=17, learning_rate=0.4)
    nothing = {"final": Final(), "epochs": (), "timings": Timings(epoch_seconds=())}
    return record.model_copy(update={"diverged": where, **nothing})


def make_data(**changes: object) -> Data:
    given = {
        "description": "CIFAR-10",
        "fingerprint": "f" * 64,
        "synthetic": False,
        "classes": CLASSES,
        "train_images": 50_000,
        "test_images": 10_000,
    }
    return Data(**{**given, **changes})


def make_epoch(
    epoch: int,
    test_accuracy: float = 0.75,
    layers: Sequence[str] = ("features.0.0", "classifier.1"),
    seed: int = 0,
    **changes: object,
) -> Epoch:
    """A point of curves that approach the final accuracy."""
    rest = 0.5 ** (epoch + seed / 5)  # what is left to learn
    loss = 0.6 + 1.5 * rest
    given = {
        "epoch": epoch,
        "learning_rate": 1e-3,
        "running_loss": loss + 0.1,
        "batch_loss_quartiles": (loss - 0.1, loss, loss + 0.1 + 0.05 * rest),
        "gradient_norm": {layer: 0.1 + rest + 0.3 * n for n, layer in enumerate(layers)},
        "gradient_norm_first": {layer: 0.2 + 0.1 * n for n, layer in enumerate(layers)},
        "gradient_norm_total": 2.0,
        "gradient_norm_largest": 4.0 - epoch / 5,
        "train_loss": loss,
        "train_accuracy": test_accuracy + 0.05 - rest / 3,
        "test_loss": loss + 0.1,
        "test_accuracy": test_accuracy - rest / 3,
    }
    return Epoch(**{**given, **changes})


def edited(record: dict, at: tuple, value: object) -> dict:
    """The record with another value at a place; with none where that is ``...``."""
    record = copy.deepcopy(record)
    *way, last = at
    inside = record
    for key in way:
        inside = inside[key]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return record


def with_epochs(record: Record, **by_epoch: Sequence[object]) -> Record:
    """The record with these fields of its epochs, one value for each of them."""
    epochs = [
        each.model_copy(update={key: values[number] for key, values in by_epoch.items()})
        for number, each in enumerate(record.epochs)
    ]
    return record.model_copy(update={"epochs": tuple(epochs)})


def make_arrays(maps: Mapping[str, tuple[int, int]], kernel: int = 3) -> dict[str, np.ndarray]:
    """Arrays beside a record; ``maps`` is layer -> channels and size of its feature map."""
    rng = np.random.default_rng(0)
    channels, size = next(iter(maps.values()))
    rows, columns = np.mgrid[:32, :32]
    heat = np.exp(-((rows - 17) ** 2 + (columns - 17) ** 2) / 20)
    heat[(abs(rows - 16.5) > 5) | (abs(columns - 16.5) > 5)] = 0  # a field of 10 by 10
    return {
        "filters": rng.normal(size=(channels, 3, kernel, kernel)).astype(np.float32),
        "activations": rng.random((channels, size, size)).astype(np.float16),
        "receptive_field": (heat / heat.max()).astype(np.float32),
        **{
            f"feature_maps/{layer}": rng.random((min(n, 16), side, side)).astype(np.float16)
            for layer, (n, side) in maps.items()
        },
    }


def quartiles(median: float, width: float = 0.1) -> Quartiles:
    return Quartiles(median=median, q1=median * (1 - width / 2), q3=median * (1 + width / 2))


def make_speed(times: int = 1, passes: Sequence[float] = (1.0,), **changes: object) -> Speed:
    """The speed of a network that is so many times as slow as the first.

    Each of the passes takes so many times as long as it should.
    """
    given = {
        "precision": "bfloat16",
        "device": "cpu",
        "rounds": 7,
        "batch_sizes": BatchSizes(latency=1, throughput=256, training=128),
        "environment": ENVIRONMENT,
        "began": tuple(f"pass {number}" for number in range(len(passes))),
        "latency_seconds": tuple(quartiles(0.0005 * times * slow) for slow in passes),
        "throughput_images_per_second": tuple(quartiles(20_000 / times / s) for s in passes),
        "training_images_per_second": tuple(quartiles(5_000 / times / slow) for slow in passes),
    }
    return Speed(**{**given, **changes})


PLAIN = Gradient(
    signed_mean_input=4.1e-05,
    signed_mean_weights=None,
    mean_absolute_input=0.4,
    mean_absolute_weights=None,
)
WEIGHTED = PLAIN.model_copy(update={"signed_mean_weights": 1e-3, "mean_absolute_weights": 12.0})

LAYER_LIST = (  # name, analogue of, seconds, parameters, output shape
    ("Swish", None, 0.004, 0, (4, 3, 32, 32)),
    ("SiLU", "Swish", 0.003, 0, (4, 3, 32, 32)),
    ("ReLU", "Swish", 0.002, 0, (4, 3, 32, 32)),
    ("L2Pooling", None, 0.009, 0, (4, 3, 16, 16)),
    ("MaxPool2d", "L2Pooling", 0.006, 0, (4, 3, 16, 16)),
    ("CustomConv", None, 0.03, 448, (4, 16, 32, 32)),
    ("ChannelAttention", None, 0.05, 128, (4, 16, 32, 32)),
    ("CustomConv + ChannelAttention", None, 0.09, 576, (4, 16, 32, 32)),
)
BLOCK_LIST = (
    ("BasicResidualBlock", None, 0.6, 74_112, (4, 64, 32, 32)),
    ("BottleneckBlock", None, 0.3, 4_640, (4, 64, 32, 32)),
)


def make_cases(listed: Sequence[tuple] = LAYER_LIST) -> Cases:
    cases = tuple(
        Case(
            name=name,
            analogue_of=analogue_of,
            input_shape=(4, 3, 32, 32),
            output_shape=shape,
            parameters=parameters,
            gradient=WEIGHTED if parameters else PLAIN,
            forward_seconds_100=(quartiles(seconds),),
            forward_backward_seconds_100=(quartiles(3 * seconds),),
        )
        for name, analogue_of, seconds, parameters, shape in listed
    )
    return Cases(device="cpu", environment=ENVIRONMENT, cases=cases)


def make_case_arrays() -> dict[str, np.ndarray]:
    x = np.linspace(-6, 6, 121)
    gate, gate2 = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(-2 * x))
    swish = x * gate, gate * (1 + x * (1 - gate))
    curves = {
        "Swish": swish,
        "Swish(beta=2)": (x * gate2, gate2 * (1 + 2 * x * (1 - gate2))),
        "SiLU": swish,
        "ReLU": (np.maximum(x, 0), (x > 0).astype(float)),
    }
    digit = np.clip(1.2 - abs(np.hypot(*np.mgrid[-14:14, -14:14]) - 8) / 3, 0, 1)
    windows = digit.reshape(14, 2, 14, 2)
    return {
        "x": x,
        **{f"{name}/value": value for name, (value, _) in curves.items()},
        **{f"{name}/derivative": derivative for name, (_, derivative) in curves.items()},
        "pooling/input": digit,
        "pooling/L2Pooling": np.sqrt((windows**2).sum((1, 3))),
        "pooling/MaxPool2d": windows.max((1, 3)),
    }


def write_runs(
    results: Path,
    experiment: Experiment,
    records: Sequence[Record],
    arrays: Mapping[str, np.ndarray] | None = None,
    timed: bool = False,
    passes: Sequence[float] = (),
) -> list[Path]:
    """Puts each record where the first row of its network has it; all get these arrays too.

    ``timed`` writes the speed of one pass, ``passes`` that of several.
    """
    paths = []
    for number, row in enumerate(experiment.rows):
        of_row = [each for each in records if each.network == row.network]
        for record in of_row:
            run = row.run(record.dataset, record.recipe, record.seed, Compute())
            paths.append(run_path(results, run))
            write_record(paths[-1], record)
            if not record.diverged:
                found = make_answers(record) | (arrays or {})
                write_arrays(paths[-1].with_suffix(".npz"), found)
        if (timed or passes) and of_row:
            speed = make_speed(number + 1, passes or (1.0,), network=f"{run.dataset}/{run.name}")
            write_record(speed_path(results, run), speed)
    return paths


def write_cases(results: Path, name: str, listed: Sequence[tuple] = LAYER_LIST) -> None:
    write_record(results / name / "cases.json", make_cases(listed))
    if listed is LAYER_LIST:
        write_arrays(results / name / "cases.npz", make_case_arrays())
