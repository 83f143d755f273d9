"""Shifts: what a trained network makes of test images that are moved by a few pixels."""

import torch
from torch import nn
from torch.nn import functional as F

from utils.data.batches import evaluation_batches
from utils.data.dataset import Dataset

MOST = 6  # pixels
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # of rows and columns: right, left, down, up


@torch.no_grad()
def shifted_test_accuracy(network: nn.Module, dataset: Dataset) -> tuple[float, ...]:
    """Accuracy on the test split with its images moved by 0, 1, … ``MOST`` pixels.

    Each image is moved in one of the four directions, a quarter of them in each; what comes in
    from outside is the image reflected, as in the crops of the training.
    """
    network.eval()
    images, labels = dataset.x_test, dataset.y_test
    height, width = images.shape[2:]
    padded = F.pad(images, (MOST,) * 4, mode="reflect")
    accuracies = []
    for pixels in range(MOST + 1):
        moved = torch.empty_like(images)
        for i, (down, right) in enumerate(DIRECTIONS):
            top, left = MOST - pixels * down, MOST - pixels * right
            moved[i::4] = padded[i::4, :, top : top + height, left : left + width]
        found = torch.cat([network(part).argmax(1) for part in evaluation_batches(moved, dataset)])
        accuracies.append((found == labels).sum().item() / len(labels))
    return tuple(accuracies)
