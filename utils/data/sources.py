"""Sources: reads MNIST and CIFAR-10 from the files people have, and says what is wrong with them.

    <data-dir>/mnist.npz, cifar10.npz        the keys of the widely used Keras mnist.npz
    <data-dir>/MNIST/raw/*-ubyte[.gz]        torchvision's layout of MNIST
    <data-dir>/cifar-10-batches-py/*_batch*  torchvision's layout of CIFAR-10

Whatever the source, the result is the same four NumPy arrays, ``x_train, y_train, x_test,
y_test``: images uint8 ``[images, 28, 28]`` or ``[images, 32, 32, 3]``, labels whole numbers
``[images]``. They are in the order of the file; ``dataset.py`` gives them one canonical order.

A pickle can run any code while it loads. Arrays are therefore read with ``allow_pickle=False``,
and CIFAR-10's pickles only once all of them have the published checksum. A small file can unpack
to more than any memory holds: nothing is unpacked before its header is that of the dataset.
"""

import gzip
import io
import math
import os
import textwrap
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
    # unlike Path.exists this takes a name that the system refuses for one that is not there, and a
    # link that leads nowhere for one that is
    if os.path.lexists(npz):
        return read_npz(npz, official)
    if missing_files(official, data_dir):
        return None
    return read_torchvision(official, data_dir)


def check_is_file(path: Path, remedy: str = REMEDY) -> None:
    """What is there is a file; opening a pipe would wait for whoever writes into it.

    Raises: UserError where it is something else, or a link that leads nowhere.
    """
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"{path}: {'not a file' if path.exists() else 'a broken link'}: {remedy}")


def expected_shape(key: str, official: Official) -> tuple[int, ...]:
    """That of one of the four arrays."""
    images = official.train_images if key.endswith("train") else official.test_images
    return (images, *official.image_shape) if key[0] == "x" else (images,)


def read_npz(path: Path, official: Official, remedy: str = REMEDY) -> Arrays:
    """The four arrays of an npz file, checked; ``remedy`` is the way out that an error offers."""
    check_is_file(path, remedy)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if missing := [key for key in KEYS if key not in names]:
                found = textwrap.shorten(", ".join(names), 200) or "nothing"
                raise UserError(
                    f"{path}: {', '.join(missing)} missing, "
                    f"expected {', '.join(KEYS)}, found {found}: {remedy}"
                )
            arrays = {key: _read_member(archive, key, official, path, remedy) for key in KEYS}
    except (UserError, MemoryError):
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}): {remedy}") from error
    except Exception as error:  # see _read_member
        raise UserError(f"{path}: not an npz file, or cut off: {remedy}") from error
    _check_labels(arrays, official, path, remedy)
    return arrays


MOST_HEADER = 16_384  # bytes: NumPy refuses longer ones
READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _read_member(
    archive: zipfile.ZipFile, key: str, official: Official, path: Path, remedy: str
) -> np.ndarray:
    """One array, unpacked once its header and its size in the archive are what they should be.

    Flipped bits make NumPy and zipfile raise nearly everything, TokenError and OverflowError
    included. Their messages are not passed on: some span lines, one recommends to allow pickles.
    """
    try:
        member = archive.getinfo(f"{key}.npy")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unpacks more of these at a time than it is asked for, gigabytes of zeros
            raise UserError(
                f"{path}: {key} is neither stored nor deflated, as NumPy has it: {remedy}"
            )
        with archive.open(member) as packed:
            start = io.BytesIO(packed.read(MOST_HEADER))
        shape, _, kind = READ_HEADER[np.lib.format.read_magic(start)](start)
        _check_kind(key, shape, kind, official, path, remedy)
        if member.file_size != start.tell() + math.prod(shape) * kind.itemsize:
            raise ValueError("more or less than its header announces")
        with archive.open(member) as packed:
            array = np.lib.format.read_array(packed, allow_pickle=False)
            return array.reshape(expected_shape(key, official))
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{path}: {key} is corrupt: {remedy}") from error


def missing_files(official: Official, data_dir: Path) -> list[str]:
    """Names of the files that torchvision's layout still lacks; of MNIST a .gz will do."""
    folder = data_dir / official.folder
    endings = ("", ".gz") if official.name == "mnist" else ("",)
    return [
        name
        for name in official.files
        if not any(os.path.lexists(folder / f"{name}{ending}") for ending in endings)
    ]


