"""Batches: the same images as by the obvious loops, and a draw of its own for each of them."""

import numpy as np
import pytest
import torch

from tests.fakes import TINY_CIFAR10, TINY_MNIST, make_arrays
from utils.batches import (
    augmented,
    crops,
    evaluation_batches,
    normalise,
    steps_per_epoch,
    training_batches,
)
from utils.data import Dataset, make_dataset
from utils.experiment import Recipe

RECIPE = Recipe(
    epochs=2, optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, batch_size=8, crop_padding=2
)


def tiny(official: object = TINY_CIFAR10) -> Dataset:
    return make_dataset(make_arrays(official), official.name, "tiny", official.classes)


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_crops_are_slices_of_the_reflected_image(padding: int) -> None:
    images = torch.arange(2 * 3 * 5 * 6, dtype=torch.uint8).view(2, 3, 5, 6)
    windows = crops(images, padding)
    border = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(images.numpy(), border, mode="reflect")
    for dy, dx in np.ndindex(2 * padding + 1, 2 * padding + 1):
        expected = padded[:, :, dy : dy + 5, dx : dx + 6]
        assert np.array_equal(windows[:, :, dy, dx].numpy(), expected)


def test_each_image_of_a_batch_gets_its_own_crop_and_flip() -> None:
    recipe = Recipe(**{**vars(RECIPE), "flip": True})
    images = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    batch = augmented(crops(images, 2), torch.zeros(500, dtype=torch.int64), recipe, generator)
    assert len({image.numpy().tobytes() for image in batch}) == 2 * 5 * 5  # flips × rows × columns


def test_without_augmentation_the_chosen_images_come_back() -> None:
    recipe = Recipe(**{**vars(RECIPE), "crop_padding": 0})
    images = torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8)
    chosen = torch.tensor([3, 0, 3])
    assert torch.equal(
        augmented(crops(images, 0), chosen, recipe, torch.Generator()), images[chosen]
    )


@pytest.mark.parametrize("official", [TINY_MNIST, TINY_CIFAR10])
def test_the_train_split_has_mean_zero_and_deviation_one(official: object) -> None:
    data = tiny(official)
    normalised = normalise(data.x_train, data)
    assert normalised.dtype == torch.float32
    channels = normalised.transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(
        channels.mean(1), torch.zeros(len(channels)).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        channels.std(1, correction=0), torch.ones(len(channels)).double(), atol=1e-5, rtol=0
    )


def test_an_epoch_holds_every_image_once_with_its_label() -> None:
    data = tiny()
    recipe = Recipe(**{**vars(RECIPE), "crop_padding": 0})
    seen = list(training_batches(data, crops(data.x_train, 0), recipe, torch.Generator()))
    assert [len(labels) for _, labels in seen] == [8, 8, 4]
    assert len(seen) == steps_per_epoch(len(data.x_train), recipe)
    found = {
        image.numpy().tobytes(): label.item()
        for x, y in seen
        for image, label in zip(x, y, strict=True)
    }
    normalised = normalise(data.x_train, data)
    expected = {
        image.numpy().tobytes(): y.item() for image, y in zip(normalised, data.y_train, strict=True)
    }
    assert found == expected


def test_the_same_seed_gives_the_same_batches_and_another_seed_others() -> None:
    data = tiny()
    windows = crops(data.x_train, RECIPE.crop_padding)

    def first(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return next(iter(training_batches(data, windows, RECIPE, generator)))[0]

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_evaluation_keeps_the_order_and_augments_nothing() -> None:
    data = tiny()
    batches = list(evaluation_batches(data.x_test, data, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert torch.equal(torch.cat(batches), normalise(data.x_test, data))
