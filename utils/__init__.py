"""Shared helpers of the three experiment scripts; each module has one subject."""
