"""One trial: a network trained by a recipe with parts that the study's own loop may not have.

    train split --5,000 images held out--> training with the parts on trial --> validation accuracy

The loop is apart from ``utils.training.loop``, so that a part which does not earn its place leaves
no trace in the code that students read. The test split is never looked at: ``held_out`` drops it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from utils.data.batches import augmented_views, normalise, steps_per_epoch
from utils.data.dataset import Dataset
from utils.experiment import Recipe, Run
from utils.training.checkpoint import seed_everything
from utils.training.loop import Compute, build_network, build_schedule, evaluate, train_step
from utils.training.optimizers import HiddenMuon, ordinary_optimizer

VALIDATION_IMAGES = 5_000
VALIDATION_SEED = 0  # draws which images are held out; the same for every trial


@dataclass(frozen=True)
class TrialRecipe(Recipe):
    """A recipe, and the parts on trial; each is off by default."""

    average_decay: float = 0.0  # of an exponential moving average of the weights, per step
    alternating_flip: bool = False  # mirrored in every other epoch instead of half of the time
    affine_degrees: float = 0.0  # rotation and shear up to this, and scale by up to a tenth
    dirac: bool = False  # convolutions as wide as their input start as the identity
    norm_rate: float = 1.0  # learning rate of batch-norm's parameters, as a multiple
    whitening: bool = False  # ZCA of the whole image before the network
    muon_linear: bool = False  # Muon on the hidden linear layers too, not on filters alone
    muon_first: bool = True  # Muon on the layer that meets the image too
    muon_steps: int = 5  # of the iteration that makes Muon's update orthogonal
    muon_every: int = 1  # how many steps take an orthogonal update of a large weight
    muon_rows: int = 1024  # of a weight that are made orthogonal by themselves; no layer has more


def held_out(dataset: Dataset) -> Dataset:
    """The train split alone, with ``VALIDATION_IMAGES`` of it where the test split was."""
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    order = torch.randperm(len(dataset.x_train), generator=generator)
    kept, out = order[:-VALIDATION_IMAGES], order[-VALIDATION_IMAGES:]
    return replace(
        dataset,
        x_train=dataset.x_train[kept],
        y_train=dataset.y_train[kept],
        x_test=dataset.x_train[out],
        y_test=dataset.y_train[out],
    )


def run_trial(run: Run, data: Dataset, compute: Compute) -> dict[str, Any]:
    """Trains ``run``, whose recipe is a TrialRecipe, on ``data`` as ``held_out`` returns it.

    Returns accuracies in [0, 1], the mean loss of every epoch, and the processor time of the
    training in seconds, over all threads: unlike wall time it bears other work on the machine.
    """
    recipe = run.recipe
    seed_everything(run.seed)
    network = build_network(run, compute.device)
    if recipe.dirac:
        start_as_identity(network)
    average = None
    if recipe.average_decay:
        average = AveragedModel(
            network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay), use_buffers=True
        )
    whiten = Whitening(data) if recipe.whitening else nn.Identity()

    start = time.process_time()
    losses = train_network(network, whiten, average, run, data, compute)
    seconds = time.process_time() - start

    final = nn.Sequential(whiten, network if average is None else average.module)
    part = slice(0, VALIDATION_IMAGES)
    _, train_accuracy, _ = evaluate(final, data.x_train[part], data.y_train[part], data)
    loss, accuracy, _ = evaluate(final, data.x_test, data.y_test, data)
    return {
        "validation_accuracy": accuracy,
        "validation_loss": loss,
        "train_accuracy": train_accuracy,
        "running_losses": losses,
        "cpu_seconds": seconds,
    }


def train_network(
    network: nn.Module,
    whiten: nn.Module,
    average: AveragedModel | None,
    run: Run,
    data: Dataset,
    compute: Compute,
) -> list[float]:
    """Trains ``network`` on whitened images and keeps its average up; the mean loss per epoch."""
    recipe, whole = run.recipe, nn.Sequential(whiten, network)
    optimizers = trial_optimizers(network, recipe, compute.dtype)
    steps = recipe.epochs * steps_per_epoch(len(data.x_train), recipe)
    schedules = [build_schedule(optimizer, recipe, steps) for optimizer in optimizers]
    views = augmented_views(data.x_train, recipe)
    generator = torch.Generator().manual_seed(run.seed)
    losses = []
    for epoch in range(recipe.epochs):
        whole.train()
        epoch_losses = []
        for images, labels in batches(data, views, recipe, epoch, generator):
            loss = train_step(whole, images, labels, optimizers, compute, recipe.label_smoothing)
            for schedule in schedules:
                schedule.step()
            if average is not None:
                average.update_parameters(network)
            epoch_losses.append(loss)
        losses.append(torch.stack(epoch_losses).mean().item())
    return losses


def batches(
    data: Dataset, views: Tensor, recipe: TrialRecipe, epoch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """As ``utils.batches.training_batches``, with the augmentations on trial."""
    order = torch.randperm(len(views), generator=generator)
    fixed = torch.Generator().manual_seed(0)  # the same in every epoch
    first_side = torch.randint(0, 2, (len(views),), generator=fixed)
    for chosen in order.split(recipe.batch_size):
        mirrored, row, column = (
            torch.randint(0, views.shape[axis], (len(chosen),), generator=generator)
            for axis in (1, 3, 4)
        )
        if recipe.alternating_flip:
            mirrored = (first_side[chosen] + epoch) % 2
        images = views[chosen, mirrored, :, row, column]
        if recipe.affine_degrees:
            images = affine(images, recipe.affine_degrees, generator)
        yield normalise(images, data), data.y_train[chosen]


def affine(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Each image turned, sheared and scaled by draws of its own; outside is 0, a digit's paper."""
    angle, shear, scale = torch.rand(3, len(images), generator=generator).mul(2).sub(1)
    angle, shear = (draw * degrees * torch.pi / 180 for draw in (angle, shear))
    scale = 1 + 0.1 * scale
    rows = [
        torch.stack([scale * angle.cos(), scale * (shear - angle.sin()), 0 * angle], 1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), 0 * angle], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), images.shape, align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False)


