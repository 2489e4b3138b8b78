"""What large and many bodies take of the gateway, of Triton and of `/dev/shm`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from reeltag import contract
from reeltag.errors import OutOfSharedMemory
from reeltag.settings import Settings
from reeltag.triton import TritonClient
from tests.e2e.conftest import REELTAG, Service, free_port, jpeg, wait_until_ready

SIZE = 30_000_000
MIB = 1 << 20


@contextmanager
def peak_of(process: psutil.Process) -> Iterator[list[float]]:
    """Highest resident memory during the block, MiB, as the list's only entry."""
    peak, over = [0.0], threading.Event()

    def measure() -> None:
        while not over.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss / MIB)

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def shared_memory(service: Service) -> float:
    """Of the service's Triton in `/dev/shm`, MiB."""
    files = Path("/dev/shm").glob(f"reeltag_triton_{service.process.pid}_*")
    return sum(file.stat().st_blocks * 512 for file in files) / MIB


def test_sixteen_large_forms_stay_in_their_bounds_and_leave_nothing(service: Service) -> None:
    settings = Settings()
    image = jpeg()
    image += bytes(SIZE - len(image))

    def post(_: int) -> int:
        files = [("file", ("a.jpg", image))]
        return httpx.post(f"{service.url}/v1/images?tasks=detect", files=files, timeout=120).status_code

    post(0)
    before, shared_before = service.process.memory_info().rss / MIB, shared_memory(service)
    with peak_of(service.process) as peak, ThreadPoolExecutor(16) as pool:
        assert set(pool.map(post, range(16))) == {200}
    bodies = 16 * SIZE / MIB
    copies = 4 * settings.max_inflight_requests * settings.max_upload_bytes / MIB
    assert bodies / 2 < peak[0] - before < bodies + copies  # they need not all lie there at once
    assert service.process.memory_info().rss / MIB < before + 40
    assert shared_memory(service) < shared_before + settings.max_upload_bytes / MIB


async def decoded(url: str, count: int) -> None:
    """Ask the model `decode` for as many pictures as come to 16 MiB and more."""
    address = httpx.get(f"{url}/v1/models").json()["triton"]["grpc_url"]
    async with TritonClient(address, timeout_seconds=20) as client:
        images = np.array([[jpeg()]] * count, np.object_)
        await client.infer("decode", {contract.IMAGE: images}, ["LETTERBOX_416X416_PAD114", contract.ERROR])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small /dev/shm")
def test_a_small_dev_shm_is_503_and_names_nothing(model_repository: Path, tmp_path: Path) -> None:
    port = free_port()
    script = f"mount -t tmpfs -o size=12m tmpfs /dev/shm && exec {REELTAG} serve --port {port} --grpc-port 0"
    environment = {**os.environ, "REELTAG_MODEL_REPOSITORY": str(model_repository)}
    log = tmp_path / "log"
    command = ["unshare", "--mount", "bash", "-c", script]
    with log.open("w") as stderr, subprocess.Popen(command, env=environment, stderr=stderr) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(url, process, log)
            small, large = jpeg(), jpeg() + bytes(SIZE - len(jpeg()))
            for body, status in ((small, 200), (large, 503), (small, 200)):
                headers = {"Content-Type": "image/jpeg"}
                answer = httpx.post(f"{url}/v1/images?tasks=detect", content=body, headers=headers, timeout=60)
                assert answer.status_code == status, answer.text
                if status == 503:
                    assert answer.json()["error"]["code"] == "out_of_shared_memory"
                    assert int(answer.headers["Retry-After"]) >= 1
                    assert not any(private in answer.text for private in ("reeltag_triton", "unix:", "/tmp", "127.0.0"))
            with pytest.raises(OutOfSharedMemory):  # for what comes out of decoding
                asyncio.run(decoded(url, 32))
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
    assert "reeltag_triton" in log.read_text(), "the log has what the answer leaves out"
