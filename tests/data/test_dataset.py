"""Datasets: one canonical order, a fingerprint, a part held out, a file for many processes."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.sample.make_sample import make_sample
from tests import fakes
from tests.fakes import assert_same, error_of
from utils.data import dataset as data
from utils.data import sources
from utils.data.dataset import (
    Dataset,
    dataset_of,
    draw,
    hold_out,
    load_quick_dataset,
    make_dataset,
    permute,
)
from utils.data.mapped import load_mapped, save_mapped
from utils.data.sources import CIFAR10, MNIST, Arrays
from utils.experiment import Compute, Recipe, Row


def test_labels_of_any_whole_type_give_the_same_dataset() -> None:
    arrays = fakes.make_arrays(fakes.TINY_MNIST)
    wide = {k: a.astype(np.int64) if k[0] == "y" else a for k, a in arrays.items()}
    assert_same(as_dataset(arrays), as_dataset(wide))


# --- canonical order and fingerprint ------------------------------------------------------------


def as_dataset(arrays: Arrays) -> Dataset:
    return make_dataset(arrays, "mnist", "MNIST", MNIST.classes)


def small_arrays(seed: int) -> Arrays:
    """2×2 images with few values, so that some occur twice, with equal and with other labels."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 2, (24, 2, 2), dtype=np.uint8),
        "y_train": rng.integers(0, 2, 24, dtype=np.uint8),
        "x_test": rng.integers(0, 2, (8, 2, 2), dtype=np.uint8),
        "y_test": rng.integers(0, 2, 8, dtype=np.uint8),
    }


@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_source_changes_nothing(seed: int) -> None:
    arrays = small_arrays(seed)
    rng = np.random.default_rng(seed)
    train, test = rng.permutation(24), rng.permutation(8)
    shuffled = {key: a[train if "train" in key else test] for key, a in arrays.items()}
    assert_same(as_dataset(arrays), as_dataset(shuffled))


@given(seed=st.integers(0, 2**32 - 1), key=st.sampled_from(sources.KEYS), where=st.integers(0, 999))
def test_one_pixel_or_one_label_changes_the_fingerprint(seed: int, key: str, where: int) -> None:
    arrays = small_arrays(seed)
    changed = {k: a.copy() for k, a in arrays.items()}
    changed[key].flat[where % changed[key].size] += 1
    assert as_dataset(arrays).fingerprint != as_dataset(changed).fingerprint


def test_an_image_moved_to_the_other_split_changes_the_fingerprint() -> None:
    arrays = small_arrays(0)
    arrays["x_train"][0], arrays["x_test"][0] = 0, 255
    swapped = {k: a.copy() for k, a in arrays.items()}
    for a, b in (("x_train", "x_test"), ("y_train", "y_test")):
        swapped[a][0], swapped[b][0] = arrays[b][0], arrays[a][0]
    assert as_dataset(arrays).fingerprint != as_dataset(swapped).fingerprint


def test_mean_and_deviation_are_those_of_the_training_pixels() -> None:
    arrays = fakes.make_arrays(fakes.TINY_CIFAR10)
    dataset = make_dataset(arrays, "cifar10", "CIFAR-10", CIFAR10.classes)
    pixels = arrays["x_train"].astype(np.float64) / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, pixels.std(axis=(0, 1, 2)), rtol=1e-12)


def test_a_dataset_moves_whole_to_another_device() -> None:
    dataset = as_dataset(small_arrays(0))
    moved = dataset.to("meta")  # a device that every build of PyTorch has
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert getattr(moved, name).device.type == "meta"
        assert getattr(dataset, name).device.type == "cpu"
    assert moved.fingerprint == dataset.fingerprint


