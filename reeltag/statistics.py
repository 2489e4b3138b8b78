"""Triton's own statistics of a model, in units of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_NANOSECONDS: Final = 1e-9


@dataclass(frozen=True)
class ModelStatistics:
    """What one version of a model or ensemble did since Triton loaded it."""

    endpoint: str
    """Of the Triton."""
    name: str
    version: str
    succeeded: int
    """Requests."""
    failed: int
    """Requests."""
    images: int
    """Pictures, frames or windows that were computed: Triton's `inference_count`."""
    executions: Mapping[int, int]
    """How often it ran, by the number of images that were computed together; of an ensemble, its requests."""
    request_seconds: float
    """From the arrival of the requests that succeeded to their answers."""
    queue_seconds: float
    """Of that, the wait for a free instance and for the batch to fill."""
    compute_seconds: float
    """Of that, computing, tensors moved in and out included; of an ensemble, that of its steps."""

    @classmethod
    def of(cls, message: Any, endpoint: str) -> ModelStatistics:
        """From the `inference.ModelStatistics` of the Triton there."""
        stats = message.inference_stats
        computed = (stats.compute_input, stats.compute_infer, stats.compute_output)
        return cls(
            endpoint=endpoint,
            name=message.name,
            version=message.version,
            succeeded=stats.success.count,
            failed=stats.fail.count,
            images=message.inference_count,
            executions={batch.batch_size: batch.compute_infer.count for batch in message.batch_stats},
            request_seconds=stats.success.ns * _NANOSECONDS,
            queue_seconds=stats.queue.ns * _NANOSECONDS,
            compute_seconds=sum(part.ns for part in computed) * _NANOSECONDS,
        )
