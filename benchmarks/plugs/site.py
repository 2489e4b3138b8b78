"""What plugs are pulled of: a gateway with its worker and its Triton, and before PostgreSQL a second host."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import sqlalchemy as sa

from benchmarks.plugs.clock import Clock
from benchmarks.plugs.disks import Disk
from benchmarks.plugs.films import OPTIONS, SEGMENT_SECONDS
from benchmarks.plugs.proxy import Proxy
from reeltag.embedded import EmbeddedTriton
from reeltag.settings import Settings
from tests.e2e.conftest import REELTAG, free_port
from tests.vod.jobs.postgresql import PostgreSQL
from vod.jobs.database import Database

SLOTS: Final = 4
READY_SECONDS: Final = 300.0
CHILD_SECONDS: Final = 60.0
"""A worker that ended a few times is waited for as long as the gateway waits before it starts the next."""
_STATE_MIB, _RESULTS_MIB = 128, 64


class Site:
    """A database and the hosts that work on its jobs; nothing runs before `begin`.

    Args:
        folder: Made here: state, results and logs.
        films: Source of its jobs.
        models: Model repository.
        server: PostgreSQL, and so a second host; SQLite without it.
        disks: Whether state and results lie on small disks of their own, which can be full; that of PostgreSQL's data
            is given.
        segment_seconds: About how long a segment is.
    """

    def __init__(
        self,
        folder: Path,
        films: Path,
        models: Path,
        server: PostgreSQL | None,
        disks: Disk | bool = False,
        segment_seconds: int = SEGMENT_SECONDS,
    ) -> None:
        folder.mkdir()
        self.folder: Final = folder
        self.server: Final = server
        self._films, self._models = films, models
        self._segment_seconds = segment_seconds
        self._stack = ExitStack()
        self._port = free_port()
        self.serve: subprocess.Popen[bytes] | None = None
        self.second: subprocess.Popen[bytes] | None = None
        self.pids: set[int] = set()
        """Of all that ran here."""
        self.results_disk = self._disk("results", _RESULTS_MIB) if disks else None
        self.database_disk = disks if isinstance(disks, Disk) else self._disk("state", _STATE_MIB) if disks else None
        self.clock = Clock(folder)
        url = None if server is None else server.new_database()
        self.settings: Final = Settings(state_dir=folder / "state", database_url=url, results=str(folder / "results"))
        self.database: Final = Database(self.settings.jobs_url)
        self.ways: dict[str, Proxy] = {}
        """Of the network: `first` and `second` to the database, `triton` from the second host to its Triton."""
        self.second_triton: EmbeddedTriton | None = None
        if server is not None:
            for name in ("first", "second"):
                self.ways[name] = self._stack.enter_context(Proxy(server.socket))

    def _disk(self, name: str, mebibytes: int) -> Disk:
        return self._stack.enter_context(Disk(self.folder / name, mebibytes))

    @property
    def url(self) -> str:
        """Of the gateway."""
        return f"http://127.0.0.1:{self._port}"

    def submit(self) -> str:
        """Have all films tagged; the job's id."""
        answer = httpx.post(f"{self.url}/v1/jobs", json={"sources": [str(self._films)], "options": OPTIONS}, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def begin(self) -> None:
        """Start the gateway, its Triton and its worker."""
        command = [REELTAG, "serve", "--port", str(self._port), "--grpc-port", "0", "--jobs-worker"]
        # Where the database is a file, its clock is that of those who open it.
        clock = self.clock.environment() if self.server is None else {}
        self.serve = self._started([*command, "--model-repository", str(self._models)], "state", "first", clock)
        until = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if self.serve.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"reeltag serve did not start; its log is {self.folder / 'log'}")
            time.sleep(0.2)

    def join(self) -> None:
        """Start the second host's worker; its Triton is reached over a network that can be cut."""
        if self.second_triton is None:
            self.second_triton = self._stack.enter_context(EmbeddedTriton(self._models))
            self.ways["triton"] = self._stack.enter_context(Proxy(self.second_triton.url))
        command = [REELTAG, "worker", "--triton-url", self.ways["triton"].address]
        self.second = self._started(command, "second", "second", self.clock.environment())

    def _started(self, command: list[str], state: str, way: str, more: dict[str, str]) -> subprocess.Popen[bytes]:
        url = self.settings.jobs_url
        if way in self.ways:
            url = sa.make_url(url).set(host="127.0.0.1", port=self.ways[way].port, query={}).render_as_string(False)
        environment = {
            "REELTAG_STATE_DIR": str(self.folder / state),
            "REELTAG_DATABASE_URL": url,
            "REELTAG_SOURCE_ROOTS": str(self._films),
            "REELTAG_RESULTS": self.settings.results_root,
            "REELTAG_SEGMENT_SECONDS": str(self._segment_seconds),
            "REELTAG_WORKER_SLOTS": str(SLOTS),
            **more,
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)

    def note_processes(self) -> None:
        """Remember which there are, to tell what they leave behind from what is others'."""
        for process in filter(None, (self.serve, self.second)):
            self.pids |= {process.pid, *(each.pid for each in self._below(process.pid))}

    def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False

    def worker(self) -> psutil.Process | None:
        """The gateway's worker, as soon as there is one."""
        return self._soon(lambda each: "vod.jobs.process" in each.cmdline())

    def triton(self) -> psutil.Process | None:
        """The gateway's Triton, as soon as there is one."""
        return self._soon(_is_triton)

    def _soon(self, is_wanted: Callable[[psutil.Process], bool]) -> psutil.Process | None:
        until = time.monotonic() + CHILD_SECONDS
        while time.monotonic() < until:
            assert self.serve is not None
            for each in self._below(self.serve.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if is_wanted(each):
                        return each
            time.sleep(0.1)
        return None

    def triton_of_second(self) -> psutil.Process | None:
        """The server of the second host."""
        assert self.serve is not None
        of_first = {each.pid for each in self._below(self.serve.pid)}
        for each in self._below(os.getpid()):
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.pid not in of_first and _is_triton(each):
                    return each
        return None

    @staticmethod
    def _below(pid: int) -> Iterator[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield from psutil.Process(pid).children(recursive=True)

    def triton_url(self) -> str:
        """Of the gateway's Triton."""
        answer: dict[str, Any] = httpx.get(f"{self.url}/v1/models", timeout=30).json()
        return str(answer["triton"]["grpc_url"])

    def end(self) -> list[str]:
        """Stop all of it; what is not as it should be then."""
        left = []
        self.note_processes()
        for process in filter(None, (self.second, self.serve)):
            if process.poll() is not None:
                left.append(f"{process.args!r} ended by itself with status {process.returncode}")
            else:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    left.append(f"{process.args!r} did not end within a minute")
                    process.kill()
        self.serve = self.second = None
        left += self._left_over()
        self.database.close()
        self._stack.close()
        return left

    def _left_over(self) -> list[str]:
        """Processes of ours that outlived those who started them, and shared memory of processes that are dead."""
        time.sleep(1)
        found = []
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if each.environ().get("REELTAG_STATE_DIR", "").startswith(str(self.folder)):
                    found.append(" ".join(each.cmdline())[:100])
        for memory in Path("/dev/shm").glob("reeltag_*_*"):
            pid = memory.name.split("_")[1]
            if pid.isdigit() and int(pid) in self.pids and not psutil.pid_exists(int(pid)):
                found.append(f"/dev/shm/{memory.name}")
        return found


def _is_triton(process: psutil.Process) -> bool:
    return bool(process.name().startswith("tritonserver"))
