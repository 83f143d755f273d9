"""One run -> one trained network: the loop, its optimisers, its checkpoint, its progress.

Imports data and records; measures nothing and draws nothing.
"""