def read_torchvision(official: Official, data_dir: Path) -> Arrays:
    """The four arrays from torchvision's layout under ``data_dir``, checked."""
    arrays = (_read_idx_files if official.name == "mnist" else _read_pickles)(official, data_dir)
    folder = data_dir / official.folder
    for key, array in arrays.items():
        _check_kind(key, array.shape, array.dtype, official, folder, REMEDY)
    _check_labels(arrays, official, folder, REMEDY)
    return arrays


def _read_idx_files(official: Official, data_dir: Path) -> Arrays:
    names = dict(zip(KEYS, official.files, strict=True))
    return {
        key: read_idx(data_dir / official.folder / name, expected_shape(key, official))
        for key, name in names.items()
    }


def read_idx(path: Path, expected: tuple[int, ...], remedy: str = REMEDY) -> np.ndarray:
    """One idx file of unsigned bytes of the ``expected`` shape, or ``<path>.gz`` in its place.

    The header is big-endian: two zero bytes, the type (8: unsigned byte), the number of
    dimensions, then each dimension as a 32-bit number. The bytes of the array follow.
    torchvision's reader is not used: it knows no .gz, and half a file ends in an AssertionError.
    """
    if not os.path.lexists(path):
        path = path.with_name(f"{path.name}.gz")
    check_is_file(path, remedy)
    size = math.prod(expected)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(4)
            sizes = file.read(4 * start[3]) if start[:3] == b"\x00\x00\x08" and start[3:] else b""
            if not sizes or len(sizes) < 4 * start[3]:
                raise UserError(f"{path}: not an idx file of unsigned bytes: {remedy}")
            shape = tuple(np.frombuffer(sizes, dtype=">u4").tolist())
            if shape != expected:
                raise UserError(f"{path}: has shape {shape}, expected {expected}: {remedy}")
            content = file.read(size + 1)  # not all that may be there
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise UserError(f"{path}: cannot be read ({error}): {remedy}") from error
    if len(content) != size:
        which = "more" if len(content) > size else "fewer"
        raise UserError(f"{path}: {which} bytes than its header announces, {size:,}: {remedy}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_pickles(official: Official, data_dir: Path) -> Arrays:
    """CIFAR-10 by torchvision's own class, once every file has its checksum.

    The class checks them too, but names no file, and opens batches.meta only at the end: by then
    the others are unpickled.
    """
    for name, md5 in official.files.items():
        path = data_dir / official.folder / name
        check_is_file(path)
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


def _check_kind(
    key: str,
    shape: tuple[int, ...],
    kind: np.dtype,
    official: Official,
    path: Path,
    remedy: str,
) -> None:
    """Shape and type of one of the four arrays, before there is any of it."""
    expected = expected_shape(key, official)
    if kind.hasobject:
        raise UserError(f"{path}: {key} holds Python objects, expected numbers: {remedy}")
    is_column = key[0] == "y" and shape == (*expected, 1)  # as Keras has the labels of CIFAR-10
    if shape != expected and not is_column:
        channels_first = len(expected) == 4 and shape == tuple(expected[i] for i in (0, 3, 1, 2))
        way_out = "save channels last, or use --quick" if channels_first else remedy
        raise UserError(f"{path}: {key} has shape {shape}, expected {expected}: {way_out}")
    if key[0] == "x" and kind != np.uint8:
        raise UserError(f"{path}: {key} has type {kind}, expected uint8: {remedy}")
    if key[0] == "y" and kind.kind not in "iu":
        raise UserError(f"{path}: {key} has type {kind}, expected whole numbers: {remedy}")


def _check_labels(arrays: Arrays, official: Official, path: Path, remedy: str) -> None:
    """Every label is the number of a class."""
    last = len(official.classes) - 1
    for key in ("y_train", "y_test"):
        lowest, highest = int(arrays[key].min()), int(arrays[key].max())
        if lowest < 0 or highest > last:
            raise UserError(
                f"{path}: {key} has labels from {lowest} to {highest}, "
                f"expected 0 to {last}: {remedy}"
            )
