from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.app import create_app
from gateway.server import check_port, serve
from reeltag.errors import InvalidOption, PortInUse, SetupError
from reeltag.settings import Settings
from tests.gateway.fakes import code_of, encoded

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from gateway.server import serve
from reeltag.settings import Settings
settings = Settings(port=0, grpc_port=0, triton_url=sys.argv[1], timeout_seconds=2)
serve(settings, on_ready=lambda address: print(address, flush=True))
print("returned", flush=True)
"""


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(triton_url: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A gateway in a process of its own."""
    command = [sys.executable, "-c", PROGRAM, triton_url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as gateway:
        try:
            assert gateway.stdout is not None
            address = gateway.stdout.readline().strip()
            with httpx.Client(base_url=address, timeout=20) as client:
                yield gateway, client
        finally:
            gateway.kill()


def test_a_triton_that_is_not_there_is_503_and_the_gateway_lives() -> None:
    with process(f"127.0.0.1:{unused_port()}") as (_, client):
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
        assert (answer.status_code, code_of(answer)) == (503, "triton_unavailable")
        answer = client.post("/v1/images", content=encoded())
        assert (answer.status_code, code_of(answer)) == (503, "triton_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_it_soon_and_its_caller_goes_on(number: signal.Signals) -> None:
    with process("127.0.0.1:1") as (gateway, client):
        client.get("/healthz")
        os.kill(gateway.pid, number)
        started = time.monotonic()
        out, err = gateway.communicate(timeout=10)
        assert time.monotonic() - started < 3
        assert gateway.returncode == 0, err
        assert out.strip() == "returned"
        assert "Traceback" not in err


def test_a_port_in_use_says_so_and_how_to_go_on() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        expected = rf"port {port} on 127.0.0.1 is taken by .*{os.getpid()}.*--port"
        with pytest.raises(PortInUse, match=expected):
            check_port("127.0.0.1", port)
        with pytest.raises(PortInUse, match=expected):
            serve(Settings(port=port, grpc_port=0, triton_url="127.0.0.1:1"), on_ready=lambda _: None)
    check_port("127.0.0.1", port)


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(SetupError, match=r"cannot listen on 192\.0\.2\.1"):
        check_port("192.0.2.1", 8000)
    with pytest.raises(SetupError, match="cannot be resolved"):
        check_port("no such host", 8000)


def test_without_triton_the_app_says_what_it_needs() -> None:
    with pytest.raises(InvalidOption, match="REELTAG_TRITON_URL"):
        create_app(Settings())
