"""The one exception whose message is written for the person at the terminal."""


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, where, and what to do.

    The scripts print it as ``error: …`` and exit with code 2; any other exception is a defect
    of ours and keeps its traceback.
    """
