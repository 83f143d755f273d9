"""What the three scripts share: declared runs -> training -> records -> tables, figures, README.

``cli`` and ``plan`` decide what is to be done; ``runner`` does it, with the packages in the order
in which a run meets them: ``data``, ``training``, ``measuring``, ``records``, ``report``. Which of
them may import which stands in ``pyproject.toml``; ``make test`` checks it (import-linter).
"""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
