"""What is noted each second of a load test: of the client from Locust, of the server from its own metrics."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import requests
from prometheus_client.parser import text_string_to_metric_families

REFUSED: Final = " (refused)"
"""Ends the name under which Locust counts requests that were answered 429 or 503 with Retry-After."""


@dataclass(frozen=True)
class Sample:
    """One stretch of a load test, about a second."""

    elapsed_seconds: float
    users: int
    images_per_second: float
    """Answered rightly."""
    refused_per_second: float
    """Requests that were told to come again."""
    errors_per_second: float
    durations: Counter[int]
    """Requests that were answered rightly in it, by rounded milliseconds."""
    refusals: Counter[int]
    """Requests that were refused in it, likewise."""
    client_cpu: float
    """Share of one core that the busiest process of the load generator took, 0 to 1."""
    batches: float
    """Requests that the gateway made to Triton."""
    mean_batch: float
    """Images in one of them; NaN where there was none."""
    waiting_images: float
    """In the gateway's queue."""


class Sampler:
    """Makes samples of what grows: Locust's statistics and the gateway's metrics.

    Args:
        stats: `environment.stats`.
        images_of: Images of a request, by the name that Locust counts it under.
        url: Of the gateway.
    """

    def __init__(self, stats: Any, images_of: Mapping[str, int], url: str) -> None:
        self._stats = stats
        self._images_of = images_of
        self._url = url
        self._began = self._last = time.monotonic()
        self._before: dict[str, tuple[int, int, Counter[int]]] = {}
        self._batches = (0.0, 0.0)

    def sample(self, users: int, client_cpu: float) -> Sample:
        """What happened since the last call."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        images = refused = errors = 0
        durations: Counter[int] = Counter()
        refusals: Counter[int] = Counter()
        for (name, _), entry in list(self._stats.entries.items()):
            requests_now, failures_now, times = entry.num_requests, entry.num_failures, Counter(entry.response_times)
            before = self._before.get(name, (0, 0, Counter()))
            self._before[name] = (requests_now, failures_now, times)
            sound = (requests_now - before[0]) - (failures_now - before[1])
            errors += failures_now - before[1]
            if name.endswith(REFUSED):
                refused += sound
                refusals += times - before[2]
            else:
                images += sound * self._images_of.get(name, 1)
                durations += times - before[2]
        batches, mean_batch, waiting = self._of_server()
        return Sample(
            now - self._began,
            users,
            images / seconds,
            refused / seconds,
            errors / seconds,
            durations,
            refusals,
            client_cpu,
            batches,
            mean_batch,
            waiting,
        )

    def _of_server(self) -> tuple[float, float, float]:
        try:
            text = requests.get(f"{self._url}/metrics", timeout=2).text
        except requests.RequestException:
            return 0.0, math.nan, math.nan
        values = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
        images, batches = values.get("reeltag_batch_images_sum", 0.0), values.get("reeltag_batch_images_count", 0.0)
        before, self._batches = self._batches, (images, batches)
        new = batches - before[1]
        mean = (images - before[0]) / new if new > 0 else math.nan
        return max(new, 0.0), mean, values.get("reeltag_waiting_images", math.nan)


def percentile(durations: Counter[int], share: float) -> float:
    """Duration that `share` of the requests do not exceed, seconds; 0 where there are none."""
    wanted = math.ceil(share * durations.total())
    seen = 0
    for milliseconds in sorted(durations):
        seen += durations[milliseconds]
        if seen >= wanted:
            return milliseconds / 1000
    return 0.0


def together(samples: Sequence[Sample]) -> Counter[int]:
    """Durations of all of them."""
    durations: Counter[int] = Counter()
    for sample in samples:
        durations += sample.durations
    return durations


def mean_batch(samples: Sequence[Sample]) -> float:
    """Images in a request to Triton, over all of them; NaN where there was none."""
    batches = sum(one.batches for one in samples)
    images = sum(one.batches * one.mean_batch for one in samples if one.batches)
    return images / batches if batches else math.nan
