"""The stand-in for CIFAR-10: same seed, same bytes; balanced; not to be told by single pixels."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from models.fully_connected import FullyConnectedNet
from utils.data import synthetic
from utils.data.dataset import Dataset, load_quick_dataset
from utils.data.sources import KEYS


@pytest.fixture(scope="module")
def stand_in() -> Dataset:
    return load_quick_dataset("cifar10")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    make_arrays = synthetic.make_arrays.__wrapped__  # the tests' own remembers what it has drawn
    first, again, other = (make_arrays(seed, 40, 20) for seed in (3, 3, 4))
    for key in KEYS:
        assert first[key].tobytes() == again[key].tobytes()
    assert first["x_train"].tobytes() != other["x_train"].tobytes()


def test_arrays_are_laid_out_as_the_cifar10_npz() -> None:
    arrays = synthetic.make_arrays(0, 40, 20)
    assert tuple(arrays) == KEYS
    assert arrays["x_train"].shape == (40, 32, 32, 3)
    assert arrays["x_test"].shape == (20, 32, 32, 3)
    assert all(array.dtype == np.uint8 for array in arrays.values())
    assert np.bincount(arrays["y_train"]).tolist() == [4] * 10
    assert np.bincount(arrays["y_test"]).tolist() == [2] * 10


def test_no_image_occurs_twice() -> None:
    images = synthetic.make_arrays(0, 200, 100)
    rows = np.concatenate([images["x_train"], images["x_test"]]).reshape(300, -1)
    assert len(np.unique(rows, axis=0)) == 300


def test_the_mean_image_says_almost_nothing_about_the_class(stand_in: Dataset) -> None:
    """Position, colour and contrast are drawn anew, so they cancel out over many images."""
    x_train, x_test = (x.flatten(1).float() for x in (stand_in.x_train, stand_in.x_test))
    centres = torch.stack([x_train[stand_in.y_train == label].mean(dim=0) for label in range(10)])
    nearest = torch.cdist(x_test, centres).argmin(dim=1)
    assert (nearest == stand_in.y_test).double().mean() < 0.2  # by chance: 0.1


def test_a_convolution_learns_what_a_fully_connected_network_does_not(stand_in: Dataset) -> None:
    """Four epochs each: at least 55 % against at most 35 %."""
    mean, std = (255 * torch.tensor(s).view(1, 3, 1, 1) for s in (stand_in.mean, stand_in.std))
    x_train, x_test = ((x - mean) / std for x in (stand_in.x_train, stand_in.x_test))

    def accuracy(model: nn.Module) -> float:
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
        for _ in range(4):
            for batch in torch.randperm(len(x_train)).split(64):
                loss = nn.functional.cross_entropy(model(x_train[batch]), stand_in.y_train[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            right: Tensor = model(x_test).argmax(dim=1) == stand_in.y_test
        return right.double().mean().item()

    torch.manual_seed(0)
    assert accuracy(FullyConnectedNet(3 * 32 * 32, 128, 10)) <= 0.35
    assert accuracy(models.build("CNN7x7")) >= 0.55
