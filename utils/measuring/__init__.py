"""What a network costs and what it sees: time, FLOPs, receptive fields, activations.

Imports training, data and records; writes nothing.
"""
