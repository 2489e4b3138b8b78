"""Bounds of the batcher."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of a batch, of the batches on their way, and of what waits."""

    max_images: int
    """Most images in one batch, at least 1."""
    max_delay_seconds: float
    """Longest wait for a batch to fill while a Triton could take it, at least 0."""
    max_inflight: int
    """Most batches that one Triton works on at one time, at least 1."""
    max_waiting: int
    """Most images of each priority that wait to be sent."""
    timeout_seconds: float
    """Longest wait of a request for its answers, above 0."""
    max_bytes: int = 32 << 20
    """Most bytes of images in one batch, unless it is a single image."""
    max_sent_bytes: int = 0
    """While more are on their way to one Triton, and more than `max_bytes`, nothing leaves."""
    instances: int = 1
    """Batches that one Triton computes side by side, at least 1."""
    newest_first: bool = False
    """Of one priority, the request that came last goes first."""
