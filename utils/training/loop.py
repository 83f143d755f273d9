"""One declared run -> one trained network: the only training loop in the repository.

    seed -> network -> epochs of (forward, loss, backward, step) -> evaluation -> outcome

What is reported is the last epoch; the test split is watched and decides nothing. On a CPU, with
the same seed, machine, thread count and precision, the outcome is the same to the last bit,
``timings`` apart, whether or not the run was interrupted on the way.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models import Convolution, Weighted
from utils.data.batches import (
    augmented_views,
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from utils.data.dataset import Dataset
from utils.experiment import Compute, Recipe, Run
from utils.machine import autocast, environment, product_type
from utils.records.runs import identity
from utils.records.schema import TRAIN_PART, Computes, Data, Diverged, Epoch, Final, Timings
from utils.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    save_checkpoint,
    seed_everything,
)
from utils.training.optimizers import build_optimizers
from utils.training.progress import Event, Tell

CHECKED_EVERY = 50  # steps: reading one loss makes the processor wait for the device


class DivergedError(ArithmeticError):
    """A loss or a weight that is not finite; ``args[0]`` is the record of where."""


@dataclass(frozen=True, eq=False)  # == on tensors is no single truth
class Outcome:
    """What came of a training."""

    network: nn.Module
    predictions: Tensor  # the class of every test image, [test images]; empty where it diverged
    record: dict[str, Any]  # the fields of utils.records.schema.Record that training knows


def train(
    run: Run,
    dataset: Dataset,
    checkpoint: Path,
    tell: Tell,
    computes: Computes | None = None,
    weights: bool = False,
) -> Outcome:
    """Trains one network, which ``computes`` this, and whose ``weights`` are to be kept or not.

    ``dataset`` lies on the run's device. After each epoch the state is kept at ``checkpoint``,
    and a run that finds one goes on from there, where that is of a network which computes the same.
    """
    torch.set_num_threads(run.compute.threads)
    seed_everything(run.seed)
    state = initial_state(run, dataset)
    state.computes, state.weights = computes, weights
    load_checkpoint(checkpoint, state)
    tell(Event(run, len(state.history) / run.recipe.epochs, resumed=True))

    views = augmented_views(dataset.x_train, run.recipe)
    for epoch in range(len(state.history) + 1, run.recipe.epochs + 1):
        start = time.perf_counter()
        entry = {"epoch": epoch}
        try:
            entry |= train_epoch(state, run, dataset, views, tell)
            trained = [parameter.detach().clone() for parameter in state.network.parameters()]
            entry |= evaluate_epoch(state.network, dataset)
            check_evaluation(entry, steps_per_epoch(len(views), run.recipe))
        except DivergedError as error:
            return outcome(run, state, dataset, error.args[0])
        state.history.append(Epoch(**entry))
        state.seconds.append(time.perf_counter() - start)
        if not all(map(torch.equal, trained, state.network.parameters())):
            state.network.train()  # eval mode has others in their place, merged or averaged
        save_checkpoint(checkpoint, state)
        tell(Event(run, epoch=state.history[-1]))
    return outcome(run, state, dataset)


def train_epoch(
    state: TrainingState, run: Run, dataset: Dataset, views: Tensor, tell: Tell
) -> dict[str, Any]:
    """One pass over the train split in random order.

    Losses and gradient norms stay on the device until the end: reading one number there would
    make the processor wait for the whole queue, in every step. Raises: DivergedError at most
    ``CHECKED_EVERY`` steps after the first loss that is not finite.
    """
    network, recipe = state.network.train(), run.recipe
    step = Event(run, 1 / (recipe.epochs * steps_per_epoch(len(views), recipe)))
    losses, norms, rates = [], [], []
    for images, labels in training_batches(dataset, views, recipe, state.generator):
        rates.append(state.schedules[0].get_last_lr()[0])
        loss = train_step(
            network, images, labels, state.optimizers, run.compute, recipe.label_smoothing
        )
        for schedule in state.schedules:
            schedule.step()
        losses.append(loss)
        norms.append(gradient_norms(network))
        if len(losses) % CHECKED_EVERY == 0:
            check_finite(losses, rates, state)
        tell(step)
    check_finite(losses, rates, state)
    return {
        **summarise_epoch(torch.stack(losses), torch.stack(norms), state.layers),
        "learning_rate": rates[-1],  # of the last step; Muon's goes up and down with it
    }


def check_finite(losses: Sequence[Tensor], rates: Sequence[float], state: TrainingState) -> None:
    """All losses of the epoch so far, and the weights, must be finite.

    Raises: DivergedError with the first step whose loss is not, or the last for the weights.
    """
    finite = torch.stack(list(losses)).isfinite()
    weights = torch.stack([p.isfinite().all() for p in state.network.parameters()])
    if finite.all() and weights.all():
        return
    step = int(finite.int().argmin()) if not finite.all() else len(losses) - 1
    where = {"epoch": len(state.history) + 1, "step": step + 1, "learning_rate": rates[step]}
    raise DivergedError(Diverged(**where))


def check_evaluation(entry: Mapping[str, Any], steps: int) -> None:
    """Finite weights are not enough: their products may overflow, and a batch-norm has buffers.

    Raises: DivergedError with the last of the epoch's ``steps``.
    """
    if not all(math.isfinite(entry[name]) for name in ("train_loss", "test_loss")):
        rate = entry["learning_rate"]
        raise DivergedError(Diverged(epoch=entry["epoch"], step=steps, learning_rate=rate))


def train_step(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    optimizers: Sequence[torch.optim.Optimizer],
    compute: Compute,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Forward, loss, backward, step; the gradients stay in place to be looked at.

    ``images`` is ``[batch, channels, height, width]``, ``labels`` ``[batch]``; returns the mean
    cross-entropy of the batch, before the step. With ``label_smoothing`` a part of each target is
    spread evenly over all classes. Source: Szegedy et al. (2015), arXiv:1512.00567, section 7.
    """
    with autocast(compute):
        loss = F.cross_entropy(network(images), labels, label_smoothing=label_smoothing)
    network.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return loss.detach()


