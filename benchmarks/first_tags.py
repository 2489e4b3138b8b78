"""How soon are the tags of a one-minute video there, on an idle server: the first ones, and all of them?

Run it with `python -m benchmarks.first_tags`. `reeltag serve` runs with its own Triton and worker; three videos of 60 s
are submitted over HTTP, one after the other. Timed are the first preliminary tags that `/v1/jobs/ID/videos` shows, and
the video's line in the results. `--precision f32` has the networks compute as on a machine without bf16.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from benchmarks.media import street_films
from benchmarks.server import serving
from benchmarks.throughput import machine
from exporters.publishing.repository import publish
from reeltag.embedded import EmbeddedTriton

VIDEOS: Final = 3
SETTLING_SECONDS: Final = 8.0


@dataclass(frozen=True)
class Times:
    """Seconds from a submission."""

    planned: float
    """Until the video's length is known."""
    first: float
    """Until there are preliminary tags."""
    whole: float
    """Until the results are there."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--films", type=Path, help="folder that keeps the videos")
    parser.add_argument("--precision", choices=("f32",), help="instead of the machine's best")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        films = street_films(given.films or Path(folder) / "films", VIDEOS, given.seconds)
        environment = {"REELTAG_STATE_DIR": folder, "REELTAG_SOURCE_ROOTS": str(films[0].parent)}
        with ExitStack() as stack:
            options = ["--jobs-worker"]
            if given.precision:
                triton = stack.enter_context(EmbeddedTriton(repository(Path(folder) / "models", given.precision)))
                options += ["--triton-url", triton.url]
            served = stack.enter_context(serving(*options, environment=environment))
            time.sleep(SETTLING_SECONDS)
            times = [submitted(served.url, film) for film in films]
    print(f"{machine()}, {given.precision or 'its best precision'}: {given.seconds} s of 720p H.264")
    for name in ("planned", "first", "whole"):
        seconds = [getattr(each, name) for each in times]
        told = ", ".join(f"{each:.1f}" for each in seconds)
        print(f"{name}: after {told} s, median {statistics.median(seconds):.1f} s")


def repository(folder: Path, precision: str) -> Path:
    """A model repository whose networks compute with this precision, whatever the machine could do."""
    publish(folder)
    for config in folder.glob("*/config.pbtxt"):
        config.write_text(config.read_text().replace('string_value: "bf16"', f'string_value: "{precision}"'))
    return folder


def submitted(url: str, path: Path) -> Times:
    """Submit a video and wait for its tags."""
    http = httpx.Client(timeout=30)  # one for each request would take a tenth of a processor
    began = time.perf_counter()
    answer = http.post(f"{url}/v1/jobs", json={"sources": [str(path)]})
    job, since = f"{url}/v1/jobs/{answer.raise_for_status().json()['id']}", dict[str, float]()
    state = "QUEUED"
    while state != "SUCCEEDED":
        time.sleep(0.2)
        state = http.get(job).json()["state"]
        assert state in {"QUEUED", "RUNNING", "SUCCEEDED"}, state
        videos = http.get(f"{job}/videos").json()["videos"]
        reached = {
            "planned": any(video["seconds_total"] for video in videos),
            "first": any(video["preliminary_tags"] for video in videos),
        }
        since |= {name: time.perf_counter() - began for name, is_so in reached.items() if is_so and name not in since}
    assert http.get(f"{job}/results?format=jsonl").text.count("\n") == 1
    since["whole"] = time.perf_counter() - began
    return Times(since["planned"], since.get("first", since["whole"]), since["whole"])


if __name__ == "__main__":
    main()
