"""Sources: reads MNIST and CIFAR-10 from the files people have, and says what is wrong with them.

    <data-dir>/mnist.npz, cifar10.npz        the keys of the widely used Keras mnist.npz
    <data-dir>/MNIST/raw/*-ubyte[.gz]        torchvision's layout of MNIST
    <data-dir>/cifar-10-batches-py/*_batch*  torchvision's layout of CIFAR-10

Whatever the source, the result is the same four NumPy arrays, ``x_train, y_train, x_test,
y_test``: images uint8 ``[images, 28, 28]`` or ``[images, 32, 32, 3]``, labels whole numbers
``[images]``. They are in the order of the file; ``dataset.py`` gives them one canonical order.

A pickle can run any code while it loads. Arrays are therefore read with ``allow_pickle=False``,
and CIFAR-10's pickles only once all of them have the published checksum.
"""

import gzip
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10
from torchvision.datasets.utils import check_integrity

from utils.errors import UserError

KEYS = ("x_train", "y_train", "x_test", "y_test")
REMEDY = "replace it, remove it to have the dataset downloaded, or use --quick"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Official:
    """What was published: a file that claims to hold the dataset is checked against this."""

    name: str  # file name of the npz, and what the command line calls it
    title: str  # what tables and figures call it
    classes: tuple[str, ...]  # in the order of the labels
    image_shape: tuple[int, ...]  # as the npz holds one image: [height, width(, channels)]
    train_images: int
    test_images: int
    folder: str  # where torchvision keeps its files, under the data directory
    files: Mapping[str, str | None]  # those files, and their MD5 where one is published


MNIST = Official(
    name="mnist",
    title="MNIST",
    classes=tuple("0123456789"),
    image_shape=(28, 28),
    train_images=60_000,
    test_images=10_000,
    folder="MNIST/raw",
    # Checksums are published for the compressed files alone: see utils/data/download.py.
    files={
        "train-images-idx3-ubyte": None,
        "train-labels-idx1-ubyte": None,
        "t10k-images-idx3-ubyte": None,
        "t10k-labels-idx1-ubyte": None,
    },
)

CIFAR10 = Official(
    name="cifar10",
    title="CIFAR-10",
    classes=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    image_shape=(32, 32, 3),
    train_images=50_000,
    test_images=10_000,
    folder=TorchvisionCIFAR10.base_folder,
    files={
        **dict(TorchvisionCIFAR10.train_list),
        **dict(TorchvisionCIFAR10.test_list),
        TorchvisionCIFAR10.meta["filename"]: TorchvisionCIFAR10.meta["md5"],
    },
)

OFFICIAL = {dataset.name: dataset for dataset in (MNIST, CIFAR10)}


def read_local(official: Official, data_dir: Path) -> Arrays | None:
    """The arrays from the npz, else from torchvision's layout; None where neither is there."""
    npz = data_dir / f"{official.name}.npz"
    if npz.exists():
        return read_npz(npz, official)
    if missing_files(official, data_dir):
        return None
    return read_torchvision(official, data_dir)


def read_npz(path: Path, official: Official, remedy: str = REMEDY) -> Arrays:
    """The four arrays of an npz file, checked; ``remedy`` is the way out that an error offers."""
    try:
        with path.open("rb") as file:  # on a path it would hide that the file cannot be opened
            if not zipfile.is_zipfile(file):
                raise UserError(f"{path}: not an npz file, or cut off: {remedy}")
        with np.load(path, allow_pickle=False) as npz:
            missing = [key for key in KEYS if key not in npz]
            if missing:
                raise UserError(
                    f"{path}: {', '.join(missing)} missing, "
                    f"expected {', '.join(KEYS)}, found {', '.join(npz) or 'nothing'}: {remedy}"
                )
            arrays = {key: _read_member(npz, key, path, remedy) for key in KEYS}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}): {remedy}") from error
    except DAMAGED as error:
        raise UserError(f"{path}: not an npz file, or cut off: {remedy}") from error
    _check(arrays, official, path, remedy)
    return arrays


# What NumPy and zipfile raise on damaged files, found by flipping every byte of one in turn. Their
# messages are not passed on: some span lines, and one recommends to allow pickles.
DAMAGED = (ValueError, EOFError, MemoryError, RuntimeError, zlib.error, zipfile.BadZipFile)


def _read_member(npz: np.lib.npyio.NpzFile, key: str, path: Path, remedy: str) -> np.ndarray:
    try:
        return npz[key]
    except DAMAGED as error:
        holds_objects = "Object arrays" in str(error)  # NumPy has no exception of its own for it
        problem = "holds Python objects, expected numbers" if holds_objects else "is corrupt"
        raise UserError(f"{path}: {key} {problem}: {remedy}") from error


