"""Figures by name, made of an experiment's records; each module has one kind of them.

Imports records and matplotlib.
"""
