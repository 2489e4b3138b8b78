"""Does the service keep what it took? What its processes hold, after a warm-up and at the end of a long load.

Run it with `python -m benchmarks.soak --minutes 20`. Clients ask over REST, over gRPC one by one and in streams. Memory
is compared under load; descriptors, sockets, threads, tasks and shared memory when all is quiet. It ends with status 1
where something grew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import grpc
import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import media
from benchmarks.load import Request, gateway_request, grpc_request, grpc_streams
from benchmarks.server import Served, serving
from benchmarks.throughput import machine

MOST_GROWTH: Final = 0.03
"""Of the resident memory of all processes together."""
LEAST_MIB: Final = 4.0
"""One kind of process may grow by so much, or by `MOST_GROWTH`, whichever is more."""
REST_CLIENTS: Final = 12
GRPC_CLIENTS: Final = 4
STREAMS: Final = 1
_CREST: Final = 4
"""At the end of the warm-up, so many times the clients."""
_CREST_SHARE: Final = 0.25
"""Of the warm-up's time."""
_STREAM_SECONDS: Final = 5.0
_QUIET_SECONDS: Final = 3.0
"""Until what was taken for requests is given back."""
_MOST_SAMPLES: Final = 200
_SHARED_MEMORY: Final = Path("/dev/shm")


@dataclass(frozen=True)
class Held:
    """What the processes hold when nobody asks, by what it is and whose."""

    counts: Mapping[str, int]
    shared_bytes: int
    """In /dev/shm."""


