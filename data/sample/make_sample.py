"""Makes ``mnist.npz``, the real digits of ``--quick``, from the four official MNIST idx files.

    python -m data.sample.make_sample FOLDER

``FOLDER`` holds ``train-images-idx3-ubyte`` and the three others, or their ``.gz``; where they came
from stands in README.md beside this file. For each digit the first ``TRAIN_PER_DIGIT`` images of
the training split and the first ``TEST_PER_DIGIT`` of the test split are taken, in official order:
nothing is drawn at random, and the same input gives the same file, byte for byte.
"""

import sys
from pathlib import Path

import numpy as np

from utils.data.sources import KEYS, MNIST, Official, expected_shape, read_idx

TRAIN_PER_DIGIT = 150
TEST_PER_DIGIT = 50
SAMPLE = Path(__file__).with_name("mnist.npz")


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Positions of the first ``count`` images of every digit, in the order of the file."""
    positions = [np.flatnonzero(labels == digit)[:count] for digit in range(10)]
    return np.sort(np.concatenate(positions))


def make_sample(folder: Path, official: Official = MNIST) -> dict[str, np.ndarray]:
    """The four arrays of the sample: images uint8 ``[10 * count, 28, 28]``, labels uint8."""
    names = dict(zip(KEYS, official.files, strict=True))
    full = {
        key: read_idx(
            folder / name, expected_shape(key, official), "give the folder of the MNIST files"
        )
        for key, name in names.items()
    }
    sample = {}
    for split, count in (("train", TRAIN_PER_DIGIT), ("test", TEST_PER_DIGIT)):
        chosen = first_of_each(full[f"y_{split}"], count)
        sample[f"x_{split}"] = full[f"x_{split}"][chosen]
        sample[f"y_{split}"] = full[f"y_{split}"][chosen]
    return sample


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m data.sample.make_sample FOLDER_WITH_THE_FOUR_IDX_FILES")
    np.savez_compressed(SAMPLE, **make_sample(Path(sys.argv[1])))
    print(f"{SAMPLE}: {SAMPLE.stat().st_size:,} bytes")
