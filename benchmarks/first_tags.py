"""How soon are the tags of a one-minute video there, on an idle server?

Run it with `python -m benchmarks.first_tags`. `reeltag serve` runs with its own Triton and worker; three videos of 60 s
are submitted over HTTP, one after the other, and the time until their `tags.json` can be read is printed.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from benchmarks.throughput import machine
from tests.e2e.conftest import REELTAG, free_port, wait_until_ready
from tests.vod.numbered import RATE, Encoding, write_numbered

VIDEOS: Final = 3
SETTLING_SECONDS: Final = 8.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        films = Path(folder) / "films"
        films.mkdir()
        for number in range(VIDEOS):
            frames = [frame % 1000 for frame in range(number, number + seconds * RATE)]
            write_numbered(films / f"{number}.mp4", frames, Encoding(options={"g": str(2 * RATE)}))
        port, log = free_port(), Path(folder) / "log"
        environment = {**os.environ, "REELTAG_STATE_DIR": folder, "REELTAG_SOURCE_ROOTS": str(films)}
        command = [REELTAG, "serve", "--port", str(port), "--grpc-port", "0", "--jobs-worker"]
        with log.open("w") as file, subprocess.Popen(command, env=environment, stderr=file) as process:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process, log)
            time.sleep(SETTLING_SECONDS)
            times = [submitted(url, films / f"{number}.mp4") for number in range(VIDEOS)]
            process.send_signal(signal.SIGINT)
    told = ", ".join(f"{each:.1f}" for each in times)
    print(f"{machine()}: {seconds} s of 320x192 H.264: tags after {told} s, median {statistics.median(times):.1f} s")


def submitted(url: str, path: Path) -> float:
    """Seconds from a submission to its tags."""
    began = time.perf_counter()
    answer = httpx.post(f"{url}/v1/jobs", json={"sources": [str(path)]}, timeout=30)
    job_id = answer.raise_for_status().json()["id"]
    while True:
        state = httpx.get(f"{url}/v1/jobs/{job_id}", timeout=30).json()["state"]
        if state not in {"QUEUED", "RUNNING"}:
            results = httpx.get(f"{url}/v1/jobs/{job_id}/results?format=jsonl", timeout=30)
            assert state == "SUCCEEDED", state
            assert results.text.count("\n") == 1
            return time.perf_counter() - began
        time.sleep(0.1)


if __name__ == "__main__":
    main()
