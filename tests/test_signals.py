"""Ctrl-C and SIGTERM: a line and an exit code, at once or when all is tidied up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from utils import REPOSITORY
from utils.errors import exit_code
from utils.signals import SIGNALS, Interrupted, raised, spawning

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
BOTH = pytest.mark.parametrize("number", SIGNALS)


@pytest.fixture(autouse=True)
def _not_ignored() -> Iterator[None]:
    """A shell's background job, as the tests may be, ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def started(text: str) -> subprocess.Popen[str]:
    """A process of this program, once it has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys, time\nfrom utils import errors, signals\n{text}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str, float]:
    """Its exit code, what it said, and after how many seconds."""
    start = time.monotonic()
    try:
        _, error = process.communicate(timeout=10)
    finally:
        process.kill()
    return process.returncode, error, time.monotonic() - start


@BOTH
def test_a_signal_is_an_exception_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Interrupted) as error, raised("all is well"):
        signal.raise_signal(number)
    assert error.value.args == (CODES[number],)
    assert [signal.getsignal(each) for each in SIGNALS] == before


@BOTH
def test_a_command_says_how_to_go_on(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: signal.raise_signal(number), "it goes on") == CODES[number]
    assert capsys.readouterr().err == "interrupted; it goes on\n"


@BOTH
def test_before_a_command_runs_the_process_ends_at_once(number: signal.Signals) -> None:
    process = started("""
signals.end_at_once("nothing was done")
print("ready", flush=True)
try:
    time.sleep(60)
finally:
    print("tidied up")
""")
    process.send_signal(number)
    code, error, seconds = ended(process)
    assert (code, error) == (CODES[number], "interrupted; nothing was done\n")
    assert seconds < 1


def test_a_signal_behind_a_command_says_what_the_command_would() -> None:
    process = started("""
signals.end_at_once("nothing was done")
try:
    errors.exit_code(lambda: None, "it goes on")
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("tidied up")
""")
    process.send_signal(signal.SIGTERM)
    assert ended(process)[:2] == (143, "interrupted; it goes on\n")


def test_a_closed_stderr_changes_no_exit_code() -> None:
    process = subprocess.run(
        f"{sys.executable} -c 'import os, utils.signals as s; s.end_at_once(str()); "
        "os.kill(os.getpid(), 15)' 2>&-",
        shell=True,
        cwd=REPOSITORY,
    )
    assert process.returncode == 143


HANGS = """
def command():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("ready", flush=True)
        time.sleep(60)
sys.exit(errors.exit_code(command, "it goes on"))
"""


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_not_tidied_up_in_time_or_is_told_twice_ends(times: int) -> None:
    process = started(HANGS)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ready\n"
    if times == 2:
        process.send_signal(signal.SIGTERM)
    code, error, seconds = ended(process)
    assert (code, error) == (143, "interrupted; it goes on\n")
    assert seconds < (2 if times == 1 else 1)


@BOTH
def test_an_operation_that_no_signal_can_stop_is_not_waited_for(number: signal.Signals) -> None:
    process = started("""
import hashlib
def command():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes, without Python in between
sys.exit(errors.exit_code(command, "it goes on"))
""")
    time.sleep(0.1)
    process.send_signal(number)
    code, error, seconds = ended(process)
    assert (code, error) == (CODES[number], "interrupted; it goes on\n")
    assert seconds < 2


def test_what_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    with raised(""):
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="there are no masks here")
def test_a_process_that_still_imports_takes_no_ctrl_c() -> None:
    with spawning():
        process = started("""
print("ready", flush=True)
sys.stdin.readline()
print("whole")
""")
    process.send_signal(signal.SIGINT)
    output, error = process.communicate("go on\n", timeout=10)
    assert (process.returncode, output, error) == (0, "whole\n", "")
