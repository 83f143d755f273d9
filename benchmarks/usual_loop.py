"""The loop that most people train these networks with, as they would type it.

    torchvision's dataset --image by image, PIL--> DataLoader, 2 workers --> NCHW float32 --> Adam

What is ours in it are the arrays: they are set as the dataset's ``data`` and ``targets``, so that
both loops train on the same images, augmented as in our recipe. Its batches are of the usual 128:
a large batch of ours must not slow down its learning. The crop is padded with black as usual, which
is cheaper here than the reflected border of ours.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10, MNIST, VisionDataset

import models
from utils.data.dataset import Dataset
from utils.experiment import Recipe, Run

WORKERS = 2
PREFETCHED = 2 * WORKERS  # batches; the DataLoader's own choice of 2 for each worker
LEARNING_RATE = 1e-3
BATCH_SIZE = 128  # or our recipe's, where that is smaller still


class MNISTInMemory(MNIST):
    """torchvision's MNIST with the given images in place of its files; ``__getitem__`` is its."""

    def __init__(self, images: Tensor, labels: Tensor, transform: nn.Module) -> None:
        VisionDataset.__init__(self, transform=transform)  # MNIST's own would look for files
        self.data, self.targets = images.squeeze(1), labels  # [images, 28, 28], as it keeps them


class CIFAR10InMemory(CIFAR10):
    """torchvision's CIFAR10 with the given images in place of its files, likewise."""

    def __init__(self, images: Tensor, labels: Tensor, transform: nn.Module) -> None:
        VisionDataset.__init__(self, transform=transform)
        self.data = images.permute(0, 2, 3, 1).contiguous().numpy()  # [images, 32, 32, 3]
        self.targets = labels.tolist()


def usual_batch_size(recipe: Recipe) -> int:
    """Beside our recipe: 128, but not more than ours."""
    return min(BATCH_SIZE, recipe.batch_size)


def usual_transform(dataset: Dataset, recipe: Recipe) -> transforms.Compose:
    """Crop and mirror image as in the recipe, then a float tensor, then normalised."""
    size, padding = dataset.x_train.shape[2:], recipe.crop_padding
    return transforms.Compose(
        [
            *([transforms.RandomCrop(size, padding=padding)] if padding else []),
            *([transforms.RandomHorizontalFlip()] if recipe.flip else []),
            transforms.ToTensor(),
            transforms.Normalize(dataset.mean, dataset.std),
        ]
    )


def usual_dataset(dataset: Dataset, recipe: Recipe) -> VisionDataset:
    """The train split as torchvision's dataset: item -> ``[channels, height, width]``, label."""
    kind = {"mnist": MNISTInMemory, "cifar10": CIFAR10InMemory}[dataset.name]
    transform = usual_transform(dataset, recipe)
    return kind(dataset.x_train.cpu(), dataset.y_train.cpu(), transform)


class UsualLoop:
    """A network of the study with everything that the usual loop trains it with."""

    def __init__(self, run: Run, dataset: Dataset, device: torch.device) -> None:
        self.device = device
        self.batch_size = usual_batch_size(run.recipe)
        self.network = models.build(run.model, **run.overrides).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        self.loader = DataLoader(
            usual_dataset(dataset, run.recipe),
            batch_size=self.batch_size,
            shuffle=True,
            num_workers=WORKERS,
            pin_memory=device.type == "cuda",
        )
        self.loaded: Iterator[Sequence[Tensor]] | None = None  # of a segment: images and labels

    def train_epoch(self) -> float:
        """One pass over the train split; returns the mean loss of its batches."""
        return self.train_on(self.loader) / len(self.loader)

    def train_on(self, batches: Iterable[Sequence[Tensor]]) -> float:
        """A training step for each of the batches; returns the sum of their losses."""
        self.network.train()
        running_loss = 0.0
        for images, labels in batches:
            images, labels = images.to(self.device), labels.to(self.device)
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            running_loss += loss.item()
        return running_loss

    @contextlib.contextmanager
    def running(self, images: int) -> Iterator[Callable[[], float]]:
        """Gives what trains on this many images, as in the middle of an epoch.

        ``images`` is a multiple of the batch size.

        What the workers make ready before the first step is trained on before this is entered, so
        that a network which waits for its images does not find some waiting. On leaving, the
        workers are gone: none works on while another loop is timed.
        """
        self.loaded, batches = iter(self.loader), images // self.batch_size
        try:
            self.train_on(itertools.islice(self.loaded, PREFETCHED))
            yield lambda: self.train_on(itertools.islice(self.loaded, batches))
        finally:
            self.loaded = None  # the only reference: the workers end with it, and are waited for
