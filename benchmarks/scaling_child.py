"""What `benchmarks.scaling` measures in processes of their own: bare ones, and the client of `reeltag tag`.

Each says `ready` when it has loaded everything, waits for a line, works, and prints a line of JSON: what it did, in how
many seconds. So all begin at the same moment, and none is charged for its imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import bare
from benchmarks.bare_video import BareVideo
from reeltag.settings import load_settings
from reeltag.triton import TritonClient
from vod.options import TagOptions
from vod.outcome import Status
from vod.tagging import tag_paths

Work = Callable[[], float]
"""Does it, and gives the images or the seconds of video that were done."""


def images(seconds: float, pictures: Path) -> Work:
    """Decode, network and NMS in this process, on its cores, with the better of two batch sizes."""
    files = [path.read_bytes() for path in sorted(pictures.glob("*.jpg"))]
    cores = len(os.sched_getaffinity(0))
    rates = {}
    for batch in (1, 4):
        process = bare.Bare("nanodet_g", streams=cores, batch=batch)
        process.images_per_second(files, min(1.0, seconds))
        rates[process] = process.images_per_second(files, min(2.0, seconds))
    best = max(rates, key=lambda process: rates[process])
    return lambda: best.images_per_second(files, seconds) * seconds


def video(path: Path, length: float) -> Work:
    """Decode a video and run the networks over it, in this process, on its cores."""
    process = BareVideo()

    def work() -> float:
        process.spent(path, TagOptions())
        return length

    return work


def tag(url: str, length: float, paths: list[Path]) -> Work:
    """Tag videos through Triton, as `reeltag tag` does."""

    async def tagged() -> None:
        with tempfile.TemporaryDirectory() as out:
            async with TritonClient(url) as client:
                jobs = load_settings().tag_jobs
                outcomes = await tag_paths(paths, Path(out), client, TagOptions(force=True), jobs=jobs)
        if any(outcome.status is not Status.TAGGED for outcome in outcomes):
            raise RuntimeError(f"not all was tagged: {outcomes}")

    def work() -> float:
        asyncio.run(tagged())
        return length * len(paths)

    return work


def main(kind: str, *rest: str) -> None:
    """Prepare, say so, wait, work, and tell what was done."""
    if kind == "images":
        work = images(float(rest[0]), Path(rest[1]))
    elif kind == "video":
        work = video(Path(rest[1]), float(rest[0]))
    else:
        work = tag(rest[0], float(rest[1]), [Path(path) for path in rest[2:]])
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    done = work()
    print(json.dumps({"done": done, "seconds": time.perf_counter() - began}), flush=True)
    sys.stdin.readline()  # its processor time is read while it is still there


if __name__ == "__main__":
    main(*sys.argv[1:])
