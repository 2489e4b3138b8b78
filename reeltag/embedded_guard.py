"""Runs one tritonserver and outlives neither it nor the process that wanted it.

`embedded.py` starts this file as a script of its own, with the standard library alone. It watches its standard
input: the line `ready` says that the server came up, and from then on a death gets one restart; the end of input says
that the parent is gone or done, whatever ended it. In every case it leaves no process, shared memory or file behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

STOP_GRACE_SECONDS: Final = 10.0
"""How long the server may take to finish its requests after SIGTERM."""
CRASH_LOOP_SECONDS: Final = 60.0
"""A server that dies again this soon after its restart is not restarted again."""
SHARED_MEMORY: Final = Path("/dev/shm")
_PR_SET_PDEATHSIG: Final = 1


def main() -> int:
    """Run the server that the first argument, a JSON file, describes; 0 after a wanted stop, 1 after its last death."""
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # only the end of input stops the guard, so nothing is left behind
    remove_stale_shared_memory(spec["shm_family"])
    try:
        with Path(spec["log"]).open("ab", buffering=0) as log:
            return _run(spec, log)
    finally:
        remove_shared_memory(spec["shm_prefix"])
        shutil.rmtree(spec["scratch"], ignore_errors=True)


def _run(spec: dict[str, Any], log: Any) -> int:
    armed, restarted_at = False, 0.0
    while True:
        server = _start(spec, log)
        try:
            wanted, armed = _wait(server, armed)
        finally:
            _stop(server)
            remove_shared_memory(spec["shm_prefix"])
        if wanted:
            return 0
        again = restarted_at > 0 and time.monotonic() - restarted_at < CRASH_LOOP_SECONDS
        log.write(f"reeltag: tritonserver died with exit status {server.returncode}\n".encode())
        if again or not armed:
            log.write(b"reeltag: it is not restarted\n")
            return 1
        log.write(b"reeltag: restarting it once\n")
        restarted_at = time.monotonic()


def _start(spec: dict[str, Any], log: Any) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None, use_errno=True)

    def die_with_guard() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return subprocess.Popen(
        spec["command"],
        env=spec["environment"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=die_with_guard,  # noqa: PLW1509 - the guard has a single thread
    )


def _wait(server: subprocess.Popen[bytes], armed: bool) -> tuple[bool, bool]:
    """Until the parent is done or the server dead: (whether the parent is done, whether `ready` was heard)."""
    pidfd = os.pidfd_open(server.pid)
    try:
        while True:
            readable, _, _ = select.select([0, pidfd], [], [])
            if 0 in readable:
                words = os.read(0, 4096)
                if not words:
                    return True, armed
                armed = armed or b"ready" in words
            if pidfd in readable:
                return False, armed
    finally:
        os.close(pidfd)


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # the Python backends' stubs are of the server's process group
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def remove_shared_memory(prefix: str) -> None:
    """Remove the POSIX shared-memory objects whose names start with `prefix`."""
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def remove_stale_shared_memory(family: str) -> None:
    """Remove what guards that no longer run left behind; names are `FAMILY_PID_...`, the PID being the starter's."""
    for path in SHARED_MEMORY.glob(f"{family}_*"):
        pid = path.name.removeprefix(f"{family}_").partition("_")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