@dataclass
class Soaked:
    """What a soak came to."""

    images: int = 0
    memory: list[dict[str, float]] = field(default_factory=list)
    """Samples after the warm-up: MiB resident by kind of process."""
    before: Held = field(default_factory=lambda: Held({}, 0))
    after: Held = field(default_factory=lambda: Held({}, 0))

    def quarters(self, name: str) -> list[float]:
        """Medians of the four quarters of one kind of process, MiB: what levels off, and what goes on growing."""
        values = [sample.get(name, 0.0) for sample in self.memory]
        length = max(1, len(values) // 4)
        starts = (0, length, 2 * length, len(values) - length)
        return [statistics.median(values[start : start + length] or values) for start in starts]

    def ends(self, name: str) -> tuple[float, float]:
        """The first and the last of `quarters`."""
        first, _, _, last = self.quarters(name)
        return first, last

    def all_ends(self) -> tuple[float, float]:
        """Of all processes together."""
        pairs = [self.ends(name) for name in self.memory[-1]]
        return sum(first for first, _ in pairs), sum(last for _, last in pairs)

    def grown(self) -> list[str]:
        """What there is more of."""
        first, last = self.all_ends()
        found = []
        if last > first * (1 + MOST_GROWTH):
            found.append(f"all processes: {first:.0f} to {last:.0f} MiB")
        for name in self.memory[-1]:
            first, last = self.ends(name)
            if last - first > max(LEAST_MIB, first * MOST_GROWTH):
                found.append(f"{name}: {first:.0f} to {last:.0f} MiB")
        for what, count in self.after.counts.items():
            if count > self.before.counts.get(what, 0):
                found.append(f"{what}: {self.before.counts.get(what, 0)} to {count}")
        if self.after.shared_bytes > self.before.shared_bytes * (1 + MOST_GROWTH):
            found.append(f"shared memory: {self.before.shared_bytes:,} to {self.after.shared_bytes:,} bytes")
        return found


def held(served: Served) -> Held:
    """What the processes hold now."""
    counts: Counter[str] = Counter()
    for name, process in served.processes().items():
        role = name.rpartition(" ")[0]
        with contextlib.suppress(psutil.NoSuchProcess):
            counts[f"descriptors of {role}"] += process.num_fds()
            counts[f"sockets of {role}"] += len(process.net_connections(kind="all"))
            counts[f"threads of {role}"] += process.num_threads()
    counts["asyncio tasks of the gateway"] = _tasks(served)
    files = shared_memory_of(served.process.pid)
    counts["files in /dev/shm"] = len(files)
    return Held(counts, sum(files.values()))


def _tasks(served: Served) -> int:
    for family in text_string_to_metric_families(httpx.get(f"{served.url}/metrics").text):
        for sample in family.samples:
            if sample.name == "reeltag_asyncio_tasks":
                return int(sample.value)
    raise RuntimeError("the gateway has no metric reeltag_asyncio_tasks")


def shared_memory_of(pid: int) -> dict[str, int]:
    """Bytes by name of what a `reeltag serve` of this number has in /dev/shm."""
    found = {}
    for path in _SHARED_MEMORY.glob(f"*_{pid}_*"):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.stat().st_blocks * 512
    return found


async def soak(served: Served, images: list[bytes], warm_up_seconds: float, seconds: float) -> Soaked:
    """Load the server twice: to warm it up, and to see what it keeps.

    Pools of memory grow to what was needed at once and stay there, so that chance alone lets them grow now and then for
    hours. The warm-up ends with a crest, behind which nothing has a reason to grow.
    """
    seen = Soaked()
    await _load(served, images, warm_up_seconds * (1 - _CREST_SHARE), seen)
    await _load(served, images, warm_up_seconds * _CREST_SHARE, seen, crest=_CREST)
    seen.images = 0
    await asyncio.sleep(_QUIET_SECONDS)
    seen.before = await asyncio.to_thread(held, served)
    watching = asyncio.create_task(_watch(served, seconds, seen))
    await _load(served, images, seconds, seen)
    await watching
    await asyncio.sleep(_QUIET_SECONDS)
    seen.after = await asyncio.to_thread(held, served)
    return seen


async def _watch(served: Served, seconds: float, seen: Soaked) -> None:
    end, pause = time.perf_counter() + seconds, max(0.5, seconds / _MOST_SAMPLES)
    while time.perf_counter() + pause < end:
        await asyncio.sleep(pause)
        by_role: dict[str, float] = defaultdict(float)
        for name, mebibytes in (await asyncio.to_thread(served.memory)).items():
            by_role[name.rpartition(" ")[0]] += mebibytes
        seen.memory.append(dict(by_role))


async def _load(served: Served, images: list[bytes], seconds: float, seen: Soaked, crest: int = 1) -> None:
    end = time.perf_counter() + seconds
    async with (
        aiohttp.ClientSession() as session,
        grpc.aio.insecure_channel(served.grpc_target) as channel,
    ):

        async def client(request: Request) -> None:
            while time.perf_counter() < end:
                count = await request()
                seen.images += count

        async def streams() -> None:
            while (left := end - time.perf_counter()) > 0:
                part = min(left, _STREAM_SECONDS)
                began = time.perf_counter()
                rate = await grpc_streams(channel, images, 1, part)
                seen.images += round(rate.images_per_second * (time.perf_counter() - began))

        rest, unary = gateway_request(session, served.url, images), grpc_request(channel, images)
        await asyncio.gather(
            *(client(rest) for _ in range(crest * REST_CLIENTS)),
            *(client(unary) for _ in range(crest * GRPC_CLIENTS)),
            *(streams() for _ in range(crest * STREAMS)),
        )


def report(seen: Soaked) -> str:
    """The tables as Markdown."""
    names = list(seen.memory[-1])
    of_all = [sum(values) for values in zip(*map(seen.quarters, names), strict=True)]
    lines = ["| process | MiB, 1st quarter | 2nd | 3rd | 4th | grown by |", "|---|---|---|---|---|---|"]
    lines += [_line(name, seen.quarters(name)) for name in names]
    lines += [
        _line("all", of_all),
        "",
        "| held when quiet | after the warm-up | at the end |",
        "|---|---|---|",
    ]
    kinds = sorted({what.partition(" of ")[0] for what in seen.after.counts})
    for kind in kinds:
        sums = [
            sum(count for what, count in held.counts.items() if what.partition(" of ")[0] == kind)
            for held in (seen.before, seen.after)
        ]
        lines.append(f"| {kind} | {sums[0]} | {sums[1]} |")
    lines.append(f"| shared memory, bytes | {seen.before.shared_bytes:,} | {seen.after.shared_bytes:,} |")
    return "\n".join(lines)


def _line(name: str, quarters: Sequence[float]) -> str:
    first, last = quarters[0], quarters[-1]
    growth = (last - first) / first if first else 0.0
    return f"| {name} | {' | '.join(f'{value:.0f}' for value in quarters)} | {growth:+.1%} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 where something grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--warm-up-minutes", type=float, default=2.0)
    options = parser.parse_args(arguments)
    print(f"{machine()}\n`python -m benchmarks.soak --minutes {options.minutes:g}`\n")
    with serving() as served:
        images = media.jpegs_720p(64)
        seen = asyncio.run(soak(served, images, options.warm_up_minutes * 60, options.minutes * 60))
    print(f"{seen.images:,} images\n\n{report(seen)}\n")
    grown = seen.grown()
    print("\n".join(f"GREW: {what}" for what in grown) or "Nothing grew.")
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())
