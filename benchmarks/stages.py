"""Where the time of requests goes: what the client waits for, what the gateway says of it, and what Triton counts."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from benchmarks.server import Served
from reeltag.triton import TritonClient

_PARTS: Final = ("read", "queue", "triton", "total")
"""Of `timings_ms` in an answer."""
Figures = Mapping[str, Mapping[str, float]]
"""By model: counts, and nanoseconds of all requests."""


async def stages(served: Served, images: Sequence[bytes], clients: int, seconds: float) -> str:
    """Tables of medians and means while clients ask over REST, as Markdown."""
    waited: defaultdict[str, list[float]] = defaultdict(list)
    source = itertools.cycle(images)
    end = time.perf_counter() + seconds

    async def client(session: aiohttp.ClientSession) -> None:
        while time.perf_counter() < end:
            began = time.perf_counter()
            async with session.post(
                f"{served.url}/v1/images?tasks=detect", data=next(source), headers={"Content-Type": "image/jpeg"}
            ) as answer:
                timings = (await answer.json())["timings_ms"]
            waited["client"].append((time.perf_counter() - began) * 1000)
            for part in _PARTS:
                waited[part].append(timings[part])

    async with TritonClient(served.triton_url) as triton, aiohttp.ClientSession() as session:
        before = by_model(await triton.statistics())
        await asyncio.gather(*(client(session) for _ in range(clients)))
        after = by_model(await triton.statistics())
    medians = {name: statistics.median(values) for name, values in waited.items()}
    return f"{_of_gateway(medians)}\n\n{_of_triton(before, after)}"


def _of_gateway(medians: Mapping[str, float]) -> str:
    rest = medians["total"] - sum(medians[part] for part in ("read", "queue", "triton"))
    rows = [
        ("the client waits", medians["client"]),
        ("client's and server's HTTP", medians["client"] - medians["total"]),
        ("gateway: body read", medians["read"]),
        ("gateway: header checked, answer made", rest),
        ("gateway: queued", medians["queue"]),
        ("Triton and the way there and back", medians["triton"]),
    ]
    lines = ["| where | median, ms a request |", "|---|---|", *(f"| {name} | {value:.2f} |" for name, value in rows)]
    return "\n".join(lines)


def _of_triton(before: Figures, after: Figures) -> str:
    lines = [
        "| model | mean batch | queued, ms a request | in and out, ms | computed, ms | ms an image |",
        "|---|---|---|---|---|---|",
    ]
    for name in after:
        d = {key: after[name][key] - before.get(name, {}).get(key, 0) for key in after[name]}
        if d["inferences"] and d["executions"]:
            each = {key: d[key] / d["requests"] / 1e6 for key in ("queue_ns", "copy_ns", "infer_ns")}
            lines.append(
                f"| {name} | {d['inferences'] / d['executions']:.1f} | {each['queue_ns']:.2f} | {each['copy_ns']:.2f} "
                f"| {each['infer_ns']:.2f} | {(d['copy_ns'] + d['infer_ns']) / d['inferences'] / 1e6:.2f} |"
            )
    return "\n".join(lines)


def by_model(answer: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Triton's statistics, as `TritonClient.statistics` gives them."""
    found: dict[str, dict[str, float]] = {}
    for model in answer["model_stats"]:
        stats = model.get("inference_stats", {})
        nanoseconds = {part: float(values.get("ns", 0)) for part, values in stats.items()}
        found[model["name"]] = {
            "inferences": float(model.get("inference_count", 0)),
            "executions": float(model.get("execution_count", 0)),
            "requests": float(stats.get("success", {}).get("count", 0)),
            "queue_ns": nanoseconds.get("queue", 0.0),
            "copy_ns": nanoseconds.get("compute_input", 0.0) + nanoseconds.get("compute_output", 0.0),
            "infer_ns": nanoseconds.get("compute_infer", 0.0),
        }
    return found


def mean_batch(name: str, before: Figures, after: Figures) -> float:
    """Images of an execution of a model between two looks; 0 where there was none."""
    counts = {key: after[name][key] - before.get(name, {}).get(key, 0) for key in ("inferences", "executions")}
    return counts["inferences"] / counts["executions"] if counts["executions"] else 0.0
