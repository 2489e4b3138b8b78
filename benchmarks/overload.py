"""Does the service do its work at ten times its load, and are the others told at once to come again?

Run it with `python -m benchmarks.overload`. First the knee: the highest rate of clients who wait for their answers at
which 99 of 100 have them within a bound. Then ten times as many requests a second, whatever becomes of them; a process
of its own asks a few times a second meanwhile, so that the time to a refusal is the server's and not the generator's.
The best of several stages is better than the machine is on the mean, and a machine changes its speed: the goodput is
held against the same number of clients once more, before and behind. It ends with status 1 where a bound is broken.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from benchmarks import generator, media
from benchmarks.generator import Answers, share_of
from benchmarks.hostile import MEMORY_MIB
from benchmarks.server import Served, serving
from benchmarks.throughput import machine

FACTOR: Final = 10
KNEE_P99_SECONDS: Final = 1.0
LEAST_GOODPUT: Final = 0.9
"""Of the knee's."""
DEADLINE_SECONDS: Final = 30.0
"""The default of `REELTAG_TIMEOUT_SECONDS`."""
REFUSED_SECONDS: Final = 0.1
_PROBES_PER_SECOND: Final = 20.0


@dataclass(frozen=True)
class Knee:
    """The highest rate that keeps the bound."""

    clients: int
    answers: Answers
    """Of the stage that found it."""


@dataclass
class Overloaded:
    """What ten times the knee's load came to."""

    knee: Knee
    load: Answers
    probe: Answers
    before: Answers
    """Of the knee's clients, right before."""
    behind: Answers
    mebibytes: dict[str, float] = field(default_factory=dict)
    """Most that a process held, by what it is."""

    @property
    def share(self) -> float:
        """The goodput, of what the knee's clients get before and behind."""
        return 2 * self.load.goodput / (self.before.goodput + self.behind.goodput)

    def broken(self) -> list[str]:
        """The bounds that were not kept."""
        found = [f"{count} x {what}" for what, count in (self.load.others + self.probe.others).items()]
        if self.load.unsent:
            found.append(f"the generator could not send {self.load.unsent} requests: its connections were all in use")
        if not self.load.refused:
            found.append("nothing was refused: this was no overload")
        if self.share < LEAST_GOODPUT:
            found.append(f"the goodput was {self.share:.2f} of the knee's, at least {LEAST_GOODPUT} is due")
        if (p99 := share_of(self.load.accepted, 0.99)) > DEADLINE_SECONDS:
            found.append(f"accepted requests took up to {p99:.1f} s")
        if self.probe.refused and (longest := max(self.probe.refused)) > REFUSED_SECONDS:
            found.append(f"a refusal took {longest * 1000:.0f} ms, at most {REFUSED_SECONDS * 1000:.0f} may be")
        for role, bound in MEMORY_MIB.items():
            if self.mebibytes.get(role, 0) > bound:
                found.append(f"{role} held {self.mebibytes[role]:.0f} MiB of at most {bound}")
        return found


def find_knee(served: Served, images: Sequence[bytes], seconds: float, most_clients: int) -> Knee:
    """Twice as many clients each time, until they wait too long."""
    best: Knee | None = None
    clients = 1
    while clients <= most_clients:
        answers = generator.closed_loop(served.url, images, clients, seconds)
        if share_of(answers.accepted, 0.99) > KNEE_P99_SECONDS:
            break
        if best is None or answers.goodput > best.answers.goodput:
            best = Knee(clients, answers)
        clients *= 2
    if best is None:
        raise RuntimeError(f"one client already waits longer than {KNEE_P99_SECONDS:g} s")
    return best


def overload(served: Served, images: Sequence[bytes], knee: Knee, seconds: float, again: float) -> Overloaded:
    """Send ten times as much as the knee's for some seconds; its clients for `again` seconds before and behind."""
    before = generator.closed_loop(served.url, images, knee.clients, again)
    with watched_memory(served) as most:
        probing = generator.elsewhere(generator.probe, served.url, images, _PROBES_PER_SECOND, seconds)
        load = generator.open_loop(served.url, images, FACTOR * knee.answers.goodput, seconds)
        probe = probing()
    behind = generator.closed_loop(served.url, images, knee.clients, again)
    return Overloaded(knee, load, probe, before, behind, most)


@contextmanager
def watched_memory(served: Served) -> Iterator[dict[str, float]]:
    """Most that each kind of process holds in the block."""
    most: dict[str, float] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            for name, mebibytes in served.memory().items():
                role = name.rpartition(" ")[0]
                most[role] = max(most.get(role, 0.0), mebibytes)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def report(seen: Overloaded) -> str:
    """The table as Markdown."""
    knee, load, probe = seen.knee.answers, seen.load, seen.probe
    rows = [
        ("knee, images/s", f"{knee.goodput:.1f} with {seen.knee.clients} clients"),
        ("sent, requests/s", f"{FACTOR * knee.goodput:.0f}"),
        ("the same clients before and behind", f"{seen.before.goodput:.1f} and {seen.behind.goodput:.1f}"),
        ("goodput, images/s", f"{load.goodput:.1f}, {seen.share:.2f} of these two"),
        ("accepted: median, p99, longest", _milliseconds(load.accepted)),
        ("refused with Retry-After", f"{len(load.refused)} and {len(probe.refused)} of the probe"),
        ("the probe's refusals: median, p99, longest", _milliseconds(probe.refused)),
        ("the generator's refusals, its own delay within", _milliseconds(load.refused)),
        ("the generator sent late by", _milliseconds(load.own_delays)),
        ("the generator took, of a core", f"{knee.cpu:.2f} at the knee, {load.cpu:.2f} at ten times as much"),
        ("other outcomes", ", ".join(f"{count} x {what}" for what, count in load.others.items()) or "none"),
        *(
            (f"most memory of {role}, MiB", f"{seen.mebibytes.get(role, 0):.0f} of {MEMORY_MIB[role]}")
            for role in MEMORY_MIB
        ),
    ]
    return "\n".join(["| what | figure |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _milliseconds(seconds: Sequence[float]) -> str:
    shares = [share_of(seconds, 0.5), share_of(seconds, 0.99), max(seconds, default=0.0)]
    return ", ".join(f"{one * 1000:.0f}" for one in shares) + " ms"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="of ten times the load")
    parser.add_argument("--stage-seconds", type=float, default=6.0, help="of each number of clients, to find the knee")
    parser.add_argument("--again-seconds", type=float, default=20.0, help="of the knee's clients, before and behind")
    parser.add_argument("--most-clients", type=int, default=64)
    options = parser.parse_args(arguments)
    images = media.jpegs_720p(64)
    print(f"{machine()}\n`python -m benchmarks.overload --seconds {options.seconds:g}`\n")
    with serving() as served:
        generator.closed_loop(served.url, images, 8, min(3.0, options.stage_seconds))  # to warm up
        knee = find_knee(served, images, options.stage_seconds, options.most_clients)
        began = time.perf_counter()
        seen = overload(served, images, knee, options.seconds, options.again_seconds)
    print(report(seen), f"\n\nIt took {time.perf_counter() - began:.0f} s.")
    print("\n".join(f"BROKEN: {problem}" for problem in seen.broken()) or "Every bound was kept.")
    return int(bool(seen.broken()))


if __name__ == "__main__":
    sys.exit(main())
