"""Whether a load test was passed, in words: what was reached, what not, and whose limit it was."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.samples import Sample, mean_batch, percentile, together
from loadtests.shapes import Stage

BUSY: Final = 0.9
"""Share of a core from which the load generator, not the server, sets the pace."""
LONE_BATCH: Final = 1.2
"""Images in a batch, below which there is no batching."""
WARM_UP_SECONDS: Final = 5.0
"""At the start, which does not count."""


@dataclass(frozen=True)
class Gates:
    """What must be reached."""

    max_error_share: float = 0.0
    """Of all requests; refusals with Retry-After are no errors."""
    max_p99_seconds: float | None = None
    min_images_per_second: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What a load test came to."""

    passed: bool
    sentences: tuple[str, ...]
    images_per_second: float
    """Mean of the seconds after the warm-up."""
    p99_seconds: float
    error_share: float
    client_cpu: float
    """Median share of a core of the load generator's busiest process."""
    mean_batch: float
    """Images in a request to Triton; NaN where the server does not say it."""


def judge(samples: Sequence[Sample], gates: Gates, requests: int, errors: int, knee: Stage | None = None) -> Verdict:
    """Hold what was measured against what must be reached.

    Args:
        samples: Of every second.
        gates: What must be reached.
        requests: All that were made.
        errors: Those that were answered wrongly or not at all.
        knee: Where one was looked for.
    """
    counted = [one for one in samples if one.elapsed_seconds > WARM_UP_SECONDS] or list(samples)
    rate = statistics.fmean(one.images_per_second for one in counted) if counted else 0.0
    cpu = statistics.median(one.client_cpu for one in counted) if counted else 0.0
    p99, share = percentile(together(counted), 0.99), errors / requests if requests else 1.0
    batch = mean_batch(counted)
    faults = list(_faults(gates, requests, share, p99, rate))
    said = faults or ["Every gate was passed."]
    if rate:
        said.append(f"{rate:.0f} images a second were answered rightly, 99 of 100 requests within {p99 * 1000:.0f} ms.")
    if knee is not None:
        said.append(
            f"The knee is at {knee.users} users: {knee.images_per_second:.0f} images/s with 99 of 100 requests within "
            f"{knee.p99_seconds * 1000:.0f} ms."
        )
    said += _of_batches(counted, batch)
    said.append(_of_client(cpu))
    return Verdict(not faults, tuple(said), rate, p99, share, cpu, batch)


def _of_batches(samples: Sequence[Sample], batch: float) -> list[str]:
    if math.isnan(batch):
        return ["The gateway's metrics could not be read, so that nothing is known of its batches."]
    said = [f"A request to Triton held {batch:.1f} images on average."]
    waiting = [one.waiting_images for one in samples if not math.isnan(one.waiting_images)]
    if batch < LONE_BATCH and waiting and statistics.median(waiting) > 1:
        said.append("Images waited, and yet went to Triton one by one: the gateway does not batch.")
    return said


def _of_client(cpu: float) -> str:
    if cpu > BUSY:
        return (
            f"The load generator's busiest process used {cpu:.0%} of a core: it, not the server, set the pace. "
            "Use more of them (--processes), or another machine."
        )
    return f"The load generator's busiest process used {cpu:.0%} of a core, so that the server set the pace."


def _faults(gates: Gates, requests: int, share: float, p99: float, rate: float) -> Sequence[str]:
    faults: list[str] = []
    if not requests or not rate:
        faults.append("Nothing was answered rightly.")
    elif share > gates.max_error_share:
        faults.append(f"{share:.2%} of the requests failed; at most {gates.max_error_share:.2%} may.")
    if gates.max_p99_seconds is not None and p99 > gates.max_p99_seconds:
        faults.append(
            f"One request in a hundred took longer than {p99 * 1000:.0f} ms; the gate is "
            f"{gates.max_p99_seconds * 1000:.0f} ms."
        )
    if gates.min_images_per_second is not None and rate < gates.min_images_per_second:
        faults.append(f"{rate:.1f} images/s were reached; the gate is {gates.min_images_per_second:.1f}.")
    return faults
