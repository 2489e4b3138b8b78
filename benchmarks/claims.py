"""What does an idle worker cost, and how soon does it begin with a job that is submitted?

Run it with `python -m benchmarks.claims`. A worker that decodes nothing waits for a minute, beside SQLite, and its
processor time is told; then jobs of one video are submitted with pauses between them, as from another process.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil
import sqlalchemy as sa

from benchmarks.throughput import machine
from reeltag.settings import Settings
from vod.client import Jobs, Submission
from vod.jobs.database import Database
from vod.jobs.tables import jobs as rows

SETTLING_SECONDS: Final = 15.0
IDLE_SECONDS: Final = 60.0
SUBMISSIONS: Final = 12
PAUSE_SECONDS: Final = 2.0


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "REELTAG_STATE_DIR": folder, "REELTAG_SOURCE_ROOTS": folder}
        settings = Settings(state_dir=Path(folder), source_roots=(folder,))
        command = [sys.executable, "-m", "tests.vod.jobs.scripted"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            worker.stdout.readline()
            time.sleep(SETTLING_SECONDS)
            share = idle_share(psutil.Process(worker.pid))
            waits = [began_after(settings, Path(folder), number) for number in range(SUBMISSIONS)]
            worker.terminate()
    print(f"{machine()}: an idle worker takes {100 * share:.2f} % of a core")
    told = f"{statistics.median(waits):.3f} s after the submission in the middle, {max(waits):.3f} s at most"
    print(f"a video is in work {told}, of {SUBMISSIONS}")


def idle_share(process: psutil.Process) -> float:
    """Of a core, over a minute."""
    before = process.cpu_times()
    time.sleep(IDLE_SECONDS)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system) / IDLE_SECONDS


def began_after(settings: Settings, folder: Path, number: int) -> float:
    """Seconds from a submission until its video is claimed; its source has been read by then."""
    time.sleep(PAUSE_SECONDS)
    path = folder / f"{number}.mp4"
    path.write_text(f'{{"segments": 1, "seconds": 0, "name": {number}}}')
    jobs, database = Jobs(settings), Database(settings.jobs_url)
    job, _ = asyncio.run(jobs.submit(Submission(sources=(str(path),))))
    began = time.perf_counter()
    query = sa.select(rows.c.started_at).where(rows.c.id == job.id)
    while True:
        with database.reading() as connection:
            if connection.scalar(query) is not None:
                break
        time.sleep(0.002)
    taken = time.perf_counter() - began
    database.close()
    asyncio.run(jobs.close())
    return taken


if __name__ == "__main__":
    main()
