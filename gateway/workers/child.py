"""A worker: the gateway in a process of its own, with a listener that it inherits.

The parent starts this as a module. The first line of its standard input is a JSON object of what to serve; each later
one is why Triton does not come back, empty where it does; the end of the input says that the parent is gone. On its
standard output it says `ready`, `beat` once a second, and `lost REASON` where Triton lost a backend.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, Final

from gateway.server import serve
from gateway.workers import place
from gateway.workers.place import Place
from gateway.workers.shares import share_of
from reeltag.settings import Settings

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    spec: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # also one that was stopped ends with its parent
    if os.getppid() != spec["parent"]:
        return
    folder = Path(spec["folder"])
    place.current = Place(folder, spec["index"])
    own = ParentsTriton() if spec["has_own"] else None
    threading.Thread(target=_listen_to_parent, args=(own, folder), daemon=True).start()
    settings = share_of(Settings.model_validate(spec["settings"]))
    with socket.socket(fileno=spec["listener"]) as listener:
        serve(settings, on_ready=lambda _: say("ready"), own=own, listener=listener)


class ParentsTriton:
    """The Triton that the parent keeps running."""

    def __init__(self) -> None:
        self.trouble: str | None = None

    def restart(self, reason: str) -> None:
        """Have it ended at once and started again."""
        say(f"lost {reason}")


def say(line: str) -> None:
    """Tell the parent something."""
    try:
        os.write(1, " ".join(line.split("\n")).encode() + b"\n")
    except OSError:
        return  # it is gone


def _listen_to_parent(own: ParentsTriton | None, folder: Path) -> None:
    while line := os.read(0, 4096):
        if own is not None:
            own.trouble = line.decode(errors="replace").strip().rpartition("\n")[2] or None
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
