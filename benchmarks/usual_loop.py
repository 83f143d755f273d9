"""The loop that most people train these networks with, as they would type it.

    torchvision's dataset --image by image, PIL--> DataLoader, 2 workers --> NCHW float32 --> Adam

What is ours in it are the arrays: they are set as the dataset's ``data`` and ``targets``, so that
both loops train on the same images, augmented as in our recipe. Its batches are of the usual 128:
a large batch of ours must not slow down its learning. The crop is padded with black as usual, which
is cheaper here than the reflected border of ours.

It is timed in a process of its own (``UsualProcess``), as people run it. How memory is kept
(``utils.machine``) is decided for a whole process, and the usual loop does without that. And a
DataLoader forks its process: afterwards the first write to every page of memory costs extra, which
whatever is timed next in the same process would pay for.
"""

import contextlib
import itertools
import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10, MNIST, VisionDataset

import models
from utils import signals
from utils.data.dataset import Dataset
from utils.experiment import Recipe, Run
from utils.training.checkpoint import seed_everything

WORKERS = 2
PREFETCHED = 2 * WORKERS  # batches; the DataLoader's own choice of 2 for each worker
LEARNING_RATE = 1e-3
BATCH_SIZE = 128  # or our recipe's, where that is smaller still


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
    """The train split as torchvision's dataset, with our images in place of its files.

    An item is ``[channels, height, width]`` and a label, by its own ``__getitem__``.
    """
    images, labels = dataset.x_train.cpu(), dataset.y_train.cpu()
    kind = {"mnist": MNIST, "cifar10": CIFAR10}[dataset.name]
    usual = kind.__new__(kind)
    VisionDataset.__init__(usual, transform=usual_transform(dataset, recipe))
    if kind is MNIST:  # as each keeps them
        usual.data, usual.targets = images.squeeze(1), labels
    else:
        usual.data = images.permute(0, 2, 3, 1).contiguous().numpy()
        usual.targets = labels.tolist()
    return usual


class UsualLoop:
    """A network of the study with everything that the usual loop trains it with, on its device."""

    def __init__(self, run: Run, dataset: Dataset) -> None:
        self.device = torch.device(run.compute.device)
        self.batch_size = usual_batch_size(run.recipe)
        self.network = models.build(run.network, **run.overrides).to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        self.loader = DataLoader(
            usual_dataset(dataset, run.recipe),
            batch_size=self.batch_size,
            shuffle=True,
            num_workers=WORKERS,
            pin_memory=self.device.type == "cuda",
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

    def start(self) -> None:
        """Comes to the middle of an epoch.

        What the workers make ready before the first step is trained on, so that a network which
        waits for its images does not find some waiting.
        """
        self.loaded = iter(self.loader)
        self.train_on(itertools.islice(self.loaded, PREFETCHED))

    def go_on(self, images: int) -> None:
        """Trains on the next ``images``, a multiple of the batch size."""
        self.train_on(itertools.islice(self.loaded, images // self.batch_size))

    def stop(self) -> None:
        """Ends the workers and waits for them: none works on while another loop is timed."""
        self.loaded = None  # the only reference


class UsualProcess(ProcessPoolExecutor):
    """Trains with the usual loop elsewhere, one network after the other; to be used in ``with``."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit our memory
        super().__init__(1, context, _prepare, (multiprocessing.get_start_method(),))

    def take(self, run: Run, dataset: Dataset) -> None:
        """Makes the loop for this network; the one before it is forgotten."""
        # as bytes: tensors would be moved into shared memory, of which a container has little
        self.submit(_take, run, pickle.dumps(dataset.to("cpu"))).result()

    @contextlib.contextmanager
    def running(self, images: int) -> Iterator[Callable[[], None]]:
        """Gives what trains on this many images, as in the middle of an epoch."""
        self.submit(_call, "start").result()
        try:
            yield lambda: self.submit(_call, "go_on", images).result()
        finally:
            self.submit(_call, "stop").result()


# what follows runs in the other process

_loops: list[UsualLoop] = []  # the one that was taken last


def _prepare(start_method: str) -> None:
    signals.in_child()
    # a spawned process would spawn the DataLoader's workers too, which takes seconds
    multiprocessing.set_start_method(start_method, force=True)


def _take(run: Run, dataset: bytes) -> None:
    torch.set_num_threads(run.compute.threads)
    seed_everything(run.seed)
    _loops[:] = [UsualLoop(run, pickle.loads(dataset))]


def _call(method: str, *arguments: int) -> None:
    getattr(_loops[0], method)(*arguments)
