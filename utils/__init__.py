"""What the three scripts share: declared runs -> training -> records -> tables, figures, README.

``cli`` and ``plan`` decide what is to be done; ``runner`` does it, with the packages in the order
in which a run meets them: ``data``, ``training``, ``measuring``, ``records``, ``report``. Which of
them may import which stands in ``pyproject.toml``; ``make test`` checks it (import-linter).
"""

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 (any Python 3 reads this far)
    version = sys.version.split()[0]
    sys.stderr.write(
        f"error: Python 3.11 or newer is needed, {sys.executable} is {version}: `make quick "
        "PYTHON=python3.13`, say, sets up .venv/bin/python\n"
    )
    sys.exit(2)

REPOSITORY = Path(__file__).resolve().parent.parent
