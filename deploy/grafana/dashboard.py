"""Writes `dashboards/reeltag.json`, the Grafana dashboard, from the panels that are listed here.

Run it with `python deploy/grafana/dashboard.py` after a change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PATH: Final = Path(__file__).parent / "dashboards" / "reeltag.json"
DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_WIDTH: Final = 24
"""Columns of a dashboard."""
_HEIGHT: Final = 8
"""Rows of a panel."""
_OF: Final = 'instance=~"$instance"'
_RATE: Final = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """A diagram."""

    title: str
    text: str
    """What a reader learns from it."""
    queries: tuple[tuple[str, str], ...]
    """PromQL and the legend of each."""
    unit: str = "short"
    width: int = 8
    """Columns, of 24."""
    kind: str = "timeseries"
    is_stacked: bool = False


def _rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_OF}{more}}}[{_RATE}]))"


def _quantile(share: float, metric: str, more: str = "") -> str:
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', 'le', more)})"


def _mean(metric: str, by: str, more: str = "") -> str:
    return f"{_rate(f'{metric}_sum', by, more)} / {_rate(f'{metric}_count', by, more)}"


def _triton(what: str, by: str, per: str) -> str:
    """Of what Triton's models spend, a mean."""
    return f"{_rate(f'reeltag_model_{what}_seconds_total', by)} / {_rate(per, by)}"


