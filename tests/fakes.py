"""Tiny fakes of the datasets, in every layout that the sources read; how tests compare them."""

import contextlib
import functools
import gzip
import hashlib
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from utils.data.dataset import Dataset, make_dataset
from utils.data.sources import CIFAR10, KEYS, MNIST, Arrays, Official
from utils.errors import UserError
from utils.measuring.timing import Effort
from utils.records.files import read_record

TINY_MNIST = replace(MNIST, train_images=20, test_images=10)
TINY_CIFAR10 = replace(CIFAR10, train_images=20, test_images=10)
TINY = {"mnist": TINY_MNIST, "cifar10": TINY_CIFAR10}


def make_arrays(official: Official, seed: int = 0) -> Arrays:
    """Random images and labels of the right shapes and types."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, images in (("train", official.train_images), ("test", official.test_images)):
        shape = (images, *official.image_shape)
        arrays[f"x_{split}"] = rng.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"y_{split}"] = rng.integers(0, 10, images, dtype=np.uint8)
    return arrays


def make_tiny(official: Official, seed: int = 0) -> Dataset:
    """The dataset of these random arrays."""
    return make_dataset(make_arrays(official, seed), official.name, "tiny", official.classes)


def write_npz(data_dir: Path, official: Official, arrays: Arrays) -> Path:
    path = data_dir / f"{official.name}.npz"
    np.savez_compressed(path, **arrays)
    return path


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return header + array.tobytes()


def write_idx(data_dir: Path, official: Official, arrays: Arrays, gz: bool = False) -> Path:
    """torchvision's layout of MNIST, as its own download leaves it or compressed only."""
    folder = data_dir / official.folder
    folder.mkdir(parents=True)
    for key, name in zip(KEYS, official.files, strict=True):
        content = idx_bytes(arrays[key])
        if gz:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def write_pickles(data_dir: Path, official: Official, arrays: Arrays) -> Official:
    """torchvision's layout of CIFAR-10, and ``official`` with the checksums of these files."""
    folder = data_dir / official.folder
    folder.mkdir(parents=True)
    *train, test, meta = official.files
    images = [*np.array_split(arrays["x_train"], len(train)), arrays["x_test"]]
    labels = [*np.array_split(arrays["y_train"], len(train)), arrays["y_test"]]
    for name, x, y in zip([*train, test], images, labels, strict=True):
        rows = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": y.tolist()}))
    (folder / meta).write_bytes(pickle.dumps({"label_names": list(official.classes)}))
    return replace(official, files={name: md5(folder / name) for name in official.files})


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def full_disk(fits: int) -> Iterator[None]:
    """Within, no file takes more than so many bytes."""
    resource = pytest.importorskip("resource")  # not on Windows
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (fits, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def assert_same(a: Dataset, b: Dataset) -> None:
    assert a.fingerprint == b.fingerprint
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert (a.mean, a.std) == (b.mean, b.std)


def leave_pixels_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made, and empty files: what is on them is looked at in report/test_figures.py."""
    target = "matplotlib.figure.Figure.savefig"
    monkeypatch.setattr(target, lambda figure, path, **_: path.touch())


READ = functools.cache(read_record)


def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed records, a thousand files that no test changes, are read once in a process."""
    monkeypatch.setattr("utils.records.runs.read_record", READ)


def measure_once(monkeypatch: pytest.MonkeyPatch, images: int = 16) -> None:
    """Speeds are measured in one round, with so many images at once."""
    for module in ("layers", "speed"):
        monkeypatch.setattr(f"utils.measuring.{module}.QUICK", Effort(rounds=1))
    monkeypatch.setattr("utils.measuring.speed.THROUGHPUT_BATCH", images)


def error_of(action: Callable[[], object]) -> str:
    """What the action says is wrong, in one line."""
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)
