"""What is timed of a training step: our loop, the bare step, its optimisers, a matrix product."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from utils.data.batches import augmented_views, training_batches
from utils.data.dataset import Dataset
from utils.experiment import Run
from utils.measuring.timing import Action
from utils.training.loop import build_network, initial_state, train_epoch, train_step
from utils.training.optimizers import HiddenMuon, build_optimizers, steps_in_cycle


class BareStep:
    """Forward, loss, backward and optimisers on one batch that lies ready, again and again.

    What it is made of can be exchanged.
    """

    def __init__(self, run: Run, dataset: Dataset) -> None:
        self.run, self.state = run, initial_state(run, dataset)
        self.network, self.optimizers = self.state.network.train(), self.state.optimizers
        views = augmented_views(dataset.x_train[: run.recipe.batch_size], run.recipe)
        batches = training_batches(dataset, views, run.recipe, self.state.generator)
        self.images, self.labels = next(batches)  # [batch, channels, height, width], [batch]

    def __call__(self) -> Tensor:
        """One step; returns the loss before it."""
        compute, smoothing = self.run.compute, self.run.recipe.label_smoothing
        return train_step(
            self.network, self.images, self.labels, self.optimizers, compute, smoothing
        )


def optimizer_step(step: BareStep, always_orthogonal: bool = False) -> Action:
    """The optimisers of a step alone, with the gradients of one that is made now.

    With ``always_orthogonal`` Muon makes the update of a large layer orthogonal in each of them.
    """
    step()
    for optimizer in step.optimizers:
        if always_orthogonal and isinstance(optimizer, HiddenMuon):
            optimizer.every = 1

    def optimize() -> None:
        for optimizer in step.optimizers:
            optimizer.step()

    return optimize


def our_loop(run: Run, dataset: Dataset, views: Tensor, batches: int) -> Action:
    """``train_epoch`` over as many images as a segment has, the next ones each time."""
    state, segments = initial_state(run, dataset), each_segment(run, dataset, views, batches)

    def train() -> None:
        part, part_views = next(segments)
        train_epoch(state, run, part, part_views, lambda event: None)

    return train


def each_segment(
    run: Run, dataset: Dataset, views: Tensor, batches: int
) -> Iterator[tuple[Dataset, Tensor]]:
    """The labels and views of ``batches`` full batches, others each time, for ever.

    ``views`` are the train split's ``augmented_views``. The images of a segment lie all over the
    split: what fits the processor's cache would be gathered faster than the study's batches are.
    """
    images = batches * run.recipe.batch_size
    stride = len(views) // images
    for start in itertools.cycle(range(stride)):
        part = slice(start, images * stride, stride)
        yield replace(dataset, y_train=dataset.y_train[part]), views[part]


def cycle_of(run: Run) -> int:
    """After how many steps the work of the run's optimisers begins anew."""
    return steps_in_cycle(build_optimizers(build_network(run), run.recipe, torch.float32))


def whole_cycles(run: Run, batches: int) -> int:
    """At most so many batches: segments of whole cycles have the same work, however dear some
    steps are. ``batches`` where there are too few for one.
    """
    cycle = cycle_of(run)
    return batches // cycle * cycle or batches


def matrix_product(size: int, device: torch.device) -> Action:
    """Multiplies two square float32 matrices of this many rows."""
    matrix = torch.randn(size, size, device=device)
    result = torch.empty_like(matrix)
    return lambda: torch.mm(matrix, matrix, out=result)