def start_as_identity(network: nn.Module) -> None:
    """Dirac initialisation of every convolution that has as many outputs as inputs."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == module.out_channels:
            nn.init.dirac_(module.weight)


class Whitening(nn.Module):
    """ZCA: the pixels of the train split get the identity as their covariance.

    ``[batch, channels, height, width]`` to the same. Source: Krizhevsky (2009), Learning Multiple
    Layers of Features from Tiny Images, appendix A.
    """

    def __init__(self, data: Dataset, floor: float = 1e-2) -> None:
        super().__init__()
        pixels = normalise(data.x_train, data).flatten(1)
        covariance = torch.cov(pixels.T)
        values, vectors = torch.linalg.eigh(covariance)
        self.matrix = (vectors * (values + floor).rsqrt()) @ vectors.T
        self.mean = pixels.mean(0)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` to the same."""
        return ((x.flatten(1) - self.mean) @ self.matrix).view_as(x)


class BlockMuon(HiddenMuon):
    """Muon that takes blocks of rows as if they were weights of their own.

    Source: Khaled et al., MuonBP (2025), arXiv:2510.16981, where a block is what one of several
    devices holds, and now and then a step is on the whole matrix; here none is.
    """

    def __init__(
        self, weights: Sequence[nn.Parameter], recipe: TrialRecipe, dtype: torch.dtype
    ) -> None:
        super().__init__(weights, recipe, dtype, recipe.muon_steps, recipe.muon_every)
        self.rows = recipe.muon_rows

    def orthogonal(self, update: Tensor) -> Tensor:
        """``[rows, columns]``, each block orthogonal by itself."""
        return torch.cat([super(BlockMuon, self).orthogonal(x) for x in update.split(self.rows)])


def trial_optimizers(
    network: nn.Module, recipe: TrialRecipe, dtype: torch.dtype
) -> list[torch.optim.Optimizer]:
    """The study's optimisers, with the parts on trial in them."""
    kinds = (nn.Conv2d, nn.Linear) if recipe.muon_linear else (nn.Conv2d,)
    *before, _ = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    weights = [m.weight for m in before[not recipe.muon_first :] if isinstance(m, kinds)]
    optimizers = [ordinary_optimizer(list(network.parameters()), recipe)]
    if recipe.muon_rate and weights:
        take_out(optimizers[0], weights)
        optimizers.append(BlockMuon(weights, recipe, dtype))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    if norms and recipe.norm_rate != 1:
        parameters = [p for norm in norms for p in norm.parameters()]
        take_out(optimizers[0], parameters)
        rate = recipe.norm_rate * recipe.learning_rate
        optimizers[0].add_param_group({"params": parameters, "lr": rate})
    return optimizers


def take_out(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> None:
    """These parameters are no longer the optimiser's."""
    group, taken = optimizer.param_groups[0], set(parameters)
    group["params"] = [p for p in group["params"] if p not in taken]
