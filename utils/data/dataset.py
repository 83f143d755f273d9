"""Data: a dataset in memory, in one canonical order whatever file it came from.

    npz, torchvision's files or a download --read--> four arrays --sort--> Dataset

Both splits are whole tensors of uint8 images, ``[images, channels, height, width]``, small enough
to live on the training device. Every image is hashed together with its label and each split is
sorted by these hashes. The official order of the images is thus forgotten, on purpose: the same
seed gives the same batches, and predictions line up, from whichever source one started.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from utils import REPOSITORY
from utils.data import sources, synthetic
from utils.data.download import Remote, download
from utils.data.sources import OFFICIAL, Arrays, Official
from utils.experiment import Run

VALIDATION_IMAGES = 5_000
TENSORS = ("x_train", "y_train", "x_test", "y_test", "x_validation", "y_validation")
SAMPLE = REPOSITORY / "data" / "sample" / "mnist.npz"


class Statistics(NamedTuple):
    """Of the channels of train images / 255, as a ``Dataset`` has them too."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


# Those of MNIST and CIFAR-10, for pictures that are shown to networks where no dataset is at hand.
SHIPPED_STATISTICS = {
    "mnist": Statistics((0.13066047627384286,), (0.3081078038564627,)),
    "cifar10": Statistics(
        (0.4913996786151961, 0.4821584083946079, 0.4465309144454658),
        (0.24703223246328201, 0.24348512800005553, 0.2615878417279645),
    ),
}

# What the shipped results were measured on; elsewhere a run warns, and goes on.
SHIPPED_FINGERPRINTS = {
    "mnist": "e49d8b6f04596776b2d76af9d509cff81732736041ab280def30363539f2a60b",
    "cifar10": "182da949176bcd170e14c624f7daec9113bf06b35d4a9210e359062c1f6aa3ea",
}


@dataclass(frozen=True, eq=False)  # == on tensors is no single truth; compare fingerprints
class Dataset:
    """Two splits of labelled images in canonical order, and what is known about them."""

    name: str  # "mnist" or "cifar10": which of the two roles it plays in the study
    description: str  # what tables and figures call it
    classes: tuple[str, ...]  # in the order of the labels
    x_train: Tensor  # uint8 [images, channels, height, width]
    y_train: Tensor  # int64 [images]
    x_test: Tensor
    y_test: Tensor
    x_validation: Tensor  # held out from the train split; none unless asked for
    y_validation: Tensor
    fingerprint: str  # SHA-256, the same for any order of the images within their split
    synthetic: bool  # drawn by utils.data.synthetic rather than photographed or written
    mean: tuple[float, ...]  # per channel of x_train / 255
    std: tuple[float, ...]  # likewise; the population's (divided by n)

    def to(self, device: torch.device | str) -> "Dataset":
        """The same dataset with its images and labels on ``device``."""
        return replace(self, **{name: getattr(self, name).to(device) for name in TENSORS})


Load = Callable[[str], Dataset]  # from mnist or cifar10


def load_dataset(
    name: str,
    data_dir: Path,
    official: Official | None = None,
    remote: Remote | None = None,
) -> Dataset:
    """A full dataset: ``<data_dir>/<name>.npz``, else torchvision's files, else a download.

    ``official`` and ``remote`` say what the files must look like and where they can be had; tests
    give their own. Raises UserError, in one line, for whatever is wrong with the files.
    """
    official = official or OFFICIAL[name]
    arrays = sources.read_local(official, data_dir)
    if arrays is None:
        download(official, data_dir, remote)
        arrays = sources.read_torchvision(official, data_dir)
    return named(arrays, official)


def find_dataset(name: str, data_dir: Path) -> Dataset | None:
    """A full dataset from the files below ``data_dir``; None where there are none."""
    official = OFFICIAL[name]
    arrays = sources.read_local(official, data_dir)
    return arrays and named(arrays, official)


def named(arrays: Arrays, official: Official) -> Dataset:
    """Arrays from files -> what they are called there, where they are the images of the study."""
    data = make_dataset(arrays, official.name, official.title, official.classes)
    if data.fingerprint == SHIPPED_FINGERPRINTS[official.name]:
        return data
    return replace(data, description=f"stand-in for {official.title}")


def load_quick_dataset(name: str) -> Dataset:
    """What ``--quick`` uses in its place: a sample of MNIST, or images drawn by a program."""
    if name == "mnist":
        sample = replace(OFFICIAL[name], train_images=1_500, test_images=500)
        arrays = sources.read_npz(SAMPLE, sample, remedy="restore it from the repository")
        return make_dataset(arrays, name, "MNIST sample", sample.classes)
    description = f"synthetic stand-in for {OFFICIAL[name].title}"
    return make_dataset(synthetic.make_arrays(), name, description, synthetic.CLASSES, True)


