"""Records -> tables, figures and the README: nothing is trained, measured or loaded here.

Imports records and no torch.
"""
