"""Runs one tritonserver and outlives neither it nor the process that wanted it.

`run.py` starts this file as a script of its own, with the standard library alone. The first line of its standard input
says what to run; the end of the input says that the parent is gone or done, whatever ended it. On its standard output
it tells the parent `pid N`, then `ready`, and at the end `died REASON` or `paused REASON`. Whatever happens, it leaves
no process and no shared memory behind, and no folder when the parent is gone.

The server ends with each of its backends, but for those that somebody exchanges and has named before. Where one dies,
Triton answers every request to its models with an error, and goes on to. Where one stands still for a second, Triton
gives it up, hears its late answer as that to the next request, and hands out results of another picture until it
crashes.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import math
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

LOOK_SECONDS: Final = 0.25
"""How often it looks whether a process stands still."""
STANDSTILL_SECONDS: Final = 1.0
"""When it was itself kept from looking for so long, so were the others; Triton gives up a backend after as long."""
PULSE: Final = "pulse"
"""File in the server's folder from which clients learn whether what they were answered can be trusted."""
PULSE_FORMAT: Final = struct.Struct("dd")
"""When the guard looked the last time, and when it last saw something stand still; seconds as `now` has them."""
CHANGING: Final = "changing"
"""File in the server's folder that names, one a line, the models whose backends may end: while somebody holds a lock on
it, they are exchanged or unloaded."""
RETIRED: Final = "retired"
"""File likewise, of models that are unloaded: their backends end in their own time."""
PAUSE_MEMORY_SECONDS: Final = 30.0
"""A death so soon after a pause counts as its consequence."""
SHARED_MEMORY: Final = Path("/dev/shm")
_INSTANCES: Final = re.compile(r"instance_group\s*\[?\s*\{[^}]*?\bcount:\s*(\d+)")
_NICENESS: Final = 5
"""Of the server and its backends: they take every core they get, and the gateway must still answer who comes."""
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


def main() -> None:
    """Run the server that the first line of the input, a JSON object, describes."""
    os.umask(0o077)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # only the end of input stops the guard, so nothing is left behind
    spec: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    folder = Path(spec["folder"])
    hold = os.open(folder, os.O_RDONLY)
    fcntl.flock(hold, fcntl.LOCK_SH)  # until the guard is gone, nobody takes it for abandoned
    remove_stale_shared_memory(spec["shm_family"])
    log = _Log(Path(spec["log"]))
    server = _start(spec, log)
    _tell(f"pid {server.pid}")
    try:
        ending = _Watch(server, folder / PULSE, Path(spec["socket"]), spec["shm_prefix"], log).until_the_end()
    finally:
        kill_session(server.pid)
        server.wait()
        remove_shared_memory(spec["shm_prefix"])
    if ending is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    log.write(ending)
    _tell(ending)


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # the parent is gone
        os.write(1, f"{line}\n".encode())


class _Log:
    """The server's log, which may be on a full disk."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            self.file = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError):  # a file system without locks
            # The server inherits it, so that nobody removes the log while it runs.
            fcntl.flock(self.file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def write(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self.file, f"reeltag: {line}\n".encode())


def _start(spec: dict[str, Any], log: _Log) -> subprocess.Popen[bytes]:
    Path(spec["socket"]).unlink(missing_ok=True)  # one that is there is one that is listened to
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        keep_files_private(libc)
        os.nice(_NICENESS)

    return subprocess.Popen(
        spec["command"],
        env=spec["environment"],
        stdin=subprocess.DEVNULL,
        stdout=log.file,
        stderr=log.file,
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


class _Pulse:
    """Tells clients that the guard looks, and what it sees."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        said = os.pread(self._file, PULSE_FORMAT.size, 0)
        self.stood_still_at = PULSE_FORMAT.unpack(said)[1] if len(said) == PULSE_FORMAT.size else -math.inf

    def beat(self) -> None:
        try:
            os.pwrite(self._file, PULSE_FORMAT.pack(now(), self.stood_still_at), 0)
        except OSError:  # no room, on a file system that writes each time to another place: then it tells nothing
            os.ftruncate(self._file, 0)

    def standstill(self) -> None:
        self.stood_still_at = now()
        self.beat()


