"""Files that cost much, against `reeltag serve`, while others want their answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import httpx
import psutil
import pytest

from benchmarks.hostile_files import (
    WEBP_PICTURE,
    app,
    bmp,
    bomb,
    exif,
    jpeg,
    many,
    png,
    png_chunk,
    riff_chunk,
    webp,
)
from reeltag.contract import Task
from reeltag.errors import DeadlineExceeded
from reeltag.triton import TritonClient
from tests.e2e.conftest import Service
from tests.e2e.conftest import jpeg as photograph

MEBIBYTE = 1 << 20
HEALTH_SECONDS = 5.0
"""Generous: what blocked the event loop did so for ten to thirty."""

Kind = tuple[Callable[[], Sequence[bytes]], set[str]]
"""Files of one request, and the codes that each may be answered with; `ok` where it is tagged."""

KINDS: dict[str, Kind] = {
    "progressive scans": (lambda: [jpeg(scans=3000)], {"too_costly"}),
    "large PNGs": (lambda: [png(depth=1, colours=0)] * 4, {"ok", "deadline_exceeded", "overloaded"}),
    "PNG chunks": (lambda: [png(64, before=many(png_chunk(b"tEXt", b"a\0"), 30 * MEBIBYTE))], {"too_costly"}),
    "JPEG segments": (lambda: [jpeg(64, before=many(app(b""), 30 * MEBIBYTE))], {"too_costly"}),
    "padding": (lambda: [b"\xff\xd8" + b"\xff" * (30 * MEBIBYTE) + jpeg(64)[2:]], {"too_costly"}),
    "EXIF entries that overlap": (
        lambda: [
            jpeg(64, scans=0, before=many(app(b"Exif\0\0" + exif(4000, 10_000)), MEBIBYTE)),
            png(64, after=png_chunk(b"eXIf", exif(60_000, 900_000))),
            webp(picture=WEBP_PICTURE, chunks=riff_chunk(b"EXIF", exif(60_000, 900_000))),
        ],
        {"ok"},
    ),
    "run-length code that jumps": (lambda: [bmp(8192, 8192, b"\0\2\xff\xff" * 250 + b"\0\1")], {"ok", "truncated"}),
    "run-length code": (lambda: [bmp(8192, 8192, many(b"\1\7", 30 * MEBIBYTE))], {"truncated"}),
    "compressed texts": (
        lambda: [png(64, before=many(png_chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb(64)), 4 * MEBIBYTE))],
        {"ok"},
    ),
}


def post(service: Service, files: Sequence[bytes]) -> httpx.Response:
    form = [("file", (f"{i}", file, "application/octet-stream")) for i, file in enumerate(files)]
    return httpx.post(f"{service.url}/v1/images?tasks=detect", files=form, timeout=90)


def codes(answer: httpx.Response) -> list[str]:
    body = answer.json()
    errors = [result.get("error") for result in body.get("results", [body])]
    return [error["code"] if error else "ok" for error in errors]


class Others:
    """A client that wants its photographs tagged, and one that asks whether the service is alive."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self.tagged: Counter[int] = Counter()
        self.longest_health = 0.0

    def tag(self) -> None:
        data = photograph()
        while not self._stop.is_set():
            self.tagged[post(self._service, [data]).status_code] += 1

    def ask(self) -> None:
        while not self._stop.wait(0.05):
            began = time.monotonic()
            assert httpx.get(f"{self._service.url}/healthz", timeout=60).status_code == 200
            self.longest_health = max(self.longest_health, time.monotonic() - began)

    @contextmanager
    def about(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.tag), threading.Thread(target=self.ask)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_costs_much_stops_nobody(service: Service, name: str) -> None:
    make, allowed = KINDS[name]
    files = make()
    others = Others(service)
    with others.about():
        answer = post(service, files)
        assert post(service, [photograph(seed=1)]).status_code == 200
    assert set(codes(answer)) <= allowed
    assert answer.status_code < 500 or set(codes(answer)) == {"deadline_exceeded"}
    assert set(others.tagged) == {200}
    assert others.longest_health < HEALTH_SECONDS
    decoding = [p for p in service.process.children(recursive=True) if "worker.py" in " ".join(p.cmdline())]
    assert decoding
    assert max(p.memory_info().rss for p in decoding) < 700 * MEBIBYTE


def test_a_request_without_takers_is_not_worked_on(service: Service) -> None:
    """The deadline of a request reaches the processes that decode."""
    url = httpx.get(f"{service.url}/v1/models").json()["triton"]["grpc_url"]
    slow = png()

    async def ask() -> None:
        async with TritonClient(url, timeout_seconds=0.5) as client:
            cards = {Task.DETECT: await client.card(Task.DETECT.value)}
            with pytest.raises(DeadlineExceeded):
                await client.infer_images(cards, [slow] * 8)

    asyncio.run(ask())
    time.sleep(0.5)
    before = cpu_seconds(service)
    time.sleep(1)
    assert cpu_seconds(service) - before < 0.5, "eight pictures of more than a second each"


def cpu_seconds(service: Service) -> float:
    """Of the processes that decode."""
    total = 0.0
    for process in service.process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "worker.py" in " ".join(process.cmdline()):
                total += sum(process.cpu_times()[:2])
    return total
