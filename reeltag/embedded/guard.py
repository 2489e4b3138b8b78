"""Runs one tritonserver and outlives neither it nor the process that wanted it.

`server.py` starts this file as a script of its own, with the standard library alone. It watches its standard
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
import struct
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
_PR_SET_NO_NEW_PRIVS: Final = 38
_SYS_SECCOMP: Final = 317
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_SPEC_ALLOW: Final = 4
"""Without it older kernels slow the whole process down against Spectre."""
_FILTER: Final = (
    # (code, jump if true, jump if false, operand), as `struct sock_filter` has them, for x86-64
    (0x20, 0, 0, 4),  # load the architecture
    (0x15, 0, 5, 0xC000003E),  # x86-64, or allow
    (0x20, 0, 0, 0),  # load the call's number
    (0x15, 0, 3, 91),  # fchmod, or allow
    (0x20, 0, 0, 24),  # load its second argument
    (0x15, 0, 1, 0o644),  # that mode, or allow
    (0x06, 0, 0, 0x00050000),  # do nothing and answer 0
    (0x06, 0, 0, 0x7FFF0000),  # allow
)


def main() -> int:
    """Run the server that the first argument, a JSON file, describes; 0 after a wanted stop, 1 after its last death."""
    os.umask(0o077)
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
            wanted, armed = _wait(server, armed, spec["shm_prefix"], log)
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
    Path(spec["socket"]).unlink(missing_ok=True)  # one that is there is one that is listened to
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        keep_files_private(libc)

    return subprocess.Popen(
        spec["command"],
        env=spec["environment"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 - the guard has a single thread
    )


def keep_files_private(libc: ctypes.CDLL) -> None:
    """Let this process and its children make files that no other user can open.

    A umask is not enough: Boost, which makes the Python backends' shared memory, sets mode 0644 right after it has
    made the file. That very call (`fchmod(file, 0644)`) is answered without being carried out, so that there is no
    moment in which another user could open a region and keep it open for the requests to come.
    """
    os.umask(0o077)
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in _FILTER))
    program = struct.pack("HxxxxxxQ", len(_FILTER), ctypes.addressof(instructions))  # `struct sock_fprog`
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # the kernel takes no filter from an ordinary user without
    libc.syscall(_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW, program)


def _wait(server: subprocess.Popen[bytes], armed: bool, prefix: str, log: Any) -> tuple[bool, bool]:
    """Until the parent is done or the server dead: (whether the parent is done, whether `ready` was heard)."""
    pidfd = os.pidfd_open(server.pid)
    try:
        while True:
            readable, _, _ = select.select([0, pidfd], [], [])
            if 0 in readable:
                words = os.read(0, 4096)
                if not words:
                    return True, armed
                if b"ready" in words and not armed:
                    armed = True
                    for path in close_to_others(prefix):
                        log.write(f"reeltag: another user could have opened {path}\n".encode())
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


def close_to_others(prefix: str) -> list[Path]:
    """Shared-memory objects whose names start with `prefix` and that other users could open; they no longer can.

    There are none where the kernel took the filter of `keep_files_private`.
    """
    found = [path for path in SHARED_MEMORY.glob(f"{prefix}*") if path.stat().st_mode & 0o077]
    for path in found:
        path.chmod(0o600)
    return found


def remove_shared_memory(prefix: str) -> None:
    """Remove the POSIX shared-memory objects whose names start with `prefix`."""
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        _remove_own(path)


def remove_stale_shared_memory(family: str) -> None:
    """Remove what guards that no longer run left behind; names are `FAMILY_PID_...`, the PID being the starter's."""
    for path in SHARED_MEMORY.glob(f"{family}_*"):
        pid = path.name.removeprefix(f"{family}_").partition("_")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _remove_own(path)


def _remove_own(path: Path) -> None:
    with contextlib.suppress(PermissionError):  # another user's, named like ours by chance or on purpose
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
