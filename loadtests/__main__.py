"""Runs a load test, on a server that it starts unless one is named, and leaves a page.

Other options are Locust's own: `python -m loadtests -- --help` lists them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import requests

LOCUSTFILE: Final = Path(__file__).parent / "locustfile.py"
_START_SECONDS: Final = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run Locust without its page; the status is that of the gates."""
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kind", action="append", help="of users: a class in locustfile.py; RestSingle without any")
    parser.add_argument("--host", help="gateway, such as http://127.0.0.1:8000; without it one is started")
    parser.add_argument("--grpc-target", default="127.0.0.1:8001", help="its gRPC, with --host")
    known, others = parser.parse_known_args(arguments)
    with contextlib.ExitStack() as stack:
        host, grpc_target = (known.host, known.grpc_target) if known.host else stack.enter_context(_served())
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
        command += ["--host", host, "--grpc-target", grpc_target, *others, *(known.kind or ["RestSingle"])]
        # The first entry of the path is Locust's own folder otherwise, and `loadtests` is not found.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(LOCUSTFILE.parents[1]), *_python_path()])}
        try:
            return subprocess.run(command, check=False, env=environment).returncode
        except KeyboardInterrupt:
            return 130


def _python_path() -> list[str]:
    return [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []


@contextlib.contextmanager
def _served() -> Iterator[tuple[str, str]]:
    """A `reeltag serve` for the block: addresses of its REST and its gRPC interface."""
    port, grpc_port = _free_port(), _free_port()
    reeltag = Path(sys.executable).parent / "reeltag"
    command = [str(reeltag), "serve", "--port", str(port), "--grpc-port", str(grpc_port)]
    server = subprocess.Popen(command)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _START_SECONDS
        while not _is_ready(url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("reeltag serve did not become ready; its output is above")
            time.sleep(0.1)
        yield url, f"127.0.0.1:{grpc_port}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
