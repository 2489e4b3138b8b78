"""Two workers behind one port: killed ones, a killed parent, metrics and a drain."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from reeltag.client import Client
from tests.e2e.conftest import REELTAG, Service, free_port, jpeg, serve, wait_until_ready

GRPC = free_port()


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [one for one in process.children() if "gateway.workers.child" in one.cmdline()]


def counted(url: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("reeltag_images_total"))


@pytest.fixture(scope="module")
def service(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("workers")
    options = ("--model-repository", str(model_repository), "--workers", "2", "--grpc-port", str(GRPC))
    with serve(folder, *options) as running:
        yield running


def test_both_answer_and_metrics_are_of_both(service: Service) -> None:
    assert len(workers_of(service.process)) == 2
    before = counted(service.url)
    for _ in range(20):  # a connection each
        answer = httpx.post(f"{service.url}/v1/images", content=jpeg(), headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 200
    with Client(f"grpc://127.0.0.1:{GRPC}") as client:
        assert len(client.tag_images([jpeg()])) == 1
    deadline = time.monotonic() + 15
    while (found := {counted(service.url) - before for _ in range(6)}) != {21.0}:  # they tell each other each second
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def test_a_killed_worker_comes_back_and_the_other_one_answers_meanwhile(service: Service) -> None:
    before = counted(service.url)
    victim, _ = workers_of(service.process)
    answered = 0
    for turn in range(60):
        if turn == 20:
            victim.send_signal(signal.SIGKILL)
        try:
            answer = httpx.post(f"{service.url}/v1/images", content=jpeg(), headers={"Content-Type": "image/jpeg"})
            assert answer.status_code == 200, answer.text
            answered += 1
        except httpx.TransportError:
            continue  # it was at the worker that was killed
    assert answered >= 58
    deadline = time.monotonic() + 30
    while len(workers_of(service.process)) < 2 or victim in workers_of(service.process):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    deadline = time.monotonic() + 15
    while counted(service.url) - before < answered - 15:  # at most what the killed one counted in its last second
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert "worker 1 ended (exit status -9); it is started again" in service.log.read_text()


def test_a_killed_parent_leaves_nothing_behind(model_repository: Path, tmp_path: Path) -> None:
    port = free_port()
    options = ["--port", str(port), "--grpc-port", "0", "--workers", "2", "--model-repository", str(model_repository)]
    log = tmp_path / "log"
    with log.open("w") as stderr, subprocess.Popen([REELTAG, "serve", *options], stderr=stderr) as process:
        wait_until_ready(f"http://127.0.0.1:{port}", process, log)
        deadline = time.monotonic() + 30
        while log.read_text().count("Application startup complete") < 2:  # what still loads does not hear of its parent
            assert time.monotonic() < deadline, log.read_text()[-1500:]
            time.sleep(0.1)
        family = psutil.Process(process.pid).children(recursive=True)
        workers_of(psutil.Process(process.pid))[0].suspend()
        os.kill(process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=15)
    left = [(one.pid, one.status(), one.cmdline()[-3:]) for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    assert not left, f"{left}\n{log.read_text()[-1500:]}"
    assert not list(Path(tempfile.gettempdir()).glob(f"reeltag-*-{process.pid}-*"))


def test_all_are_drained(model_repository: Path, tmp_path: Path) -> None:
    all_have_come = threading.Barrier(17)
    body = httpx.Request("POST", "http://any/", files=[("file", ("a.jpg", jpeg()))] * 8)
    content = body.read()
    head = [
        "POST /v1/images?tasks=detect HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        "Expect: 100-continue",
        *(f"{name}: {body.headers[name]}" for name in ("Content-Type", "Content-Length")),
    ]

    def ask(url: str) -> bytes:
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port or 80), timeout=60) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode())
            answer = connection.makefile("rb")
            assert answer.readline() == b"HTTP/1.1 100 Continue\r\n", "it is in work"
            assert answer.readline() == b"\r\n"
            all_have_come.wait(60)
            connection.sendall(content)
            return answer.readline()

    with (
        serve(tmp_path, "--model-repository", str(model_repository), "--workers", "2") as service,
        ThreadPoolExecutor(16) as pool,
    ):
        asked = [pool.submit(ask, service.url) for _ in range(16)]
        all_have_come.wait(60)
        service.process.terminate()
        assert {one.result() for one in asked} == {b"HTTP/1.1 200 OK\r\n"}
