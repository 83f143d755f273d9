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

from utils.data.dataset import Dataset, Statistics
from utils.experiment import Recipe


def channel_statistics(
    dataset: Dataset | Statistics, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the train split's bytes, ``[1, channels, 1, 1]``.

    The deviation of a constant channel counts as 1: it is centred and not divided.
    """
    mean, deviation = (
        255 * torch.tensor(values, device=device).view(1, -1, 1, 1)
        for values in (dataset.mean, dataset.std)
    )
    return mean, deviation.where(deviation > 0, 1)


def normalise(images: Tensor, dataset: Dataset | Statistics) -> Tensor:
    """uint8 ``[batch, channels, height, width]`` -> float32 of mean 0 and deviation 1 per channel.

    The result is contiguous: one number per channel is subtracted fastest where a channel lies in
    one piece, and a convolution whose weights have their channels last rearranges its input itself.
    """
    mean, deviation = channel_statistics(dataset, images.device)
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


def drawn_views(views: Tensor, generator: torch.Generator) -> Tensor:
    """Every image once, in random order, and which of its views: ``[4, images]``.

    The rows are the image, whether it is mirrored, and the row and column of its crop. The draws
    are made on the CPU, so that they are the same on every device, and moved there all at once:
    a copy in every step would make the processor wait for the device.
    """
    images = len(views)
    order = torch.randperm(images, generator=generator)
    choices = [
        torch.randint(0, views.shape[axis], (images,), generator=generator) for axis in (1, 3, 4)
    ]
    return torch.stack([order, *choices]).to(views.device)


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
    mean, deviation = channel_statistics(dataset, dataset.x_train.device)
    for chosen in drawn_views(views, generator).split(recipe.batch_size, dim=1):
        image, mirrored, row, column = chosen
        pixels = views[image, mirrored, :, row, column]
        yield pixels.to(torch.float32).sub_(mean).div_(deviation), dataset.y_train[image]


def evaluation_batches(
    images: Tensor, dataset: Dataset, batch_size: int = 1000
) -> Iterator[Tensor]:
    """The images in their own order, normalised and not augmented, ``batch_size`` at a time."""
    for part in images.split(batch_size):
        yield normalise(part, dataset)
