"""Whole-tensor batches: uint8 images in memory -> normalised, augmented float batches.

    [images, channels, height, width] uint8, on the training device
        --order--> --crop and flip, one draw per image--> --normalise--> float32

No Python runs per image and no worker process copies any: a batch is a handful of torch ops.
torchvision's v2 transforms draw once per batch, so the gather that gives every image its own
crop is ours.
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

    The mean and deviation are the train split's. Channels lie last in memory, as the networks'
    convolutions have them.
    """
    images = images.to(torch.float32, memory_format=torch.channels_last)
    mean = 255 * torch.tensor(dataset.mean, device=images.device).view(1, -1, 1, 1)
    deviation = 255 * torch.tensor(dataset.std, device=images.device).view(1, -1, 1, 1)
    return images.sub_(mean).div_(deviation)


def crops(images: Tensor, padding: int) -> Tensor:
    """Every crop of every reflected-padded image, as a view that copies nothing but the border.

    ``[images, channels, height, width]`` ->
    ``[images, channels, 2 * padding + 1, 2 * padding + 1, height, width]``: entry
    ``[i, :, dy, dx]`` is image ``i`` moved by ``padding - dy`` rows and ``padding - dx`` columns.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (padding,) * 4, mode="reflect") if padding else images
    return padded.unfold(2, height, 1).unfold(3, width, 1)


def augmented(
    windows: Tensor, chosen: Tensor, recipe: Recipe, generator: torch.Generator
) -> Tensor:
    """One randomly cropped and flipped view of each chosen image, uint8.

    ``windows`` as ``crops`` returns them, ``chosen`` ``[batch]`` image numbers ->
    ``[batch, channels, height, width]``. The draws are made on the CPU, so that they are the
    same on every device.
    """
    batch, device = len(chosen), windows.device
    shifts = torch.randint(0, windows.shape[2], (2, batch), generator=generator).to(device)
    images = windows[chosen, :, shifts[0], shifts[1]]
    if recipe.flip:
        mirrored = torch.rand(batch, generator=generator).to(device) < 0.5
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    return images


def steps_per_epoch(images: int, recipe: Recipe) -> int:
    """How many batches an epoch has; the last one may be smaller."""
    return math.ceil(images / recipe.batch_size)


def training_batches(
    dataset: Dataset, windows: Tensor, recipe: Recipe, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order: pairs of images ``[batch, channels, height, width]`` (float32,
    normalised) and labels ``[batch]``.

    ``windows`` is ``crops(dataset.x_train, recipe.crop_padding)``, made once per run.
    """
    order = torch.randperm(len(windows), generator=generator).to(windows.device)
    for chosen in order.split(recipe.batch_size):
        images = augmented(windows, chosen, recipe, generator)
        yield normalise(images, dataset), dataset.y_train[chosen]


def evaluation_batches(
    images: Tensor, dataset: Dataset, batch_size: int = 1000
) -> Iterator[Tensor]:
    """The images in their own order, normalised and not augmented, ``batch_size`` at a time."""
    for part in images.split(batch_size):
        yield normalise(part, dataset)
