"""Whole-tensor batches: uint8 images in memory -> normalised, augmented float batches.

    [images, channels, height, width] uint8, on the training device
        --every view of every image, uncopied--> --one drawn for each--> --normalise--> float32

No Python runs per image and no worker process copies any: a batch is a handful of torch ops.
torchvision's v2 transforms draw once per batch, so the gather that gives every image its own
view is ours.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.data import Dataset
from utils.experiment import Recipe


def normalise(images: Tensor, dataset: Dataset) -> Tensor:
    """uint8 ``[batch, channels, height, width]`` -> float32 of mean 0 and deviation 1 per channel.

    The mean and deviation are the train split's. The result is contiguous: one number per channel
    is subtracted fastest where a channel lies in one piece, and a convolution whose weights have
    their channels last rearranges its input itself.
    """
    mean = 255 * torch.tensor(dataset.mean, device=images.device).view(1, -1, 1, 1)
    deviation = 255 * torch.tensor(dataset.std, device=images.device).view(1, -1, 1, 1)
    return images.to(torch.float32).sub_(mean).div_(deviation)


def augmented_views(images: Tensor, recipe: Recipe) -> Tensor:
    """Every crop of every reflected-padded image and of its mirror image, without a copy of each.

    ``[images, channels, height, width]`` -> ``[images, mirrored, channels, crops, crops, height,
    width]`` with ``crops = 2 * recipe.crop_padding + 1``, and ``mirrored`` 2 where the recipe flips
    and else 1. Entry ``[i, 0, :, dy, dx]`` is image ``i`` moved by ``crop_padding - dy`` rows and
    ``crop_padding - dx`` columns. What takes memory is the padded image and its mirror image alone.
    """
    height, width = images.shape[2:]
    padding = (recipe.crop_padding,) * 4
    padded = F.pad(images, padding, mode="reflect") if recipe.crop_padding else images
    both = torch.stack([padded, padded.flip(3)], 1) if recipe.flip else padded.unsqueeze(1)
    return both.unfold(3, height, 1).unfold(4, width, 1)


def augmented(views: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """One view of each chosen image, drawn at random, uint8.

    ``views`` as ``augmented_views`` returns them, ``chosen`` ``[batch]`` image numbers ->
    ``[batch, channels, height, width]``. The draws are made on the CPU, so that they are the
    same on every device.
    """
    mirrored, row, column = (
        torch.randint(0, views.shape[axis], (len(chosen),), generator=generator).to(views.device)
        for axis in (1, 3, 4)
    )
    return views[chosen, mirrored, :, row, column]


def steps_per_epoch(images: int, recipe: Recipe) -> int:
    """How many batches an epoch has; the last one may be smaller."""
    return math.ceil(images / recipe.batch_size)


def training_batches(
    dataset: Dataset, views: Tensor, recipe: Recipe, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order: pairs of images ``[batch, channels, height, width]`` (float32,
    normalised) and labels ``[batch]``.

    ``views`` is ``augmented_views(dataset.x_train, recipe)``, made once per run.
    """
    order = torch.randperm(len(views), generator=generator).to(views.device)
    for chosen in order.split(recipe.batch_size):
        yield normalise(augmented(views, chosen, generator), dataset), dataset.y_train[chosen]


def evaluation_batches(
    images: Tensor, dataset: Dataset, batch_size: int = 1000
) -> Iterator[Tensor]:
    """The images in their own order, normalised and not augmented, ``batch_size`` at a time."""
    for part in images.split(batch_size):
        yield normalise(part, dataset)
