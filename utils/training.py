"""One declared run -> one record: the only optimiser step in the repository.

    seed -> network -> epochs of (forward, loss, backward, step) -> evaluation -> record

What is reported is the last epoch; the test split is watched and decides nothing. With the
same seed, machine, thread count and precision the record comes out the same to the last bit,
``timings`` apart, whether or not the run was interrupted on the way.
"""

import contextlib
import logging
import pickle
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from utils.batches import crops, evaluation_batches, steps_per_epoch, training_batches
from utils.data import Dataset
from utils.environment import environment
from utils.experiment import Recipe, Run
from utils.measuring import forward_flops
from utils.progress import Progress
from utils.records import SCHEMA, write_atomically

log = logging.getLogger(__name__)

TRAIN_PART = 10_000  # train images on which the train accuracy is taken after each epoch


@dataclass(frozen=True)
class Compute:
    """Where and how precisely to compute; equal for all rows of a table."""

    device: torch.device
    precision: str = "float32"  # or "bfloat16": autocast, parameters stay float32

    def autocast(self) -> contextlib.AbstractContextManager:
        """The context in which forward passes run."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def run_identity(run: Run, compute: Compute) -> dict[str, Any]:
    """The part of a record that is known before training; see ``utils.records.IDENTITY``."""
    return {
        "experiment": run.experiment,
        "model": run.model,
        "overrides": dict(run.overrides),
        "dataset": run.dataset,
        "recipe": asdict(run.recipe),
        "seed": run.seed,
        "precision": compute.precision,
        "device": compute.device.type,
    }


def seed_everything(seed: int) -> None:
    """Seeds python, numpy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def build_network(run: Run, device: torch.device) -> nn.Module:
    """The run's network on the device; convolutions hold their channels last, which is faster."""
    network = models.build(run.model, **run.overrides).to(device)
    if any(isinstance(module, nn.Conv2d) for module in network.modules()):
        network = network.to(memory_format=torch.channels_last)
    return network


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum; both fused into one pass over the parameters."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
    return torch.optim.SGD(
        network.parameters(),
        recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def weight_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Name -> convolution or linear layer, from the input to the output."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


@torch.inference_mode()
def evaluate(
    network: nn.Module, images: Tensor, labels: Tensor, dataset: Dataset
) -> tuple[float, float, Tensor]:
    """Mean cross-entropy, accuracy in [0, 1] and predicted classes ``[images]``, in eval mode.

    Always in float32: with eight significant bits, logits tie and the tie would decide.
    """
    network.eval()
    logits = torch.cat([network(batch) for batch in evaluation_batches(images, dataset)])
    predictions = logits.argmax(1)
    loss = F.cross_entropy(logits, labels).item()
    return loss, (predictions == labels).double().mean().item(), predictions


class Trainer:
    """The state of a run between two epochs: what a checkpoint holds and an epoch changes."""

    def __init__(self, run: Run, dataset: Dataset, compute: Compute) -> None:
        seed_everything(run.seed)
        self.run, self.dataset, self.compute = run, dataset, compute
        self.network = build_network(run, compute.device)
        self.optimizer = build_optimizer(self.network, run.recipe)
        self.steps = steps_per_epoch(len(dataset.x_train), run.recipe)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=run.recipe.learning_rate,
            total_steps=run.recipe.epochs * self.steps,
            pct_start=run.recipe.warmup,
            anneal_strategy="linear",
            cycle_momentum=False,
        )
        # order and augmentation have a generator of their own: what the network draws
        # (dropout) cannot change which images all models of the experiment see
        self.generator = torch.Generator().manual_seed(run.seed)
        self.windows = crops(dataset.x_train, run.recipe.crop_padding)
        self.history: list[dict[str, Any]] = []
        self.seconds: list[float] = []

    def train_epoch(self, progress: Progress) -> dict[str, Any]:
        """One pass over the train split; what it saw is kept on the device until its end."""
        self.network.train()
        layers = weight_layers(self.network)
        losses, norms = [], []
        for images, labels in training_batches(
            self.dataset, self.windows, self.run.recipe, self.generator
        ):
            images = images.contiguous(memory_format=torch.channels_last)
            with self.compute.autocast():
                loss = F.cross_entropy(self.network(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            losses.append(loss.detach())
            norms.append(gradient_norms(self.network, layers))
            progress.step()
        return summarise_epoch(torch.stack(losses), torch.stack(norms), list(layers))

    def evaluate_epoch(self) -> dict[str, float]:
        """Loss and accuracy on a fixed part of the train split and on the test split."""
        data = self.dataset
        part_images, part_labels = data.x_train[:TRAIN_PART], data.y_train[:TRAIN_PART]
        train = evaluate(self.network, part_images, part_labels, data)
        test = evaluate(self.network, data.x_test, data.y_test, data)
        return {
            "train_loss": train[0],
            "train_accuracy": train[1],
            "test_loss": test[0],
            "test_accuracy": test[1],
        }

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "identity": run_identity(self.run, self.compute),
            "fingerprint": self.dataset.fingerprint,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": random_states(self.generator, self.compute.device),
            "history": self.history,
            "seconds": self.seconds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up where ``state`` was taken."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        set_random_states(state["random"], self.generator, self.compute.device)
        self.history, self.seconds = state["history"], state["seconds"]


def gradient_norms(network: nn.Module, layers: Mapping[str, nn.Module]) -> Tensor:
    """L2 norms of the gradients: one per layer's weight, then that of all parameters together.

    Returns ``[len(layers) + 1]``, on the device: reading a number there would stop the queue.
    """
    by_layer = [torch.linalg.vector_norm(layer.weight.grad) for layer in layers.values()]
    total = nn.utils.get_total_norm([p.grad for p in network.parameters()])
    return torch.stack([*by_layer, total])


def summarise_epoch(losses: Tensor, norms: Tensor, layers: list[str]) -> dict[str, Any]:
    """``losses`` ``[steps]`` and ``norms`` ``[steps, layers + 1]`` -> the record's numbers."""
    quartiles = torch.quantile(losses.double(), torch.tensor([0.25, 0.5, 0.75]).to(losses).double())
    mean_norms = norms.double().mean(0).tolist()
    return {
        "running_loss": losses.double().mean().item(),
        "batch_loss_quartiles": quartiles.tolist(),
        "gradient_norm": dict(zip(layers, mean_norms, strict=False)),
        "gradient_norm_total": mean_norms[-1],
        "gradient_norm_largest": norms[:, -1].max().item(),
    }


def random_states(generator: torch.Generator, device: torch.device) -> dict[str, Any]:
    """The state of every generator that a run draws from."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    states = {
        "order": generator.get_state(),
        "torch": torch.get_rng_state(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "python": (version, list(internal), gauss),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(
    states: Mapping[str, Any], generator: torch.Generator, device: torch.device
) -> None:
    """The inverse of ``random_states``."""
    generator.set_state(states["order"])
    torch.set_rng_state(states["torch"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def resume(trainer: Trainer, checkpoint: Path) -> None:
    """Restores the run's last finished epoch, where a checkpoint of this very run is there."""
    if not checkpoint.exists():
        return
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        ours = trainer.state()
        if any(state[key] != ours[key] for key in ("identity", "fingerprint")):
            log.warning("%s is of another recipe or dataset: starting anew", checkpoint)
            return
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        log.warning("%s cannot be read (%s): starting anew", checkpoint, error)
        return
    trainer.restore(state)
    log.info("continuing after epoch %d", len(trainer.history))


def epochs_left(trainer: Trainer) -> Iterator[int]:
    """Numbers, from 1, of the epochs that are not in the history yet."""
    yield from range(len(trainer.history) + 1, trainer.run.recipe.epochs + 1)


def train(
    run: Run, dataset: Dataset, compute: Compute, checkpoint: Path, progress: Progress
) -> tuple[dict[str, Any], np.ndarray, nn.Module]:
    """Trains one network.

    ``dataset`` lies on ``compute.device``. After each epoch the state is kept at ``checkpoint``,
    and a run that finds one goes on from there.
    Returns the record, the predicted class of every test image (uint8 ``[test images]``) and the
    trained network.
    """
    trainer = Trainer(run, dataset, compute)
    resume(trainer, checkpoint)
    progress.skip(len(trainer.history) * trainer.steps)
    for epoch in epochs_left(trainer):
        start = time.perf_counter()
        entry = {"epoch": epoch, **trainer.train_epoch(progress), **trainer.evaluate_epoch()}
        entry["learning_rate"] = trainer.schedule.get_last_lr()[0]
        trainer.history.append(entry)
        trainer.seconds.append(time.perf_counter() - start)
        state = trainer.state()
        write_atomically(checkpoint, lambda path, state=state: torch.save(state, path))
        progress.epoch(run, epoch, entry)
    record, predictions = final_record(trainer)
    return record, predictions, trainer.network


def final_record(trainer: Trainer) -> tuple[dict[str, Any], np.ndarray]:
    """The record of a finished run, and its test predictions (uint8 ``[test images]``)."""
    run, data, compute, network = trainer.run, trainer.dataset, trainer.compute, trainer.network
    train_loss, train_accuracy, _ = evaluate(network, data.x_train, data.y_train, data)
    test_loss, test_accuracy, predictions = evaluate(network, data.x_test, data.y_test, data)
    classes = len(data.classes)
    pairs = (data.y_test * classes + predictions).bincount(minlength=classes**2)
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
            "confusion_matrix": pairs.view(classes, classes).tolist(),  # rows: true class
        },
        "epochs": trainer.history,
        "environment": environment(compute.device),
        "timings": {"epoch_seconds": trainer.seconds},
    }
    return record, predictions.to("cpu", torch.uint8).numpy()
