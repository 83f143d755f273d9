"""Sources: every layout that is read, and every error that it can end in."""

import gzip
import io
import itertools
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import fakes
from tests.fakes import assert_same, error_of
from utils.data import sources
from utils.data.dataset import SHIPPED_FINGERPRINTS, load_dataset, make_dataset
from utils.data.sources import CIFAR10, MNIST, Arrays, Official
from utils.errors import UserError

REMEDY = "replace it, remove it to have the dataset downloaded, or use --quick"


# --- one dataset, whatever the source -----------------------------------------------------------


FIRST_IDX = "train-images-idx3-ubyte"


def partly_gz(folder: Path, official: Official, arrays: Arrays) -> None:
    plain = fakes.write_idx(folder, official, arrays) / FIRST_IDX
    plain.with_name(f"{FIRST_IDX}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()


def npz_beside_others(folder: Path, official: Official, arrays: Arrays) -> None:
    fakes.write_idx(folder, official, fakes.make_arrays(official, seed=2))
    fakes.write_npz(folder, official, arrays)


def labels_in_a_column(folder: Path, official: Official, arrays: Arrays) -> None:
    """As Keras has those of CIFAR-10."""
    column = {key: y[:, np.newaxis] if key[0] == "y" else y for key, y in arrays.items()}
    fakes.write_npz(folder, official, column)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        *(("mnist", write) for write in (fakes.write_npz, fakes.write_idx)),
        *(("mnist", write) for write in (partial(fakes.write_idx, gz=True), partly_gz)),
        ("mnist", npz_beside_others),
        ("cifar10", fakes.write_npz),
        ("cifar10", fakes.write_pickles),
        ("cifar10", labels_in_a_column),
    ],
)
def test_a_dataset_is_the_same_from_every_layout(
    name: str, write: Callable[[Path, Official, Arrays], object], tmp_path: Path
) -> None:
    official, shape = fakes.TINY[name], {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}[name]
    arrays = fakes.make_arrays(official)
    written = write(tmp_path, official, arrays)
    known = written if isinstance(written, Official) else official  # with these checksums
    loaded = load_dataset(name, tmp_path, known)
    described = f"stand-in for {official.title}"  # it has the name of the file, and other images
    assert_same(loaded, make_dataset(arrays, name, described, official.classes))
    assert loaded.x_train.shape == (20, *shape)
    assert (loaded.name, loaded.description) == (name, described)
    assert loaded.classes == official.classes
    assert not loaded.synthetic


def test_a_dataset_is_called_by_its_name_where_it_has_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.write_npz(tmp_path, fakes.TINY_MNIST, fakes.make_arrays(fakes.TINY_MNIST))
    fingerprint = load_dataset("mnist", tmp_path, fakes.TINY_MNIST).fingerprint
    monkeypatch.setitem(SHIPPED_FINGERPRINTS, "mnist", fingerprint)
    assert load_dataset("mnist", tmp_path, fakes.TINY_MNIST).description == "MNIST"


def test_images_keep_their_labels_and_their_channels(tmp_path: Path) -> None:
    arrays = fakes.make_arrays(fakes.TINY_CIFAR10)
    fakes.write_npz(tmp_path, CIFAR10, arrays)
    dataset = load_dataset("cifar10", tmp_path, fakes.TINY_CIFAR10)
    pairs = {
        (image.transpose(2, 0, 1).tobytes(), int(label))
        for image, label in zip(arrays["x_train"], arrays["y_train"], strict=True)
    }
    loaded = {
        (image.numpy().tobytes(), int(label))
        for image, label in zip(dataset.x_train, dataset.y_train, strict=True)
    }
    assert loaded == pairs
    assert (dataset.x_train.dtype, dataset.y_train.dtype) == (torch.uint8, torch.int64)
    assert dataset.x_train.is_contiguous()


# --- errors -------------------------------------------------------------------------------------

Change = Callable[[np.ndarray], np.ndarray]


def with_label(label: int) -> Change:
    return lambda y: np.append(np.full(len(y) - 1, 5), label)


