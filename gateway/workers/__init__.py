"""Processes that are one gateway: `supervisor.py` is the parent, `child.py` what it runs, `place.py` what they share."""
