"""The Makefile hands on what it is given: spaces, quotes and any other bytes."""

import os
import subprocess
from pathlib import Path

import pytest

from utils import REPOSITORY

STUB = """#!/bin/sh
printf '%s\\n' "$@" PYTHONSAFEPATH="$PYTHONSAFEPATH" >> "$TOLD"
"""


@pytest.mark.parametrize(
    "folder", [b"plain", b"with spaces", b"~/a'b\"c", b"$HOME;`true`", b"\xff\xfe"]
)
@pytest.mark.parametrize("target", ["full", "verify", "bench"])
def test_a_folder_reaches_the_scripts_as_it_is(folder: bytes, target: str, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(STUB)
    python.chmod(0o755)
    command = ["make", target, "-o", ".venv/run", f"bin={python.parent}"]
    escaped = folder.replace(b"$", b"$$")  # make's own word for a dollar
    environment = {**os.environ, "TOLD": str(tmp_path / "told"), "PYTHONSAFEPATH": "1"}
    subprocess.run(
        [*command, b"DATA_DIR=" + escaped],
        cwd=REPOSITORY,
        env=environment,
        check=True,
        capture_output=True,
    )
    told = (tmp_path / "told").read_bytes().split(b"\n")
    found = [told[at + 1] for at, flag in enumerate(told) if flag == b"--data-dir"]
    assert found == [folder] * (1 if target == "bench" else 3)
    assert b"PYTHONSAFEPATH=1" not in told


def test_python_may_stand_in_a_folder_with_spaces(tmp_path: Path) -> None:
    python = tmp_path / "my 'own' python"
    python.write_text(STUB)
    python.chmod(0o755)
    told = subprocess.run(
        ["make", "--no-print-directory", "-n", "-B", ".venv/run", f"PYTHON={python}"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    first = told.stdout.splitlines()[0]
    subprocess.run(
        ["sh", "-c", first],
        env={**os.environ, "PYTHON": str(python), "TOLD": str(tmp_path / "told")},
        check=True,
    )
    assert (tmp_path / "told").read_text().splitlines()[:3] == ["-m", "venv", ".venv"]
