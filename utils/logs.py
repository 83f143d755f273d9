"""Where messages go: to the terminal, and with their time into a file beside the records."""

import contextlib
import errno
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

log = logging.getLogger(__name__)


class MessageAlone(logging.Formatter):
    """For the terminal: a traceback is for the log file."""

    def format(self, record: logging.LogRecord) -> str:
        """The message."""
        return record.getMessage()


class LogFile(logging.FileHandler):
    """A log file; once it cannot be written, that is said, and the rest goes on without it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=True)
        self.is_broken = False

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a message; the first one opens the file."""
        try:
            if not self.is_broken:
                if Path(self.baseFilename).is_fifo():  # it would be waited for
                    raise OSError(errno.EINVAL, "not a file")
                super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Is called where a message cannot be written."""
        self.is_broken = True
        error = sys.exc_info()[1]
        log.warning("%s: cannot be written (%s); going on without", self.baseFilename, error)


@contextlib.contextmanager
def logs(path: Path) -> Iterator[None]:
    """Messages go to stderr, above the progress bar, and with their time into a file."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    terminal, file = logging.StreamHandler(), LogFile(path)
    terminal.setFormatter(MessageAlone())
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for handler in (terminal, file):
        root.addHandler(handler)
    try:
        with logging_redirect_tqdm():
            yield
    finally:
        root.setLevel(level)
        for handler in (terminal, file):
            root.removeHandler(handler)
            with contextlib.suppress(OSError):  # which has been told
                handler.close()
