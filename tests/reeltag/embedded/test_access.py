"""What another user of the machine can do to a server: nothing. Each attempt is made, by its owner as a control."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from reeltag.embedded import EmbeddedTriton, TritonFiles
from reeltag.embedded.folder import RunFolder
from reeltag.embedded.guard import SHARED_MEMORY
from reeltag.errors import SetupError
from reeltag.triton import TritonClient
from tests.e2e.conftest import free_port
from tests.reeltag.embedded.caller import METHODS, NOBODY, tried

SECRET = "of-this-run"
RESTRICTED = "inference,health,metadata,shared-memory,model-config,model-repository,statistics,trace,logging"
HTTP_CALLS = [
    ("GET", "v2/health/live"),
    ("GET", "v2/health/ready"),
    ("GET", "v2"),
    ("GET", "v2/models/nms"),
    ("GET", "v2/models/nms/ready"),
    ("GET", "v2/models/nms/config"),
    ("GET", "v2/models/nms/stats"),
    ("GET", "v2/models/stats"),
    ("POST", "v2/models/nms/infer"),
    ("POST", "v2/models/nms/generate"),
    ("POST", "v2/models/nms/generate_stream"),
    ("POST", "v2/repository/index"),
    ("POST", "v2/repository/models/nms/load"),
    ("POST", "v2/repository/models/nms/unload"),
    *[(method, f"v2/{path}") for method in ("GET", "POST") for path in ("trace/setting", "models/nms/trace/setting")],
    *[(method, "v2/logging") for method in ("GET", "POST")],
    *[
        (method, f"v2/{kind}sharedmemory/{path}")
        for kind in ("system", "cuda")
        for method, path in (
            ("GET", "status"),
            ("GET", "region/r/status"),
            ("POST", "region/r/register"),
            ("POST", "region/r/unregister"),
            ("POST", "unregister"),
        )
    ],
]


@pytest.fixture(scope="module")
def with_metrics(small_repository: Path, files: TritonFiles) -> Iterator[EmbeddedTriton]:
    with EmbeddedTriton(small_repository, metrics_port=free_port()) as server:
        yield server


def shared_memory_of(server: EmbeddedTriton) -> list[Path]:
    return list(SHARED_MEMORY.glob(f"reeltag_triton_{os.getpid()}_*"))


def listening_ports() -> set[int]:
    """TCP ports on which servers that this process started listen."""
    family = psutil.Process().children(recursive=True)
    names = ("tritonserver", "triton_python_backend_stub")
    connections = [c for p in family if p.name().startswith(names) for c in p.net_connections("inet")]
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


def test_the_only_tcp_port_is_that_of_the_metrics_and_it_serves_nothing_else(with_metrics: EmbeddedTriton) -> None:
    assert listening_ports() == {with_metrics.metrics_port}
    with httpx.Client(base_url=f"http://127.0.0.1:{with_metrics.metrics_port}", trust_env=False) as http:
        assert "nv_inference_request_success" in http.get("/metrics").text
        for method, path in HTTP_CALLS:
            answer = http.request(method, path, content=b"{}" if method == "POST" else None)
            assert answer.content == b"" or answer.is_client_error, path
    assert "nms" in tried(with_metrics.url)["calls"]["RepositoryIndex"]


def test_files_are_for_their_owner_alone(with_metrics: EmbeddedTriton) -> None:
    folder = Path(with_metrics.url.removeprefix("unix:")).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    regions = shared_memory_of(with_metrics)
    assert regions
    for path in (*regions, with_metrics.log):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_can_neither_call_nor_read(with_metrics: EmbeddedTriton) -> None:
    socket = Path(with_metrics.url.removeprefix("unix:"))
    paths = [*shared_memory_of(with_metrics), socket.parent, with_metrics.log]
    own = tried(with_metrics.url, paths=paths)
    assert len(own["calls"]) == len(METHODS) > 15
    assert not [name for name, answer in own["calls"].items() if answer.startswith("UNAVAILABLE")]
    assert all(own["files"].values())
    others = tried(with_metrics.url, user=NOBODY, paths=paths)
    for name, answer in others["calls"].items():
        assert answer.startswith("UNAVAILABLE"), name
        assert "Permission denied" in answer, name
    assert not any(others["files"].values())


@contextmanager
def triton_on_tcp(files: TritonFiles, repository: Path, *options: str) -> Iterator[tuple[str, str]]:
    """A Triton as somebody may run it elsewhere, restricted as docs/security.md says; its gRPC and HTTP addresses."""
    grpc_port, http_port = free_port(), free_port()
    folder = RunFolder.make()
    try:
        folder.add_backend(files)
        command = [str(files.server), f"--model-repository={repository}", *folder.server_options]
        command += ["--grpc-address=127.0.0.1", f"--grpc-port={grpc_port}", "--allow-metrics=false"]
        command += ["--http-address=127.0.0.1", f"--http-port={http_port}", *options]
        with subprocess.Popen(command, env=files.environment(), stderr=subprocess.DEVNULL) as process:
            try:
                yield f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{http_port}"
            finally:
                process.terminate()
                process.wait(30)
    finally:
        folder.remove()


def served(address: str, secret: str | None, *, wait_seconds: float = 0) -> dict[str, str]:
    """What a client hears, perhaps after a wait for the server."""

    async def ask() -> dict[str, str]:
        deadline = time.monotonic() + wait_seconds
        async with TritonClient(address, secret=secret) as client:
            while time.monotonic() < deadline and not await client.is_ready():
                await asyncio.sleep(0.1)
            return await client.served()

    return asyncio.run(ask())


def test_a_triton_elsewhere_is_closed_without_its_secret(files: TritonFiles, small_repository: Path) -> None:
    restrictions = (
        f"--{kind}={RESTRICTED}:reeltag={SECRET}" for kind in ("grpc-restricted-protocol", "http-restricted-api")
    )
    with triton_on_tcp(files, small_repository, *restrictions) as (address, http_address):
        assert served(address, SECRET, wait_seconds=60) == {"nms": "READY"}
        for secret in (None, "another"):
            with pytest.raises(SetupError, match="REELTAG_TRITON_SECRET"):
                served(address, secret)
            for name, answer in tried(address, secret=secret or "")["calls"].items():
                assert "restricted" in answer, name
        own = tried(address, secret=SECRET)["calls"]
        assert not [name for name, answer in own.items() if "restricted" in answer]
        with httpx.Client(base_url=http_address, trust_env=False) as http:
            for method, path in HTTP_CALLS:
                answer = http.request(method, path, content=b"{}" if method == "POST" else None)
                assert "restricted" in answer.text, path
            assert http.get("v2/models/nms", headers={"reeltag": SECRET}).json()["name"] == "nms"
