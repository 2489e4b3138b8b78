"""Triton's own statistics as Prometheus metrics: read when ours are, remembered briefly, left out when it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from gateway.observing.metrics import BATCH_BUCKETS
from gateway.tritons.tagger import ImageTagger
from reeltag import contract
from reeltag.contract import Task
from reeltag.errors import ReeltagError
from reeltag.statistics import ModelStatistics

LIFETIME_SECONDS: Final = 1.0
"""Who scrapes more often is told the same."""
PATIENCE_SECONDS: Final = 1.0
"""Longest wait for the statistics; a scrape may not take long."""
_LABELS: Final = ("endpoint", "model", "version", "stage")
_log: Final = logging.getLogger(__name__)


def stage_of(model: str) -> str:
    """What a model of the repository does: `decode`, `nms`, `areas`, `network`, or `ensemble` of all of a request."""
    for backend in (contract.DECODE, contract.NMS, contract.AREAS):
        if model == backend or model.startswith(f"{backend}_"):
            return backend
    names = model.partition(".")[0].removesuffix("_frames").split("_")
    is_ensemble = model == contract.SHOTS_ENSEMBLE or all(name in {task.value for task in Task} for name in names)
    return "ensemble" if is_ensemble else "network"


class TritonMetrics(Collector):
    """Metrics of one Triton's models.

    Args:
        client: Asks for its statistics.
    """

    def __init__(self, client: ImageTagger) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._known: Sequence[ModelStatistics] | None = None

    async def read(self) -> Sequence[ModelStatistics] | None:
        """The statistics, at most `LIFETIME_SECONDS` old; None where Triton does not answer, which is no error here."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if loop.time() >= self._until:
                try:
                    self._known = await self._client.model_statistics(timeout_seconds=PATIENCE_SECONDS)
                except ReeltagError as error:
                    _log.debug("Triton's statistics could not be read: %s", error)
                    self._known = None
                self._until = loop.time() + LIFETIME_SECONDS
            return self._known

    def describe(self) -> Iterator[Metric]:
        """Nothing: the names need not be known before Triton was asked."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """What `read` found last."""
        up = GaugeMetricFamily("reeltag_triton_up", "Whether Triton answered when it was asked for its statistics.")
        up.add_metric([], 0 if self._known is None else 1)
        yield up
        yield from _counters(self._known or ())
        yield _executed(self._known or ())


def _counters(statistics: Sequence[ModelStatistics]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "reeltag_model_requests", "Requests to a model, by outcome.", labels=[*_LABELS, "outcome"]
    )
    images = CounterMetricFamily("reeltag_model_images", "Pictures that a model was run on.", labels=_LABELS)
    times = [
        CounterMetricFamily(f"reeltag_model_{name}_seconds", text, labels=_LABELS)
        for name, text in (
            ("request", "Time from the arrival of a model's requests to their answers, of those that succeeded."),
            ("queue", "Of that, the wait for an instance and for a batch to fill."),
            ("compute", "Of that, computing; of an ensemble, the sum of its steps."),
        )
    ]
    for one in statistics:
        labels = [one.endpoint, one.name, one.version, stage_of(one.name)]
        requests.add_metric([*labels, "succeeded"], one.succeeded)
        requests.add_metric([*labels, "failed"], one.failed)
        images.add_metric(labels, one.images)
        for family, seconds in zip(times, (one.request_seconds, one.queue_seconds, one.compute_seconds), strict=True):
            family.add_metric(labels, seconds)
    yield from (requests, images, *times)


def _executed(statistics: Sequence[ModelStatistics]) -> Metric:
    """Sizes of the batches that models executed; ensembles execute nothing themselves."""
    family = HistogramMetricFamily(
        "reeltag_model_batch_images", "Pictures that a model computed together.", labels=_LABELS
    )
    for one in statistics:
        stage = stage_of(one.name)
        if stage == "ensemble":
            continue
        buckets = [
            (str(float(most)), sum(count for size, count in one.executions.items() if size <= most))
            for most in BATCH_BUCKETS
        ]
        buckets.append(("+Inf", sum(one.executions.values())))
        total = sum(size * count for size, count in one.executions.items())
        family.add_metric([one.endpoint, one.name, one.version, stage], buckets, total)
    return family