@pytest.mark.parametrize(
    "key, change, message",
    [
        ("x_train", lambda x: x[:, :-1], "has shape (20, 27, 28), expected (20, 28, 28)"),
        ("x_test", lambda x: x[:-1], "has shape (9, 28, 28), expected (10, 28, 28)"),
        ("x_train", lambda x: x / np.float32(255), "has type float32, expected uint8"),
        ("x_train", lambda x: x.astype(object), "holds Python objects, expected numbers"),
        ("y_train", lambda y: y[:-1], "has shape (19,), expected (20,)"),
        ("y_test", lambda y: y[:, None, None], "has shape (10, 1, 1), expected (10,)"),
        ("y_train", lambda y: y.astype("m8[s]"), "has type timedelta64[s], expected whole numbers"),
        ("y_train", lambda y: y.astype(float), "has type float64, expected whole numbers"),
        ("y_train", with_label(10), "has labels from 5 to 10, expected 0 to 9"),
        ("y_test", with_label(-1), "has labels from -1 to 5, expected 0 to 9"),
    ],
)
def test_an_npz_with_a_wrong_array_says_what_is_wrong(
    tmp_path: Path, key: str, change: Change, message: str
) -> None:
    arrays = fakes.make_arrays(fakes.TINY_MNIST)
    path = fakes.write_npz(tmp_path, fakes.TINY_MNIST, arrays | {key: change(arrays[key])})
    error = error_of(lambda: load_dataset("mnist", tmp_path, fakes.TINY_MNIST))
    assert error == f"{path}: {key} {message}: {REMEDY}"


@pytest.mark.parametrize("there", [sources.KEYS[:3], ()])
def test_arrays_that_an_npz_lacks_are_named(tmp_path: Path, there: tuple[str, ...]) -> None:
    arrays = fakes.make_arrays(fakes.TINY_MNIST)
    path = fakes.write_npz(tmp_path, fakes.TINY_MNIST, {key: arrays[key] for key in there})
    assert error_of(lambda: load_dataset("mnist", tmp_path, fakes.TINY_MNIST)) == (
        f"{path}: {', '.join(sources.KEYS[len(there) :])} missing, expected x_train, y_train, "
        f"x_test, y_test, found {', '.join(there) or 'nothing'}: {REMEDY}"
    )


def test_channels_first_are_told_to_be_saved_last(tmp_path: Path) -> None:
    arrays = fakes.make_arrays(fakes.TINY_CIFAR10)
    arrays["x_train"] = arrays["x_train"].transpose(0, 3, 1, 2)
    path = fakes.write_npz(tmp_path, fakes.TINY_CIFAR10, arrays)
    assert error_of(lambda: load_dataset("cifar10", tmp_path, fakes.TINY_CIFAR10)) == (
        f"{path}: x_train has shape (20, 3, 32, 32), expected (20, 32, 32, 3): "
        "save channels last, or use --quick"
    )


@given(share=st.floats(0, 1, exclude_max=True))
def test_an_npz_cut_anywhere_is_an_error_that_names_it(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    official = fakes.TINY_MNIST
    path = fakes.write_npz(tmp_path_factory.mktemp("cut"), official, fakes.make_arrays(official))
    os.truncate(path, int(path.stat().st_size * share))
    message = error_of(lambda: load_dataset("mnist", path.parent, official))
    assert message == f"{path}: not an npz file, or cut off: {REMEDY}"


@given(where=st.integers(0, 10**9), flip=st.integers(1, 255))
def test_a_flipped_byte_anywhere_in_an_npz_is_harmless_or_an_error_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, where: int, flip: int
) -> None:
    official = replace(fakes.TINY_MNIST, image_shape=(3, 3))
    path = fakes.write_npz(tmp_path_factory.mktemp("flip"), official, fakes.make_arrays(official))
    content = bytearray(path.read_bytes())
    content[where % len(content)] ^= flip
    path.write_bytes(content)
    try:
        arrays = sources.read_npz(path, official)
    except UserError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
    else:  # a date, say, which nobody reads
        for key, array in fakes.make_arrays(official).items():
            np.testing.assert_array_equal(arrays[key], array)


