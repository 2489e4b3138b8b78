"""Does a job whose workers, Triton, gateway or database are killed at random end as an undisturbed one does?

Run it with `python -m benchmarks.plugs --segments 200 --kills 20`, and again with `--database postgresql`, where a
second host joins and one of the two never comes back. Videos of numbered pictures are tagged in segments of 2 s, first
in peace, then again while plugs are pulled; every file is compared byte by byte. It ends with status 1 where a file
differs, a segment that was done was begun again, or more segments ran again than were in work at the kills.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psutil
import sqlalchemy as sa

from benchmarks.throughput import machine
from reeltag.settings import Settings
from tests.e2e.conftest import REELTAG, free_port
from tests.vod.jobs.postgresql import PostgreSQL
from tests.vod.numbered import RATE, Encoding, write_numbered
from vod.client import Job, Jobs, JobState, Submission
from vod.jobs.database import Database
from vod.jobs.tables import segments

SEGMENT_SECONDS: Final = 2
VIDEO_SEGMENTS: Final = 10
SLOTS: Final = 2
PAUSE_SECONDS: Final = (1.0, 6.0)
"""Between two kills."""
MOST_SECONDS: Final = 3600.0
COMPARED: Final = (".tags.json", ".vtt", ".csv", ".html", ".jsonl")


@dataclass
class Site:
    """A database, a gateway with a worker and Triton, and perhaps a second host."""

    folder: Path
    films: Path
    database_url: str | None
    port: int = field(default_factory=free_port)
    serve: subprocess.Popen[bytes] | None = None
    second: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Settings:
        """Of what asks and works here."""
        return Settings(
            state_dir=self.folder / "state",
            database_url=self.database_url,
            source_roots=(str(self.films),),
            results=str(self.folder / "results"),
            segment_seconds=SEGMENT_SECONDS,
        )

    def begin(self) -> None:
        """Start the gateway, its Triton and its worker."""
        command = [REELTAG, "serve", "--port", str(self.port), "--grpc-port", "0", "--jobs-worker"]
        self.serve = self._started(command, self.folder / "state")
        while not self._is_ready():
            time.sleep(0.2)

    def join(self) -> None:
        """Start a second host's worker, which uses the same Triton."""
        url = httpx.get(f"http://127.0.0.1:{self.port}/v1/models", timeout=30).json()["triton"]["grpc_url"]
        self.second = self._started([REELTAG, "worker", "--triton-url", url], self.folder / "second")

    def _started(self, command: list[str], state: Path) -> subprocess.Popen[bytes]:
        settings = self.settings
        environment = {
            "REELTAG_STATE_DIR": str(state),
            "REELTAG_DATABASE_URL": settings.jobs_url,
            "REELTAG_SOURCE_ROOTS": str(self.films),
            "REELTAG_RESULTS": settings.results_root,
            "REELTAG_SEGMENT_SECONDS": str(SEGMENT_SECONDS),
            "REELTAG_WORKER_SLOTS": str(SLOTS),
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)

    def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        return False

    def end(self) -> None:
        """Stop all of it."""
        for process in filter(None, (self.second, self.serve)):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)

    def child(self, text: str) -> psutil.Process | None:
        """A process below the gateway's whose command has the text."""
        assert self.serve is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self.serve.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if text in " ".join(each.cmdline()):
                        return each
        return None

    def kill_worker(self) -> None:
        """The gateway starts another one."""
        if (worker := self.child("vod.jobs.process")) is not None:
            worker.kill()

    def kill_triton(self) -> None:
        """Its guard starts another one."""
        if (triton := self.child("tritonserver")) is not None:
            triton.kill()

    def kill_gateway(self) -> None:
        """And with it its worker and its Triton; started again as a service would be."""
        assert self.serve is not None
        self.serve.kill()
        self.serve.wait()
        self.begin()

    def lose_second(self) -> None:
        """For good."""
        if self.second is not None:
            self.second.kill()
            self.second.wait()
            self.second = None


def runs(database: Database) -> dict[tuple[int, int], tuple[int, bool]]:
    """How often each segment was begun, and whether it is done; of videos that are not delivered yet."""
    columns = segments.c.number, segments.c.segment, segments.c.runs, segments.c.record.is_not(None)
    with database.reading() as connection:
        return {(row[0], row[1]): (row[2], bool(row[3])) for row in connection.execute(sa.select(*columns))}


def job_of(site: Site, *, submits: bool) -> Job:
    """The one job, as it is now."""

    async def ask() -> Job:
        jobs = Jobs(site.settings)
        try:
            if submits:
                return (await jobs.submit(Submission(sources=(str(site.films),))))[0]
            return (await jobs.list(tenant="")).items[0]
        finally:
            await jobs.close()

    return asyncio.run(ask())


