"""What reaches the terminal: one line, an exit code, whatever the streams can take."""

import errno
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from utils import REPOSITORY, errors
from utils.errors import SomeFailed, UserError, exit_code, traceback_in


def fails_with(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    "error, code, line",
    [
        (UserError("line 1\nline 2\u2028line 3"), 2, "line 1 line 2 line 3"),
        (
            OSError(errno.ENOSPC, "No space left on device", "table.csv"),
            1,
            "table.csv: No space left on device; what is finished is on disk",
        ),
        (
            BrokenPipeError(errno.EPIPE, "Broken pipe"),
            1,
            "reading or writing: Broken pipe; what is finished",
        ),
        (MemoryError("too much"), 1, "not enough memory (MemoryError: too much); end what"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: …"), 1, "not en"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), 1, "not enough memory ("),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), 1, "not enough memory ("),
        (UserError("no class called 'out of memory'"), 2, "no class called 'out of memory'"),
        (OSError("no image"), 1, "reading or writing: OSError: no image; what is finished"),
    ],
)
def test_what_goes_wrong_is_one_line(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(fails_with(error), "") == code
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"error: {line}")


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_a_defect_of_a_command_without_a_log_keeps_its_traceback(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="ours"):
        exit_code(fails_with(kind("ours")), "")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_traceback_that_no_log_takes_is_shown(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "a.log")
    with pytest.raises(ValueError, match="ours"), traceback_in(tmp_path / "a.log"):
        raise ValueError("ours")


@pytest.mark.parametrize(
    "error", [UserError("a"), SomeFailed("a"), OSError("a"), RuntimeError("out of memory")]
)
def test_no_traceback_is_kept_of_what_is_told_by_itself(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised, traceback_in(tmp_path / "a.log"):
        raise error
    assert raised.value is error
    assert not (tmp_path / "a.log").exists()


def test_what_memory_did_not_suffice_for_is_not_blamed(capsys: pytest.CaptureFixture[str]) -> None:
    blames = UserError("a network cannot be built any more")
    blames.__cause__ = MemoryError("Unable to allocate 5 GiB")
    assert exit_code(fails_with(blames), "") == 1
    assert capsys.readouterr().err.startswith("error: not enough memory (MemoryError: Unable to")


SCRIPTS = [path.name for path in REPOSITORY.glob("homework_*.py")]
BENCHMARKS = ("bench", "precision", "recipes", "time_to_accuracy")


@pytest.mark.parametrize(
    "command", [*SCRIPTS, "verify_tables.py", *(f"-m benchmarks.{name}" for name in BENCHMARKS)]
)
def test_where_no_package_is_installed_a_script_says_what_to_do(command: str) -> None:
    python = [sys.executable, "-E", "-S"]  # -S leaves out what is installed
    done = subprocess.run(
        [*python, *command.split()], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: No module named '(torch|numpy|pydantic)', in \S+: `make quick` sets up "
        r"\.venv/bin/python, or pip install -r requirements\.txt\n",
        done.stderr,
    )


def test_a_package_that_is_broken_is_a_line_and_what_is_ours_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(errors, "end_at_once", lambda _: None)
    code = compile("raise RuntimeError('\\noperator nms does not exist')", "/lib/vision.py", "exec")
    with pytest.raises(SystemExit), errors.importing():
        exec(code)
    told = capsys.readouterr().err
    assert told.startswith(f"error: operator nms does not exist, in {sys.executable}: `make quick`")
    with pytest.raises(RuntimeError), errors.importing():
        raise RuntimeError


def test_a_setting_that_a_package_cannot_read_is_not_blamed_on_the_installation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(errors, "end_at_once", lambda _: None)
    code = compile("int('wide')", "/lib/tqdm/utils.py", "exec")  # as TQDM_NCOLS=wide
    with pytest.raises(SystemExit), errors.importing():
        exec(code)
    told = capsys.readouterr().err
    assert "'wide', of /lib/tqdm/utils.py: unset what the environment sets for it, or, in" in told
    # scipy imports its parts when they are asked for, by a function of its own
    scipy: dict[str, Any] = {}
    exec(compile("def late(code): exec(code)", "/lib/scipy/__init__.py", "exec"), scipy)
    with pytest.raises(SystemExit), errors.importing():
        scipy["late"](code)
    code = compile("'\\udcff'.encode()", "/lib/torch/__init__.py", "exec")  # of a folder's name
    with pytest.raises(SystemExit), errors.importing():
        exec(code)
    assert "give the folder a name that is UTF-8, or" in capsys.readouterr().err
    with pytest.raises(ValueError, match="ours"), errors.importing():
        raise ValueError("ours")
    with pytest.raises(ValueError, match="divisible"), errors.importing():  # of what ours has asked
        nn.Conv2d(3, 4, 3, groups=2)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object", name="torch"),
    ],
)
def test_an_installation_is_not_blamed_for_too_little_memory(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(errors, "end_at_once", lambda _: None)
    with pytest.raises(SystemExit) as ended, errors.importing():
        raise error
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: not enough memory ({type(error).__name__}")


def test_an_installation_is_not_blamed_for_a_disk_without_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(errors, "end_at_once", lambda _: None)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    with pytest.raises(SystemExit) as ended, errors.importing():
        tempfile.gettempdir()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "error: [Errno 2] No usable temporary directory found in ['/proc/none']: make room there, "
        "or set TMPDIR to a folder for temporary files\n"
    )


def test_a_module_of_ours_that_is_missing_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(errors, "end_at_once", lambda _: None)
    with pytest.raises(ImportError), errors.importing():
        from models import nothing  # noqa: F401


CODE = """
import os, sys
from utils.errors import UserError, exit_code

def command():
    file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
    os.write(2, b"from the system")  # as a library does that knows no Python
    print("σ – ×")
    raise UserError(f"{sys.argv[1]} σ")

sys.exit(exit_code(command, ""))
"""


@pytest.mark.parametrize(
    "closing, variables, code",
    [
        ("", {"PYTHONIOENCODING": "ascii"}, 2),
        ("", {"PYTHONIOENCODING": "cp1251"}, 2),
        ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 2),
        ("2>&-", {}, 2),
        (">&-", {}, 2),
        ("<&- >&- 2>&-", {}, 2),
        (">/dev/full", {"PYTHONUNBUFFERED": "1"}, 1),
    ],
)
def test_any_text_can_be_told_to_any_stream(
    closing: str, variables: dict[str, str], code: int, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(CODE, encoding="utf-8")
    file = os.path.join(os.fsencode(tmp_path), b"\xff '\"")
    done = subprocess.run(
        ["sh", "-c", f'"$0" "$1" "$2" {closing}', sys.executable, script, file],
        env={**os.environ, **variables, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == code
    assert os.path.getsize(file) == 0  # nothing meant for a closed stream
    assert b"Traceback" not in done.stderr
    if "2>" not in closing:
        assert done.stderr.splitlines()[-1].startswith(b"from the systemerror: ")


def test_a_reader_who_has_seen_enough_ends_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(os.fdopen(write, "wb", 0)))
    assert exit_code(lambda: print("a table"), "") == 1
    assert "Broken pipe" in capsys.readouterr().err