def make_dataset(
    arrays: Arrays, name: str, description: str, classes: tuple[str, ...], synthetic: bool = False
) -> Dataset:
    """Arrays as the npz files hold them -> canonical order, fingerprint, mean and deviation."""
    fingerprint = hashlib.sha256()
    tensors: dict[str, Tensor] = {}
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"].astype(np.int64)
        if images.ndim == 3:
            images = images[..., np.newaxis]  # [images, 28, 28] -> [images, 28, 28, 1]
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))  # -> channels first
        hashes = _hash_each(images, labels)
        order = sorted(range(len(hashes)), key=hashes.__getitem__)
        fingerprint.update(f"{split} {images.shape}".encode())
        fingerprint.update(b"".join(hashes[i] for i in order))
        tensors[f"x_{split}"] = torch.from_numpy(images[order])
        tensors[f"y_{split}"] = torch.from_numpy(labels[order])
    mean, std = _mean_and_std(tensors["x_train"])
    return Dataset(
        name=name,
        description=description,
        classes=classes,
        **tensors,
        fingerprint=fingerprint.hexdigest(),
        x_validation=tensors["x_train"][:0],
        y_validation=tensors["y_train"][:0],
        synthetic=synthetic,
        mean=mean,
        std=std,
    )


def hold_out(dataset: Dataset) -> Dataset:
    """The same dataset with ``VALIDATION_IMAGES`` of its train images for validation.

    They are the same ones every time. The few images of ``--quick`` give a tenth.
    """
    images = held_out(dataset)
    order = torch.randperm(len(dataset.x_train), generator=torch.Generator().manual_seed(0))
    kept, out = order[:-images], order[-images:]
    return replace(
        dataset,
        x_train=dataset.x_train[kept],
        y_train=dataset.y_train[kept],
        x_validation=dataset.x_train[out],
        y_validation=dataset.y_train[out],
    )


def held_out(dataset: Dataset) -> int:
    """How many images ``hold_out`` takes."""
    return min(VALIDATION_IMAGES, len(dataset.x_train) // 10)


def dataset_of(run: Run, dataset: Dataset) -> Dataset:
    """What a run is trained and tested on: the part, the number and the order of the pixels."""
    if run.part == "train minus validation":
        dataset = hold_out(dataset)
    if run.images:
        dataset = draw(dataset, run.images, run.seed)
    return permute(dataset) if run.permuted else dataset


def draw(dataset: Dataset, images: int, seed: int) -> Dataset:
    """The same dataset with ``images`` of its train images, repeated to the full length.

    An epoch has as many steps as with all of them. Mean and deviation stay those of the whole
    split. Another ``seed`` draws others.
    """
    length = len(dataset.x_train)
    drawn = torch.randperm(length, generator=torch.Generator().manual_seed(seed))[:images]
    order = drawn.repeat(math.ceil(length / len(drawn)))[:length]
    return replace(dataset, x_train=dataset.x_train[order], y_train=dataset.y_train[order])


def permute(dataset: Dataset) -> Dataset:
    """The same dataset with the pixels of every image in one random order, the same for all.

    What a fully connected network can know of an image is the same as before; which pixels are
    neighbours is lost.
    """
    each = {name: getattr(dataset, name) for name in TENSORS if name.startswith("x")}
    return replace(dataset, **{name: permuted(images) for name, images in each.items()})


def permuted(images: Tensor) -> Tensor:
    """Images ``[images, channels, height, width]`` with their pixels in that order."""
    pixels = images.flatten(2)
    order = torch.randperm(pixels.shape[2], generator=torch.Generator().manual_seed(0))
    return pixels[:, :, order.to(images.device)].view_as(images)


def _hash_each(images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    """One 16-byte hash per image: of its label, then its pixels, channel by channel."""
    rows = np.column_stack([labels.astype(np.uint8), images.reshape(len(images), -1)])
    return [hashlib.blake2b(row, digest_size=16).digest() for row in rows]


def _mean_and_std(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of ``images / 255``, in float64.

    A byte has 256 values: counting them is exact, and needs no float copy of all pixels.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(dim=1):  # [images, height, width]
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = (share * values).sum()
        means.append(mean.item())
        stds.append((share * (values - mean).square()).sum().sqrt().item())
    return tuple(means), tuple(stds)
