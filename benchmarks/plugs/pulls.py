"""The plugs: what each does to a site, what it may cost, and where it can be pulled."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.plugs.site import SLOTS, Site

FROZEN_SECONDS: Final = 26.0
"""Longer than a silent host is waited for."""
FULL_SECONDS: Final = 8.0
CUTS_SECONDS: Final = (3.0, 12.0, 35.0)
"""The last is longer than an answer of Triton, or of a dead connection to the database, is waited for."""
CLOCKS_SECONDS: Final = (-3600, -40, 40, 3600, 86_400)


@dataclass(frozen=True)
class Plug:
    """A plug.

    Args:
        pull: Pulls it, and puts it back where somebody has to.
        at_risk: Most segments that it may break off: the places of the workers that lose what they do.
        is_kill: Whether it is a `kill -9`.
        needs: What a site must have: a `second` host, results and database on a `disk`, a `clock` that can be set.
    """

    pull: Callable[[Site, random.Random], None]
    at_risk: int
    is_kill: bool = False
    needs: tuple[str, ...] = ()


def kill_worker(site: Site, _: random.Random) -> None:
    """The gateway starts another one."""
    if (worker := site.worker()) is not None:
        worker.kill()


def kill_triton(site: Site, _: random.Random) -> None:
    """Its guard starts another one."""
    if (triton := site.triton()) is not None:
        triton.kill()


def kill_gateway(site: Site, _: random.Random) -> None:
    """And with it its worker and its Triton; started again as a service would be."""
    assert site.serve is not None
    site.serve.kill()
    site.serve.wait()
    site.begin()


def kill_second(site: Site, _: random.Random) -> None:
    """The second host's worker, which is started again on that host."""
    if site.second is not None:
        site.second.kill()
        site.second.wait()
        site.join()


def lose_second(site: Site, _: random.Random) -> None:
    """The second host never comes back."""
    if site.second is not None:
        site.second.kill()
        site.second.wait()
        site.second = None


def kill_triton_of_second(site: Site, _: random.Random) -> None:
    """The second host's Triton; its guard starts another one."""
    if (triton := site.triton_of_second()) is not None:
        triton.kill()


def kill_database(site: Site, _: random.Random) -> None:
    """PostgreSQL, for two seconds; where the database is a file, all who have it open, in the middle of a write."""
    if site.server is not None:
        site.server.kill()
        time.sleep(2)
        site.server.start()
    else:
        if (worker := site.worker()) is not None:
            worker.kill()
        kill_gateway(site, random.Random())


def cut(name: str) -> Callable[[Site, random.Random], None]:
    """Pulls a cable: nothing arrives any more, and nobody is told."""

    def pull(site: Site, rng: random.Random) -> None:
        site.ways[name].cut()
        time.sleep(rng.choice(CUTS_SECONDS))
        site.ways[name].heal()

    return pull


def forget(name: str) -> Callable[[Site, random.Random], None]:
    """Lets the connections that there are lead nowhere for good; new ones are made as ever."""
    return lambda site, _: site.ways[name].forget()


def reset(name: str) -> Callable[[Site, random.Random], None]:
    """Ends the connections that there are."""
    return lambda site, _: site.ways[name].reset()


def freeze_second(site: Site, _: random.Random) -> None:
    """The second host stands still until its work is another's, and wakes."""
    if site.second is not None:
        site.second.send_signal(signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)
        site.second.send_signal(signal.SIGCONT)


def fill_results(site: Site, _: random.Random) -> None:
    """The disk of the results is full for some seconds."""
    assert site.results_disk is not None
    site.results_disk.fill()
    time.sleep(FULL_SECONDS)
    site.results_disk.free()


def fill_database(site: Site, _: random.Random) -> None:
    """The disk of the database is full for some seconds; PostgreSQL may end of it, and is started again."""
    assert site.database_disk is not None
    site.database_disk.fill()
    time.sleep(FULL_SECONDS)
    site.database_disk.free()
    if site.server is not None:
        time.sleep(2)
        with contextlib.suppress(Exception):
            site.server.start()


def set_clock(site: Site, rng: random.Random) -> None:
    """The clock of a host jumps; where the database is a file, the database's with it."""
    site.clock.set(rng.choice(CLOCKS_SECONDS))


PLUGS: Final = {
    "worker": Plug(kill_worker, SLOTS, is_kill=True),
    "gateway": Plug(kill_gateway, SLOTS, is_kill=True),
    "triton": Plug(kill_triton, 0, is_kill=True),
    "database": Plug(kill_database, 2 * SLOTS, is_kill=True),
    "second": Plug(kill_second, SLOTS, is_kill=True, needs=("second",)),
    "second-triton": Plug(kill_triton_of_second, 0, is_kill=True, needs=("second",)),
    "second-lost": Plug(lose_second, SLOTS, is_kill=True, needs=("second",)),
    "cut-triton": Plug(cut("triton"), SLOTS, needs=("second",)),
    "forget-triton": Plug(forget("triton"), 0, needs=("second",)),
    "reset-triton": Plug(reset("triton"), 0, needs=("second",)),
    "cut-database": Plug(cut("second"), SLOTS, needs=("second",)),
    "cut-first-database": Plug(cut("first"), SLOTS, needs=("second",)),
    "reset-database": Plug(reset("second"), SLOTS, needs=("second",)),
    "freeze": Plug(freeze_second, SLOTS, needs=("second",)),
    "full-results": Plug(fill_results, 0, needs=("disk",)),
    "full-database": Plug(fill_database, 2 * SLOTS, needs=("disk",)),
    "clock": Plug(set_clock, 2 * SLOTS, needs=("clock",)),
}
LOST: Final = ("second-lost",)
"""Those that are pulled once."""


def has(site: Site, need: str) -> bool:
    """Whether a site has what a plug needs."""
    return {
        "second": site.server is not None,
        "disk": site.results_disk is not None,
        "clock": site.clock.can_be_set,
    }[need]
