"""Images/s of the gateway with several numbers of workers, in one run: `python -m benchmarks.workers 1 2`.

Each number has a server and a Triton of its own; one of them is asked at a time, in interleaved rounds, and
each figure is the median of its rounds. The load comes from processes on this machine, as many as `--load` says; the
cores that they take are stated, so that one sees when they are the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import multiprocessing
import os
import statistics
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Final

import aiohttp

from benchmarks import media
from benchmarks.load import closed_loop, gateway_request
from benchmarks.server import Served, serving
from benchmarks.throughput import machine

ROUNDS: Final = 3
ROUND_SECONDS: Final = 6.0


@functools.cache
def _images() -> list[bytes]:
    return media.jpegs_720p(64)


def one_process(url: str, clients: int, seconds: float) -> tuple[float, float]:
    """Images/s of so many clients in this process, and the processor seconds a second that they took."""
    images = _images()

    async def run() -> float:
        async with aiohttp.ClientSession() as session:
            return await closed_loop(gateway_request(session, url, images), clients, seconds)

    used, began = time.process_time(), time.perf_counter()
    rate = asyncio.run(run())
    return rate, (time.process_time() - used) / (time.perf_counter() - began)


def measured(pool: Executor, served: Served, clients: int, loaders: int, seconds: float) -> tuple[float, float]:
    """Images/s of all clients together, and the cores that their processes took."""
    asked = [pool.submit(one_process, served.url, clients // loaders, seconds) for _ in range(loaders)]
    rates, cores = zip(*(one.result() for one in asked), strict=True)
    return sum(rates), sum(cores)


def main() -> None:
    """Print the report as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workers", type=int, nargs="+", help="Numbers of workers to compare, such as 1 2.")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--load", type=int, default=1, help="Processes that make the load.")
    arguments = parser.parse_args()
    print(f"{machine()}\n`python -m benchmarks.workers {' '.join(map(str, arguments.workers))}` ", end="")
    print(f"with {arguments.clients} clients in {arguments.load} processes, {os.cpu_count()} cores\n")
    with contextlib.ExitStack() as stack:
        servers = {n: stack.enter_context(serving("--workers", str(n))) for n in dict.fromkeys(arguments.workers)}
        pool = stack.enter_context(ProcessPoolExecutor(arguments.load, multiprocessing.get_context("spawn")))
        for served in servers.values():
            measured(pool, served, arguments.clients, arguments.load, 2.0)
        found: dict[int, list[tuple[float, float]]] = {n: [] for n in servers}
        for _ in range(ROUNDS):
            for n, served in servers.items():
                found[n].append(measured(pool, served, arguments.clients, arguments.load, ROUND_SECONDS))
        first = statistics.median(rate for rate, _ in found[arguments.workers[0]])
        print("| workers | images/s | of the first | rounds | cores of the load |\n|---|---|---|---|---|")
        for n, rounds in found.items():
            rate = statistics.median(rate for rate, _ in rounds)
            each = ", ".join(f"{one:.1f}" for one, _ in rounds)
            cores = statistics.median(cores for _, cores in rounds)
            print(f"| {n} | {rate:.1f} | {rate / first:.2f} | {each} | {cores:.2f} |")


if __name__ == "__main__":
    main()