_EXECUTIONS: Final = "reeltag_model_batch_images_count"
_NO_ENSEMBLE: Final = ',stage!="ensemble"'
ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "At a glance": (
        Panel(
            "Images a second",
            "Tagged, and those that failed, by their error.",
            ((_rate("reeltag_images_total", "outcome"), "{{outcome}}"),),
            "ops",
        ),
        Panel(
            "Time of a request",
            "Of POST /v1/images and of gRPC, as the gateway sees it: from the head to the end of the answer.",
            (
                (_quantile(0.5, "reeltag_http_request_seconds", ',route="/v1/images"'), "REST, half within"),
                (_quantile(0.99, "reeltag_http_request_seconds", ',route="/v1/images"'), "REST, 99 % within"),
                (_quantile(0.5, "reeltag_grpc_request_seconds", ',method="TagImages"'), "gRPC, half within"),
                (_quantile(0.99, "reeltag_grpc_request_seconds", ',method="TagImages"'), "gRPC, 99 % within"),
            ),
            "s",
        ),
        Panel(
            "Failed requests a second",
            "By the code in the answer. `overloaded` is back-pressure: more comes than can be done.",
            ((_rate("reeltag_errors_total", "interface, code"), "{{interface}} {{code}}"),),
            "reqps",
        ),
    ),
    "Requests": (
        Panel(
            "REST requests a second",
            "By route and status; 499 is a client that left before its answer.",
            ((_rate("reeltag_http_requests_total", "method, route, status"), "{{method}} {{route}} {{status}}"),),
            "reqps",
        ),
        Panel(
            "gRPC calls a second",
            "By method and code.",
            ((_rate("reeltag_grpc_requests_total", "method, code"), "{{method}} {{code}}"),),
            "reqps",
        ),
        Panel(
            "In work",
            "Requests, and images that wait for Triton, and batches that it works on.",
            (
                (f"sum by (interface) (reeltag_open_requests{{{_OF}}})", "requests, {{interface}}"),
                (f"sum(reeltag_waiting_images{{{_OF}}})", "images that wait"),
                (f"sum(reeltag_inflight_batches{{{_OF}}})", "batches in Triton"),
            ),
        ),
    ),
    "Where the time goes": (
        Panel(
            "Stages of the gateway, mean",
            "receive: reading the body; check: the images' headers; queue: until sent to Triton; infer: until Triton's "
            "answer; serialise: making ours.",
            ((_mean("reeltag_stage_seconds", "stage"), "{{stage}}"),),
            "s",
            is_stacked=True,
        ),
        Panel(
            "Stages in Triton, mean of a batch",
            "Computing of each model, by Triton's own statistics.",
            ((_triton("compute", "stage", _EXECUTIONS), "{{stage}}"),),
            "s",
            is_stacked=True,
        ),
        Panel(
            "Queue, 99 %",
            "One request in 100 waits longer than this to be sent to Triton.",
            ((_quantile(0.99, "reeltag_stage_seconds", ',stage="queue"'), "waits"),),
            "s",
        ),
    ),
    "Batches": (
        Panel(
            "Images in a batch, mean",
            "Sent by the gateway, and computed together by each network. Near 1 under load means that batching does "
            "not happen.",
            (
                (_mean("reeltag_batch_images", "instance"), "sent by {{instance}}"),
                (_mean("reeltag_model_batch_images", "model", ',stage="network"'), "computed by {{model}}"),
            ),
        ),
        Panel(
            "Sizes of the batches sent",
            "How many batches of each size left.",
            ((_rate("reeltag_batch_images_bucket", "le"), "{{le}}"),),
            kind="heatmap",
        ),
        Panel(
            "Computed one by one",
            "1 while images queue and yet are computed one by one, in the gateway or in Triton.",
            ((f"max by (where) (reeltag_unbatched{{{_OF}}})", "{{where}}"),),
        ),
    ),
    "Triton": (
        Panel(
            "Load of each model",
            "Requests that it computes at a time, on average: 1 is one instance that is never idle.",
            ((_rate("reeltag_model_compute_seconds_total", "model", _NO_ENSEMBLE), "{{model}}"),),
        ),
        Panel(
            "Wait of a model's requests, mean",
            "For an instance and for a batch to fill.",
            ((_triton("queue", "model", "reeltag_model_requests_total"), "{{model}}"),),
            "s",
        ),
        Panel(
            "Failed requests to models",
            "A second; and whether Triton answers.",
            (
                (_rate("reeltag_model_requests_total", "model", ',outcome="failed"'), "{{model}}"),
                (f"min by (instance) (reeltag_triton_up{{{_OF}}})", "{{instance}} up"),
            ),
        ),
    ),
    "Network and memory": (
        Panel(
            "Bytes a second",
            "Of bodies and messages.",
            (
                (_rate("reeltag_received_bytes_total", "interface"), "{{interface}} received"),
                (_rate("reeltag_sent_bytes_total", "interface"), "{{interface}} sent"),
            ),
            "Bps",
        ),
        Panel(
            "Connections",
            "Open, and those refused or ended early a second, by reason.",
            (
                (f"sum(reeltag_connections{{{_OF}}})", "open"),
                (_rate("reeltag_connections_ended_total", "reason"), "{{reason}} a second"),
            ),
        ),
        Panel(
            "Memory",
            "Of the gateway's process, and of the bodies that it holds.",
            (
                (f"sum by (instance) (process_resident_memory_bytes{{{_OF}}})", "{{instance}}"),
                (f"sum by (instance) (reeltag_held_bytes{{{_OF}}})", "{{instance}} bodies"),
            ),
            "bytes",
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    return {
        "uid": "reeltag",
        "title": "reeltag",
        "description": "The gateway and its Triton; docs/observing.md explains each metric.",
        "tags": ["reeltag"],
        "schemaVersion": 39,
        "editable": False,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "15s",
        "templating": {"list": [_instances()]},
        "panels": _panels(),
    }


def _instances() -> dict[str, Any]:
    query = 'label_values(reeltag_info{job="reeltag"}, instance)'
    return {
        "name": "instance",
        "label": "gateway",
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "instances"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS.items():
        found.append({"id": len(found) + 1, "type": "row", "title": title, "gridPos": _place(0, y, _WIDTH, 1)})
        y, x = y + 1, 0
        for panel in panels:
            found.append(_panel(panel, len(found) + 1, _place(x, y, panel.width, _HEIGHT)))
            x += panel.width
        y += _HEIGHT
    return found


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    heatmap = panel.kind == "heatmap"
    targets = [
        {
            "refId": chr(ord("A") + i),
            "datasource": DATASOURCE,
            "expr": query,
            "legendFormat": legend,
            "format": "heatmap" if heatmap else "time_series",
        }
        for i, (query, legend) in enumerate(panel.queries)
    ]
    custom = {"fillOpacity": 20, "stacking": {"mode": "normal"}} if panel.is_stacked else {}
    defaults = {"unit": panel.unit, "min": 0, **({"custom": custom} if custom else {})}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"calculate": False, "yAxis": {"unit": "short"}} if heatmap else {"tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def text() -> str:
    """The dashboard as its file holds it."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
