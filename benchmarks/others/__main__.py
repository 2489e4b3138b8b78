"""Images/s of the gateway and of other Python model servers, in one run: `python -m benchmarks.others`.

Each other server gets a virtual environment in `out/others`, made at the first run. All serve the same ONNX file, with
our decoding and suppression, batches of up to 8 and waits of up to 4 ms, with one worker and with one each core. Rounds
are interleaved. Their answers must have as many objects as the gateway's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from benchmarks import generator, media
from benchmarks.others.pipeline import cores
from benchmarks.server import serving
from benchmarks.throughput import NETWORK, machine
from exporters.catalogue.entries import MODELS

HERE: Final = Path(__file__).parent
PATHS: Final = {"litserve": "predict", "mosec": "inference"}
"""Of each server's own route."""
GATEWAY: Final = "reeltag"
_START_SECONDS: Final = 90.0
_JPEG: Final = {"Content-Type": "image/jpeg"}


@dataclass(frozen=True)
class Other:
    """Another server."""

    name: str
    workers: int
    url: str
    process: subprocess.Popen[bytes]
    log: Path


@contextlib.contextmanager
def other(name: str, workers: int, python: Path) -> Iterator[Other]:
    """One of the other servers, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    view = MODELS[NETWORK].view
    assert view is not None
    model, script = str(MODELS[NETWORK].onnx_path), str(HERE / f"{name}_server.py")
    command = [str(python), script, str(port), model, view.name, str(workers)]
    environment = {**os.environ, "MODEL": model, "VIEW": view.name, "WORKERS": str(workers)}
    if name == "mosec":
        command = [str(python), script, "--address", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    log = python.parents[2] / f"{name}-{workers}.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            command, env=environment, stdout=written, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield Other(name, workers, f"http://127.0.0.1:{port}/{PATHS[name]}", process, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and what it started: not all of them end their workers."""
    for number in (signal.SIGCONT, signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0 if number == signal.SIGCONT else 10)


def wait_until_right(one: Other, image: bytes, objects: int) -> None:
    """Wait until the server answers, and compare the number of objects with the gateway's.

    Raises:
        RuntimeError: It does not answer, or otherwise.
    """
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and one.process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(one.url, content=image, headers=_JPEG, timeout=30)
            if answer.status_code == httpx.codes.OK:
                found = len(answer.json()["detections"])
                if abs(found - objects) > 1:  # one may be at the threshold
                    raise RuntimeError(f"{one.name} finds {found} objects where the gateway finds {objects}")
                return
        time.sleep(0.3)
    raise RuntimeError(f"{one.name} does not answer; see {one.log}")


def python_of(name: str, folder: Path) -> Path:
    """The interpreter of a virtual environment with the server; made where it is missing."""
    python = folder / name / "bin" / "python"
    done = folder / name / "done"
    if not done.exists():
        venv.create(folder / name, with_pip=True, clear=True)
        requirements = HERE / f"requirements-{name}.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
        done.touch()
    return python


@contextlib.contextmanager
def running(one: Other | None) -> Iterator[None]:
    """Let one of the servers run in the block; otherwise they stand still, because some look for work all the time."""
    if one is not None:
        os.killpg(one.process.pid, signal.SIGCONT)
    try:
        yield
    finally:
        if one is not None:
            os.killpg(one.process.pid, signal.SIGSTOP)


def measure(
    served: str, others: Sequence[Other], images: Sequence[bytes], clients: Sequence[int], rounds: int, seconds: float
) -> str:
    """The table as Markdown."""
    servers: dict[str, tuple[str, Other | None]] = {GATEWAY: (served, None)}
    servers |= {f"{one.name}, {one.workers} workers": (one.url, one) for one in others}
    rates: dict[tuple[str, int], list[float]] = {}
    cpu: list[float] = []
    for _ in range(rounds):
        for count in clients:
            for name, (url, one) in servers.items():
                with running(one):
                    answers = generator.closed_loop(url, images, count, seconds)
                if answers.others or answers.refused:
                    raise RuntimeError(f"{name}: {answers.others}, {len(answers.refused)} refused")
                rates.setdefault((name, count), []).append(answers.goodput)
                cpu.append(answers.cpu)
    columns = " | ".join(f"{count} clients" for count in clients)
    lines = [f"| server | {columns} |", f"|---|{'---|' * len(clients)}"]
    for name in servers:
        cells = [f"{statistics.median(rates[name, count]):.1f}" for count in clients]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"The generator took {max(cpu):.2f} of a core at most."])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.others", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--servers", nargs="+", default=list(PATHS), choices=list(PATHS))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, default=Path("out/others"), help="of the virtual environments")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the others must be ended, too
    images = media.jpegs_720p(64)
    pythons = {name: python_of(name, options.folder.resolve()) for name in options.servers}
    print(f"{machine()}\n`python -m benchmarks.others`: {NETWORK}, 720p JPEGs, images/s\n", flush=True)
    with serving() as served, contextlib.ExitStack() as stack:
        answer = httpx.post(f"{served.url}/v1/images?tasks=detect", content=images[0], headers=_JPEG)
        objects = len(answer.json()["results"][0]["detections"])
        counts = sorted({1, cores()})
        others = [
            stack.enter_context(other(name, workers, python)) for name, python in pythons.items() for workers in counts
        ]
        for one in others:
            wait_until_right(one, images[0], objects)
            generator.closed_loop(one.url, images, 8, 1.0)
            os.killpg(one.process.pid, signal.SIGSTOP)
        generator.closed_loop(served.url, images, 8, 1.0)
        print(measure(served.url, others, images, options.clients, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
