"""How fast are jobs taken, claimed and listed, with how many of them waiting?

Run it with `python -m benchmarks.queue`, or `--database postgresql`. Jobs of one video each, of ten tenants, are
submitted until 100,000 wait; on the way rates are measured over 200 jobs each. Nothing is tagged.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import psutil

from benchmarks.throughput import machine
from tests.vod.jobs.postgresql import PostgreSQL
from vod.jobs import errands, reading
from vod.jobs.claiming import Claimant, claim_errand, claim_video
from vod.jobs.database import Database
from vod.jobs.job import JobState, Submission
from vod.jobs.options import JobOptions
from vod.jobs.submitting import Proposal, submit
from vod.jobs.tables import jobs
from vod.stores.source import Found, SourceKind

AT: Final = (0, 1_000, 10_000, 100_000)
MEASURED: Final = 200
TENANTS: Final = 10
VERSION: Final = "1"
MOST: Final = 10_000_000
CLAIMANT: Final = Claimant("host", VERSION, MOST)


def enqueue(database: Database, number: int) -> None:
    """Submit a job."""
    tenant = f"tenant {number % TENANTS}"
    submission = Submission(sources=(f"/films/{number}.mp4",))
    proposal = Proposal(submission, (f"sha256:{number}",), JobOptions(), VERSION, tenant)
    submit(database, proposal, None, MOST)


def expand(database: Database) -> None:
    """Read the sources of the next job."""
    held = claim_errand(database, CLAIMANT)
    assert held is not None
    path = f"/films/{held.job_id}.mp4"
    errands.add(database, held, [Found(SourceKind.PATH, path, path, path)])
    errands.expanded(database, held)


def claim(database: Database) -> None:
    """Take the next video."""
    assert claim_video(database, CLAIMANT) is not None


def fill(database: Database, first: int, count: int) -> None:
    """Jobs that wait, many at one time."""
    while count:
        some = min(count, 2000)
        now = time.time()
        rows = [
            {
                "id": f"{number:032x}",
                "tenant": f"tenant {number % TENANTS}",
                "state": JobState.QUEUED.value,
                "priority": 5,
                "pipeline_version": VERSION,
                "sources": "[]",
                "options": "{}",
                "created_at": now + number * 1e-6,
                "is_expanded": True,
                "queued": 1,
            }
            for number in range(first, first + some)
        ]
        with database.writing() as connection:
            connection.execute(jobs.insert(), rows)
        first, count = first + some, count - some


def rate(work: Callable[[], object], times: int = MEASURED) -> float:
    """How often a second."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return times / (time.perf_counter() - began)


def measure(database: Database, waiting: int, first: int) -> str:
    """A row of the table."""
    numbers = iter(range(first, first + MEASURED))
    enqueued = rate(lambda: enqueue(database, next(numbers)))
    expanded = rate(lambda: expand(database))
    claimed = rate(lambda: claim(database))
    page = 1000 / rate(lambda: reading.page_of_jobs(database, "tenant 0", (), 50, None), 20)
    memory = psutil.Process().memory_info().rss >> 20
    return f"| {waiting:,} | {enqueued:.0f} | {expanded:.0f} | {claimed:.0f} | {page:.1f} | {memory} |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgreSQL() if given.database == "postgresql" else nullcontext() as server,
    ):
        database = Database(server.new_database() if server else f"sqlite:///{Path(folder) / 'jobs.sqlite'}")
        print(f"{machine()}, {given.database}")
        print("| jobs that wait | submitted/s | expanded/s | claimed/s | a page of 50, ms | memory, MiB |")
        print("|---|---|---|---|---|---|")
        waiting = 0
        for number, wanted in enumerate(AT):
            fill(database, (number + 1) << 40, wanted - waiting)
            waiting = wanted
            print(measure(database, wanted, number * MEASURED), flush=True)
        database.close()


if __name__ == "__main__":
    main()
