"""Images/s on 720p JPEGs: one bare process, Triton's ensemble and the gateway over REST and gRPC, in one run.

Run it with `make bench`; `python -m benchmarks.throughput --help` lists what can be varied on larger machines. Rounds
of the variants are interleaved, so that a machine that slows down slows all of them; each figure is the median of its
rounds. The load's own cost is included: everything runs on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import grpc

from benchmarks import bare, generator, media, video
from benchmarks.load import Loaded, ensemble_request, grpc_request, grpc_streams, loaded
from benchmarks.server import Served, serving
from benchmarks.stages import by_model, mean_batch, stages
from reeltag.triton import TritonClient

NETWORK: Final = "nanodet_g"
ENSEMBLE_REQUESTS: Final = 3
ENSEMBLE_BATCH: Final = 8
BARE: Final = "bare process"
ONE_STREAM: Final = "bare process, one picture at a time"

Load = Callable[[float], Awaitable[Loaded]]
"""Loads something for so many seconds."""


@dataclass(frozen=True)
class Round:
    """One round of one variant."""

    images_per_second: float
    generator_cpu: float
    """Share of a core that the load took in its process; of the bare process, all that it did."""
    batch: float
    """Mean of those that the network executed; 0 where Triton had none."""


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    rounds: int
    seconds: float
    """Of a round."""
    clients: Sequence[int]


@contextlib.asynccontextmanager
async def loads(served: Served, images: list[bytes], plan: Plan) -> AsyncIterator[dict[str, Load]]:
    """What the server is loaded with, by name."""
    async with (
        TritonClient(served.triton_url) as triton,
        grpc.aio.insecure_channel(served.grpc_target, [("grpc.max_send_message_length", 64 << 20)]) as channel,
    ):
        found: dict[str, Load] = {}
        ensemble = ensemble_request(triton, images, ENSEMBLE_BATCH)
        name = f"Triton ensemble, {ENSEMBLE_REQUESTS} requests of {ENSEMBLE_BATCH}"
        found[name] = partial(loaded, ensemble, ENSEMBLE_REQUESTS)
        unary = grpc_request(channel, images)
        found |= {f"REST, {clients} clients": partial(_rest, served.url, images, clients) for clients in plan.clients}
        found |= {f"gRPC unary, {clients} clients": partial(loaded, unary, clients) for clients in plan.clients}
        for clients in plan.clients:
            found[f"gRPC stream, {clients} streams"] = partial(grpc_streams, channel, images, clients)
        yield found


async def measure(served: Served, process: bare.Bare, images: list[bytes], plan: Plan) -> dict[str, list[Round]]:
    """Every round, by variant."""
    alone = bare.Bare(NETWORK, streams=1, batch=1)
    alone.images_per_second(images, 1.0)
    found: dict[str, list[Round]] = {}
    async with loads(served, images, plan) as variants, TritonClient(served.triton_url) as client:
        bares: dict[str, Load] = {BARE: partial(_bare, process, images), ONE_STREAM: partial(_bare, alone, images)}
        for load in variants.values():
            await load(min(plan.seconds, 1.0))
        for _ in range(plan.rounds):
            for name, load in {**bares, **variants}.items():
                before = by_model(await client.statistics())
                result = await load(plan.seconds)
                batch = mean_batch(NETWORK, before, by_model(await client.statistics()))
                found.setdefault(name, []).append(Round(result.images_per_second, result.generator_cpu, batch))
    return found


async def _rest(url: str, images: Sequence[bytes], clients: int, seconds: float) -> Loaded:
    """By a generator that costs a tenth of a millisecond an image: what it took would be missing to the server."""
    answers = await asyncio.to_thread(generator.closed_loop, url, images, clients, seconds)
    if answers.refused or answers.others:
        raise RuntimeError(f"{len(answers.refused)} requests were refused, and others failed: {dict(answers.others)}")
    return Loaded(answers.goodput, answers.cpu)


async def _bare(process: bare.Bare, images: list[bytes], seconds: float) -> Loaded:
    cpu, began = time.process_time(), time.perf_counter()
    rate = await asyncio.to_thread(process.images_per_second, images, seconds)
    return Loaded(rate, (time.process_time() - cpu) / (time.perf_counter() - began))


def table(rounds: Mapping[str, Sequence[Round]]) -> str:
    """Medians as Markdown, one variant a line."""
    rates = {name: statistics.median(one.images_per_second for one in of_name) for name, of_name in rounds.items()}
    lines = [
        "| variant | images/s | of rounds | of bare | of one picture at a time | executed batch | load, cores |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, of_name in rounds.items():
        all_rates = [one.images_per_second for one in of_name]
        batch = statistics.median(one.batch for one in of_name)
        cells = [
            name,
            f"{rates[name]:.1f}",
            f"{min(all_rates):.1f} to {max(all_rates):.1f}",
            f"{rates[name] / rates[BARE]:.2f}",
            f"{rates[name] / rates[ONE_STREAM]:.2f}",
            f"{batch:.1f}" if batch else "",
            f"{statistics.median(one.generator_cpu for one in of_name):.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(rounds: Mapping[str, Sequence[Round]], plan: Plan) -> list[str]:
    """What of the aims was reached, a sentence each that begins with `reached` or `MISSED`."""
    rates = {name: statistics.median(one.images_per_second for one in of_name) for name, of_name in rounds.items()}
    least, most = min(plan.clients), max(plan.clients)
    rest = f"REST, {most} clients"
    unary, one = rates[f"gRPC unary, {most} clients"], rates[f"REST, {least} clients"]
    batch = statistics.median(one.batch for one in rounds[rest])
    aims = [
        (rates[rest] / rates[BARE], 0.90, f"{rest}, of the bare process"),
        (unary / rates[rest], 1.0, f"gRPC, {most} clients, of REST"),
        (batch, 4.0, f"mean executed batch, {rest}"),
        (one / rates[ONE_STREAM], 0.75, f"REST, {least} clients, of one picture at a time"),
    ]
    return [
        f"{'reached' if value >= aim else 'MISSED'}: {name}: {value:.2f}, at least {aim:g}" for value, aim, name in aims
    ]


def machine() -> str:
    """The machine and the commit in one line."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "")
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model}, Python {platform.python_version()}, commit {git.stdout.strip()}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report as Markdown."""
    options = _parser().parse_args(arguments)
    plan = Plan(options.rounds, options.seconds, options.clients)
    images = media.jpegs_720p(64)
    print(
        f"{machine()}\n`python -m benchmarks.throughput {shlex.join(arguments or sys.argv[1:])}`: {NETWORK}, 720p JPEGs"
    )
    print(f"of {sum(map(len, images)) / 64 / 1024:.0f} KiB\n")
    process, tried = bare.best(NETWORK, images, options.seconds)
    print("bare process, images/s:", ", ".join(f"{name} {rate:.1f}" for name, rate in tried.items()))
    print(f"chosen: {process.streams} streams x batch {process.batch}, {process.precision}\n")
    environment = dict(pair.split("=", 1) for pair in options.setting)
    with serving(*shlex.split(options.serve), environment=environment) as served:
        rounds = asyncio.run(measure(served, process, images, plan))
        print(table(rounds))
        print("\n" + "\n".join(verdict(rounds, plan)))
        for clients in sorted({min(plan.clients), max(plan.clients)}):
            text = asyncio.run(stages(served, images, clients, options.seconds))
            print(f"\nREST, {clients} clients, where the time goes:\n\n{text}")
        print(f"\nStart-up to /readyz: {served.startup_seconds:.1f} s\n")
        print("| process | resident, MiB |\n|---|---|")
        for role, mebibytes in served.memory().items():
            print(f"| {role} | {mebibytes:.0f} |")
    if not options.images_only:
        print(f"\n{video.report()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images-only", action="store_true", help="leave out the video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--serve", default="", help="more options of `reeltag serve`, as one word")
    parser.add_argument(
        "--setting", action="append", default=[], help="for the server, such as REELTAG_BATCH_MAX_IMAGES=32; repeatable"
    )
    return parser


if __name__ == "__main__":
    main()
