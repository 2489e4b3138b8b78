"""What Prometheus reads: counted where it happens, collected when it is asked."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from reeltag.errors import PortInUse
from reeltag.tegrastats import DeviceFigures

from edge.capture.camera import STATES
from edge.pipeline.loop import Watched
from edge.pipeline.stages import ALL, BOUNDS

_PREFIX = "reeltag_edge"
_COUNTS = {
    "reconnects": "Times that the source was opened again.",
    "resized": "Times that the size of frames changed.",
    "time_went_back": "Frames whose source gave a time before that of the frame before.",
}


class EdgeMetrics:
    """A collector of everything that the cameras and the device say of themselves.

    Args:
        watched: The cameras.
        device: The newest figures of the device, where it has any.
        delivery: As `Publisher.state`, where events go through a spool.
    """

    def __init__(
        self,
        watched: Sequence[Watched],
        device: Callable[[], DeviceFigures | None],
        delivery: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self._watched, self._device, self._delivery = watched, device, delivery

    def collect(self) -> Iterator[Metric]:
        """All metrics, for `prometheus_client`."""
        yield self._counter("frames_captured", "Frames that came.", [one.camera.slot.captured for one in self._watched])
        yield self._counter(
            "frames_dropped", "Frames that a newer one replaced.", [one.camera.slot.dropped for one in self._watched]
        )
        for name, text in _COUNTS.items():
            yield self._counter(name, text, [one.camera.counts[name] for one in self._watched])
        state = GaugeMetricFamily(f"{_PREFIX}_camera_state", "1 for what the camera is at.", labels=["camera", "state"])
        for one in self._watched:
            for each in STATES:
                state.add_metric([one.camera.name, each], float(one.camera.state == each))
        yield state
        fitted = CounterMetricFamily(
            f"{_PREFIX}_frames_fitted", "Frames made the network's input there.", labels=["camera", "where"]
        )
        for one in self._watched:
            for where, count in one.picture.fitted.items():
                fitted.add_metric([one.camera.name, where], count)
        yield fitted
        yield from self._times()
        if self._delivery is not None:
            yield from _delivery_metrics(self._delivery())
        yield from _device_metrics(self._device())

    def _counter(self, name: str, text: str, values: list[int]) -> Metric:
        family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=["camera"])
        for one, value in zip(self._watched, values):
            family.add_metric([one.camera.name], value)
        return family

    def _times(self) -> Iterator[Metric]:
        stages = HistogramMetricFamily(
            f"{_PREFIX}_stage_seconds", "Time of a frame in a stage.", labels=["camera", "stage"]
        )
        whole = HistogramMetricFamily(
            f"{_PREFIX}_latency_seconds", "From the sensor until the events of a frame are kept.", labels=["camera"]
        )
        for one in self._watched:
            for stage, (counts, total) in one.times.histograms().items():
                buckets, so_far = [], 0
                for bound, count in zip([*BOUNDS, float("inf")], counts):
                    so_far += count
                    buckets.append(("+Inf" if bound == float("inf") else str(bound), float(so_far)))
                if stage == ALL:
                    whole.add_metric([one.camera.name], buckets, total)
                else:
                    stages.add_metric([one.camera.name, stage], buckets, total)
        yield stages
        yield whole


def _delivery_metrics(state: Mapping[str, Any]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(f"{_PREFIX}_events_waiting", "Events that a receiver has not got.", labels=["receiver"])
    refused = CounterMetricFamily(
        f"{_PREFIX}_events_refused", "Events that a receiver does not take, set aside.", labels=["receiver"]
    )
    for name, one in state["receivers"].items():
        waiting.add_metric([name], float(one["waiting"]))
        refused.add_metric([name], float(one["refused"]))
    lost = CounterMetricFamily(
        f"{_PREFIX}_events_lost", "Events that went before everybody had them.", labels=["reason"]
    )
    for reason in ("full", "old", "refused", "memory"):
        lost.add_metric([reason], float(state["lost"].get(reason, 0)))
    yield waiting
    yield refused
    yield lost


def _device_metrics(figures: DeviceFigures | None) -> Iterator[Metric]:
    if figures is None:
        return
    celsius = GaugeMetricFamily(f"{_PREFIX}_temperature_celsius", "Of a thermal zone.", labels=["zone"])
    for zone, value in figures.celsius.items():
        celsius.add_metric([zone], value)
    watts = GaugeMetricFamily(f"{_PREFIX}_power_watts", "Of a power rail.", labels=["rail"])
    for rail, value in figures.watts.items():
        watts.add_metric([rail], value)
    yield celsius
    yield watts
    single = (
        ("gpu_busy_ratio", "How busy the GPU is.", figures.gpu_share),
        ("gpu_clock_hertz", "Clock of the GPU.", figures.gpu_hertz),
        ("cpu_clock_hertz", "Clock of the fastest core.", figures.cpu_hertz),
        ("device_memory_bytes", "Memory in use, of CPU and GPU together.", figures.memory_bytes),
    )
    for name, text, number in single:
        if number is not None:
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", text, value=float(number))


def serve_metrics(metrics: EdgeMetrics, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
    """Answer Prometheus at `http://HOST:PORT/metrics`.

    Returns:
        What ends it.

    Raises:
        PortInUse: The port is taken.
    """
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        started = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise PortInUse(
            f"port {port} of {host} is not to be had ({error.strerror}); choose one by --metrics-port"
        ) from error
    if started is None:  # before prometheus_client 0.21
        return lambda: None
    server, thread = started

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close
