"""Processes that are one gateway: `supervisor.py` is the parent, `child.py` its worker, `place.py` what they share."""
