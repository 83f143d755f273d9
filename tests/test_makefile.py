"""The Makefile hands on what it is given: spaces, quotes and any other bytes."""

import os
import shutil
import subprocess
import sys
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
    _, first = told.stdout.splitlines()[:2]  # behind the question for its version
    subprocess.run(
        ["sh", "-c", first],
        env={**os.environ, "PYTHON": str(python), "TOLD": str(tmp_path / "told")},
        cwd=tmp_path,
        check=True,
    )
    told = (tmp_path / "told").read_text().splitlines()
    assert told[-5:-1] == ["-m", "venv", "--clear", ".venv"]


@pytest.mark.parametrize(
    ("given", "environment", "is_small"),
    [(["CPU=1"], "", True), (["CPU=0"], "", False), ([], "", False), ([], "x86_64", False)],
)
def test_the_small_torch_is_installed_where_it_is_asked_for(
    given: list[str], environment: str, is_small: bool
) -> None:
    told = subprocess.run(
        ["make", "-n", "-B", ".venv/run", *given],
        cwd=REPOSITORY,
        env={**os.environ, "CPU": environment},  # as some systems have it
        check=True,
        capture_output=True,
        text=True,
    )
    assert ("download.pytorch.org/whl/cpu" in told.stdout) == is_small


def test_an_old_python_is_told_before_anything_is_set_up(tmp_path: Path) -> None:
    python = tmp_path / "python"
    old = "import sys; sys.version_info = (3, 10); sys.version = '3.10.1 (main)'; "
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{old}$2"\n')
    python.chmod(0o755)
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    made = subprocess.run(
        ["make", "quick", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True
    )
    told = "error: Python 3.11 or newer is needed, this is 3.10.1: give PYTHON=python3.13, say"
    assert made.stderr.splitlines()[0] == told
    assert made.returncode == 2
    assert not (tmp_path / ".venv").exists()
    imported = [str(python), "-c", "import utils"]
    told = subprocess.run(imported, cwd=REPOSITORY, capture_output=True, text=True)
    assert told.stderr.startswith("error: Python 3.11 or newer is needed, ")
    assert told.returncode == 2


def test_clean_takes_what_commands_left_and_nothing_else(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    kept = [tmp_path / "mine.log", tmp_path / "data" / "mine.lock"]
    left = [tmp_path / "results" / "runs" / "a-seed0.checkpoint.pt", tmp_path / "docs" / "b.9.tmp"]
    for folders in ([], left):
        for path in (*kept, *folders):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
        assert all(path.exists() for path in kept)
        assert not any(path.exists() for path in left)
    disk = tmp_path / "disk"  # another one, with the results on it
    (tmp_path / "results").rename(disk)
    (tmp_path / "results").symlink_to(disk)
    (disk / "homework.log").touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert not (disk / "homework.log").exists()
