"""docs/cluster.md, word for word; one machine stands for all, and `srun` is a plain start."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from utils import REPOSITORY

pytest.importorskip(
    "distributed", reason="Dask is not installed: pip install -r requirements-cluster.txt"
)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the page is of a Linux shell")

PAGE = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")
COPIED = ("models", "utils", "experiments", "data/sample", "data/reported")
SSH = """#!/bin/bash
cd "$OTHER_HOME" && exec bash -c "${@: -1}"
"""
SRUN = """#!/bin/bash
exec "$@"
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone has, with an environment; it is the other machine's clone as well."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "study"
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    for script in REPOSITORY.glob("homework_*.py"):
        shutil.copy(script, folder)
    commands = {"python": f'#!/bin/bash\nexec {sys.executable} "$@"\n', "ssh": SSH, "srun": SRUN}
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name, text in commands.items():
        path = folder / ".venv" / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    activate = f'PATH="{folder}/.venv/bin:$PATH"\n'
    (folder / ".venv" / "bin" / "activate").write_text(activate)
    return folder


def follow(heading: str, clone: Path) -> list[str]:
    """Runs the section's commands; returns what is printed, without Dask's own lines."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    commands = re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1]
    # nobody else's port is taken, and none is open to others
    commands = commands.replace("scheduler --port 0", "scheduler --host 127.0.0.1 --port 0")
    commands = commands.replace("8786", "28786").replace("9001", "29001")
    commands = commands.replace("--nworkers 2", "--nworkers 1")  # each imports torch, for seconds
    environment = os.environ | {
        "OTHER_HOME": str(clone.parent),
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_PER_TASK": "1",
    }
    environment.pop("PYTHONSAFEPATH", None)
    ended = subprocess.run(
        ["bash", "-c", f". .venv/bin/activate\n{commands}"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    lines = ended.stdout.splitlines()
    found = [line for line in lines if line.startswith(("mnist", "error", "tables"))]
    assert found, ended.stdout
    return found


def shape(lines: list[str]) -> list[str]:
    """Without the numbers and names that are this machine's, in no order."""
    lines = [re.sub(r" on \S+$", " on W", line) for line in lines]
    return sorted(re.sub(r"…|/\S+/study", "…", re.sub(r"\d+", "N", line)) for line in lines)


def test_one_machine_prints_what_the_page_shows(clone: Path) -> None:
    section = PAGE.partition("## One machine\n")[2].partition("\n## ")[0]
    shown = re.findall(r"```\n(mnist.*?)\n```", section, re.DOTALL)[0]
    assert shape(follow("One machine", clone)) == shape(shown.splitlines())
    assert not (clone / "cluster.json").exists()


@pytest.mark.soak
@pytest.mark.parametrize(
    "heading, seed, where", [("Two machines by SSH", 1, " on gpu-box"), ("Slurm", 2, "")]
)
def test_other_machines_train_what_they_are_given(
    heading: str, seed: int, where: str, clone: Path
) -> None:
    finished = [line for line in follow(heading, clone) if "finished" in line]
    assert len(finished) == 1
    assert finished[0].endswith(where)
    runs = clone / "results" / "quick" / "runs" / "mnist"
    assert (runs / f"FCNet-crop_padding=0-seed{seed}.json").exists()
