"""Moved images: what comes in, what goes out, and that nothing moved is the test accuracy."""

import pytest
import torch
from torch import Tensor, nn

from utils.data.dataset import Dataset, load_quick_dataset
from utils.measuring.shift import DIRECTIONS, MOST, shifted_test_accuracy


class Recorder(nn.Module):
    """Keeps the images that it sees, and calls all of them class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return torch.eye(10)[torch.zeros(len(x), dtype=torch.long)]


def seen_by(dataset: Dataset) -> list[Tensor]:
    """The test images as the network gets them, for each number of pixels."""
    network = Recorder()
    accuracies = shifted_test_accuracy(network, dataset)
    share = (dataset.y_test == 0).float().mean().item()
    assert accuracies == pytest.approx((share,) * (MOST + 1))
    return list(torch.stack(network.seen))


def test_a_quarter_of_the_images_is_moved_in_each_direction() -> None:
    still, *moved = seen_by(load_quick_dataset("cifar10"))
    for pixels, images in enumerate(moved, 1):
        for quarter, (down, right) in enumerate(DIRECTIONS):
            shifts = (pixels * down, pixels * right)
            rolled = still[quarter::4].roll(shifts, dims=(2, 3))
            rows, columns = (slice(MOST, -MOST) if shift else slice(None) for shift in shifts)
            assert torch.equal(images[quarter::4, :, rows, columns], rolled[:, :, rows, columns])


def test_what_comes_in_from_outside_is_the_image_reflected() -> None:
    still, one, *_ = seen_by(load_quick_dataset("cifar10"))
    assert DIRECTIONS[0] == (0, 1)  # to the right
    assert torch.equal(one[0::4, :, :, 0], still[0::4, :, :, 1])
