"""What the commands of this folder share beside the flags of the scripts (``utils/cli.py``)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import models
from utils.cli import (
    OneLineParser,
    add_data_dir,
    add_threads,
    check_writable,
    use_threads,
    warn_if_slower,
)
from utils.errors import UserError


def new_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for ``python -m benchmarks.<module>``, whose errors are one line."""
    return OneLineParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def parse_training(
    module: str, description: str | None, known: Sequence[str], argv: Sequence[str] | None
) -> argparse.Namespace:
    """The command line of what only trains and renders; sets torch's thread count.

    Raises: UserError for the first bad value.
    """
    parser = new_parser(module, description)
    parser.add_argument("--no-train", action="store_true", help="only render from the records")
    add_models(parser, known)
    add_data_dir(parser)
    add_threads(parser)
    options = parser.parse_args(argv)
    check_models(options.models, known)
    use_threads(options.threads)
    return options


def check_before_training(records: Path, precision: str) -> None:
    """Says it where the precision is slower here than it need be.

    Raises: UserError where nothing can be written to the folder of the ``records``.
    """
    check_writable(records, "make the folder writable")
    tell_if_slower(torch.device("cpu"), precision)


def tell_if_slower(device: torch.device, precision: str) -> None:
    """A line where the precision is slower than float32 on this device."""
    if warning := warn_if_slower(device, precision):
        print(f"warning: {warning}", file=sys.stderr)


def add_models(parser: argparse.ArgumentParser, known: Sequence[str]) -> None:
    """``--models``."""
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="only these; several commands may share the training, each with its own "
        f"(default: all, {', '.join(known)})",
    )


def check_models(names: Sequence[str] | None, known: Sequence[str]) -> None:
    """Raises: UserError for a name that is not known."""
    for name in names or ():
        if name not in known:
            raise UserError(f"--models: {models.unknown('model', name, known)}")
