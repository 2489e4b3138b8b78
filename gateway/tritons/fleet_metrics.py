"""Prometheus metrics of several Tritons, read when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.tritons.fleet import Fleet


class FleetCollector(Collector):
    """What a fleet's endpoints have done and have to do."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """The metrics, each with a line for each endpoint."""
        serving = GaugeMetricFamily("reeltag_triton_in_service", "Whether a Triton is asked.", labels=["endpoint"])
        outstanding = GaugeMetricFamily(
            "reeltag_triton_outstanding_requests", "Requests that a Triton works on.", labels=["endpoint"]
        )
        ejections = CounterMetricFamily(
            "reeltag_triton_ejections", "How often a Triton left service.", labels=["endpoint"]
        )
        requests = CounterMetricFamily(
            "reeltag_triton_requests", "Requests to a Triton by outcome.", labels=["endpoint", "outcome"]
        )
        for endpoint in self._fleet.endpoints:
            serving.add_metric([endpoint.url], float(endpoint.in_service))
            outstanding.add_metric([endpoint.url], endpoint.outstanding)
            ejections.add_metric([endpoint.url], endpoint.ejections)
            for outcome, count in endpoint.outcomes.items():
                requests.add_metric([endpoint.url, outcome], count)
        yield from (serving, outstanding, ejections, requests)
