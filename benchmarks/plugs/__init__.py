"""Pulls the plugs of a job: `python -m benchmarks.plugs`."""
