"""Speed, measured apart from training: one pass per table, on a machine with nothing else to do.

    networks --for each round: for each quantity: every network in turn--> speed record

A computer is faster in one minute than in the next. With the networks in turn (A B C A B C …)
a slow minute falls on all of them alike, and the spread over the rounds says how much it weighs:
differences within it mean nothing.
"""

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from utils.batches import crops, normalise, training_batches
from utils.data import Dataset
from utils.environment import environment
from utils.experiment import Experiment
from utils.records import SCHEMA
from utils.training import Compute, build_optimizer, train_step

Key = TypeVar("Key", bound=Hashable)
Action = Callable[[], object]

LATENCY_BATCH, THROUGHPUT_BATCH = 1, 256  # images


@dataclass(frozen=True)
class Effort:
    """How long to measure: the more, the surer the medians."""

    rounds: int  # how often each action has its turn
    seconds: float  # of one turn; an action that takes longer is called once


# Four networks on two cores: about two minutes and about five seconds.
FULL, QUICK = Effort(rounds=7, seconds=0.8), Effort(rounds=2, seconds=0.02)


def measure_speed(
    experiment: Experiment,
    networks: Mapping[str, nn.Module],
    dataset: Dataset,
    compute: Compute,
    quick: bool = False,
) -> dict[str, Any]:
    """The speed record of an experiment's networks, as ``utils.training.build_network`` makes them.

    Inference is float32, in eval and inference mode, on images that lie there normalised. A
    training step is all of it: making the batch with its augmentation, forward, loss, backward and
    optimiser, in ``compute.precision``. The networks' weights stay as they are. ``dataset`` lies on
    ``compute.device``.
    """
    effort = QUICK if quick else FULL
    batch_sizes = {
        "latency": LATENCY_BATCH,
        "throughput": THROUGHPUT_BATCH,
        "training": experiment.recipe.batch_size,
    }
    windows = crops(dataset.x_train, experiment.recipe.crop_padding)  # one copy serves all
    actions: dict[tuple[str, str], Action] = {}
    for kind, batch_size in batch_sizes.items():
        for name, network in networks.items():
            actions[kind, name] = (
                training_action(network, dataset, windows, experiment, compute)
                if kind == "training"
                else inference_action(network, dataset, batch_size)
            )
    seconds = time_in_turn(actions, effort)
    return {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "precision": compute.precision,
        "device": compute.device.type,
        "threads": torch.get_num_threads(),
        "rounds": effort.rounds,
        "batch_sizes": batch_sizes,
        "environment": environment(compute.device),
        "models": {
            name: {
                "latency_seconds": spread(seconds["latency", name]),
                **{
                    f"{kind}_images_per_second": spread(batch_sizes[kind] / seconds[kind, name])
                    for kind in ("throughput", "training")
                },
            }
            for name in networks
        },
    }


def inference_action(network: nn.Module, dataset: Dataset, batch_size: int) -> Action:
    """One forward pass, as it is timed for latency and throughput."""
    network = copy.deepcopy(network).eval()  # the training action needs it in train mode
    numbers = torch.arange(batch_size, device=dataset.x_test.device) % len(dataset.x_test)
    images = normalise(dataset.x_test[numbers], dataset)

    def forward() -> Tensor:
        with torch.inference_mode():
            return network(images)

    return forward


def training_action(
    network: nn.Module, dataset: Dataset, windows: Tensor, experiment: Experiment, compute: Compute
) -> Action:
    """One training step; ``windows`` are the train split's ``crops``."""
    network = copy.deepcopy(network).train()
    # at the learning rate zero every step does its full work, and the loss cannot run away
    optimizer = build_optimizer(network, replace(experiment.recipe, learning_rate=0.0))
    batches = _endless_batches(dataset, windows, experiment)

    def step() -> Tensor:
        images, labels = next(batches)
        return train_step(network, images, labels, optimizer, compute)

    return step


def _endless_batches(
    dataset: Dataset, windows: Tensor, experiment: Experiment
) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches, epoch after epoch, without the smaller one at the end of each."""
    recipe, generator = experiment.recipe, torch.Generator().manual_seed(0)
    if len(windows) < recipe.batch_size:
        raise ValueError(f"{len(windows)} train images do not fill a batch of {recipe.batch_size}")
    while True:
        for images, labels in training_batches(dataset, windows, recipe, generator):
            if len(labels) == recipe.batch_size:
                yield images, labels


def time_in_turn(actions: Mapping[Key, Action], effort: Effort) -> dict[Key, np.ndarray]:
    """Seconds per call of each action, ``[rounds]``; all have their turn in every round.

    Before the first round each is called once: a first call pays for memory and for the choice of
    kernels. A CUDA device is waited for, ``torch.utils.benchmark`` sees to it.
    """
    timers = {
        # without num_threads the timer would run on one thread
        key: Timer("action()", globals={"action": action}, num_threads=torch.get_num_threads())
        for key, action in actions.items()
    }
    for action in actions.values():
        action()
    rounds: dict[Key, list[float]] = {key: [] for key in actions}
    for _ in range(effort.rounds):
        for key, timer in timers.items():
            rounds[key].append(timer.blocked_autorange(min_run_time=effort.seconds).median)
    return {key: np.array(seconds) for key, seconds in rounds.items()}


def spread(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles of one value per round, as records hold them."""
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "q1": q1, "q3": q3}
