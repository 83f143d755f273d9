"""Records -> tables, figures and the README: nothing is trained, measured or loaded here.

Imports records and no torch.
"""

import os

# Figures are files. matplotlib would read this when it is imported, and ends where it does not
# know the name.
os.environ.pop("MPLBACKEND", None)
