"""Reads the plates of a drawn street: `python -m benchmarks.plates`."""
