"""What is tried: the rule's sizes, and others around the best that was found, one size after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reeltag.machine import Machine
from reeltag.sizing import NETWORKS, by_rule, instance_mib

NAMES: Final = (
    "network_instances",
    "network_threads",
    "queue_delay_microseconds",
    "batch_max_images",
    "max_inflight_requests",
)
"""The settings that are varied."""
DELAYS: Final = (0, 500, 2000)
BATCHES: Final = (4, 8, 16, 32)
THREADS: Final = (1, 2, 3, 4, 8, 16)
_MOST_INFLIGHT: Final = 256
_MOST_INSTANCES: Final = 128


@dataclass(frozen=True)
class Candidate:
    """Sizes of a server, by the names of the settings."""

    network_instances: int
    network_threads: int
    queue_delay_microseconds: int
    batch_max_images: int
    max_inflight_requests: int

    def changed(self, **values: int) -> Candidate:
        """With other values."""
        return Candidate(**{**vars(self), **values})


Step = Callable[[Candidate], Sequence[Candidate]]
"""From the best so far to what is tried next."""


def of_rule(machine: Machine, fixed: Mapping[str, int]) -> Candidate:
    """What the rule chooses beside what is set."""
    threads, instances = fixed.get("network_threads"), fixed.get("network_instances")
    rule = vars(by_rule(machine, threads=threads, instances=instances))
    return Candidate(**{name: fixed.get(name, rule[name]) for name in NAMES})


def steps(machine: Machine, fixed: Collection[str]) -> Iterator[Step]:
    """In the order of what matters most; what is set is not varied."""
    if not {"network_instances", "network_threads"} <= set(fixed):
        yield lambda best: _shapes(machine, best, fixed)
    if "max_inflight_requests" not in fixed:
        yield lambda best: [best.changed(max_inflight_requests=each) for each in _inflight(best.network_instances)]
    if "batch_max_images" not in fixed:
        yield lambda best: [best.changed(batch_max_images=each) for each in BATCHES]
    if "queue_delay_microseconds" not in fixed:
        yield lambda best: [best.changed(queue_delay_microseconds=each) for each in DELAYS]


def _inflight(instances: int) -> list[int]:
    return sorted({min(_MOST_INFLIGHT, max(1, round(instances * times))) for times in (1, 1.5, 2, 3, 4)})


def _shapes(machine: Machine, best: Candidate, fixed: Collection[str]) -> list[Candidate]:
    """Few instances with many threads to many with few, as many as fit into memory; and one instance more."""
    followers = [name for name in ("batch_max_images", "max_inflight_requests") if name not in fixed]
    found = []
    for instances, threads in _pairs(machine.cores, best, fixed):
        if not (1 <= instances <= _MOST_INSTANCES and _fits(machine, instances, threads)):
            continue
        rule = vars(by_rule(machine, threads=threads, instances=instances))
        sizes = {"network_instances": instances, "network_threads": threads}
        found.append(best.changed(**sizes, **{name: rule[name] for name in followers}))
    return list(dict.fromkeys(found))


def _pairs(cores: int, best: Candidate, fixed: Collection[str]) -> Iterator[tuple[int, int]]:
    """Instances and threads that are to be tried."""
    for threads in [best.network_threads] if "network_threads" in fixed else sorted({*THREADS, cores}):
        if threads <= cores or "network_threads" in fixed:
            several = (cores // threads, cores // threads + 1)
            for instances in (best.network_instances,) if "network_instances" in fixed else several:
                yield instances, threads


def _fits(machine: Machine, instances: int, threads: int) -> bool:
    """Whether the rule's share of memory holds it; one instance with one thread is always tried."""
    most = by_rule(machine, threads=threads).network_instances
    room = NETWORKS * instance_mib(threads) * (instances - most)
    spare = (machine.memory_mib or 1 << 30) // 8
    return instances <= most or room <= spare
