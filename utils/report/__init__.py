"""Records -> tables, figures and the README: nothing is trained, measured or loaded here.

Imports records and no torch.
"""

import contextlib
import os
from pathlib import Path

# Figures are files. matplotlib would read this when it is imported, and ends where it does not
# know the name.
os.environ.pop("MPLBACKEND", None)
# So it would a user's settings, which are for the user's own figures: those of the working
# directory before any others.
os.environ["MATPLOTLIBRC"] = os.devnull
is_here = os.path.exists("matplotlibrc")
with contextlib.chdir(Path(__file__).parent) if is_here else contextlib.nullcontext():
    import matplotlib as matplotlib