RAW = f"MNIST/raw/{FIRST_IDX}"
# without the time, which would give a test two names where two workers start in two seconds
GZ = gzip.compress(fakes.idx_bytes(fakes.make_arrays(fakes.TINY_MNIST)["x_train"]), mtime=0)
PAGE = b"<html>404 Not Found</html>"
NO_NPZ, NO_IDX = "not an npz file, or cut off", "not an idx file of unsigned bytes"
CUT = "cannot be read (Compressed file ended before the end-of-stream marker was reached)"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        *(("mnist.npz", each, NO_NPZ) for each in (b"", PAGE, b"PK\x03\x04 and no more")),
        *((RAW, each, NO_IDX) for each in (b"", PAGE)),
        (RAW, b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", NO_IDX),  # of floats
        (RAW, b"\x00\x00\x08\x03\x00\x00", NO_IDX),  # cut off
        (f"{RAW}.gz", GZ[:-20], CUT),
        (f"{RAW}.gz", b"no gzip" + GZ, "cannot be read (Not a gzipped file (b'no'))"),
        *((name, None, "not a file") for name in ("mnist.npz", RAW)),  # a pipe: not waited for
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_named(
    name: str, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    official, path = fakes.TINY_MNIST, tmp_path / name
    fakes.write_idx(tmp_path, official, fakes.make_arrays(official), gz=name.endswith("gz"))
    path.unlink(missing_ok=True)
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    error = error_of(lambda: load_dataset("mnist", tmp_path, official))
    assert error == f"{path}: {reason}: {REMEDY}"


class Bomb:
    """Leaves a file behind as soon as it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("name", CIFAR10.files)
def test_nothing_is_unpickled_before_all_checksums_are_right(tmp_path: Path, name: str) -> None:
    official = fakes.write_pickles(
        tmp_path, fakes.TINY_CIFAR10, fakes.make_arrays(fakes.TINY_CIFAR10)
    )
    folder, trace = tmp_path / official.folder, tmp_path / "unpickled"
    # Every file would leave a trace, and all but one have the checksum that is asked for.
    for file in official.files:
        (folder / file).write_bytes(pickle.dumps(Bomb(trace)))
    right = fakes.md5(folder / name)
    official = replace(
        official, files={f: "0" * 32 if f == name else right for f in official.files}
    )
    error = error_of(lambda: load_dataset("cifar10", tmp_path, official))
    assert error == (
        f"{folder / name}: its MD5 checksum is not {'0' * 32}, "
        f"so it is not the official file and was not opened: {REMEDY}"
    )
    assert not trace.exists()


def test_the_checksums_asked_for_are_torchvisions() -> None:
    from torchvision.datasets import CIFAR10 as Torchvision

    published = dict(itertools.chain(Torchvision.train_list, Torchvision.test_list))
    published[Torchvision.meta["filename"]] = Torchvision.meta["md5"]
    assert CIFAR10.files == published


@pytest.mark.parametrize("official", [MNIST, CIFAR10], ids=lambda official: official.name)
def test_an_incomplete_layout_is_not_read(tmp_path: Path, official: Official) -> None:
    folder = tmp_path / official.folder
    folder.mkdir(parents=True)
    for name in list(official.files)[1:]:
        (folder / name).write_bytes(b"")
    assert sources.missing_files(official, tmp_path) == list(official.files)[:1]
    assert sources.read_local(official, tmp_path) is None


# --- files that mean harm, or have met some -----------------------------------------------------


def error_of_little(action: Callable[[], object]) -> str:
    """What the action says is wrong, having taken little memory."""
    tracemalloc.start()
    error = error_of(action)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 2_000_000
    return error


def npz_of(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header_bytes(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin1")


HEADER = "{{'descr': '|u1', 'fortran_order': False, 'shape': {}, }}\n"


@pytest.mark.parametrize(
    "member, message",
    [
        (b"", "x_train is corrupt"),
        (header_bytes("(" * 999), "x_train is corrupt"),
        (header_bytes("{'descr': '|u1', 'shape': \n 'a"), "x_train is corrupt"),
        (header_bytes("{}"), "x_train is corrupt"),
        (header_bytes(HEADER.format("()")), "x_train has shape (), expected (20, 28, 28)"),
        (
            header_bytes(HEADER.format((2**63, 1))),
            f"x_train has shape {(2**63, 1)}, expected (20, 28, 28)",
        ),
        (
            header_bytes(HEADER.format((1,) * 65)),
            f"x_train has shape {(1,) * 65}, expected (20, 28, 28)",
        ),
        (header_bytes(HEADER.format((20, 28, 28))), "x_train is corrupt"),
    ],
)
def test_an_array_with_a_header_that_cannot_be_true_is_named(
    member: bytes, message: str, tmp_path: Path
) -> None:
    official = fakes.TINY_MNIST
    members = {key: npy_bytes(array) for key, array in fakes.make_arrays(official).items()}
    path = npz_of(tmp_path / "mnist.npz", {**members, "x_train": member})
    assert error_of(lambda: load_dataset("mnist", tmp_path, official)) == (
        f"{path}: {message}: {REMEDY}"
    )


@given(where=st.integers(0, 127), bits=st.integers(1, 255), key=st.sampled_from(sources.KEYS))
def test_flipped_bits_in_the_header_of_an_array_cost_one_line(
    where: int, bits: int, key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    official = replace(fakes.TINY_MNIST, image_shape=(3, 3))
    arrays = fakes.make_arrays(official)
    members = {name: bytearray(npy_bytes(array)) for name, array in arrays.items()}
    members[key][where] ^= bits
    path = npz_of(tmp_path_factory.mktemp("header") / "mnist.npz", members)
    try:
        found = sources.read_npz(path, official)
    except UserError as error:
        assert str(error).startswith(f"{path}: {key} ")
    else:  # spaces at the end of the header, the order of the pixels
        assert found[key].shape == arrays[key].shape


def test_an_archive_is_refused_by_its_headers_before_it_is_unpacked(tmp_path: Path) -> None:
    official = fakes.TINY_MNIST
    arrays = fakes.make_arrays(official)
    large = 30_000_000  # bytes, which would be seen in what was taken of the memory
    members = {key: npy_bytes(array) for key, array in arrays.items()}
    bombs = {
        "announced": (header_bytes(HEADER.format((large,))), "has shape"),
        "hidden": (npy_bytes(arrays["x_train"]), "is corrupt"),
        "in the header": (b"\x93NUMPY\x02\x00" + large.to_bytes(4, "little"), "is corrupt"),
    }
    for start, message in bombs.values():
        path = npz_of(tmp_path / "mnist.npz", {**members, "x_train": start + bytes(large)})
        assert path.stat().st_size < 200_000
        error = error_of_little(lambda path=path: sources.read_npz(path, official))
        assert error.startswith(f"{path}: x_train {message}")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_whole_whatever_is_asked_for_is_not_unpacked(
    method: int, tmp_path: Path
) -> None:
    bomb = header_bytes(HEADER.format((10,))) + bytes(30_000_000)
    with zipfile.ZipFile(path := tmp_path / "mnist.npz", "w", method) as archive:
        for key in sources.KEYS:
            archive.writestr(f"{key}.npy", bomb)
    message = error_of_little(lambda: sources.read_npz(path, fakes.TINY_MNIST))
    assert message.startswith(f"{path}: x_train is neither stored nor deflated, as NumPy has it: ")


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(
    "header, content, message",
    [
        ((20, 28, 28), 20 * 28 * 28 - 1, "fewer bytes than its header announces, 15,680"),
        ((20, 28, 28), 30_000_000, "more bytes than its header announces, 15,680"),
        ((30_000, 1_000), 30_000_000, "has shape (30000, 1000), expected (20, 28, 28)"),
        ((2**32 - 1,) * 3, 0, f"has shape {(2**32 - 1,) * 3}, expected (20, 28, 28)"),
        ((1,) * 65, 1, f"has shape {(1,) * 65}, expected (20, 28, 28)"),
        ((), 0, "not an idx file of unsigned bytes"),
    ],
)
def test_an_idx_file_is_refused_by_its_header_before_it_is_unpacked(
    header: tuple[int, ...], content: int, message: str, gz: bool, tmp_path: Path
) -> None:
    official = fakes.TINY_MNIST
    folder = fakes.write_idx(tmp_path, official, fakes.make_arrays(official), gz=gz)
    path = folder / (FIRST_IDX + ".gz" * gz)
    sizes = np.array(header, dtype=">u4").tobytes()
    with gzip.open(path, "wb", 1) if gz else path.open("wb") as file:
        file.write(bytes([0, 0, 8, len(header)]) + sizes + bytes(content))
    error = error_of_little(lambda: load_dataset("mnist", tmp_path, official))
    assert error == f"{path}: {message}: {REMEDY}"


@given(where=st.integers(0, 15), bits=st.integers(1, 255), gz=st.booleans())
def test_flipped_bits_in_the_header_of_an_idx_file_cost_one_line(
    where: int, bits: int, gz: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    official, data_dir = fakes.TINY_MNIST, tmp_path_factory.mktemp("idx")
    folder = fakes.write_idx(data_dir, official, fakes.make_arrays(official), gz=gz)
    path = folder / (FIRST_IDX + ".gz" * gz)
    content = bytearray(path.read_bytes())
    content[where] ^= bits
    path.write_bytes(content)
    try:
        load_dataset("mnist", data_dir, official)
    except UserError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert gz  # the date and the name of what was compressed


@pytest.mark.parametrize(
    "dataset, name",
    [
        ("mnist", "mnist.npz"),
        ("mnist", RAW),
        ("mnist", f"{RAW}.gz"),
        ("cifar10", "cifar-10-batches-py/data_batch_1"),
    ],
)
def test_a_link_that_leads_nowhere_is_told_and_nothing_is_downloaded_over_it(
    dataset: str, name: str, tmp_path: Path
) -> None:
    official, path = fakes.TINY[dataset], tmp_path / name
    write = fakes.write_idx if dataset == "mnist" else fakes.write_pickles
    write(tmp_path, official, fakes.make_arrays(official))
    path.with_suffix("" if name.endswith("gz") else path.suffix).unlink(missing_ok=True)
    path.symlink_to("unmounted")
    assert error_of(lambda: load_dataset(dataset, tmp_path, official)) == (
        f"{path}: a broken link: {REMEDY}"
    )


def test_a_name_that_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    data_dir = tmp_path / ("x" * 300)
    assert error_of(lambda: load_dataset("mnist", data_dir)) == (
        f"{data_dir / 'MNIST/raw'}: cannot be written (File name too long): "
        "name another --data-dir, or use --quick, which needs no download"
    )
