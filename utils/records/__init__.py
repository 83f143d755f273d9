"""What is on disk about a run, written and read in one place, and what may share a table.

Imports errors and experiment; no torch, so that a table can be made where there is none.
"""
