"""Faults at every write of a small study: `python -m tests.faults`, or `make soak`.

    warm process --fork--> the command, its n-th operation on a file a fault --> what is on disk
                 --fork--> the same command again                            --> what is on disk

The operations are those of which Python tells its audit hooks: a file opened to be written, renamed
or removed, a folder made or removed. Whatever comes of a fault is compared with what a command
leaves that nothing disturbs.
"""

import argparse
import contextlib
import errno
import gc
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from models import Swish
from tests.fake_records import make_experiment
from tests.fakes import TINY_CIFAR10, make_tiny, measure_once
from utils import runner
from utils.claim import Claim
from utils.errors import UNFORESEEN
from utils.experiment import LayerCase
from utils.recipes import quick
from utils.records.files import read_arrays, read_record
from utils.records.schema import Cases, Record, Speed
from utils.report.figures import canvas
from utils.training.checkpoint import read_state

STUDY = make_experiment(
    ["CNN7x7", "CNN5x5"],
    recipe=quick(make_experiment().recipe),
    figures=("accuracies",),
    cases=(
        LayerCase("Swish", Swish, (4, 4, 4, 4)),
        LayerCase("SiLU", nn.SiLU, (4, 4, 4, 4), analogue_of="Swish"),
    ),
    claims=(Claim("2.1-a", "A.", "А.", "ours", pairs=(("CNN7x7", "CNN5x5"),)),),
)
FLAGS = ["--quick", "--epochs", "2", "--threads", "1", "--device", "cpu", "--weights", "--out-dir"]
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
FITS = 100  # bytes of a file, where the disk is full in the middle of it
KINDS = {
    "killed": "at the operation",
    "killed within": f"when a file that is written from then on has {FITS} bytes",
    "full": "no file or folder can be made from then on",
    "full within": f"no file takes more than {FITS} bytes from then on",
    "forbidden": "the operation alone",
}
ENDS = {"killed": -signal.SIGKILL, "killed within": -signal.SIGXFSZ}  # as waitstatus has them
EPOCH = re.compile(r"^(.* epoch \d+/\d+): ", re.MULTILINE)


class Fault(NamedTuple):
    """What happens at which operation, the first being 0."""

    kind: str
    number: int


class Operation(NamedTuple):
    """An operation on a file: an audit event, "open" or "os.rename" say, and the file's name."""

    event: str
    name: str


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Commands of this process have few images, measure once and draw coarsely."""
    data = make_tiny(replace(TINY_CIFAR10, train_images=32, test_images=32))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "load_quick_dataset", lambda name: data)
        patched.setattr(runner, "try_out", lambda *_: None)  # it writes nothing
        measure_once(patched)
        patched.setattr(canvas, "DPI", 20)
        yield


# --- the command, and what happens to it ----------------------------------------------------------


def command(folder: Path, fault: Fault | None = None, told: Path | None = None) -> tuple[int, str]:
    """Exit code and stderr of the command in a process of its own.

    Its operations are written to ``told``.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 2)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        sys.stderr = open(2, "w", 1, closefd=False)  # noqa: SIM115 (line by line)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code, operations = 70, []
        try:
            sys.addaudithook(partial(hook, operations, str(folder), fault))
            code = runner.main([STUDY], "", [*FLAGS, str(folder)])
            if told:
                told.write_text(json.dumps(operations))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    with open(read, encoding="utf-8") as stderr:
        text = stderr.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def hook(
    operations: list[Operation], folder: str, fault: Fault | None, event: str, args: tuple
) -> None:
    """Notes an operation below the folder, and does what the fault is to do."""
    is_write = event in CHANGES or (event == "open" and args[2] & WRITES)
    if not is_write or not isinstance(args[0], str | Path) or not str(args[0]).startswith(folder):
        return
    operations.append(Operation(event, Path(args[0]).name))
    if fault is None or len(operations) <= fault.number:
        return
    is_first = len(operations) == fault.number + 1
    if fault.kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.kind == "forbidden" and is_first:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), args[0])
    if fault.kind == "full" and event in ("open", "os.mkdir", "os.rename"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), args[0])
    if fault.kind.endswith("within") and is_first:
        if fault.kind == "killed within":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # ignored, the write fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (FITS, resource.RLIM_INFINITY))


