"""Images/s on 720p JPEGs: one bare process, Triton's ensemble and the gateway, in one run.

Run it with `make bench`. Rounds of the variants are interleaved, so that a machine that slows down slows all of them;
each figure is the median of its rounds. The load's own cost is included: everything runs on this machine.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks import bare, media, video
from benchmarks.load import closed_loop, ensemble_request, gateway_request
from benchmarks.server import Served, serving
from reeltag.triton import TritonClient

NETWORK: Final = "nanodet_g"
ROUNDS: Final = 3
ROUND_SECONDS: Final = 6.0
GATEWAY_CLIENTS: Final = (1, 8, 32)
ENSEMBLE_REQUESTS: Final = 3
ENSEMBLE_BATCH: Final = 8


async def measure(served: Served, process: bare.Bare, images: list[bytes]) -> dict[str, list[float]]:
    """Images/s of every round, by variant."""
    rates: dict[str, list[float]] = {}
    async with TritonClient(served.triton_url) as client, aiohttp.ClientSession() as session:
        ensemble = ensemble_request(client, images, ENSEMBLE_BATCH)
        gateway = gateway_request(session, served.url, images)
        await closed_loop(ensemble, ENSEMBLE_REQUESTS, 2)
        await closed_loop(gateway, 8, 2)
        for _ in range(ROUNDS):
            rate = await asyncio.to_thread(process.images_per_second, images, ROUND_SECONDS)
            rates.setdefault("bare process", []).append(rate)
            name = f"Triton ensemble, {ENSEMBLE_REQUESTS} requests of {ENSEMBLE_BATCH}"
            rates.setdefault(name, []).append(await closed_loop(ensemble, ENSEMBLE_REQUESTS, ROUND_SECONDS))
            for clients in GATEWAY_CLIENTS:
                rate = await closed_loop(gateway, clients, ROUND_SECONDS)
                rates.setdefault(f"gateway, {clients} clients", []).append(rate)
    return rates


async def stages(served: Served, images: list[bytes]) -> str:
    """Mean batch and time of each model while 32 clients use the gateway, from Triton's own statistics."""
    async with TritonClient(served.triton_url) as client, aiohttp.ClientSession() as session:
        before = _by_model(await client.statistics())
        await closed_loop(gateway_request(session, served.url, images), 32, ROUND_SECONDS)
        after = _by_model(await client.statistics())
    lines = ["| model | mean batch | queued, ms a request | computed, ms an image |", "|---|---|---|---|"]
    for name in after:
        d = {key: after[name][key] - before.get(name, {}).get(key, 0) for key in after[name]}
        if d["inferences"] and d["executions"]:
            lines.append(
                f"| {name} | {d['inferences'] / d['executions']:.1f} | {d['queue_ns'] / d['requests'] / 1e6:.2f} "
                f"| {d['compute_ns'] / d['inferences'] / 1e6:.2f} |"
            )
    return "\n".join(lines)


def _by_model(answer: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for model in answer["model_stats"]:
        stats = model.get("inference_stats", {})
        compute = ("compute_input", "compute_infer", "compute_output")
        found[model["name"]] = {
            "inferences": float(model.get("inference_count", 0)),
            "executions": float(model.get("execution_count", 0)),
            "requests": float(stats.get("success", {}).get("count", 0)),
            "queue_ns": float(stats.get("queue", {}).get("ns", 0)),
            "compute_ns": sum(float(stats.get(part, {}).get("ns", 0)) for part in compute),
        }
    return found


def machine() -> str:
    """The machine and the commit in one line."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "")
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model}, Python {platform.python_version()}, commit {git.stdout.strip()}"


def main() -> None:
    """Print the report as Markdown."""
    images = media.jpegs_720p(64)
    print(f"{machine()}\n`make bench`: {NETWORK}, 720p JPEGs of {sum(map(len, images)) / 64 / 1024:.0f} KiB\n")
    process, tried = bare.best(NETWORK, images, 4.0)
    print("bare process, images/s:", ", ".join(f"{name} {rate:.1f}" for name, rate in tried.items()))
    print(f"chosen: {process.streams} streams x batch {process.batch}, {process.precision}\n")
    with serving() as served:
        rates = {name: statistics.median(r) for name, r in asyncio.run(measure(served, process, images)).items()}
        print("| variant | images/s | of bare |\n|---|---|---|")
        for name, rate in rates.items():
            print(f"| {name} | {rate:.1f} | {rate / rates['bare process']:.2f} |")
        print(f"\nGateway at 32 clients, from Triton's statistics:\n\n{asyncio.run(stages(served, images))}\n")
        print(f"Start-up to /readyz: {served.startup_seconds:.1f} s\n")
        print("| process | resident, MiB |\n|---|---|")
        for role, mebibytes in served.memory().items():
            print(f"| {role} | {mebibytes:.0f} |")
    if "--images-only" not in sys.argv:
        print(f"\n{video.report()}")


if __name__ == "__main__":
    main()
