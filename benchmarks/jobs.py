"""Seconds of video per second: jobs on a server against one bare process, for each way of sampling.

`python -m benchmarks.jobs --policy fps --policy keyframes` runs, in turns, the same few videos through a bare process
(`benchmarks/bare_video.py`), as a job of a running `reeltag serve`, and, by `--tag`, through `reeltag tag`; by
`--plain` through `reeltag tag` without shared memory, by `--hosts` as a job while a second worker helps, by
`--decoding` without networks. Measurements are kept in a JSON, so that a run can be done in pieces; `--show` prints its
tables. Cost is at `--price` dollars an hour for this machine, beside $0.10 a minute that clouds ask for labels.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from benchmarks.bare_video import BareVideo, Spent, median_of
from benchmarks.media import street_films
from benchmarks.sampling import POLICIES
from benchmarks.server import Served, serving
from benchmarks.throughput import machine
from reeltag.errors import ReeltagError
from reeltag.triton import TritonClient
from vod.options import TagOptions
from vod.tagging import tag_paths

CLOUD_DOLLARS: Final = 0.10
"""A minute of video, labels, as Google Video Intelligence and Amazon Rekognition list it."""
BARE, JOB, TAG, PLAIN, HOSTS, BLIND = "bare", "job", "tag", "tag, plain gRPC", "job, two workers", "decoding alone"

Way = Callable[[TagOptions, Mapping[str, Any]], Spent]
"""Runs all videos once."""


class Clock:
    """What has been spent since it was made, by this process and all that it started, the server among them."""

    def __init__(self) -> None:
        self._began, self._used = time.perf_counter(), self._processor_seconds()

    def spent(self) -> Spent:
        """Until now."""
        return Spent(time.perf_counter() - self._began, self._processor_seconds() - self._used)

    def _processor_seconds(self) -> float:
        """Of those that run and, since a process knows those of its children that have ended, of those that ran."""
        used = 0.0
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                used += sum(process.cpu_times()[:4])
        return used


class PlainClient(TritonClient):
    """Sends frames, as to a server on another host."""

    async def register_shared_memory(self, region: str, key: str, byte_size: int) -> None:
        """Refuse."""
        raise ReeltagError("it is on another host")


class Ways:
    """All that is compared, on one server.

    Args:
        served: The server.
        films: The videos.
        state: Folder of its jobs.
    """

    def __init__(self, served: Served, films: Sequence[Path], state: Path) -> None:
        self._served, self._films, self._state = served, films, state
        self._bare, self._blind = BareVideo(), BareVideo(is_blind=True)
        self._http = httpx.Client(timeout=30)  # a new one for each request takes 20 ms of a processor

    def ways(self, wanted: set[str]) -> dict[str, Way]:
        """Those that are wanted, by name."""
        all_ways: dict[str, Way] = {
            BARE: lambda options, _: self._in_one_process(self._bare, options),
            JOB: lambda _, given: self._job(given),
            BLIND: lambda options, _: self._in_one_process(self._blind, options),
            TAG: lambda options, _: asyncio.run(self._tagged(TritonClient, options)),
            PLAIN: lambda options, _: asyncio.run(self._tagged(PlainClient, options)),
            HOSTS: self._with_second_worker,
        }
        return {name: way for name, way in all_ways.items() if name in wanted}

    def _in_one_process(self, bare: BareVideo, options: TagOptions) -> Spent:
        spent = [bare.spent(path, options) for path in self._films]
        return Spent(sum(each.seconds for each in spent), sum(each.processor_seconds for each in spent))

    def _job(self, given: Mapping[str, Any]) -> Spent:
        clock, url, http = Clock(), f"{self._served.url}/v1/jobs", self._http
        sources = [str(path) for path in self._films]
        answer = http.post(url, json={"sources": sources, "options": dict(given)}).raise_for_status()
        job = f"{url}/{answer.json()['id']}"
        while (state := http.get(job).json()["state"]) in {"QUEUED", "RUNNING"}:
            time.sleep(0.5)
        spent = clock.spent()
        if state != "SUCCEEDED":
            raise SystemExit(f"the job ended {state}: {http.get(job).text}")
        http.delete(job).raise_for_status()  # else the next submission would be the same job
        return spent

    async def _tagged(self, kind: type[TritonClient], options: TagOptions) -> Spent:
        async with kind(self._served.triton_url) as client:
            with tempfile.TemporaryDirectory() as out:
                clock = Clock()
                await tag_paths(self._films, Path(out), client, options)
                return clock.spent()

    def _with_second_worker(self, _: TagOptions, given: Mapping[str, Any]) -> Spent:
        command = [str(Path(sys.executable).parent / "reeltag"), "worker", "--triton-url", self._served.triton_url]
        environment = {
            **os.environ,
            "REELTAG_STATE_DIR": str(self._state),
            "REELTAG_SOURCE_ROOTS": str(self._films[0].parent),
        }
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "does jobs of version" in line:
                    break
            try:
                return self._job(given)
            finally:
                process.send_signal(signal.SIGINT)
                process.stderr.read()


@contextlib.contextmanager
def prepared(films: Path | None, count: int, seconds: int) -> Iterator[tuple[Ways, int]]:
    """A server with videos, made where they are not there yet; and how long they are together, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        paths = street_films(films or Path(folder) / "films", count, seconds)
        environment = {"REELTAG_STATE_DIR": f"{folder}/state", "REELTAG_SOURCE_ROOTS": str(paths[0].parent)}
        with serving("--jobs-worker", environment=environment) as served:
            yield Ways(served, paths, Path(folder) / "state"), count * seconds


