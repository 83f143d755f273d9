"""Speed of networks, measured apart from training, on a machine with nothing else to do.

    networks --for each quantity: every network in turn--> a speed record of each

The networks of a script have their turns in the same passes: see ``utils.measuring.passes``.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch
from torch import Tensor, nn

from utils.data.batches import augmented_views, normalise, training_batches
from utils.data.dataset import TENSORS, Dataset
from utils.experiment import Recipe, Run
from utils.machine import environment, product_type
from utils.measuring.sizes import shape_of, sizes
from utils.measuring.timing import Action, Effort, in_turn, quartiles
from utils.records.schema import BatchSizes, Quartiles, Speed
from utils.training.loop import build_network, train_step
from utils.training.optimizers import build_optimizers, steps_in_cycle

LATENCY_BATCH, THROUGHPUT_BATCH = 1, 256  # images
# Twelve networks on two cores: about three minutes and about ten seconds.
FULL, QUICK = Effort(rounds=7, seconds=0.6), Effort(rounds=2, seconds=0.02)


@dataclass(frozen=True)
class Timed:
    """What one call does, and with how many images."""

    action: Action
    images: int


def measure_speed(
    named: Mapping[str, Run], load: Callable[[str], Dataset], effort: Effort = FULL
) -> dict[str, Speed]:
    """One pass: key -> speed of the run's network, untrained; all have their turn together.

    Inference is float32, in eval and inference mode, on images that lie there normalised. A
    training step is all of it: making the batch with its augmentation, forward, loss, backward and
    optimiser, in the run's precision.
    """
    began = datetime.now(UTC).isoformat(timespec="seconds")
    runs = {key: filled(run, load(run.dataset)) for key, run in named.items()}
    actions = all_actions(runs)
    seconds = in_turn({key: timed.action for key, timed in actions.items()}, effort)

    def images_per_second(kind: str, key: str) -> tuple[Quartiles]:
        return (quartiles(actions[kind, key].images / seconds[kind, key]),)

    return {
        key: Speed(
            network=f"{run.dataset}/{run.name}",
            **sizes(run.network, run.overrides, shape_of(run.dataset)),
            precision=run.compute.precision,
            device=run.compute.kind,
            rounds=effort.rounds,
            batch_sizes=BatchSizes(
                latency=LATENCY_BATCH, throughput=THROUGHPUT_BATCH, training=run.recipe.batch_size
            ),
            environment=environment(torch.device(run.compute.device)),
            began=(began,),
            latency_seconds=(quartiles(seconds["latency", key]),),
            throughput_images_per_second=images_per_second("throughput", key),
            training_images_per_second=images_per_second("training", key),
        )
        for key, (run, _) in runs.items()
    }


def call_once(run: Run, dataset: Dataset) -> None:
    """Calls what will be timed of a network; whatever that raises."""
    needed = {name: getattr(dataset, name)[: run.recipe.batch_size] for name in TENSORS}
    for timed in all_actions({"": filled(run, replace(dataset, **needed))}).values():
        timed.action()


def filled(run: Run, data: Dataset) -> tuple[Run, Dataset]:
    """The run with a batch that its images fill, and the images."""
    batch_size = min(run.recipe.batch_size, len(data.x_train))
    return replace(run, recipe=replace(run.recipe, batch_size=batch_size)), data


def all_actions(runs: Mapping[str, tuple[Run, Dataset]]) -> dict[tuple[str, str], Timed]:
    """``{(quantity, key): what is timed}``; the quantities one after the other."""
    views: dict[tuple[str, Recipe], Tensor] = {}  # one copy serves all networks of a dataset
    actions: dict[tuple[str, str], Timed] = {}
    for kind, batch_size in (("latency", LATENCY_BATCH), ("throughput", THROUGHPUT_BATCH)):
        for key, (run, data) in runs.items():
            actions[kind, key] = inference_action(build_network(run), data, batch_size)
    for key, (run, data) in runs.items():
        if (data.name, run.recipe) not in views:
            views[data.name, run.recipe] = augmented_views(data.x_train, run.recipe)
        made = views[data.name, run.recipe]
        actions["training", key] = training_action(build_network(run), run, data, made)
    return actions


def inference_action(network: nn.Module, dataset: Dataset, batch_size: int) -> Timed:
    """One forward pass, as it is timed for latency and throughput; the network is its own."""
    network.eval()
    numbers = torch.arange(batch_size, device=dataset.x_test.device) % len(dataset.x_test)
    images = normalise(dataset.x_test[numbers], dataset)

    def forward() -> Tensor:
        with torch.inference_mode():
            return network(images)

    return Timed(forward, batch_size)


def training_action(network: nn.Module, run: Run, dataset: Dataset, views: Tensor) -> Timed:
    """A training step, or as many as the optimisers' work has before it begins anew.

    ``views`` are the train split's ``augmented_views``; the network is the action's own.
    """
    network, recipe = network.train(), run.recipe
    # at the learning rate zero every step does its full work, and the loss cannot run away
    optimizers = build_optimizers(network, recipe, product_type(run.compute))
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = 0.0
    batches, steps = endless_batches(dataset, views, recipe), steps_in_cycle(optimizers)

    def train() -> None:
        for images, labels in itertools.islice(batches, steps):
            train_step(network, images, labels, optimizers, run.compute, recipe.label_smoothing)

    return Timed(train, steps * recipe.batch_size)


def endless_batches(
    dataset: Dataset, views: Tensor, recipe: Recipe
) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches, epoch after epoch, without the smaller one at the end of each.

    Raises: ValueError where the images do not fill one.
    """
    generator = torch.Generator().manual_seed(0)
    if len(views) < recipe.batch_size:
        raise ValueError(f"{len(views)} train images do not fill a batch of {recipe.batch_size}")
    while True:
        for images, labels in training_batches(dataset, views, recipe, generator):
            if len(labels) == recipe.batch_size:
                yield images, labels
