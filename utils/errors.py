"""The one exception whose message is written for the person at the terminal, and exit codes."""

import gc
import sys
from collections.abc import Callable

from utils.signals import Interrupted, raised


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, where, and what to do.

    The scripts print it as ``error: …`` and exit with code 2; any other exception is a defect
    of ours and keeps its traceback.
    """


class SomeFailed(Exception):
    """Some runs of a command failed, which has told of each; the others are finished."""


def exit_code(command: Callable[[], object], if_interrupted: str) -> int:
    """Runs a command; returns 0, 1 where a run failed, 2 for a user's mistake.

    130 after Ctrl-C and 143 after SIGTERM: ``if_interrupted`` says what the same command does next
    time.
    """
    try:
        with raised(if_interrupted):
            command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SomeFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if not error.filename:
            raise
        print(f"error: {error.filename}: {error.strerror}; what was saved is kept", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"interrupted; {if_interrupted}", file=sys.stderr)
        gc.freeze()  # or the interpreter looks through all that torch has before it ends: seconds
        return error.args[0] if isinstance(error, Interrupted) else 130
    return 0
