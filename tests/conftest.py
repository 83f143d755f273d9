"""The tiny datasets that most tests train, measure or look at: random images, made once.

And how many examples hypothesis tries of each property: more of them in ``make soak``.
"""

from dataclasses import replace

import pytest
from hypothesis import settings

from tests import fakes
from utils.data.dataset import Dataset

settings.register_profile("test", max_examples=60, deadline=None)
settings.register_profile("soak", max_examples=3000, deadline=None)
settings.load_profile("test")


@pytest.fixture(scope="session")
def cifar10() -> Dataset:
    """64 train and 32 test images of ten classes in the shape of CIFAR-10's."""
    return fakes.make_tiny(replace(fakes.TINY_CIFAR10, train_images=64, test_images=32))


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """64 train and 32 test images of ten classes in the shape of MNIST's."""
    return fakes.make_tiny(replace(fakes.TINY_MNIST, train_images=64, test_images=32))
