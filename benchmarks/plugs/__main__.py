"""Does a job end as an undisturbed one does, whatever plugs are pulled?

Run it with `python -m benchmarks.plugs`, and again with `--database postgresql`, where a second host joins and in the
end never comes back. Videos of numbered pictures are tagged, each in one go and in peace, then again in segments of 2 s
while plugs are pulled at random (`--seed`), as the job gets on. It ends with status 1 where a file differs by a byte, a
time in it is not that of the picture which is shown then, a segment is lost, one that was done was begun again, more
ran again than were in work at the pulls, the gateway gave an answer that it should not, or anything was left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from benchmarks.plugs import films, watching
from benchmarks.plugs.asking import Asking
from benchmarks.plugs.disks import Disk
from benchmarks.plugs.judging import Ended, Pulled, files_in
from benchmarks.plugs.pulls import LOST, PLUGS, has
from benchmarks.plugs.site import Site
from benchmarks.throughput import machine
from reeltag.errors import DatabaseAway
from tests.vod.jobs.postgresql import PostgreSQL
from vod.jobs import reading

MOST_SECONDS: Final = 3600.0
_POSTGRESQL_MIB: Final = 768


def pull(site: Site, job_id: str, names: list[str], count: int, segments: int, rng: random.Random) -> Pulled:
    """Pull so many plugs while the job gets on, and wait for its end."""
    found = Pulled(reading.job(site.database, job_id, ""))
    began = time.monotonic()
    due = _due(site, names, count, segments, rng)
    while not found.job.state.is_final:
        if time.monotonic() - began > MOST_SECONDS:
            raise SystemExit(f"the job did not end within {MOST_SECONDS:.0f} s: {found.job}; see {site.folder}")
        time.sleep(0.1)
        with contextlib.suppress(DatabaseAway):
            done = len(watching.seen(site.database).done)
            found.job = reading.job(site.database, job_id, "")
            if due and done >= due[0][0]:
                _, name = due.pop(0)
                print(f"{time.monotonic() - began:5.0f} s, {done} segments done: {name}", file=sys.stderr, flush=True)
                site.note_processes()
                PLUGS[name].pull(site, rng)
                found.pulls[name] += 1
    found.seconds = time.monotonic() - began
    return found


def _due(site: Site, names: list[str], count: int, segments: int, rng: random.Random) -> list[tuple[float, str]]:
    """After how many segments which plug is pulled; a host is lost once, in the last half."""
    possible = [name for name in names if name not in LOST and all(has(site, need) for need in PLUGS[name].needs)]
    chosen = [rng.choice(possible) for _ in range(count)]
    for name in LOST:
        if name in names and has(site, "second") and count:
            place = rng.randrange(count // 2, count)
            chosen[place] = name
            alone = [each for each in possible if "second" not in PLUGS[each].needs]
            chosen[place + 1 :] = [rng.choice(alone) for _ in chosen[place + 1 :]]
    return [(segments * (place + rng.random()) / (count + 1), name) for place, name in enumerate(chosen)]


def run(site: Site, names: list[str], pulls: int, given: argparse.Namespace) -> Ended:
    """Do the job, from its submission to its end."""
    try:
        site.begin()
        watching.watch(site.database)
        if site.server is not None and pulls:
            site.join()
        job_id = site.submit()
        with Asking(f"{site.url}/v1/jobs/{job_id}") as asking:
            pulled = pull(site, job_id, names, pulls, given.segments, random.Random(given.seed))
        folder = site.folder / "results" / job_id
        seen, files = watching.seen(site.database), files_in(folder)
        seen.planned = watching.planned(site.database)
        times, wrong = films.wrong_times(folder)
    except SystemExit:
        with contextlib.suppress(DatabaseAway, DBAPIError):
            print(f"ended before the job: {watching.seen(site.database)}", flush=True)
        raise
    finally:
        left = site.end()
    print(f"the gateway's answers: {asking.told}")
    return Ended(pulled, seen, files, times, wrong, left, asking.wrong)


@dataclass(frozen=True)
class Workplace:
    """Where all of it happens."""

    root: Path
    server: PostgreSQL | None
    disks: Disk | bool
    """For the site that is disturbed."""

    def site(self, name: str, *, is_calm: bool) -> Site:
        """A new one."""
        films_folder, models = self.root / "films", self.root / "models"
        if is_calm:
            return Site(self.root / name, films_folder, models, self.server, segment_seconds=films.SECONDS)
        return Site(self.root / name, films_folder, models, self.server, self.disks)


@contextlib.contextmanager
def workplace(database: str, *, has_disks: bool) -> Iterator[Workplace]:
    """A folder, which is kept where something went wrong, and a server of the database where that is one."""
    root = Path(tempfile.mkdtemp(prefix="reeltag-plugs-"))
    with contextlib.ExitStack() as stack:
        if has_disks:
            try:
                with Disk(root / "disk", 1):
                    pass
            except PermissionError as error:
                print(f"{error}; disks are not filled")
                has_disks = False
        if database == "postgresql":
            root.chmod(0o755)  # PostgreSQL runs as another user
            disk = stack.enter_context(Disk(root / "disk", _POSTGRESQL_MIB)) if has_disks else False
            (root / "disk").mkdir(exist_ok=True)
            yield Workplace(root, stack.enter_context(PostgreSQL(root / "disk" / "data")), disk)
        else:
            yield Workplace(root, None, has_disks)
    shutil.rmtree(root)


def main() -> None:
    """Run both, compare, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=200, help="at least so many")
    parser.add_argument("--pulls", type=int, default=20)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--plugs", default="kills", help=f"kills, others, all, or some of {', '.join(PLUGS)}")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which stops all that runs here
    names, count = _names(given.plugs), -(-given.segments // films.VIDEO_SEGMENTS)
    has_disks = any(name.startswith("full-") for name in names)
    with workplace(given.database, has_disks=has_disks) as place:
        print(f"{machine()}\n`python -m benchmarks.plugs {' '.join(sys.argv[1:])}`", flush=True)
        films.write_films(place.root / "films", count)
        films.export_reader(place.root / "models", place.root)
        calm = run(place.site("calm", is_calm=True), [], 0, given)  # in one piece: no segment may show
        problems = [f"in peace: {problem}" for problem in calm.problems(0, calm)]
        if not problems:
            rough = run(place.site("rough", is_calm=False), names, given.pulls, given)
            print(f"{given.database}: {rough.told(calm)}")
            problems += rough.problems(given.pulls, calm)
        print("\n".join(f"BROKEN: {problem}" for problem in problems) or "Nothing was lost.", flush=True)
        if problems:
            raise SystemExit(f"the logs are in {place.root}")


def _names(given: str) -> list[str]:
    groups: dict[str, list[str]] = {
        "kills": [name for name, plug in PLUGS.items() if plug.is_kill],
        "others": [name for name, plug in PLUGS.items() if not plug.is_kill],
        "all": list(PLUGS),
    }
    names = groups.get(given) or given.split(",")
    if unknown := [name for name in names if name not in PLUGS]:
        raise SystemExit(f"no plugs: {', '.join(unknown)}; there are {', '.join(PLUGS)}")
    return names


if __name__ == "__main__":
    main()
