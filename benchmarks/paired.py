"""The gateway against a bare process, each of its rounds between two of the bare one's: `python -m benchmarks.paired`.

On a machine whose speed changes from second to second the median of ratios says more than the ratio of medians, which
is what `benchmarks.throughput` prints. One client is held against a bare process that works on one picture at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import bare, media
from benchmarks.server import Served, serving
from benchmarks.throughput import NETWORK, Plan, loads, machine

_WARM_UP_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Pair:
    """One round, and what stood around it."""

    images_per_second: float
    bare_images_per_second: float
    """Mean of the rounds before and behind it."""

    @property
    def ratio(self) -> float:
        """What the server reaches of the bare process."""
        return self.images_per_second / self.bare_images_per_second


async def measure(served: Served, images: list[bytes], plan: Plan) -> dict[str, list[Pair]]:
    """Every round of REST and of unary gRPC, by variant."""
    alone = bare.Bare(NETWORK, streams=1, batch=1)
    whole = bare.Bare(NETWORK, streams=len(os.sched_getaffinity(0)), batch=4)
    for process in (alone, whole):
        process.images_per_second(images, _WARM_UP_SECONDS)
    found: defaultdict[str, list[Pair]] = defaultdict(list)
    async with loads(served, images, plan) as variants:
        wanted = {name: load for name, load in variants.items() if name.startswith(("REST", "gRPC unary"))}
        for load in wanted.values():
            await load(_WARM_UP_SECONDS)
        for _ in range(plan.rounds):
            for name, load in wanted.items():
                process = alone if name.endswith(", 1 clients") else whole
                before = await asyncio.to_thread(process.images_per_second, images, plan.seconds)
                loaded = await load(plan.seconds)
                behind = await asyncio.to_thread(process.images_per_second, images, plan.seconds)
                found[name].append(Pair(loaded.images_per_second, (before + behind) / 2))
    return found


def table(found: dict[str, list[Pair]]) -> str:
    """Medians of the rounds as Markdown, one variant a line."""
    lines = ["| variant | images/s | bare | of bare | of rounds |", "|---|---|---|---|---|"]
    for name, pairs in found.items():
        ratios = [pair.ratio for pair in pairs]
        rate = statistics.median(pair.images_per_second for pair in pairs)
        bare_rate = statistics.median(pair.bare_images_per_second for pair in pairs)
        middle = f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f}"
        lines.append(f"| {name} | {rate:.1f} | {bare_rate:.1f} | {middle} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paired", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--serve", default="", help="more options of `reeltag serve`, as one word")
    options = parser.parse_args(arguments)
    plan = Plan(options.rounds, options.seconds, options.clients)
    print(f"{machine()}\n`python -m benchmarks.paired {shlex.join(arguments or sys.argv[1:])}`\n")
    with serving(*shlex.split(options.serve)) as served:
        print(table(asyncio.run(measure(served, media.jpegs_720p(64), plan))))


if __name__ == "__main__":
    main()
