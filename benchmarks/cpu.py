"""Processor time of each process for an image, by this code or by that of another checkout, in turns.

Run it with `python -m benchmarks.cpu [--against ../base]`. What others take of the machine changes images/s by half
and this by a tenth, so that small steps show. Both servers stand by; only one works at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks import generator, media
from benchmarks.server import Served, serving
from benchmarks.throughput import machine

Round = Mapping[str, float]
"""Milliseconds of processor time an image, by what the process is."""


def seconds_of(served: Served) -> dict[str, float]:
    """Processor time that each kind of process took so far."""
    found: defaultdict[str, float] = defaultdict(float)
    for name, process in served.processes().items():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[name.rpartition(" ")[0]] += times.user + times.system
    return found


def one_round(served: Served, images: Sequence[bytes], clients: int, seconds: float) -> Round:
    """Load a server for some seconds."""
    before = seconds_of(served)
    answers = generator.closed_loop(served.url, images, clients, seconds)
    after, count = seconds_of(served), len(answers.accepted)
    found = {role: (after[role] - before.get(role, 0.0)) * 1e3 / count for role in after}
    found["the load's own"] = answers.cpu * seconds * 1e3 / count
    return found | {"all": sum(found.values())}


def table(rounds: Mapping[str, Sequence[Round]]) -> str:
    """Medians of the rounds as Markdown, a process a line."""
    roles = sorted({role for of_one in rounds.values() for each in of_one for role in each})
    lines = [f"| CPU, ms an image | {' | '.join(rounds)} |", f"|---|{'---|' * len(rounds)}"]
    for role in roles:
        medians = [statistics.median(each.get(role, 0.0) for each in of_one) for of_one in rounds.values()]
        if max(medians) >= 0.02:
            lines.append(f"| {role} | {' | '.join(f'{median:.2f}' for median in medians)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--against", type=Path, help="another checkout, whose code runs in this environment")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    options = parser.parse_args(arguments)
    images = media.jpegs_720p(64)
    print(f"{machine()}\n`python -m benchmarks.cpu {shlex.join(arguments or sys.argv[1:])}`\n")
    checkouts = ([options.against] if options.against else []) + [Path.cwd()]
    rounds: defaultdict[str, list[Round]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        servers = {
            path.resolve().name: stack.enter_context(serving(environment={"PYTHONPATH": str(path.resolve())}))
            for path in checkouts
        }
        for served in servers.values():
            generator.closed_loop(served.url, images, options.clients, 2.0)  # to warm up
        for _ in range(options.rounds):
            for name, served in servers.items():
                rounds[name].append(one_round(served, images, options.clients, options.seconds))
    print(table(rounds))


if __name__ == "__main__":
    main()
