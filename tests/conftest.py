"""What all tests share: one thread a process, and tiny datasets of random images, made once.

And how many examples hypothesis tries of each property: more of them in ``make soak``.
"""

import functools
import os
from dataclasses import replace

import pytest
import torch
from hypothesis import settings

from tests import fakes
from utils.data import synthetic
from utils.data.dataset import Dataset

settings.register_profile("test", max_examples=60, deadline=None)
settings.register_profile("soak", max_examples=3000, deadline=None)
settings.load_profile("test")

synthetic.make_arrays = functools.cache(synthetic.make_arrays)  # drawing them takes seconds


def pytest_configure() -> None:
    """Several processes with several threads each would wait for one another's."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that two workers end at about the same time."""
    longest = ("cluster", "jobs", "scripts", "cluster_page", "faults", "runner", "checkpoint")
    first = [f"test_{name}.py" for name in longest]
    items.sort(key=lambda item: item.path.name not in first)


@pytest.fixture(scope="session")
def cifar10() -> Dataset:
    """64 train and 32 test images of ten classes in the shape of CIFAR-10's."""
    return fakes.make_tiny(replace(fakes.TINY_CIFAR10, train_images=64, test_images=32))


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """64 train and 32 test images of ten classes in the shape of MNIST's."""
    return fakes.make_tiny(replace(fakes.TINY_MNIST, train_images=64, test_images=32))