class _Watch:
    """Looks at the server and its backends until one of them ends or stands still, or the parent is done."""

    def __init__(self, server: subprocess.Popen[bytes], pulse: Path, address: Path, shm_prefix: str, log: _Log) -> None:
        self._server = server
        self._pulse = _Pulse(pulse)
        self._address = address
        self._shm_prefix = shm_prefix
        self._log = log
        self._ready = False
        self._changing = pulse.with_name(CHANGING)
        self._was_changing = False
        self._backends: dict[int, str] = {}
        """What each process descriptor stands for; there may be several of a model."""
        self._folders: dict[str, Path] = {}
        """Of each model."""
        self._pids = {server.pid: "tritonserver"}
        self._standing: frozenset[int] = frozenset()
        self._looked_at = now()

    def until_the_end(self) -> str | None:
        """`died REASON` or `paused REASON`; None when the parent is done or gone."""
        process = os.pidfd_open(self._server.pid)
        while True:
            readable, _, _ = select.select([0, process, *self._backends], [], [], LOOK_SECONDS)
            if self._look_at_clock() and self._ready:
                return "paused all processes stood still"
            if 0 in readable and not os.read(0, 4096):
                return None
            ended = self._ended([backend for backend in self._backends if backend in readable])
            if ended:
                return self._death(f"the backend of {', '.join(sorted(ended))} died")
            if process in readable:
                return self._death(f"tritonserver {how_it_ended(self._server.wait())}")
            standing = self._stands_still()
            if standing:
                return f"paused {standing} was stopped"
            if not self._ready and _listens(self._address):  # Triton listens once every model is loaded
                self._become_ready()

    def _ended(self, backends: list[int]) -> list[str]:
        """Names of the models whose backends have ended and should not have; also looks for new ones."""
        may_end = named_in(self._changing) if self._ready else None
        retired = lines_of(self._changing.with_name(RETIRED)) if backends else frozenset()
        died = []
        for backend in backends:
            name = self._backends[backend]
            # Others that are as many as the model should have took its place: Triton ends this one in its own time.
            others = list(self._backends.values()).count(name) - 1
            if (
                others >= _instances_of(self._folders[name])
                or name in retired
                or (may_end is not None and name in may_end)
            ):
                del self._backends[backend]
                os.close(backend)
            else:
                died.append(name)
        if may_end is not None or self._was_changing:
            self._find_backends()
        self._was_changing = may_end is not None
        return died

    def _find_backends(self) -> None:
        """Watch the backends that are not watched yet, and no more those that are gone."""
        children = {one.pid for one in processes() if one.parent == self._server.pid and one.state not in "ZX"}
        self._pids = {pid: name for pid, name in self._pids.items() if pid in {*children, self._server.pid}}
        for pid in children - self._pids.keys():
            folder = _folder_of(pid)
            if folder is not None:  # else it has just been forked
                with contextlib.suppress(ProcessLookupError):
                    self._backends[os.pidfd_open(pid)] = folder.name
                    self._folders[folder.name] = folder
                    self._pids[pid] = f"the backend of {folder.name}"

    def _look_at_clock(self) -> bool:
        """Tell the clients that it looks; whether all stood still since it did the last time."""
        before, self._looked_at = self._looked_at, now()
        stood_still = self._looked_at - before > LOOK_SECONDS + STANDSTILL_SECONDS
        if stood_still:
            self._pulse.standstill()
        else:
            self._pulse.beat()
        return stood_still

    def _death(self, reason: str) -> str:
        """A death, or what a pause led to."""
        return f"{'paused' if now() - self._pulse.stood_still_at < PAUSE_MEMORY_SECONDS else 'died'} {reason}"

    def _stands_still(self) -> str:
        """Names of the processes that were stopped by a signal when it looked the last time and still are."""
        standing = frozenset(one.pid for one in map(status_of, self._pids) if one is not None and one.state == "T")
        again, self._standing = standing & self._standing, standing
        if standing:
            self._pulse.standstill()
        return ", ".join(sorted(self._pids[pid] for pid in again)) if self._ready else ""

    def _become_ready(self) -> None:
        self._find_backends()
        for path in close_to_others(self._shm_prefix):
            self._log.write(f"this kernel takes no filter: another user could have opened {path}")
        self._ready = True
        _tell("ready")


def lines_of(path: Path) -> frozenset[str]:
    """Of a file; none where there is no such file."""
    try:
        return frozenset(path.read_text(errors="replace").split("\n"))
    except OSError:
        return frozenset()


def named_in(changing: Path) -> frozenset[str] | None:
    """Names of the models that somebody exchanges now; None where nobody does."""
    try:
        file = os.open(changing, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # somebody holds it
        return frozenset(os.pread(file, 1 << 16, 0).decode(errors="replace").split("\n"))
    finally:
        os.close(file)
    return None


def how_it_ended(status: int) -> str:
    """In words, the status of a process as `subprocess` has it."""
    if status >= 0:
        return f"ended with exit status {status}"
    known = {one.value: one.name for one in signal.Signals}
    return f"was killed by {known.get(-status, f'signal {-status}')}"


def _folder_of(pid: int) -> Path | None:
    """Folder of the model that a stub runs: it is started with the path of its `model.py`. None of what is no stub."""
    with contextlib.suppress(OSError):
        for argument in Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0"):
            if argument.endswith("/model.py"):
                return Path(argument).parent.parent
    return None


def _instances_of(folder: Path) -> int:
    """How many backends a model should have, by its configuration; 1 where it does not say."""
    try:
        found = _INSTANCES.search((folder / "config.pbtxt").read_text(errors="replace"))
    except OSError:
        return 1
    return int(found[1]) if found else 1


def _listens(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(str(address))
        except OSError:
            return False
        return True


def now() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Status(NamedTuple):
    """What the kernel says of a process."""

    pid: int
    state: str
    """`T` for one that a signal has stopped, `Z` for one that has ended."""
    parent: int
    session: int


def status_of(pid: int) -> Status | None:
    """Status of a process; None when there is none."""
    try:
        # The name, in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return Status(pid, fields[0], int(fields[1]), int(fields[3]))


def processes() -> Iterator[Status]:
    """Status of every process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            one = status_of(int(entry.name))
            if one is not None:
                yield one


def kill_session(session: int) -> None:
    """Kill the processes of a session, and those that they start meanwhile."""
    for _ in range(20):
        alive = [one for one in processes() if one.session == session and one.state not in "ZX"]
        if not alive:
            return
        for one in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        time.sleep(0.02)


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
    main()