def initial_state(run: Run, dataset: Dataset) -> TrainingState:
    """An untrained network with its optimisers and schedules; draws from the seeded generators."""
    network, device = build_network(run), torch.device(run.compute.device)
    optimizers = build_optimizers(network, run.recipe, product_type(run.compute))
    steps = run.recipe.epochs * steps_per_epoch(len(dataset.x_train), run.recipe)
    return TrainingState(
        identity=identity(run) | {"fingerprint": dataset.fingerprint},
        network=network,
        layers=weight_layers(network),
        optimizers=optimizers,
        schedules=[build_schedule(optimizer, run.recipe, steps) for optimizer in optimizers],
        # a generator of its own: what a network draws (dropout) cannot change which images,
        # in which order, all rows of the experiment see
        generator=torch.Generator().manual_seed(run.seed),
        device=device,
        environments=[environment(device)],
    )


def build_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """From a 25th of each group's rate in a straight line to all of it, then down to nothing.

    A single step has the first rate of two, since the last has none. Where the rise would be one
    step long there is none: OneCycleLR divides by the length between its ends.
    """
    steps = max(2, steps)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        pct_start=0.0 if recipe.warmup * steps == 1 else float(recipe.warmup),  # it takes no 0
        anneal_strategy="linear",
        cycle_momentum=False,
    )


def build_network(run: Run) -> nn.Module:
    """The run's network, its convolutions with the channels last in memory, which is faster.

    What comes out of these has them last, too.
    """
    network = models.build(run.network, **run.overrides).to(run.compute.device)
    for module in network.modules():
        if isinstance(module, Convolution):
            module.to(memory_format=torch.channels_last)
    return network


def gradient_norms(network: nn.Module) -> Tensor:
    """L2 norm of each parameter's gradient, ``[parameters]``, on the device.

    A frozen or unused parameter has 0.
    """
    parameters = list(network.parameters())
    nothing = torch.zeros((), device=parameters[0].device)
    return torch.stack(
        [nothing if p.grad is None else torch.linalg.vector_norm(p.grad) for p in parameters]
    )


