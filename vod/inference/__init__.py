"""Frames on their way through Triton."""
