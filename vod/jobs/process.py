"""A worker in a process of its own, beside a gateway that keeps it running.

The parent starts this as a module. The first line of its standard input is a JSON object: the settings, and the
parent's process id; the end of the input says that the parent is gone. On its standard output it says `ready`, and
`lost REASON` where Triton lost a backend.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from reeltag.settings import Settings
from reeltag.triton import TritonClient
from vod.jobs.video_tagging import VideoTagging
from vod.jobs.worker import Worker
from vod.options import Decoder

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Do jobs until SIGTERM, or until the parent is gone."""
    spec: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the parent, too, which stops us
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != spec["parent"]:
        return
    settings = Settings.model_validate(spec["settings"])
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s jobs: %(message)s")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(work(settings, lambda _: _say("ready"), lambda reason: _say(f"lost {reason}")))
    os._exit(0)  # a thread that waits for a database that is away would be waited for


async def work(settings: Settings, on_ready: Callable[[str], None], on_lost: Callable[[str], None] | None) -> None:
    """Do jobs until SIGTERM or SIGINT.

    Args:
        settings: `triton_url` must be set; of several the first is asked.
        on_ready: Called with the worker's id.
        on_lost: Called with the reason where Triton lost a backend and has to be started again.
    """
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, task.cancel)
    client = TritonClient(
        settings.triton_urls[0],
        timeout_seconds=settings.timeout_seconds,
        secret=settings.triton_secret_value,
        on_lost=on_lost,
    )
    with contextlib.suppress(asyncio.CancelledError):
        async with client:
            worker = Worker(settings, VideoTagging(client, settings.segment_seconds, Decoder(settings.decoder)))
            await worker.run(lambda: on_ready(worker.host))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the parent is gone
        os.write(1, " ".join(line.split("\n")).encode() + b"\n")


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