# --- what is on disk ------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, Any]:
    """Name -> what a file holds that two commands leave alike; None where it is no whole file.

    Times differ: of what has no other content it is the type, the size, the number of lines.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and ".tmp" not in name and not name.endswith((".log", ".lock")):
            try:
                found[name] = content(path)
            except Exception:  # whatever it is that cannot be read
                found[name] = None
    return found


def content(path: Path) -> object:
    """What a whole file holds; whatever is raised where it is not whole."""
    match path.suffix:
        case ".json" if "runs" in path.parts:
            return read_record(path, Record).model_dump(mode="json", exclude={"timings"})
        case ".json":
            return type(read_record(path, Speed if "speed" in path.parts else Cases))
        case ".npz":
            arrays = read_arrays(path)
            return {name: (each.dtype.str, each.tobytes()) for name, each in arrays.items()}
        case ".safetensors":
            weights = path.read_bytes()
            safetensors.torch.load(weights)
            return weights
        case ".png":
            with Image.open(path) as image:
                image.load()
                return image.size
        case ".pt":
            return type(read_state(path))
        case ".csv" | ".md":
            return path.read_text(encoding="utf-8").count("\n")
    raise ValueError(path.suffix)


def epochs(text: str) -> set[str]:
    """The epochs that a command has told of, as in "cifar10 CNN7x7 seed 0 epoch 1/2"."""
    return set(EPOCH.findall(text))


# --- one fault ------------------------------------------------------------------------------------


def outcome(fault: Fault, folder: Path, expected: dict[str, Any]) -> dict[str, str]:
    """What is wrong after a fault, by its kind; nothing where all is well."""
    code, first = command(folder, fault)
    found = contents(folder)
    wrong: dict[str, str] = {}
    if torn := [name for name, each in found.items() if each is None]:
        wrong["lost"] = f"not whole: {', '.join(torn)}"
    errors = [line for line in first.splitlines() if line.startswith("error: ")]
    lines = {0: 0, 1: 1, 2: 1, ENDS.get(fault.kind): 0}
    if "Traceback" in first or UNFORESEEN in first or lines.get(code) != len(errors):
        wrong["traceback"] = f"exit code {code}: {first}"
    if code == 0 and found != expected:
        wrong["lost"] = "it ended well, and not all is there"
    again, second = command(folder)
    after = contents(folder)
    missing = sorted(expected.keys() - after.keys())
    if again or missing:
        wrong["lost"] = f"then exit code {again}: {second}; missing {missing}"
    if changed := [name for name, each in after.items() if each != expected.get(name)]:
        wrong["different"] = ", ".join(changed)
    if both := epochs(first) & epochs(second):
        wrong["trained twice"] = ", ".join(sorted(both))
    if left := [path.name for path in folder.rglob("*.tmp")]:
        wrong["left"] = ", ".join(left)
    return wrong


def try_out(fault: Fault, expected: dict[str, Any]) -> tuple[Fault, dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        return fault, outcome(fault, Path(folder) / "out", expected)


# --- all of them ----------------------------------------------------------------------------------


def every_fault(operations: Sequence[Operation]) -> list[Fault]:
    """All kinds at all operations; within a file where one is opened."""
    return [
        Fault(kind, number)
        for number, operation in enumerate(operations)
        for kind in KINDS
        if operation.event == "open" or not kind.endswith("within")
    ]


def sample(operations: Sequence[Operation], faults: Sequence[Fault]) -> list[Fault]:
    """Few of them, with every kind of fault, of operation and of file, by what its name ends in."""

    def kinds(fault: Fault) -> set[str]:
        event, name = operations[fault.number]
        return {fault.kind, event, re.sub(r"\.\d+\.tmp$", "", name).partition(".")[2]}

    chosen: list[Fault] = []
    seen: set[str] = set()
    while new := [fault for fault in faults if not kinds(fault) <= seen]:
        often = Counter(each.kind for each in chosen)
        ranks = [(len(kinds(fault) - seen), -often[fault.kind]) for fault in new]
        chosen.append(new[ranks.index(max(ranks))])
        seen |= kinds(chosen[-1])
    return chosen


def main() -> int:
    """Tries the faults, prints what came of them, and returns 1 where something did."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--sample", action="store_true", help="a few, of every kind of write")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="faults tried at once")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # autograd starts threads for a GPU: then no fork
    counts: Counter[str] = Counter()
    with small(), tempfile.TemporaryDirectory() as name:
        told = Path(name) / "operations.json"
        runner.main([STUDY], "", [*FLAGS, f"{name}/first"])  # what is imported late is there now
        code, text = command(Path(name) / "out", told=told)
        expected = contents(Path(name) / "out")
        assert code == 0 and None not in expected.values(), text
        operations = [Operation(*each) for each in json.loads(told.read_text())]
        faults = every_fault(operations)
        faults = sample(operations, faults) if arguments.sample else faults
        gc.freeze()  # what is looked through in a child would have to be copied for it
        with multiprocessing.get_context("fork").Pool(arguments.jobs) as pool:
            for fault, wrong in pool.imap_unordered(partial(try_out, expected=expected), faults):
                counts.update(wrong.keys())
                for kind, what in wrong.items():
                    operation = " ".join(operations[fault.number])
                    print(f"{fault.kind}, operation {fault.number} ({operation}): {kind}: {what}")
    print(
        f"{len(operations)} operations, {len(faults)} faults tried: {counts['lost']} lost, "
        f"{counts['different']} different, {counts['trained twice']} trained twice, "
        f"{counts['left']} temporary files left, {counts['traceback']} tracebacks"
    )
    return int(counts.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