@dataclass
class Watch:
    """What was seen of segments while plugs were pulled."""

    begun: dict[tuple[int, int], int] = field(default_factory=dict)
    done: dict[tuple[int, int], int] = field(default_factory=dict)
    again: set[tuple[int, int]] = field(default_factory=set)
    """Segments that were begun again though they were done."""

    def look(self, database: Database) -> None:
        """Note how it is now."""
        for key, (count, is_done) in runs(database).items():
            self.begun[key] = max(count, self.begun.get(key, 0))
            if is_done and count > self.done.setdefault(key, count):
                self.again.add(key)


def disturbed(site: Site, pulls: list[Callable[[], None]], kills: int, rng: random.Random) -> tuple[Job, Watch, int]:
    """The job when it has ended, what was seen, and how many plugs were pulled meanwhile."""
    watch, pulled, database = Watch(), 0, Database(site.settings.jobs_url)
    until, due = time.monotonic() + MOST_SECONDS, time.monotonic() + rng.uniform(*PAUSE_SECONDS)
    while time.monotonic() < until:
        with contextlib.suppress(Exception):  # the database is one of the plugs
            watch.look(database)
            job = job_of(site, submits=False)
            if job.state.is_final:
                return job, watch, pulled
        if pulled < kills and time.monotonic() > due:
            rng.choice(pulls)()
            pulled, due = pulled + 1, time.monotonic() + rng.uniform(*PAUSE_SECONDS)
        time.sleep(0.1)
    raise SystemExit(f"the job did not end within {MOST_SECONDS:.0f} s; its log is {site.folder / 'log'}")


def files(site: Site, job_id: str) -> dict[str, bytes]:
    """The results, by names."""
    folder = site.folder / "results" / job_id
    found = (each for each in sorted(folder.rglob("*")) if each.name.endswith(COMPARED))
    return {str(each.relative_to(folder)): each.read_bytes() for each in found}


@contextlib.contextmanager
def databases(kind: str) -> Iterator[PostgreSQL | None]:
    """A server for the block, where one is asked for."""
    if kind == "sqlite":
        yield None
        return
    with PostgreSQL() as server:
        yield server


def main() -> None:
    """Run both, compare, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--plugs", default="worker", help="worker, triton, gateway, database; separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder, databases(given.database) as server:
        root = Path(folder)
        films = root / "films"
        films.mkdir()
        for number in range(-(-given.segments // VIDEO_SEGMENTS)):
            write_film(films / f"{number:03}.mp4", number)
        calm = Site(root / "calm", films, server.new_database() if server else None)
        rough = Site(root / "rough", films, server.new_database() if server else None)
        try:
            good = pulled_out(rough, given, server, rng, peaceful(calm))
        finally:
            calm.end()
            rough.end()
    sys.exit(0 if good else 1)


def write_film(path: Path, number: int) -> None:
    """A video of numbered pictures with a key frame every second; no two are the same."""
    frames = VIDEO_SEGMENTS * SEGMENT_SECONDS * RATE
    write_numbered(path, range(number, number + frames), Encoding(options={"g": str(RATE)}))


def peaceful(site: Site) -> dict[str, bytes]:
    """What nobody disturbs."""
    site.folder.mkdir()
    site.begin()
    job = job_of(site, submits=True)
    began = time.monotonic()
    while not job_of(site, submits=False).state.is_final:
        time.sleep(0.5)
    print(f"{machine()}\nundisturbed: {time.monotonic() - began:.0f} s")
    site.end()  # the two never run side by side
    return files(site, job.id)


def pulled_out(
    site: Site, given: argparse.Namespace, server: PostgreSQL | None, rng: random.Random, expected: dict[str, bytes]
) -> bool:
    """Do it again while plugs are pulled; whether all is as it should be."""
    site.folder.mkdir()
    site.begin()
    job_of(site, submits=True)
    if server is not None:
        site.join()

    def kill_database() -> None:
        if server is not None:
            server.stop()
            time.sleep(2)
            server.start()

    kinds = {
        "worker": site.kill_worker,
        "triton": site.kill_triton,
        "gateway": site.kill_gateway,
        "database": kill_database,
    }
    pulls = [kinds[name] for name in given.plugs.split(",")]
    if server is not None:
        pulls.append(site.lose_second)
    began = time.monotonic()
    job, watch, pulled = disturbed(site, pulls, given.kills, rng)
    seconds = time.monotonic() - began
    site.end()
    found = files(site, job.id)
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    again = sum(count - 1 for count in watch.begun.values())
    most = pulled * SLOTS * 2
    print(
        f"{given.database}, {pulled} plugs pulled ({given.plugs}): {seconds:.0f} s, {job.state.value}, "
        f"{len(watch.begun)} segments seen, {again} runs more than segments (at most {most} were in work), "
        f"{len(watch.again)} begun again though done, {len(found)} files, {len(differing)} differ {differing[:5]}"
    )
    return job.state is JobState.SUCCEEDED and not differing and not watch.again and again <= most


if __name__ == "__main__":
    main()
