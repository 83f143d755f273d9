"""One declared run -> one record: the only training loop in the repository.

    seed -> network -> epochs of (forward, loss, backward, step) -> evaluation -> record

What is reported is the last epoch; the test split is watched and decides nothing. On a CPU, with
the same seed, machine, thread count and precision, the record comes out the same to the last bit,
``timings`` apart, whether or not the run was interrupted on the way.
"""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from utils.data.batches import (
    augmented_views,
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from utils.data.dataset import Dataset
from utils.experiment import Recipe, Run
from utils.measuring.flops import forward_flops
from utils.records.environment import environment
from utils.records.files import SCHEMA
from utils.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    save_checkpoint,
    seed_everything,
)
from utils.training.optimizers import build_optimizers
from utils.training.progress import Progress

TRAIN_PART = 10_000  # train images on which the train accuracy is taken after each epoch


@dataclass(frozen=True)
class Compute:
    """Where and how precisely to train; equal for all rows of a table."""

    device: torch.device
    precision: str = "float32"  # or "bfloat16": autocast, the parameters stay float32

    @property
    def dtype(self) -> torch.dtype:
        """That of the large products."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def autocast(self) -> contextlib.AbstractContextManager:
        """The context in which a training step's forward pass runs."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def train(
    run: Run, dataset: Dataset, compute: Compute, checkpoint: Path, progress: Progress
) -> tuple[dict[str, Any], Tensor, nn.Module]:
    """Trains one network.

    ``dataset`` lies on ``compute.device``. After each epoch the state is kept at ``checkpoint``,
    and a run that finds one goes on from there.
    Returns the record, the predicted class of every test image ``[test images]`` and the trained
    network.
    """
    seed_everything(run.seed)
    state = initial_state(run, dataset, compute)
    load_checkpoint(checkpoint, state)
    progress.skip(len(state.history) * steps_per_epoch(len(dataset.x_train), run.recipe))

    views = augmented_views(dataset.x_train, run.recipe)
    for epoch in range(len(state.history) + 1, run.recipe.epochs + 1):
        start = time.perf_counter()
        entry = {"epoch": epoch}
        entry |= train_epoch(state, run.recipe, dataset, views, compute, progress)
        entry |= evaluate_epoch(state.network, dataset)
        state.history.append(entry)
        state.seconds.append(time.perf_counter() - start)
        save_checkpoint(checkpoint, state)
        progress.epoch(run, entry)

    record, predictions = final_record(run, state, dataset, compute)
    return record, predictions, state.network


def train_epoch(
    state: TrainingState,
    recipe: Recipe,
    dataset: Dataset,
    views: Tensor,
    compute: Compute,
    progress: Progress,
) -> dict[str, Any]:
    """One pass over the train split in random order.

    Losses and gradient norms stay on the device until the end: reading one number there would
    make the processor wait for the whole queue, in every step.
    """
    network = state.network.train()
    losses, norms = [], []
    for images, labels in training_batches(dataset, views, recipe, state.generator):
        learning_rate = state.schedules[0].get_last_lr()[0]
        loss = train_step(
            network, images, labels, state.optimizers, compute, recipe.label_smoothing
        )
        for schedule in state.schedules:
            schedule.step()
        losses.append(loss)
        norms.append(gradient_norms(network))
        progress.step()
    return {
        **summarise_epoch(torch.stack(losses), torch.stack(norms), network),
        "learning_rate": learning_rate,  # of the last step; Muon's goes up and down with it
    }


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
    with compute.autocast():
        loss = F.cross_entropy(network(images), labels, label_smoothing=label_smoothing)
    network.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return loss.detach()


def initial_state(run: Run, dataset: Dataset, compute: Compute) -> TrainingState:
    """An untrained network with its optimisers and schedules; draws from the seeded generators."""
    network = build_network(run, compute.device)
    optimizers = build_optimizers(network, run.recipe, compute.dtype)
    steps = run.recipe.epochs * steps_per_epoch(len(dataset.x_train), run.recipe)
    return TrainingState(
        identity=run_identity(run, compute) | {"fingerprint": dataset.fingerprint},
        network=network,
        optimizers=optimizers,
        schedules=[build_schedule(optimizer, run.recipe, steps) for optimizer in optimizers],
        # a generator of its own: what a network draws (dropout) cannot change which images,
        # in which order, all models of the experiment see
        generator=torch.Generator().manual_seed(run.seed),
        device=compute.device,
        environments=[environment(compute.device)],
    )