# --- --quick ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, description, synthetic, train, test",
    [
        ("mnist", "MNIST sample", False, 1500, 500),
        ("cifar10", "synthetic stand-in for CIFAR-10", True, 2000, 500),
    ],
)
def test_quick_datasets_are_balanced_and_say_what_they_are(
    name: str, description: str, synthetic: bool, train: int, test: int
) -> None:
    dataset = load_quick_dataset(name)
    assert (dataset.name, dataset.description) == (name, description)
    assert dataset.synthetic == synthetic
    channels_and_size = (1, 28, 28) if name == "mnist" else (3, 32, 32)
    assert dataset.x_train.shape == (train, *channels_and_size)
    assert dataset.x_test.shape == (test, *channels_and_size)
    assert dataset.y_train.bincount().tolist() == [train // 10] * 10
    assert dataset.y_test.bincount().tolist() == [test // 10] * 10
    assert len(set(dataset.classes)) == 10


def test_the_shipped_sample_stays_under_2_mb() -> None:
    assert data.SAMPLE.stat().st_size < 2_000_000


def test_a_damaged_sample_is_to_be_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "SAMPLE", tmp_path / "mnist.npz")
    data.SAMPLE.write_bytes(b"")
    message = error_of(lambda: load_quick_dataset("mnist"))
    assert message == (
        f"{data.SAMPLE}: not an npz file, or cut off: restore it from the repository"
    )


def test_the_sample_is_the_first_of_each_digit_in_official_order(tmp_path: Path) -> None:
    official = replace(MNIST, train_images=4_000, test_images=1_500)
    full = fakes.make_arrays(official)
    sample = make_sample(fakes.write_idx(tmp_path, official, full), official)
    for split, count in (("train", 150), ("test", 50)):
        seen = dict.fromkeys(range(10), 0)
        chosen = []
        for position, label in enumerate(full[f"y_{split}"].tolist()):
            seen[label] += 1
            if seen[label] <= count:
                chosen.append(position)
        for kind in "xy":
            expected = full[f"{kind}_{split}"][chosen]
            np.testing.assert_array_equal(sample[f"{kind}_{split}"], expected)


# --- a part held out, a file for many processes -------------------------------------------------


def numbered(images: int) -> Dataset:
    """A dataset in which every train image says which one it is."""
    numbers = np.arange(images)
    x = np.zeros((images, 2, 2), np.uint8)
    x[:, 0, 0], x[:, 0, 1] = numbers % 256, numbers // 256
    y = (numbers % 10).astype(np.uint8)
    arrays = {"x_train": x, "y_train": y, "x_test": x[:2], "y_test": y[:2]}
    return make_dataset(arrays, "mnist", "numbered", MNIST.classes)


def pairs(images: torch.Tensor, labels: torch.Tensor) -> set[tuple[bytes, int]]:
    return {(x.numpy().tobytes(), y.item()) for x, y in zip(images, labels, strict=True)}


@pytest.mark.parametrize("images, held_out", [(120, 12), (60_000, 5_000)])
def test_what_is_held_out_is_not_trained_on_and_nothing_is_lost(images: int, held_out: int) -> None:
    whole = numbered(images)
    parts = hold_out(whole)
    kept = pairs(parts.x_train, parts.y_train)
    out = pairs(parts.x_validation, parts.y_validation)
    assert (len(kept), len(out)) == (images - held_out, held_out)
    assert kept | out == pairs(whole.x_train, whole.y_train)
    assert torch.equal(parts.x_test, whole.x_test)


def test_the_same_images_are_held_out_every_time_whatever_was_drawn_before() -> None:
    whole = numbered(120)
    first = hold_out(whole)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(hold_out(whole).x_validation, first.x_validation)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("folder", ["out", os.fsdecode(b"\xff")])
def test_a_mapped_dataset_is_the_one_that_was_saved(
    folder: str, cifar10: Dataset, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()
    save_mapped(cifar10, tmp_path / folder / "cifar10.pt")
    mapped = load_mapped(tmp_path / folder / "cifar10.pt")
    assert_same(mapped, cifar10)
    known = {key: value for key, value in vars(cifar10).items() if key not in data.TENSORS}
    assert {key: getattr(mapped, key) for key in known} == known
    assert len(mapped.x_validation) == 0


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mappings are listed on Linux")
def test_a_mapped_dataset_stays_in_its_file(cifar10: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "cifar10.pt"
    save_mapped(cifar10, path)
    mapped = load_mapped(path)
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    address = mapped.x_train.data_ptr()
    assert any(int(first, 16) <= address < int(end, 16) for first, end in ranges)


def test_a_permutation_moves_pixels_alone_and_all_images_alike() -> None:
    dataset = load_quick_dataset("cifar10")
    permuted = permute(dataset)
    for before, after in ((dataset.x_train, permuted.x_train), (dataset.x_test, permuted.x_test)):
        assert not torch.equal(before, after)
        first, moved = before[:2].flatten(2), after[:2].flatten(2)  # [2, channels, pixels]
        pixels = [tuple(pixel) for pixel in first.flatten(0, 1).T.tolist()]
        assert sorted(pixels) == sorted(tuple(pixel) for pixel in moved.flatten(0, 1).T.tolist())
    assert torch.equal(permute(dataset).x_test, permuted.x_test)
    assert torch.equal(dataset.y_train, permuted.y_train)


def test_a_part_is_repeated_to_the_full_length() -> None:
    dataset = load_quick_dataset("mnist")
    part, other = draw(dataset, 100, seed=3), draw(dataset, 100, seed=4)
    assert part.x_train.shape == dataset.x_train.shape
    distinct, counts = part.x_train.flatten(1).unique(dim=0, return_counts=True)
    assert len(distinct) == 100
    assert set(counts.tolist()) == {len(dataset.x_train) // 100}
    assert not torch.equal(part.y_train, other.y_train)
    assert torch.equal(part.x_test, dataset.x_test)
    assert len(draw(dataset, 10**6, seed=3).x_train) == len(dataset.x_train)


def test_a_run_says_what_it_sees() -> None:
    dataset = load_quick_dataset("mnist")
    recipe = Recipe(epochs=1, optimizer="sgd", learning_rate=0.1, weight_decay=0.0)
    run = Row("A", images=50, permuted=True, part="train minus validation")
    seen = dataset_of(run.run("mnist", recipe, 5, Compute()), dataset)
    expected = permute(draw(hold_out(dataset), 50, seed=5))
    assert torch.equal(seen.x_train, expected.x_train)
    assert torch.equal(seen.x_validation, expected.x_validation)
    assert dataset_of(Row("A").run("mnist", recipe, 5, Compute()), dataset) is dataset
