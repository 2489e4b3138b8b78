"""The page of a load test: a verdict in words, its figures, and pictures over time."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from loadtests.samples import Sample, percentile
from loadtests.shapes import Stage
from loadtests.verdict import Verdict

_PERCENTILES: Final = (0.5, 0.95, 0.99)
_PAGE: Final = Path(__file__).parent / "page.html.j2"


def write_report(
    folder: Path,
    title: str,
    verdict: Verdict,
    samples: Sequence[Sample],
    *,
    stages: Sequence[Stage],
    kinds: Sequence[Sequence[str]],
    errors: Sequence[str],
    where: str,
) -> Path:
    """Write `index.html` and `figures.json`; gives the page's path.

    Args:
        folder: Made where it is missing.
        title: Of the page.
        verdict: What it came to.
        samples: Of every second.
        stages: Of a search for the knee.
        kinds: A row for each kind of request: name, requests, failed, median and p99 in milliseconds.
        errors: The failures, in words.
        where: What machine and server it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batch = "unknown" if math.isnan(verdict.mean_batch) else f"{verdict.mean_batch:.1f}"
    figures = [
        ("images answered rightly, a second (mean)", f"{verdict.images_per_second:.1f}"),
        ("99 of 100 requests within", f"{verdict.p99_seconds * 1000:.0f} ms"),
        ("requests that failed", f"{verdict.error_share:.2%}"),
        ("images in a request to Triton (mean)", batch),
        ("busiest process of the load generator, of a core", f"{verdict.client_cpu:.0%}"),
    ]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE.read_text("utf-8"))
    path = folder / "index.html"
    path.write_text(
        page.render(
            title=title,
            verdict=verdict,
            figures=figures,
            stages=stages,
            kinds=kinds,
            errors=errors,
            where=where,
            picture=_Drawn(_picture(samples)),
        ),
        "utf-8",
    )
    known = asdict(verdict) | ({"mean_batch": None} if math.isnan(verdict.mean_batch) else {})  # JSON has no NaN
    (folder / "figures.json").write_text(json.dumps({"title": title, **known}, indent=2) + "\n", "utf-8")
    return path


class _Drawn(str):
    """SVG of ours, which needs no escaping."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def _picture(samples: Sequence[Sample]) -> str:
    figure = Figure(figsize=(10, 11), layout="constrained")
    plots: list[tuple[str, dict[str, Callable[[Sample], float]]]] = [
        (
            "images/s, refusals/s",
            {"answered": lambda one: one.images_per_second, "refused": lambda one: one.refused_per_second},
        ),
        (
            "latency, ms",
            {f"p{share * 100:.0f}": _latency(share) for share in _PERCENTILES},
        ),
        ("images in a batch", {"mean": lambda one: one.mean_batch}),
        (
            "users, waiting images",
            {"users": lambda one: one.users, "waiting in the gateway": lambda one: one.waiting_images},
        ),
        ("load generator, % of a core", {"busiest process": lambda one: one.client_cpu * 100}),
    ]
    axes: Any = figure.subplots(len(plots), sharex=True)
    times = [one.elapsed_seconds for one in samples]
    for axis, (label, lines) in zip(axes, plots, strict=True):
        for name, value in lines.items():
            axis.plot(times, [value(one) for one in samples], label=name, linewidth=1.2)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0, top=max(axis.get_ylim()[1], 100 if "%" in label else 1))
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left", fontsize="small")
    axes[-1].set_xlabel("seconds")
    out = io.StringIO()
    figure.savefig(out, format="svg")
    return out.getvalue().partition("<svg")[2].join(("<svg", ""))


def _latency(share: float) -> Callable[[Sample], float]:
    return lambda one: percentile(one.durations, share) * 1000
