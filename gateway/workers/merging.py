"""The metrics of several processes as those of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_COUNTED: Final = ("counter", "histogram", "summary")
_OF_TRITON: Final = ("reeltag_triton_up", "reeltag_triton_in_service")
"""What each process says of the same Triton; so are families with the label `model`."""


def merged(texts: Sequence[bytes], *, counted_only: bool = False) -> bytes:
    """Sum metrics in Prometheus's text format; what several say of the same Triton is the largest of it.

    Args:
        texts: Of the processes.
        counted_only: Leave out gauges, which say nothing once a process has ended.
    """
    if len(texts) == 1 and not counted_only:
        return texts[0]
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            if counted_only and (family.type not in _COUNTED or family.name.startswith("process_")):
                continue
            families.setdefault(family.name, family)
            of_family = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                join = _how(family.name, sample.name, "model" in sample.labels)
                of_family[key] = join((of_family[key], sample.value)) if key in of_family else sample.value
    return generate_latest(_registry(families, values))


def _how(family: str, sample: str, has_model: bool) -> Callable[[tuple[float, float]], float]:
    if family in _OF_TRITON or (has_model and family.startswith("reeltag_triton_")) or family.endswith("_info"):
        return max
    return min if family == "process_start_time_seconds" or sample.endswith("_created") else sum


def _registry(
    families: dict[str, Metric], values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]]
) -> CollectorRegistry:
    class Whole(Collector):
        def collect(self) -> list[Metric]:
            whole = []
            for name, family in families.items():
                metric = Metric(name, family.documentation, family.type)
                for (sample, labels), value in values[name].items():
                    metric.add_sample(sample, dict(labels), value)
                whole.append(metric)
            return whole

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Whole())
    return registry
