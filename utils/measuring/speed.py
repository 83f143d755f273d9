"""Speed, measured apart from training, on a machine with nothing else to do.

    networks --for each round: for each quantity: every network in turn--> speed records

A computer is faster in one minute than in the next. With the networks in turn (A B C A B C …)
a slow minute falls on all of them alike, and the spread over the rounds says how much it weighs:
differences within it mean nothing. The tables of a script share one pass, since a network was
seen to be a third faster in one pass than in the next, with hardly any spread within either.
"""

import copy
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from utils.data.batches import augmented_views, normalise, training_batches
from utils.data.dataset import Dataset
from utils.experiment import Experiment, Recipe
from utils.records.environment import environment
from utils.records.files import SCHEMA
from utils.training.loop import Compute, train_step
from utils.training.optimizers import build_optimizers, steps_in_cycle

Key = TypeVar("Key", bound=Hashable)
Action = Callable[[], object]
Timed = tuple[Action, int]  # what one call does, and with how many images
Target = tuple[str, str, str]  # quantity, experiment, model

LATENCY_BATCH, THROUGHPUT_BATCH = 1, 256  # images


@dataclass(frozen=True)
class Effort:
    """How long to measure: the more, the surer the medians."""

    rounds: int  # how often each action has its turn
    seconds: float  # of one turn; an action that takes longer is called once


# Twelve networks on two cores: about three minutes and about ten seconds.
FULL, QUICK = Effort(rounds=7, seconds=0.6), Effort(rounds=2, seconds=0.02)


@dataclass(frozen=True)
class Entry:
    """The networks of one table, as ``utils.training.build_network`` makes them, and their data."""

    experiment: Experiment
    networks: Mapping[str, nn.Module]
    dataset: Dataset  # on the device on which it is measured


def measure_speed(
    entries: Sequence[Entry], compute: Compute, quick: bool = False
) -> dict[str, dict[str, Any]]:
    """Experiment name -> its speed record; the networks of all tables have their turn together.

    Inference is float32, in eval and inference mode, on images that lie there normalised. A
    training step is all of it: making the batch with its augmentation, forward, loss, backward and
    optimiser, in ``compute.precision``. The networks' weights stay as they are.
    """
    effort = QUICK if quick else FULL
    timed = _all_actions(entries, compute)
    seconds = time_in_turn({key: action for key, (action, _) in timed.items()}, effort)
    return {
        entry.experiment.name: {
            "schema": SCHEMA,
            "experiment": entry.experiment.name,
            "precision": compute.precision,
            "device": compute.device.type,
            "threads": torch.get_num_threads(),
            "rounds": effort.rounds,
            "batch_sizes": batch_sizes(entry.experiment),
            "environment": environment(compute.device),
            "models": {
                name: _speeds(entry.experiment.name, name, timed, seconds)
                for name in entry.networks
            },
        }
        for entry in entries
    }


def batch_sizes(experiment: Experiment) -> dict[str, int]:
    """What is measured at which batch size."""
    return {
        "latency": LATENCY_BATCH,
        "throughput": THROUGHPUT_BATCH,
        "training": experiment.recipe.batch_size,
    }


def _all_actions(entries: Sequence[Entry], compute: Compute) -> dict[Target, Timed]:
    """What is timed; the quantities one after the other."""
    views: dict[tuple[str, Recipe], Tensor] = {}  # one copy serves all networks of a dataset
    actions: dict[Target, Timed] = {}
    for kind in ("latency", "throughput", "training"):
        for entry in entries:
            data, recipe = entry.dataset, entry.experiment.recipe
            if (data.name, recipe) not in views:
                views[data.name, recipe] = augmented_views(data.x_train, recipe)
            for name, network in entry.networks.items():
                actions[kind, entry.experiment.name, name] = (
                    training_action(network, data, views[data.name, recipe], recipe, compute)
                    if kind == "training"
                    else inference_action(network, data, batch_sizes(entry.experiment)[kind])
                )
    return actions


def _speeds(
    experiment: str, model: str, timed: Mapping[Target, Timed], seconds: Mapping[Target, np.ndarray]
) -> dict[str, dict[str, float]]:
    """The record's numbers of one model, from the seconds per call in each round."""

    def images_per_second(kind: str) -> dict[str, float]:
        _, images = timed[kind, experiment, model]
        return spread(images / seconds[kind, experiment, model])

    return {
        "latency_seconds": spread(seconds["latency", experiment, model]),
        "throughput_images_per_second": images_per_second("throughput"),
        "training_images_per_second": images_per_second("training"),
    }


def inference_action(network: nn.Module, dataset: Dataset, batch_size: int) -> Timed:
    """One forward pass, as it is timed for latency and throughput."""
    network = copy.deepcopy(network).eval()  # the training action needs it in train mode
    numbers = torch.arange(batch_size, device=dataset.x_test.device) % len(dataset.x_test)
    images = normalise(dataset.x_test[numbers], dataset)

    def forward() -> Tensor:
        with torch.inference_mode():
            return network(images)

    return forward, batch_size


def training_action(
    network: nn.Module, dataset: Dataset, views: Tensor, recipe: Recipe, compute: Compute
) -> Timed:
    """A training step, or as many as the optimisers' work has before it begins anew.

    ``views`` are the train split's ``augmented_views``.
    """
    network = copy.deepcopy(network).train()
    # at the learning rate zero every step does its full work, and the loss cannot run away
    optimizers = build_optimizers(network, recipe, compute.dtype)
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = 0.0
    batches, steps = _endless_batches(dataset, views, recipe), steps_in_cycle(optimizers)

    def train() -> None:
        for images, labels in itertools.islice(batches, steps):
            train_step(network, images, labels, optimizers, compute, recipe.label_smoothing)

    return train, steps * recipe.batch_size


def _endless_batches(
    dataset: Dataset, views: Tensor, recipe: Recipe
) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches, epoch after epoch, without the smaller one at the end of each."""
    generator = torch.Generator().manual_seed(0)
    if len(views) < recipe.batch_size:
        raise ValueError(f"{len(views)} train images do not fill a batch of {recipe.batch_size}")
    while True:
        for images, labels in training_batches(dataset, views, recipe, generator):
            if len(labels) == recipe.batch_size:
                yield images, labels


def time_in_turn(actions: Mapping[Key, Action], effort: Effort) -> dict[Key, np.ndarray]:
    """Seconds per call of each action, ``[rounds]``; all have their turn in every round.

    A first round does not count: first calls pay for memory and for the choice of kernels, and a
    processor that was idle is faster for some seconds. A CUDA device is waited for,
    ``torch.utils.benchmark`` sees to it.
    """
    timers = {
        # without num_threads the timer would run on one thread
        key: Timer("action()", globals={"action": action}, num_threads=torch.get_num_threads())
        for key, action in actions.items()
    }
    rounds: dict[Key, list[float]] = {key: [] for key in actions}
    for _ in range(1 + effort.rounds):
        for key, timer in timers.items():
            rounds[key].append(timer.blocked_autorange(min_run_time=effort.seconds).median)
    return {key: np.array(seconds[1:]) for key, seconds in rounds.items()}


def spread(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles of one value per round, as records hold them."""
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "q1": q1, "q3": q3}