def build_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """From a 25th of each group's rate in a straight line to all of it, then down to nothing."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        pct_start=recipe.warmup,
        anneal_strategy="linear",
        cycle_momentum=False,
    )


def build_network(run: Run, device: torch.device) -> nn.Module:
    """The run's network, its convolutions with the channels last in memory, which is faster."""
    network = models.build(run.model, **run.overrides).to(device)
    if any(isinstance(module, nn.Conv2d) for module in network.modules()):
        network = network.to(memory_format=torch.channels_last)
    return network


def run_identity(run: Run, compute: Compute) -> dict[str, Any]:
    """The part of a record that is known before training; see ``utils.records.IDENTITY``."""
    return {
        "experiment": run.experiment,
        "model": run.model,
        "overrides": json.loads(json.dumps(dict(run.overrides))),  # as a record gives them back
        "dataset": run.dataset,
        "recipe": asdict(run.recipe),
        "seed": run.seed,
        "precision": compute.precision,
        "device": compute.device.type,
    }


def gradient_norms(network: nn.Module) -> Tensor:
    """L2 norm of each parameter's gradient, ``[parameters]``, on the device.

    A frozen or unused parameter has 0.
    """
    parameters = list(network.parameters())
    nothing = torch.zeros((), device=parameters[0].device)
    return torch.stack(
        [nothing if p.grad is None else torch.linalg.vector_norm(p.grad) for p in parameters]
    )


def summarise_epoch(losses: Tensor, norms: Tensor, network: nn.Module) -> dict[str, Any]:
    """``losses`` ``[steps]`` and ``norms`` ``[steps, parameters]`` -> the record's numbers."""
    losses, norms = losses.cpu().double(), norms.cpu().double()  # MPS has no float64
    quartiles = torch.quantile(losses, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    totals = torch.linalg.vector_norm(norms, dim=1)  # of all parameters together, [steps]
    names = (name for name, _ in network.named_parameters())
    means = dict(zip(names, norms.mean(0).tolist(), strict=True))
    return {
        "running_loss": losses.mean().item(),
        "batch_loss_quartiles": quartiles.tolist(),
        "gradient_norm": {layer: means[f"{layer}.weight"] for layer in weight_layers(network)},
        "gradient_norm_total": totals.mean().item(),
        "gradient_norm_largest": totals.max().item(),
    }


def weight_layers(network: nn.Module) -> list[str]:
    """The names of the convolutions and linear layers, from the input to the output."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]


@torch.inference_mode()
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


def final_record(
    run: Run, state: TrainingState, data: Dataset, compute: Compute
) -> tuple[dict[str, Any], Tensor]:
    """The record of a finished run, and its predicted test classes ``[test images]``."""
    network, classes = state.network, len(data.classes)
    train_loss, train_accuracy, _ = evaluate(network, data.x_train, data.y_train, data)
    test_loss, test_accuracy, predictions = evaluate(network, data.x_test, data.y_test, data)
    confusion = (data.y_test * classes + predictions).bincount(minlength=classes**2)
    record = {
        "schema": SCHEMA,
        **run_identity(run, compute),
        "data": {
            "description": data.description,
            "fingerprint": data.fingerprint,
            "synthetic": data.synthetic,
            "classes": list(data.classes),
            "train_images": len(data.x_train),
            "test_images": len(data.x_test),
        },
        "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "forward_flops": forward_flops(network, data.x_test.shape[1:]),
        "final": {
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "confusion_matrix": confusion.view(classes, classes).tolist(),  # rows: true classes
        },
        "epochs": state.history,
        "environment": state.environments[0],
        "continued_in": state.environments[1:],  # empty unless interrupted and resumed elsewhere
        "timings": {"epoch_seconds": state.seconds},
    }
    return record, predictions
