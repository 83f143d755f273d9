"""What is timed of a training step: our loop, the bare step, their parts, the processor.

Our loop is ``train_epoch`` itself, over as many images as a segment has. The bare
step is forward, loss, backward and optimiser on one batch that lies ready, again and again.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from benchmarks.timing import Action
from utils.data.batches import augmented_views, training_batches
from utils.data.dataset import Dataset
from utils.experiment import Run
from utils.training.checkpoint import TrainingState
from utils.training.loop import Compute, build_network, initial_state, train_epoch, train_step
from utils.training.optimizers import HiddenMuon, build_optimizers, steps_in_cycle
from utils.training.progress import Progress


def parts(views: Tensor, images: int) -> Iterator[slice]:
    """Which ``images`` of the train split a segment trains on, others each time, for ever.

    They lie all over it: what fits the processor's cache would be gathered faster than the
    study's own batches are.
    """
    stride = len(views) // images
    return itertools.cycle(slice(start, images * stride, stride) for start in range(stride))


def cycle_of(run: Run) -> int:
    """After how many steps the work of the run's optimisers begins anew."""
    network = build_network(run, torch.device("cpu"))
    return steps_in_cycle(build_optimizers(network, run.recipe, torch.float32))


def whole_cycles(run: Run, batches: int) -> int:
    """At most so many batches: segments of whole cycles have the same work, however dear some
    steps are. ``batches`` where there are too few for one.
    """
    cycle = cycle_of(run)
    return batches // cycle * cycle or batches


def batch_making(run: Run, dataset: Dataset, views: Tensor, batches: int) -> Action:
    """Draws, cuts, mirrors and normalises a segment's batches, and trains on none."""
    generator = torch.Generator().manual_seed(run.seed)
    segments = parts(views, batches * run.recipe.batch_size)

    def make() -> None:
        part = next(segments)
        labels = replace(dataset, y_train=dataset.y_train[part])
        for _ in training_batches(labels, views[part], run.recipe, generator):
            pass

    return make


class OurLoop:
    """The study's loop; called, it trains on the next ``batches * batch_size`` images."""

    def __init__(
        self,
        run: Run,
        dataset: Dataset,
        views: Tensor,
        compute: Compute,
        batches: int,
        progress: Progress,
    ) -> None:
        self.recipe, self.compute = run.recipe, compute
        self.dataset, self.views, self.progress = dataset, views, progress
        self.state: TrainingState = initial_state(run, dataset, compute)
        self.parts = parts(views, batches * run.recipe.batch_size)

    def __call__(self) -> None:
        """One segment."""
        part = next(self.parts)
        dataset = replace(self.dataset, y_train=self.dataset.y_train[part])
        views = self.views[part]
        train_epoch(self.state, self.recipe, dataset, views, self.compute, self.progress)


def resident_batch(run: Run, dataset: Dataset, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The first images and labels of the train split, as a batch of training is made."""
    first = dataset.x_train[: run.recipe.batch_size]
    views = augmented_views(first, run.recipe)
    return next(training_batches(dataset, views, run.recipe, generator))


def bare_step(run: Run, dataset: Dataset, compute: Compute, updates: bool = True) -> Action:
    """Forward, loss, backward and optimiser on the same resident batch each time.

    Without ``updates`` the optimiser is left out.
    """
    state = initial_state(run, dataset, compute)
    network, optimizers = state.network.train(), state.optimizers if updates else []
    images, labels = resident_batch(run, dataset, state.generator)
    smoothing = run.recipe.label_smoothing
    return lambda: train_step(network, images, labels, optimizers, compute, smoothing)


def with_gradients(run: Run, dataset: Dataset, compute: Compute) -> TrainingState:
    """The study's network and optimisers after one step, whose gradients are in place."""
    state = initial_state(run, dataset, compute)
    images, labels = resident_batch(run, dataset, state.generator)
    train_step(state.network.train(), images, labels, state.optimizers, compute)
    return state


def optimizer_step(
    run: Run, dataset: Dataset, compute: Compute, always_orthogonal: bool = False
) -> Action:
    """The optimisers' steps alone.

    With ``always_orthogonal`` Muon makes the update of a large layer orthogonal in each of them.
    """
    state = with_gradients(run, dataset, compute)
    for optimizer in state.optimizers:
        if always_orthogonal and isinstance(optimizer, HiddenMuon):
            optimizer.every = 1

    def step() -> None:
        for optimizer in state.optimizers:
            optimizer.step()

    return step


def matrix_product(size: int, device: torch.device) -> Action:
    """Multiplies two square float32 matrices of this many rows."""
    matrix = torch.randn(size, size, device=device)
    result = torch.empty_like(matrix)
    return lambda: torch.mm(matrix, matrix, out=result)


def product_as_convolution(size: int, device: torch.device) -> Action:
    """The same product as a 1 × 1 convolution, which another of torch's libraries computes.

    ``size`` pixels, in ``size // 32`` rows, with as many channels in and out.
    """
    x = torch.randn(1, size, size // 32, 32, device=device)
    x = x.to(memory_format=torch.channels_last)
    weight = torch.randn(size, size, 1, 1, device=device).to(memory_format=torch.channels_last)
    return lambda: conv2d(x, weight)
