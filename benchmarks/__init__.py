"""What the study is measured against: recipes that were tried, and the loop that people use."""

import sys

from utils.signals import end_at_once

if sys.argv[0] == "-m":  # python -m benchmarks.…, which goes on to import torch for seconds
    end_at_once("nothing was changed yet")
