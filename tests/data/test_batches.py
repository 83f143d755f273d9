"""Batches: the same images as by the obvious loops, and a draw of its own for each of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from utils.data.batches import (
    augmented_views,
    drawn_views,
    evaluation_batches,
    normalise,
    steps_per_epoch,
    training_batches,
)
from utils.data.dataset import Dataset, make_dataset
from utils.experiment import Recipe

RECIPE = Recipe(
    epochs=2, optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, batch_size=24, crop_padding=2
)


def recipe(crop_padding: int, flip: bool = False) -> Recipe:
    return replace(RECIPE, crop_padding=crop_padding, flip=flip)


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_views_are_slices_of_the_reflected_image_and_of_its_mirror_image(padding: int) -> None:
    images = torch.arange(2 * 3 * 5 * 6, dtype=torch.uint8).view(2, 3, 5, 6)
    views = augmented_views(images, recipe(padding, flip=True))
    border = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(images.numpy(), border, mode="reflect")
    for dy, dx in np.ndindex(2 * padding + 1, 2 * padding + 1):
        for mirrored, source in enumerate((padded, padded[..., ::-1])):
            expected = source[:, :, dy : dy + 5, dx : dx + 6]
            assert np.array_equal(views[:, mirrored, :, dy, dx].numpy(), expected)


def test_views_take_the_memory_of_the_padded_images_alone() -> None:
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    assert augmented_views(images, recipe(2)).untyped_storage().nbytes() == 3 * 12 * 12
    assert augmented_views(images, recipe(2, True)).untyped_storage().nbytes() == 2 * 3 * 12 * 12


def test_every_image_is_drawn_once_and_every_view_can_be() -> None:
    images = torch.arange(2 * 500, dtype=torch.int64).view(500, 2, 1, 1) % 256
    images = images.to(torch.uint8).expand(500, 2, 8, 8)
    views = augmented_views(images, recipe(2, flip=True))
    order, *choices = drawn_views(views, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(500))
    assert len(set(zip(*(choice.tolist() for choice in choices), strict=True))) == 2 * 5 * 5


def test_without_augmentation_the_images_themselves_are_drawn() -> None:
    views = augmented_views(torch.zeros(5, 1, 4, 4, dtype=torch.uint8), recipe(0))
    _, mirrored, row, column = drawn_views(views, torch.Generator())
    assert not mirrored.any() and not row.any() and not column.any()


def test_a_batch_holds_the_views_that_were_drawn(cifar10: Dataset) -> None:
    views = augmented_views(cifar10.x_train, RECIPE)
    image, mirrored, row, column = drawn_views(views, torch.Generator().manual_seed(3))[:, :24]
    expected = torch.stack(
        [views[i, m, :, r, c] for i, m, r, c in zip(image, mirrored, row, column, strict=True)]
    )
    generator = torch.Generator().manual_seed(3)
    images, labels = next(iter(training_batches(cifar10, views, RECIPE, generator)))
    assert torch.equal(images, normalise(expected, cifar10))
    assert torch.equal(labels, cifar10.y_train[image])


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_train_split_has_mean_zero_and_deviation_one(
    name: str, request: pytest.FixtureRequest
) -> None:
    data = request.getfixturevalue(name)
    normalised = normalise(data.x_train, data)
    assert normalised.dtype == torch.float32
    channels = normalised.transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(
        channels.mean(1), torch.zeros(len(channels)).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        channels.std(1, correction=0), torch.ones(len(channels)).double(), atol=1e-5, rtol=0
    )


def test_an_epoch_holds_every_image_once_with_its_label(cifar10: Dataset) -> None:
    views = augmented_views(cifar10.x_train, recipe(0))
    seen = list(training_batches(cifar10, views, recipe(0), torch.Generator()))
    assert [len(labels) for _, labels in seen] == [24, 24, 16]
    assert len(seen) == steps_per_epoch(len(cifar10.x_train), RECIPE)
    found = {
        image.numpy().tobytes(): label.item()
        for x, y in seen
        for image, label in zip(x, y, strict=True)
    }
    normalised = normalise(cifar10.x_train, cifar10)
    expected = {
        image.numpy().tobytes(): y.item()
        for image, y in zip(normalised, cifar10.y_train, strict=True)
    }
    assert found == expected


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(cifar10: Dataset) -> None:
    views = augmented_views(cifar10.x_train, RECIPE)

    def first(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return next(iter(training_batches(cifar10, views, RECIPE, generator)))[0]

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_evaluation_keeps_the_order_and_augments_nothing(cifar10: Dataset) -> None:
    batches = list(evaluation_batches(cifar10.x_test, cifar10, batch_size=12))
    assert [len(batch) for batch in batches] == [12, 12, 8]
    assert torch.equal(torch.cat(batches), normalise(cifar10.x_test, cifar10))


def test_a_constant_channel_is_centred_and_not_divided(cifar10: Dataset) -> None:
    images = cifar10.x_train.clone()
    images[:, 1] = 7
    arrays = {"x_train": images, "x_test": images[:32]}
    arrays = {name: each.permute(0, 2, 3, 1).numpy() for name, each in arrays.items()}
    labels = {"y_train": cifar10.y_train.numpy(), "y_test": cifar10.y_test.numpy()}
    data = make_dataset({**arrays, **labels}, "cifar10", "one constant", cifar10.classes)
    assert data.std[1] == 0
    normalised, usual = normalise(data.x_train, data), normalise(cifar10.x_train, cifar10)
    assert normalised.isfinite().all()
    assert normalised[:, 1].abs().max() < 1e-5
    assert torch.equal(normalised[:, ::2].sort(0).values, usual[:, ::2].sort(0).values)
    views = augmented_views(data.x_train, RECIPE)
    images, _ = next(iter(training_batches(data, views, RECIPE, torch.Generator())))
    assert images[:, 1].abs().max() < 1e-5
