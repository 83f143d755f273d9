"""The one exception whose message is written for the person at the terminal, and exit codes."""

import contextlib
import gc
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import NoReturn

from utils import REPOSITORY
from utils.signals import Interrupted, end_at_once, raised


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, where, and what to do.

    The scripts print it as ``error: …`` and exit with code 2. What nobody foresaw is a line too,
    and its traceback is in the log (``traceback_in``).
    """

    def __str__(self) -> str:
        """One line, whatever the message was made of."""
        return " ".join(super().__str__().splitlines())


# errors that tell of memory in words alone: of the system, torch and what loads a library
SYSTEMS = (OSError, RuntimeError, ImportError)
LACKING_MEMORY = (
    "Cannot allocate memory",
    "DefaultCPUAllocator",
    "out of memory",  # CUDA, MPS
    "ALLOC_FAILED",  # cuBLAS, cuDNN
    "failed to map segment",
)


UNFORESEEN = "nobody foresaw"


class SomeFailed(Exception):
    """Some runs of a command failed, which has told of each; the others are finished."""


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Within, a script imports: a signal ends it with a line, and so do a wrong declaration and
    a package that is missing or broken.
    """
    end_at_once("nothing was changed yet")
    try:
        yield
    except UserError as error:
        _end(error)
    # of a broken or unmatched package too
    except (ImportError, RuntimeError, OSError, MemoryError, SystemError, ValueError) as error:
        if short := lacking_memory(error):
            _end(f"not enough memory ({in_one_line(short)}); end what else is running", 1)
        said = " ".join(str(error).split())
        if "temporary directory" in said:  # the disk is full, or nothing may be written
            _end(f"{said}: make room there, or set TMPDIR to a folder for temporary files", 1)
        if _is_ours(error):
            raise  # a defect
        setting = ""
        if isinstance(error, UnicodeError):  # of a path
            setting = ": give the folder a name that is UTF-8, or"
        elif isinstance(error, ValueError):  # as of TQDM_NCOLS=wide
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            setting = f", of {frame.f_code.co_filename}: unset what the environment sets for it, or"
        _end(
            f"{said}{setting}, in {sys.executable}: `make quick` sets up .venv/bin/python, or pip "
            "install -r requirements.txt"
        )


def _is_ours(error: Exception) -> bool:
    """Whether it names a module of ours, comes out of one, or out of what one has called.

    Else it comes out of a package that is being imported.
    """
    if isinstance(error, ImportError) and error.name:
        return (REPOSITORY / error.name.partition(".")[0]).exists()
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    below = list(itertools.takewhile(lambda code: not _is_file_of_ours(code), reversed(codes)))
    return all(code.co_name != "<module>" for code in below)


def _is_file_of_ours(code: CodeType) -> bool:
    path = Path(code.co_filename)
    return path.is_relative_to(REPOSITORY) and ".venv" not in path.parts


def _end(error: object, code: int = 2) -> NoReturn:
    make_streams_usable()
    tell(error)
    sys.exit(code)


def exit_code(command: Callable[[], object], if_interrupted: str) -> int:
    """Runs a command; returns 0, 1 where a run or the system failed, 2 for a user's mistake.

    130 after Ctrl-C and 143 after SIGTERM: ``if_interrupted`` says what the same command does next
    time.
    """
    make_streams_usable()
    try:
        with raised(if_interrupted):
            command()
            sys.stdout.flush()
    except KeyboardInterrupt as error:
        print(f"interrupted; {if_interrupted}", file=sys.stderr)
        gc.freeze()  # or the interpreter looks through all that torch has before it ends: seconds
        return error.args[0] if isinstance(error, Interrupted) else 130
    except Exception as error:
        code = _tell_of(error)
        if code is None:
            raise
        return code
    return 0


@contextlib.contextmanager
def traceback_in(log_file: Path) -> Iterator[None]:
    """Within, what nobody foresaw is one line too: its traceback goes to the end of a file.

    Raises: SomeFailed with that line; the error itself where the file cannot be written.
    """
    try:
        yield
    except Exception as error:
        if lacking_memory(error) or isinstance(error, (UserError, SomeFailed, OSError)):
            raise
        text = "".join(traceback.format_exception(error))
        try:
            if log_file.is_fifo():  # it would be waited for
                raise OSError
            with log_file.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            raise error from None
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        raise SomeFailed(
            f"{in_one_line(error)}, in {frame.f_code.co_filename}:{line}, which {UNFORESEEN}; "
            f"what is finished is on disk, and {log_file} has the traceback: please report it"
        ) from error


def _tell_of(error: Exception) -> int | None:
    """Tells in one line what went wrong, and gives the exit code; None for a defect of ours."""
    if short := lacking_memory(error):
        tell(
            f"not enough memory ({in_one_line(short)}); end what else is running, raise the "
            "limit, or use fewer --jobs; what is finished is on disk"
        )
        return 1
    if isinstance(error, (UserError, SomeFailed)):
        tell(error)
        return 2 if isinstance(error, UserError) else 1
    if isinstance(error, OSError):
        if isinstance(error, BrokenPipeError):
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (or its flush fails once more)
        # a library that raises one by itself gives text alone
        name, what = error.filename or "reading or writing", error.strerror or in_one_line(error)
        tell(f"{name}: {what}; what is finished is on disk")
        return 1
    return None


def lacking_memory(error: BaseException | None) -> BaseException | None:
    """What says in an error, or in what led to it, that memory did not suffice: ours or a GPU's."""
    while error:
        says = isinstance(error, SYSTEMS) and any(word in str(error) for word in LACKING_MEMORY)
        if isinstance(error, MemoryError) or says:
            return error
        error = error.__cause__
    return None


def tell(error: object) -> None:
    """One line on stderr."""
    print(f"error: {UserError(error)}", file=sys.stderr)


def make_streams_usable() -> None:
    """Has the standard streams take any text, whatever their encoding; a closed one takes it in.

    The number of a closed one must not go to the next file that is opened: the system's own
    messages would be written into it.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
        if hasattr(getattr(sys, name), "reconfigure"):  # not in a notebook
            getattr(sys, name).reconfigure(errors="backslashreplace")


def few(names: Iterable[object], shown: int = 1) -> str:
    """The first of these, and how many more there are."""
    every = list(map(str, names))
    more = f" and {len(every) - shown} more" if len(every) > shown else ""
    return f"{', '.join(every[:shown])}{more}"


def last_line(error: BaseException) -> str:
    """Its kind and the last line of what it says, where the lines go from where it is to what."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *(line.strip() for line in lines[-1:])])


def in_one_line(error: BaseException) -> str:
    """Its kind and the first line of what it says, as in "TypeError: 'int' object is …"."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
