"""What the study is measured against: recipes that were tried, and the loop that people use."""

import sys

from utils.errors import importing

if sys.argv[0] == "-m":  # python -m benchmarks.…, which imports both
    with importing():
        import experiments  # noqa: F401
        import utils.runner  # noqa: F401
