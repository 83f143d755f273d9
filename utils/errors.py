"""The one exception whose message is written for the person at the terminal, and exit codes."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, where, and what to do.

    The scripts print it as ``error: …`` and exit with code 2; any other exception is a defect
    of ours and keeps its traceback.
    """


def exit_code(command: Callable[[], object], if_interrupted: str) -> int:
    """Runs a command; returns 0, 2 for a mistake of the user's, 130 for Ctrl-C.

    ``if_interrupted`` says what the same command does next time.
    """
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {if_interrupted}", file=sys.stderr)
        return 130
    return 0