def summarise_epoch(
    losses: Tensor, norms: Tensor, layers: Mapping[str, list[int]]
) -> dict[str, Any]:
    """``losses`` ``[steps]`` and ``norms`` ``[steps, parameters]`` -> the record's numbers.

    ``layers`` is what ``weight_layers`` gives.
    """
    losses, norms = losses.cpu().double(), norms.cpu().double()  # MPS has no float64
    quartiles = torch.quantile(losses, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    totals = torch.linalg.vector_norm(norms, dim=1)  # of all parameters together, [steps]
    return {
        "running_loss": losses.mean().item(),
        "batch_loss_quartiles": tuple(quartiles.tolist()),
        "gradient_norm": layer_norms(norms, layers),
        "gradient_norm_first": layer_norms(norms[:1], layers),
        "gradient_norm_total": totals.mean().item(),
        "gradient_norm_largest": totals.max().item(),
    }


def layer_norms(norms: Tensor, layers: Mapping[str, list[int]]) -> dict[str, float]:
    """Layer -> gradient norm of its weight, the mean over the steps.

    ``norms`` is ``[steps, parameters]``, ``layers`` is what ``weight_layers`` gives.
    """
    means = norms.mean(0).tolist()
    return {
        layer: torch.linalg.vector_norm(norms[:, parts], dim=1).mean().item()
        if parts[1:]
        else means[parts[0]]
        for layer, parts in layers.items()
    }


def weight_layers(network: nn.Module) -> dict[str, list[int]]:
    """The trained convolutions and linear layers, in the order of declaration, and their weights.

    Name -> which of the network's parameters the weight is: one, which may be tied to another
    layer's, or those that it is computed from (weight norm).
    """
    numbers = {parameter: number for number, parameter in enumerate(network.parameters())}
    layers = {
        name: [
            numbers[parameter]
            for part, parameter in module.named_parameters()
            if part.startswith(("weight", "parametrizations.weight")) and parameter.requires_grad
        ]
        for name, module in network.named_modules()
        if isinstance(module, Weighted)
    }
    return {name: parts for name, parts in layers.items() if parts}


@torch.no_grad()
def evaluate(
    network: nn.Module, images: Tensor, labels: Tensor, dataset: Dataset
) -> tuple[float, float, Tensor]:
    """Mean cross-entropy, accuracy in [0, 1] and predicted classes ``[images]``, in eval mode.

    Always in float32: with bfloat16's eight significant bits logits tie, and the tie decides.
    """
    network.eval()
    logits = torch.cat([network(batch) for batch in evaluation_batches(images, dataset)])
    predictions = logits.argmax(1)
    loss = F.cross_entropy(logits, labels).item()
    return loss, (predictions == labels).sum().item() / len(labels), predictions


def evaluate_epoch(network: nn.Module, dataset: Dataset) -> dict[str, float]:
    """Loss and accuracy on a fixed part of the train split and on the test split."""
    part_images, part_labels = dataset.x_train[:TRAIN_PART], dataset.y_train[:TRAIN_PART]
    train_loss, train_accuracy, _ = evaluate(network, part_images, part_labels, dataset)
    test_loss, test_accuracy, _ = evaluate(network, dataset.x_test, dataset.y_test, dataset)
    return {
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
    }


def outcome(
    run: Run, state: TrainingState, data: Dataset, diverged: Diverged | None = None
) -> Outcome:
    """Evaluates the network on whole splits, unless it ``diverged``."""
    final, predictions = ({}, data.y_test[:0]) if diverged else evaluate_splits(state.network, data)
    record = {
        **identity(run),
        "data": Data(
            description=data.description,
            fingerprint=data.fingerprint,
            synthetic=data.synthetic,
            classes=data.classes,
            train_images=len(data.x_train),
            test_images=len(data.x_test),
            validation_images=len(data.x_validation),
        ),
        "recipe": run.recipe,
        "final": Final(**final),
        "diverged": diverged,
        "epochs": tuple(state.history),
        "environment": state.environments[0],
        "continued_in": tuple(state.environments[1:]),  # where it was interrupted and resumed
        "timings": Timings(epoch_seconds=tuple(state.seconds)),
    }
    return Outcome(state.network, predictions, record)


def evaluate_splits(network: nn.Module, data: Dataset) -> tuple[dict[str, Any], Tensor]:
    """The fields of ``Final``, and the class that is predicted for every test image."""
    classes = len(data.classes)
    train_loss, train_accuracy, _ = evaluate(network, data.x_train, data.y_train, data)
    test_loss, test_accuracy, predictions = evaluate(network, data.x_test, data.y_test, data)
    confusion = (data.y_test * classes + predictions).bincount(minlength=classes**2)
    final = {
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "confusion_matrix": tuple(map(tuple, confusion.view(classes, classes).tolist())),
    }
    if len(data.x_validation):
        loss, accuracy, _ = evaluate(network, data.x_validation, data.y_validation, data)
        final |= {"validation_loss": loss, "validation_accuracy": accuracy}
    return final, predictions
