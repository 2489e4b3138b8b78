"""Does a job end as an undisturbed one does, whatever plugs are pulled?

Run it with `python -m benchmarks.plugs`, and again with `--database postgresql`, where a second host joins and in the
end never comes back. Videos of numbered pictures are tagged in segments of 2 s, first in peace, then again while
plugs are pulled at random (`--seed`), as the job gets on. It ends with status 1 where a file differs by a byte, a time
in it is not that of the picture which is shown then, a segment is lost, one that was done was begun again, more ran
again than were in work at the pulls, the gateway gave an answer that it should not, or anything was left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.plugs import films, watching
from benchmarks.plugs.asking import Asking
from benchmarks.plugs.disks import Disk
from benchmarks.plugs.pulls import LOST, PLUGS, has
from benchmarks.plugs.site import Site
from benchmarks.throughput import machine
from reeltag.errors import DatabaseAway
from tests.vod.jobs.postgresql import PostgreSQL
from vod.client import Job, JobState
from vod.jobs import reading

MOST_SECONDS: Final = 1500.0
_POSTGRESQL_MIB: Final = 768


@dataclass
class Pulled:
    """What was done to a job."""

    job: Job
    pulls: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """How many of them were `kill -9`."""
        return sum(count for name, count in self.pulls.items() if PLUGS[name].is_kill)

    @property
    def at_risk(self) -> int:
        """Most segments that may have run again."""
        return sum(count * PLUGS[name].at_risk for name, count in self.pulls.items())


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


def files(site: Site, job_id: str) -> dict[str, bytes]:
    """The results, by names."""
    folder = site.folder / "results" / job_id
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}


def peaceful(site: Site, segments: int) -> dict[str, bytes]:
    """What nobody disturbs."""
    site.begin()
    watching.watch(site.database)
    job_id = site.submit()
    found = pull(site, job_id, [], 0, segments, random.Random())
    print(f"undisturbed: {found.seconds:.0f} s, {found.job.state.value}", flush=True)
    expected = files(site, job_id)
    looked, wrong = films.wrong_times(site.folder / "results" / job_id)
    left = site.end()
    if wrong or left or found.job.state is not JobState.SUCCEEDED or not looked:
        raise SystemExit(f"the undisturbed job is not right: {found.job.state}, {wrong[:5]}, {left}")
    return expected


def disturbed(site: Site, given: argparse.Namespace, names: list[str], expected: dict[str, bytes]) -> list[str]:
    """Do it again while plugs are pulled; prints what was seen and gives what is wrong."""
    site.begin()
    watching.watch(site.database)
    if site.server is not None:
        site.join()
    job_id = site.submit()
    with Asking(f"{site.url}/v1/jobs/{job_id}") as asking:
        found = pull(site, job_id, names, given.pulls, given.segments, random.Random(given.seed))
    seen = watching.seen(site.database)
    got = files(site, job_id)
    looked, wrong = films.wrong_times(site.folder / "results" / job_id)
    left = site.end()
    differing = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
    pulled, lost = sum(found.pulls.values()), given.segments - len(seen.done)
    print(f"{given.database}: {pulled} plugs pulled, {found.kills} of them kill -9 {dict(sorted(found.pulls.items()))}")
    print(f"{found.seconds:.0f} s, {found.job.state.value}; {len(seen.done)} of {given.segments} segments done")
    print(f"{seen.again} runs more than segments, of at most {found.at_risk} that were in work")
    print(f"{len(seen.begun_though_done)} segments begun again though they were done")
    print(f"{len(got)} files, {len(differing)} differ; {looked} times looked at, {len(wrong)} wrong")
    print(f"the gateway's answers: {asking.told}")
    checks = {
        f"the job is {found.job.state.value}": found.job.state is not JobState.SUCCEEDED,
        f"only {pulled} plugs were pulled": pulled < given.pulls,
        f"{lost} segments are lost": bool(lost),
        f"begun again though done: {sorted(seen.begun_though_done)[:5]}": bool(seen.begun_though_done),
        f"{seen.again} segments ran again": seen.again > found.at_risk,
        f"files differ: {differing[:5]}": bool(differing),
        f"times are wrong: {wrong[:5]}": bool(wrong) or not looked,
        f"the gateway answered {asking.wrong}": bool(asking.wrong),
        f"left behind: {left}": bool(left),
    }
    return [text for text, is_wrong in checks.items() if is_wrong]


@dataclass(frozen=True)
class Workplace:
    """Where all of it happens."""

    root: Path
    server: PostgreSQL | None
    disks: Disk | bool
    """For the site that is disturbed."""

    def site(self, name: str, *, is_calm: bool) -> Site:
        """A new one."""
        disks = False if is_calm else self.disks
        return Site(self.root / name, self.root / "films", self.root / "models", self.server, disks)


@contextlib.contextmanager
def workplace(database: str, *, has_disks: bool) -> Iterator[Workplace]:
    """A folder, which is kept where something went wrong, and a server of the database where that is one."""
    root = Path(tempfile.mkdtemp(prefix="reeltag-plugs-"))
    with contextlib.ExitStack() as stack:
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
    parser.add_argument("--segments", type=int, default=200, help="a multiple of 10")
    parser.add_argument("--pulls", type=int, default=20)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--plugs", default="kills", help=f"kills, others, all, or some of {', '.join(PLUGS)}")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    names = _names(given.plugs)
    has_disks = any(name.startswith("full-") for name in names)
    with workplace(given.database, has_disks=has_disks) as place:
        print(f"{machine()}\n`python -m benchmarks.plugs {' '.join(sys.argv[1:])}`", flush=True)
        films.write_films(place.root / "films", given.segments // films.VIDEO_SEGMENTS)
        films.export_reader(place.root / "models", place.root)
        expected = peaceful(place.site("calm", is_calm=True), given.segments)
        problems = disturbed(place.site("rough", is_calm=False), given, names, expected)
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
