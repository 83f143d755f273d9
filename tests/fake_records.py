"""Made-up records in the shape of real ones: nothing is trained, nothing is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from utils.experiment import Experiment, Recipe
from utils.records.files import run_path, speed_path, write_arrays, write_json

RECIPE = Recipe(epochs=3, optimizer="adamw", learning_rate=2e-3, weight_decay=0.01)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LAYERS = {"features.0.0": 3, "features.0.1": 4, "features.1.0": 8, "features.1.1": 10}
ENVIRONMENT = {"processor": "A Processor", "device": "cpu", "threads": 2}


def make_experiment(models: Sequence[str] = ("CNN3x3", "CNN5x5"), **changes: object) -> Experiment:
    declared = {
        "name": "kernel_size",
        "question": "Which kernel is best?",
        "dataset": "cifar10",
        "models": tuple(models),
        "recipe": RECIPE,
        "varied": ("kernel size",),
        "held": ("epochs",),
        "not_tuned": ("learning rate",),
        "figures": ("curves", "cost"),
    }
    return Experiment(**{**declared, **changes})


def make_run(
    model: str = "CNN3x3",
    seed: int = 0,
    test_accuracy: float = 0.75,
    fields: Mapping[str, int] = LAYERS,
    recipe: Recipe = RECIPE,
    parameters: int = 60_362,
    **changes: object,
) -> dict[str, Any]:
    """A run record; ``fields`` are the receptive fields of its layers, empty for none."""
    names = [name for name in fields if len(name) % 2 == 0] or ["layers.1"]  # no poolings
    matrix = np.full((10, 10), round(100 * (1 - test_accuracy) / 9))
    np.fill_diagonal(matrix, round(100 * test_accuracy))
    return {
        "schema": 1,
        "experiment": "kernel_size",
        "model": model,
        "overrides": {},
        "dataset": "cifar10",
        "recipe": asdict(recipe),
        "seed": seed,
        "precision": "bfloat16",
        "device": "cpu",
        "data": {
            "description": "CIFAR-10",
            "fingerprint": "f" * 8,
            "synthetic": False,
            "classes": list(CLASSES),
            "train_images": 50_000,
            "test_images": 10_000,
        },
        "parameters": parameters,
        "forward_flops": 12_345_678,
        "final": {
            "train_loss": 0.5,
            "train_accuracy": test_accuracy + 0.05,
            "test_loss": 0.7,
            "test_accuracy": test_accuracy,
            "confusion_matrix": matrix.tolist(),
        },
        "epochs": make_epochs(recipe.epochs, test_accuracy, [*names, "classifier.1"], seed),
        "environment": ENVIRONMENT,
        "continued_in": [],
        "timings": {"epoch_seconds": [1.0] * recipe.epochs},
        "receptive_field": dict(fields),
        "probe": {"image_class": "ship"},
        **changes,
    }


def make_epochs(
    epochs: int, test_accuracy: float, layers: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Curves that approach the final accuracy."""
    entries = []
    for epoch in range(1, epochs + 1):
        rest = 0.5 ** (epoch + seed / 5)  # what is left to learn
        loss = 0.6 + 1.5 * rest
        entries.append(
            {
                "epoch": epoch,
                "running_loss": loss + 0.1,
                "batch_loss_quartiles": [loss - 0.1, loss, loss + 0.1 + 0.05 * rest],
                "gradient_norm": {
                    layer: 0.1 + rest + 0.3 * number for number, layer in enumerate(layers)
                },
                "gradient_norm_total": 2.0,
                "gradient_norm_largest": 4.0 - epoch / 5,
                "train_loss": loss,
                "train_accuracy": test_accuracy + 0.05 - rest / 3,
                "test_loss": loss + 0.1,
                "test_accuracy": test_accuracy - rest / 3,
                "learning_rate": 1e-3,
            }
        )
    return entries


def make_arrays(maps: Mapping[str, tuple[int, int]], kernel: int = 3) -> dict[str, np.ndarray]:
    """Arrays beside a record; ``maps`` is layer -> channels and size of its feature map."""
    rng = np.random.default_rng(0)
    channels, size = next(iter(maps.values()))
    rows, columns = np.mgrid[:32, :32]
    heat = np.exp(-((rows - 17) ** 2 + (columns - 17) ** 2) / 20)
    heat[(abs(rows - 16.5) > 5) | (abs(columns - 16.5) > 5)] = 0  # a field of 10 by 10
    return {
        "test_predictions": np.zeros(10, np.uint8),
        "filters": rng.normal(size=(channels, 3, kernel, kernel)).astype(np.float32),
        "activations": rng.random((channels, size, size)).astype(np.float16),
        "receptive_field": (heat / heat.max()).astype(np.float32),
        **{
            f"feature_maps/{layer}": rng.random((min(n, 16), side, side)).astype(np.float16)
            for layer, (n, side) in maps.items()
        },
    }


def quartiles(median: float, width: float = 0.1) -> dict[str, float]:
    return {
        "median": median,
        "q1": median * (1 - width / 2),
        "q3": median * (1 + width / 2),
    }


