"""A worker whose videos are JSON files that say what happens: it decodes nothing and asks no Triton.

Run as a module it does jobs by the settings of its environment, as `reeltag worker` does. A script is
`{"segments": 3, "seconds": 0.1, "broken": [1], "deadly": [2], "reading": 1.0}`: the segments' number, how long each
takes, those that cannot be decoded, those that kill the worker, and how long a thread reads the file first.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import Any

from reeltag.errors import VideoError
from reeltag.settings import load_settings
from vod.jobs import pulse
from vod.jobs import worker as worker_module
from vod.jobs.options import JobOptions
from vod.jobs.tagging import Part, Planned, Tagged
from vod.jobs.worker import Worker
from vod.stores.source import Found
from vod.stores.video_files import Write


class ScriptedTagging:
    """What a script says; a segment is 10 seconds of video."""

    async def labels(self) -> frozenset[str]:
        return frozenset({"car", "road"})

    async def plan(self, path: Path, options: JobOptions) -> Planned:
        script = _script(path)
        if script.get("deadly_plan"):
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.to_thread(time.sleep, script.get("reading", 0.0))
        return self.planned(json.dumps(script))

    def planned(self, text: str) -> Planned:
        count = json.loads(text)["segments"]
        return Planned(text, 10.0 * count, tuple((10.0 * i, 10.0 * i + 10) for i in range(count)))

    def in_one_go(self, text: str) -> Planned:
        raise NotImplementedError

    async def segment(
        self,
        path: Path,
        plan: str,
        index: int,
        options: JobOptions,
        advanced: Callable[[float], None],
        glimpsed: Callable[[str], None],
    ) -> bytes:
        script = _script(path)
        await asyncio.sleep(script.get("seconds", 0.0) / 2)
        if index in script.get("deadly", ()):
            os.kill(os.getpid(), signal.SIGKILL)
        if index in script.get("broken", ()):
            raise VideoError(f"{path.name}: segment {index} is broken")
        advanced(0.5)
        interval = {"start_seconds": 10.0 * index, "end_seconds": 10.0 * index + 5, "confidence": 0.9 - index / 10}
        glimpsed(json.dumps([{"label": "car", "model": "m", "confidence": 0.9 - index / 10, "intervals": [interval]}]))
        await asyncio.sleep(script.get("seconds", 0.0) / 2)
        return f"{path.name} {index}".encode()

    async def results(
        self, found: Found, path: Path, plan: str, parts: AsyncIterable[Part], options: JobOptions, folder: Path | None
    ) -> Tagged:
        given = [part async for part in parts]
        texts = [part.record.decode() if part.record is not None else part.failure for part in given]
        gaps = tuple(
            {"start_seconds": 10.0 * part.index, "end_seconds": 10.0 * part.index + 10, "reason": part.failure}
            for part in given
            if part.record is None
        )
        text = json.dumps({"texts": texts, "tags": [], "shots": [], "source": {"sha256": "", "duration_seconds": 0}})
        seconds = 10.0 * len(given)
        files: dict[str, Write] = {f"{found.name}.tags.json": lambda file: (file.write(text.encode()), None)[1]}
        return Tagged(files, seconds, 100 * (1 - 10 * len(gaps) / seconds), gaps)


def _script(path: Path) -> dict[str, Any]:
    try:
        script: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise VideoError(f"{path.name} does not exist any more") from error
    except ValueError as error:
        raise VideoError(f"{path.name} is no video") from error
    return script


async def _work() -> None:
    if "IDLE_SECONDS" in os.environ:  # so that whatever it begins with, it was called for
        worker_module.IDLE_SECONDS = pulse.IDLE_SECONDS = float(os.environ["IDLE_SECONDS"])  # type: ignore[misc]
    worker = Worker(load_settings(), ScriptedTagging())
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await worker.run(lambda: print(worker.host, flush=True))
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(_work())
