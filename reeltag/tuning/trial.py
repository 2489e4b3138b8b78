"""A server with the sizes of a candidate, in processes of its own, that is loaded and ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from reeltag.errors import SetupError
from reeltag.tuning.candidates import Candidate
from reeltag.tuning.load import Loaded, closed_loop

START_SECONDS: Final = 180.0
STOP_SECONDS: Final = 30.0
_PROGRAM: Final = "from reeltag.cli import main; main()"
_MOST_CLIENTS: Final = 512
_PR_SET_PDEATHSIG: Final = 1
_ROUNDS: Final = 3
"""Of two candidates that are compared, in turns."""
_WARM_UP_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Subject:
    """What is tuned, and how."""

    repository: Path
    """The model repository; each server has a copy of it."""
    images: Sequence[bytes]
    tasks: str
    seconds: float
    """Of a measurement."""
    latency_seconds: float | None
    """The most that 95 of 100 requests may take; none tunes for throughput."""
    fixed: Mapping[str, int]
    """Settings that a person set."""


@dataclass(frozen=True)
class Measured:
    """What a candidate reached."""

    clients: int
    images_per_second: float
    """0 where no number of clients keeps the latency bound."""
    p95_seconds: float


class Servers:
    """Measures candidates by servers that are started for it.

    Args:
        subject: What is tuned, and how.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def measured(self, candidate: Candidate) -> Measured:
        """Start a server, load it, end it.

        Raises:
            SetupError: It ended, or was not ready in time; the text has its last words.
            ServiceError: A request failed.
        """
        with served(self._subject, candidate) as url:
            self._warm_up(url, candidate)
            return self._measure(url, candidate)

    def compared(self, one: Candidate, other: Candidate) -> tuple[float, float]:
        """Images a second of two, medians of rounds in turns; both servers stand by, one works at a time.

        Raises as `measured`.
        """
        with contextlib.ExitStack() as stack:
            servers = [(each, stack.enter_context(served(self._subject, each))) for each in (one, other)]
            for each, url in servers:
                self._warm_up(url, each)
            rounds = [[self._measure(url, each).images_per_second for each, url in servers] for _ in range(_ROUNDS)]
        first, second = (statistics.median(rates) for rates in zip(*rounds, strict=True))
        return first, second

    def _measure(self, url: str, candidate: Candidate) -> Measured:
        """For throughput with enough clients to fill it, for a latency bound with as many as keep it."""
        full, bound = _clients(candidate), self._subject.latency_seconds
        if bound is None:
            loaded = self._load(url, full, self._subject.seconds)
            return Measured(full, loaded.images_per_second, loaded.p95_seconds)
        best, clients = Measured(0, 0.0, float("inf")), 1
        while clients <= full:
            loaded = self._load(url, clients, self._subject.seconds)
            if loaded.p95_seconds > bound:
                return best if best.clients else Measured(clients, 0.0, loaded.p95_seconds)
            if loaded.images_per_second > best.images_per_second:
                best = Measured(clients, loaded.images_per_second, loaded.p95_seconds)
            clients *= 2
        return best

    def _warm_up(self, url: str, candidate: Candidate) -> None:
        """Let every instance compute once."""
        self._load(url, _clients(candidate), min(_WARM_UP_SECONDS, self._subject.seconds))

    def _load(self, url: str, clients: int, seconds: float) -> Loaded:
        return closed_loop(url, self._subject.images, tasks=self._subject.tasks, clients=clients, seconds=seconds)


def _clients(candidate: Candidate) -> int:
    """So many that a batch waits for each that is under way."""
    return min(_MOST_CLIENTS, max(8, 2 * candidate.batch_max_images * candidate.max_inflight_requests))


@contextlib.contextmanager
def served(subject: Subject, candidate: Candidate) -> Iterator[str]:
    """Start a server with these sizes; yields its address.

    Raises:
        SetupError: It ended, or was not ready in time; the text has its last words.
    """
    with tempfile.TemporaryDirectory(prefix="reeltag-tune-") as folder:
        place = Path(folder)
        shutil.copytree(subject.repository, place / "models", copy_function=_link, symlinks=True)
        log = place / "log"
        with log.open("wb") as file:
            port = _free_port()
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, "serve", "--port", str(port), "--grpc-port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=_environment(subject, candidate, place),
                start_new_session=True,  # Ctrl-C is ours; we end it
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread runs here that could hold a lock
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, process, log)
            yield url
        finally:
            _end(process)


def _environment(subject: Subject, candidate: Candidate, place: Path) -> dict[str, str]:
    """Ours without its own options of reeltag, which are of another server."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("REELTAG_")}
    sizes = {**subject.fixed, **vars(candidate), "max_waiting_images": 1024}
    told = {f"REELTAG_{name.upper()}": str(value) for name, value in sizes.items()}
    own = {"REELTAG_STATE_DIR": str(place / "state"), "REELTAG_MODEL_REPOSITORY": str(place / "models")}
    return {**kept, **told, **own, "REELTAG_JOBS_WORKER": "false", "REELTAG_DRAIN_SECONDS": "0"}


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip()[-500:]
            raise SetupError(f"a server to be tried ended with status {process.returncode}: {said}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise SetupError(f"a server to be tried was not ready after {START_SECONDS:.0f} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # its guard ends the rest
        process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _link(source: str, target: str) -> str:
    """A copy without room of its own: files of a repository are replaced, never written."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
