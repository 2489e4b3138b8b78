"""Resident memory of `reeltag serve` while it answers 20,000 images: is it flat?

Run it with `python -m benchmarks.memory [IMAGES]`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import aiohttp

from benchmarks import media
from benchmarks.load import gateway_request
from benchmarks.server import Served, serving
from benchmarks.throughput import machine

CLIENTS = 32
STEPS = 8


async def run(served: Served, images: list[bytes], total: int) -> None:
    """Send `total` images in `STEPS` equal parts and print the memory after each."""
    async with aiohttp.ClientSession() as session:
        request = gateway_request(session, served.url, images)
        for step in range(STEPS + 1):
            if step:
                left = iter(range(total // STEPS))

                async def client(left: Iterator[int] = left) -> None:
                    for _ in left:  # all clients draw from this one iterator
                        await request()

                await asyncio.gather(*(client() for _ in range(CLIENTS)))
            memory = served.memory()
            parts = ", ".join(f"{role.rpartition(' ')[0]} {mebibytes:.0f}" for role, mebibytes in memory.items())
            print(f"{step * (total // STEPS):6d} images: {sum(memory.values()):.0f} MiB ({parts})", flush=True)


def main() -> None:
    """Print one line a step."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print(machine())
    with serving() as served:
        asyncio.run(run(served, media.jpegs_720p(64), total))


if __name__ == "__main__":
    main()