def measured(ways: Ways, policy: str, wanted: set[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Seconds of each way in all rounds so far, and those of processors, after each round; the ways take turns."""
    options = POLICIES[policy]
    given = {"sample": options.sample.value, "fps": options.fps, "shot_frames": options.shot_frames.value}
    found: dict[str, list[float]] = {}
    used: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, way in ways.ways(wanted).items():
            spent = way(options, given)
            found.setdefault(name, []).append(round(spent.seconds, 3))
            used.setdefault(name, []).append(round(spent.processor_seconds, 3))
            told = f"{spent.seconds:.1f} s, {spent.processor_seconds:.1f} s of processors"
            print(f"{policy}, {name}: {told}", file=sys.stderr, flush=True)
        yield {"rounds": found, "processor_seconds": used}


def tables(kept: Mapping[str, Any], price: float) -> str:
    """Markdown of what was measured."""
    lines = [
        "| policy | way | seconds of video a second | of bare | of its rounds | processor seconds a second of video |"
        f" of bare by these | video minutes a machine hour | dollars a video hour at ${price:.2f} a machine hour |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for policy, of_policy in kept["policies"].items():
        length, rounds, used = (of_policy[name] for name in ("video_seconds", "rounds", "processor_seconds"))
        for name, seconds in rounds.items():
            rate = length / median_of(seconds)
            ratios = [bare / own for bare, own in zip(rounds[BARE], seconds, strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            by_processor = [bare / own for bare, own in zip(used[BARE], used[name], strict=True)]
            lines.append(
                f"| {policy} | {name} | {rate:.1f} | {median_of(ratios):.2f} | {spread} |"
                f" {median_of(used[name]) / length:.3f} | {median_of(by_processor):.2f} | {60 * rate:,.0f} |"
                f" {price / rate:.3f} |"
            )
    lines.append(f"\nClouds ask ${CLOUD_DOLLARS:.2f} a minute for labels: ${60 * CLOUD_DOLLARS:.2f} a video hour.")
    return "\n".join(lines)


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", action="append", choices=list(POLICIES), default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=30, help="of each video")
    parser.add_argument("--films", type=Path, help="folder that keeps the videos")
    parser.add_argument("--out", type=Path, default=Path("out/jobs.json"))
    parser.add_argument("--price", type=float, default=0.10, help="of this machine, dollars an hour")
    for name, way in _CHOICES.items():
        parser.add_argument(f"--{name}", action="append_const", dest="ways", const=way, default=[BARE, JOB])
    parser.add_argument("--show", action="store_true", help="measure nothing")
    given = parser.parse_args()
    kept = json.loads(given.out.read_text()) if given.out.exists() else {"policies": {}}
    if not given.show:
        with prepared(given.films, given.videos, given.seconds) as (ways, seconds):
            for policy in given.policy or POLICIES:
                for found in measured(ways, policy, set(given.ways), given.rounds):
                    kept["policies"][policy] = {"machine": machine(), "video_seconds": seconds, **found}
                    given.out.parent.mkdir(parents=True, exist_ok=True)
                    given.out.write_text(json.dumps(kept, indent=1))
    print(f"{machine()}\n\n{tables(kept, given.price)}")


_CHOICES: Final = {"tag": TAG, "plain": PLAIN, "hosts": HOSTS, "decoding": BLIND}

if __name__ == "__main__":
    main()
