"""The table of metrics in `docs/observing.md`, from a running gateway that was used over REST and gRPC.

Run it as `python -m docs.metrics http://127.0.0.1:8000`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

_SUFFIXES: Final = {"counter": "_total", "info": "_info"}
"""Of the names of samples, by type: what queries use."""


def families(text: str) -> list[Metric]:
    """Ours, in a scrape."""
    found = [family for family in text_string_to_metric_families(text) if family.name.startswith("reeltag")]
    return sorted(found, key=lambda family: family.name)


def table(metrics: Iterable[Metric]) -> list[str]:
    """A line of Markdown for each."""
    lines = []
    for metric in metrics:
        suffix = _SUFFIXES.get(metric.type, "")
        name = metric.name if metric.name.endswith(suffix) else metric.name + suffix
        labels = sorted({label for sample in metric.samples for label in sample.labels} - {"le"})
        named = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {metric.type} | {named} | {metric.documentation} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table(families(httpx.get(f"{sys.argv[1]}/metrics").text))))
