"""Files: written to a temporary name and renamed, so that a reader never meets half of one.

Whatever is wrong with a record costs one line that names the file and the field.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from utils.errors import UserError
from utils.records.schema import SCHEMA, Kind

AGAIN = "delete it and run the script again"
BOTH_AGAIN = "delete it and the .json of the same name and run the script again"  # of arrays
# what becomes of plain values, whose fields nobody has checked, where one is not as it should be
MISSHAPEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls ``write`` with a temporary path beside ``path``, then renames it into place.

    It has its name when it is on the disk: power may fail. Raises: UserError naming the file.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        why = str(error.strerror or error)
        if error.filename == str(path.parent):  # a file where its folder belongs
            why = f"{path.parent}: {why}"
        raise UserError(
            f"{path}: cannot be written ({why}); what was saved before is kept and the same "
            "command goes on from it"
        ) from error


# of write_atomically, whose files all have a suffix, of data.mapped and of training.cluster
LEFT = re.compile(r"(.+\.[a-z]+|images|cluster-[-0-9a-f]+)\.\d+\.tmp")


def sweep(folder: Path, locks: Path) -> None:
    """Deletes what writes that were killed have left below a folder.

    Not in what has a ``.lock`` of its own below ``locks``: another command may be writing there.
    """
    for path in [each for each in folder.rglob("*.tmp") if LEFT.fullmatch(each.name)]:
        between = path.relative_to(folder).parents[:-1]
        if any((locks / each / ".lock").exists() for each in between):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes atomically."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_record(path: Path, record: BaseModel) -> None:
    """Writes a record atomically; a NaN becomes null, which JSON has a word for."""
    write_json(path, record.model_dump(mode="json", exclude_none=False))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes plain values atomically.

    Raises: ValueError for a NaN.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, f"{text}\n")


def read_record(path: Path, kind: type[Kind]) -> Kind:
    """Reads a record and checks all of it.

    Raises: UserError naming the file and the field.
    """
    text = _text_of(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: no JSON ({error}); mend it, or {AGAIN}") from error
    found = content.get("schema") if isinstance(content, dict) else None
    if found != SCHEMA:
        raise UserError(f"{path}: record of schema {found!r}, this version reads {SCHEMA}; {AGAIN}")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{path}: {first_fault(error)}; {AGAIN}") from error


def first_fault(error: ValidationError) -> str:
    """As in "final.test_accuracy: Input should be less than or equal to 1"."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    return f"{field}{': ' * bool(field)}{first['msg'].removeprefix('Value error, ')}"


def read_json(path: Path) -> dict[str, Any]:
    """Reads plain values, as ``write_json`` wrote them.

    Raises: UserError naming the file.
    """
    try:
        content = json.loads(_text_of(path))
    except ValueError as error:
        raise UserError(f"{path}: not readable ({error}); make it again, or delete it") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a record; make it again, or delete it")
    return content


def cannot_read(path: Path, why: str | None) -> str:
    """For what the system does not let us read: what is in it may be good."""
    return f"{path}: cannot be read ({why}); mend that to go on"


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder.

    Raises: UserError where it, or a folder that it is in, is a link that leads nowhere, or such a
    folder is a file: what belongs there may be good.
    """
    if path.exists():
        return True
    for each in (path, *path.parents):
        if each.is_symlink() and not each.exists():
            raise UserError(cannot_read(each, "a broken link"))
        if each.exists() and not each.is_dir():
            raise UserError(cannot_read(each, "Not a directory"))
    return False


def _text_of(path: Path) -> str:
    try:
        if is_there(path) and not path.is_file():
            raise ValueError("not a file")  # opening a pipe would wait for whoever writes into it
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark before it
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{path}: not a readable record ({error}); {AGAIN}") from error
    except OSError as error:
        raise UserError(cannot_read(path, error.strerror)) from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed ``.npz`` atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # an open file keeps numpy from appending ".npz"
            np.savez_compressed(file, **arrays)

    write_atomically(path, write)


def read_arrays(path: Path, names: Container[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the arrays beside a record, or those of them that are named.

    Raises: UserError naming the file.
    """
    try:
        if not path.is_file():
            raise ValueError("not a file" if is_there(path) else "missing")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays if names is None or name in names}
    except UserError:
        raise
    except Exception as error:  # flipped bits make NumPy and zipfile raise nearly everything
        # of a flipped offset the system says that it is invalid
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
            raise UserError(cannot_read(path, error.strerror)) from error
        raise UserError(f"{path}: not a readable array file ({error}); {BOTH_AGAIN}") from error