def missing_files(official: Official, data_dir: Path) -> list[str]:
    """Names of the files that torchvision's layout still lacks; of MNIST a .gz will do."""
    folder = data_dir / official.folder
    endings = ("", ".gz") if official.name == "mnist" else ("",)
    return [
        name
        for name in official.files
        if not any((folder / f"{name}{ending}").exists() for ending in endings)
    ]


def read_torchvision(official: Official, data_dir: Path) -> Arrays:
    """The four arrays from torchvision's layout under ``data_dir``, checked."""
    arrays = (_read_idx_files if official.name == "mnist" else _read_pickles)(official, data_dir)
    _check(arrays, official, data_dir / official.folder, REMEDY)
    return arrays


def _read_idx_files(official: Official, data_dir: Path) -> Arrays:
    names = dict(zip(KEYS, official.files, strict=True))
    return {key: read_idx(data_dir / official.folder / name) for key, name in names.items()}


def read_idx(path: Path, remedy: str = REMEDY) -> np.ndarray:
    """One idx file of unsigned bytes, or ``<path>.gz`` where only that is there.

    The header is big-endian: two zero bytes, the type (8: unsigned byte), the number of
    dimensions, then each dimension as a 32-bit number. The bytes of the array follow.
    torchvision's reader is not used: it knows no .gz, and half a file ends in an AssertionError.
    """
    if not path.exists():
        path = path.with_name(f"{path.name}.gz")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise UserError(f"{path}: cannot be read ({error}): {remedy}") from error
    dimensions = content[3] if len(content) > 3 else 0
    start = 4 + 4 * dimensions
    if content[:3] != b"\x00\x00\x08" or not dimensions or len(content) < start:
        raise UserError(f"{path}: not an idx file of unsigned bytes: {remedy}")
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], dtype=">u4"))
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise UserError(f"{path}: {len(content)} bytes, its header announces {expected}: {remedy}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _read_pickles(official: Official, data_dir: Path) -> Arrays:
    """CIFAR-10 by torchvision's own class, once every file has its checksum.

    The class checks them too, but names no file, and opens batches.meta only at the end: by then
    the others are unpickled.
    """
    for name, md5 in official.files.items():
        path = data_dir / official.folder / name
        if not check_integrity(path, md5):
            raise UserError(
                f"{path}: its MD5 checksum is not {md5}, so it is not the official file "
                f"and was not opened: {REMEDY}"
            )
    *train, test, (meta_name, meta_md5) = official.files.items()

    class Checked(TorchvisionCIFAR10):
        base_folder = official.folder
        train_list = train
        test_list = [test]  # noqa: RUF012  a class attribute in torchvision too
        meta = {"filename": meta_name, "key": "label_names", "md5": meta_md5}  # noqa: RUF012

    splits = {split: Checked(data_dir, train=split == "train") for split in ("train", "test")}
    return {
        key: np.asarray(splits[key[2:]].data if key[0] == "x" else splits[key[2:]].targets)
        for key in KEYS
    }


def _check(arrays: Arrays, official: Official, path: Path, remedy: str) -> None:
    """Shape, type and range of all four arrays; the first thing wrong becomes the error."""
    for split, images in (("train", official.train_images), ("test", official.test_images)):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        expected = (images, *official.image_shape)
        if x.shape != expected:
            channels_first = len(expected) == 4 and x.shape == tuple(
                expected[i] for i in (0, 3, 1, 2)
            )
            way_out = "save channels last, or use --quick" if channels_first else remedy
            raise UserError(
                f"{path}: x_{split} has shape {x.shape}, expected {expected}: {way_out}"
            )
        if x.dtype != np.uint8:
            raise UserError(f"{path}: x_{split} has type {x.dtype}, expected uint8: {remedy}")
        if y.shape != (images,):
            raise UserError(
                f"{path}: y_{split} has shape {y.shape}, expected {(images,)}: {remedy}"
            )
        if not np.issubdtype(y.dtype, np.integer):
            raise UserError(
                f"{path}: y_{split} has type {y.dtype}, expected whole numbers: {remedy}"
            )
        lowest, highest, last = int(y.min()), int(y.max()), len(official.classes) - 1
        if lowest < 0 or highest > last:
            raise UserError(
                f"{path}: y_{split} has labels from {lowest} to {highest}, "
                f"expected 0 to {last}: {remedy}"
            )
