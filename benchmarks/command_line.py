"""The flags that the commands of this folder share, and their checks."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

import models
from utils.cli import MAX_THREADS, REPOSITORY, OneLineParser
from utils.errors import UserError


def new_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for ``python -m benchmarks.<module>``, whose errors are one line."""
    return OneLineParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """``--data-dir``."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=REPOSITORY / "data",
        metavar="DIR",
        help="where mnist.npz and cifar10.npz or torchvision's files are, or are downloaded to "
        "(default: data/ of the repository)",
    )


def add_out_dir(parser: argparse.ArgumentParser, holds: str) -> None:
    """``--out-dir``."""
    parser.add_argument(
        "--out-dir",
        type=Path,
        default=REPOSITORY,
        metavar="DIR",
        help=f"holds {holds} (default: the repository)",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """``--threads``."""
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        metavar="N",
        help="CPU threads (default: torch's own choice, here %(default)s)",
    )


def add_models(parser: argparse.ArgumentParser, known: Sequence[str]) -> None:
    """``--models``."""
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="only these; several commands may share the training, each with its own "
        f"(default: all, {', '.join(known)})",
    )


def use_threads(number: int) -> None:
    """Sets torch's thread count.

    Raises: UserError for a number that cannot be meant.
    """
    if not 1 <= number <= MAX_THREADS:
        raise UserError(f"--threads {number}: must be between 1 and {MAX_THREADS}")
    torch.set_num_threads(number)


def check_models(names: Sequence[str] | None, known: Sequence[str]) -> None:
    """Raises: UserError for a name that is not known."""
    for name in names or ():
        if name not in known:
            raise UserError(f"--models: {models.unknown('model', name, known)}")