def make_speed(models: Sequence[str], **changes: object) -> dict[str, Any]:
    return {
        "schema": 1,
        "experiment": "kernel_size",
        "precision": "bfloat16",
        "device": "cpu",
        "threads": 2,
        "rounds": 7,
        "batch_sizes": {"latency": 1, "throughput": 256, "training": 128},
        "environment": ENVIRONMENT,
        "models": {
            model: {
                "latency_seconds": quartiles(0.0005 * (number + 1)),
                "throughput_images_per_second": quartiles(20_000 / (number + 1)),
                "training_images_per_second": quartiles(5_000 / (number + 1)),
            }
            for number, model in enumerate(models)
        },
        **changes,
    }


GRADIENT = {
    "signed_mean_input": 4.1e-05,
    "signed_mean_weights": None,
    "mean_absolute_input": 0.4,
    "mean_absolute_weights": None,
}
WEIGHTED = {**GRADIENT, "signed_mean_weights": 1e-3, "mean_absolute_weights": 12.0}

LAYER_LIST = (  # name, analogue of, seconds, parameters, output shape
    ("Swish", None, 0.004, 0, (4, 3, 32, 32)),
    ("SiLU", "Swish", 0.003, 0, (4, 3, 32, 32)),
    ("ReLU", "Swish", 0.002, 0, (4, 3, 32, 32)),
    ("L2Pooling", None, 0.009, 0, (4, 3, 16, 16)),
    ("LPPool2d", "L2Pooling", 0.02, 0, (4, 3, 16, 16)),
    ("MaxPool2d", "L2Pooling", 0.006, 0, (4, 3, 16, 16)),
    ("CustomConv", None, 0.03, 448, (4, 16, 32, 32)),
    ("Conv2d", "CustomConv", 0.02, 448, (4, 16, 32, 32)),
    ("ChannelAttention", None, 0.05, 128, (4, 16, 32, 32)),
    ("SqueezeExcitation", "ChannelAttention", 0.04, 148, (4, 16, 32, 32)),
    ("CustomConv + ChannelAttention", None, 0.09, 576, (4, 16, 32, 32)),
)


def make_layers() -> dict[str, Any]:
    return {
        "schema": 1,
        "experiment": "custom_layers",
        "device": "cpu",
        "threads": 2,
        "environment": ENVIRONMENT,
        "layers": [
            {
                "layer": name,
                "role": "analogue" if analogue_of else "custom",
                "analogue_of": analogue_of,
                "input_shape": [4, 3, 32, 32],
                "output_shape": list(shape),
                "parameters": parameters,
                "gradient": WEIGHTED if parameters else GRADIENT,
                "forward_seconds_100": quartiles(seconds),
                "forward_backward_seconds_100": quartiles(3 * seconds),
            }
            for name, analogue_of, seconds, parameters, shape in LAYER_LIST
        ],
    }


def make_layer_arrays() -> dict[str, np.ndarray]:
    x = np.linspace(-6, 6, 121)
    gate = 1 / (1 + np.exp(-x))
    gate2 = 1 / (1 + np.exp(-2 * x))
    swish = x * gate, gate * (1 + x * (1 - gate))
    curves = {
        "Swish": swish,
        "Swish(beta=2)": (x * gate2, gate2 * (1 + 2 * x * (1 - gate2))),
        "SiLU": swish,
        "ReLU": (np.maximum(x, 0), (x > 0).astype(float)),
    }
    digit = np.clip(1.2 - abs(np.hypot(*np.mgrid[-14:14, -14:14]) - 8) / 3, 0, 1)
    windows = digit.reshape(14, 2, 14, 2)
    norm = np.sqrt((windows**2).sum((1, 3)))
    return {
        "x": x,
        **{f"{name}/value": value for name, (value, _) in curves.items()},
        **{f"{name}/derivative": derivative for name, (_, derivative) in curves.items()},
        "pooling/input": digit,
        "pooling/L2Pooling": norm,
        "pooling/LPPool2d": norm,
        "pooling/MaxPool2d": windows.max((1, 3)),
        "pooling/AvgPool2d": windows.mean((1, 3)),
    }


def make_blocks() -> dict[str, Any]:
    blocks = (("BasicResidualBlock", 74_112, 0.6), ("BottleneckBlock", 4_640, 0.3))
    return {
        **{key: value for key, value in make_layers().items() if key != "layers"},
        "experiment": "residual_blocks",
        "blocks": [
            {
                "block": name,
                "input_shape": [4, 64, 32, 32],
                "output_shape": [4, 64, 32, 32],
                "parameters": parameters,
                "gradient": WEIGHTED,
                "forward_seconds_100": quartiles(seconds),
                "forward_backward_seconds_100": quartiles(3 * seconds),
            }
            for name, parameters, seconds in blocks
        ],
    }


def write_runs(
    results: Path,
    experiment: Experiment,
    runs: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, np.ndarray] | None = None,
    speed: Mapping[str, Any] | None = None,
) -> None:
    """Puts the records where an experiment has them; all runs get the same arrays."""
    for run in runs:
        path = run_path(results, experiment.name, run["model"], run["seed"])
        write_json(path, {**run, "experiment": experiment.name})
        if arrays:
            write_arrays(path.with_suffix(".npz"), arrays)
    if speed:
        write_json(speed_path(results, experiment.name), speed)


def write_layers(results: Path) -> None:
    write_json(results / "custom_layers" / "layers.json", make_layers())
    write_arrays(results / "custom_layers" / "layers.npz", make_layer_arrays())


def write_blocks(results: Path) -> None:
    write_json(results / "residual_blocks" / "blocks.json", make_blocks())
