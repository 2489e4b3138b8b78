"""A generator of HTTP load that costs little: prepared requests on connections that are kept, in a process of its own.

A closed loop has so many clients who each wait for their answer; an open loop sends so many requests a second, whatever
becomes of them.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import pickle
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
import uvloop

MAX_CONNECTIONS: Final = 768
"""Of one generator; the gateway takes 1,024."""
_REFUSALS: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_TICK_SECONDS: Final = 0.002
_WAITING: Final = 320
"""Connections of an open loop whose requests wait in the gateway's queue, of 256 images."""
_LINGER_SECONDS: Final = 40.0
"""For the last answers: longer than the gateway's deadline."""


@dataclass
class Answers:
    """What came back."""

    accepted: list[float] = field(default_factory=list)
    """Seconds from the sending of each request that was answered with 200."""
    refused: list[float] = field(default_factory=list)
    """Of each that was told to come again, by 429 or 503 with Retry-After."""
    others: Counter[str] = field(default_factory=Counter)
    """Any other outcome, by what it was."""
    own_delays: list[float] = field(default_factory=list)
    """Seconds that each request was sent later than it was due."""
    unsent: int = 0
    """Requests for which the generator had no free connection."""
    goodput: float = 0.0
    """Requests a second that were answered with 200: of an open loop while the load lasted, of a closed one until the
    last answer, as else the answers to those on their way would be missing at the end, and nothing at the start."""
    cpu: float = 0.0
    """Share of a core that the generator took."""


def share_of(seconds: Sequence[float], share: float) -> float:
    """Time that `share` of them do not exceed; 0 where there are none."""
    ordered = sorted(seconds)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else 0.0


def requests_of(images: Sequence[bytes], url: str) -> list[bytes]:
    """A POST of each JPEG, as it goes over the wire; to the gateway, unless the address has a path."""
    host, _, path = url.removeprefix("http://").partition("/")
    path = path or "v1/images?tasks=detect"
    head = "POST /{} HTTP/1.1\r\nHost: {}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
    return [head.format(path, host, len(image)).encode() + image for image in images]


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
    return host, int(port)


def closed_loop(url: str, images: Sequence[bytes], clients: int, seconds: float) -> Answers:
    """Load by so many clients, from a process of its own."""
    return _elsewhere(_closed_loop, url, images, clients, seconds)


def open_loop(url: str, images: Sequence[bytes], rate: float, seconds: float) -> Answers:
    """Load of so many requests a second, from a process of its own."""
    return _elsewhere(_open_loop, url, images, rate, seconds)


def probe(url: str, images: Sequence[bytes], rate: float, seconds: float) -> Answers:
    """Few requests, each on a connection and a thread of its own, so that only the server's time is measured."""
    address = _address(url)
    answers = Answers()

    def ask(request: bytes) -> None:
        began = time.perf_counter()
        with socket.create_connection(address, timeout=_LINGER_SECONDS) as connection:
            one = _Response()
            connection.sendall(request)
            while not one.is_whole and (data := connection.recv(1 << 16)):
                one.feed(data)
            note(answers, one, time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=int(rate * _LINGER_SECONDS)) as threads:
        asked = []
        for number, request in zip(range(int(rate * seconds)), itertools.cycle(requests_of(images, url)), strict=False):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            asked.append(threads.submit(ask, request))
    for one in asked:
        one.result()
    return answers


def elsewhere(work: Callable[..., Answers], *arguments: Any) -> Callable[[], Answers]:
    """Begin some work of this file in a process of its own; the call of what is returned waits for its answers.

    The process imports this file alone, so that it begins at once and costs nothing but its work.
    """
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps((work.__name__, arguments)))
    process.stdin.close()

    def wait() -> Answers:
        assert process.stdout is not None
        with process:
            answers = process.stdout.read()
        if process.returncode:
            raise RuntimeError(f"the load's process ended with status {process.returncode}")
        return cast("Answers", pickle.loads(answers))

    return wait


_PROGRAM: Final = (
    "import pickle, sys; from benchmarks import generator; name, arguments = pickle.load(sys.stdin.buffer); "
    "pickle.dump(getattr(generator, name)(*arguments), sys.stdout.buffer)"
)


def _elsewhere(work: Callable[..., Answers], *arguments: Any) -> Answers:
    return elsewhere(work, *arguments)()


def _closed_loop(url: str, images: Sequence[bytes], clients: int, seconds: float) -> Answers:
    return uvloop.run(_Generator(url, images).closed(clients, seconds))


def _open_loop(url: str, images: Sequence[bytes], rate: float, seconds: float) -> Answers:
    return uvloop.run(_Generator(url, images).open(rate, seconds))


def note(answers: Answers, response: _Response, seconds: float) -> None:
    """Count an answer."""
    if response.status == HTTPStatus.OK:
        answers.accepted.append(seconds)
    elif response.status in _REFUSALS and response.says_when:
        answers.refused.append(seconds)
    else:
        answers.others[f"status {response.status}" if response.is_whole else "no answer"] += 1


class _Response:
    """The answers on one connection, one after the other."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """The next one."""
        self.status = 0
        self.says_when = self.is_whole = self.keeps_open = False

    def feed(self, data: bytes) -> None:
        """Bytes that came."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the parser."""
        self.says_when |= name.lower() == b"retry-after" and value.isdigit()

    def on_message_complete(self) -> None:
        """Of the parser."""
        self.status, self.keeps_open = self._parser.get_status_code(), self._parser.should_keep_alive()
        self.is_whole = True


class _Connection(asyncio.Protocol):
    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._response = _Response()
        self._transport: asyncio.Transport | None = None
        self.began = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self.is_busy, self.began = True, time.perf_counter()
        self._response.begin()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._response.feed(data)
        if self._response.is_whole and self.is_busy:
            self.is_busy = False
            note(self._generator.answers, self._response, time.perf_counter() - self.began)
            if not self._response.keeps_open:
                self._close()
            self._generator.answered(self, reusable=self._response.keeps_open)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_busy:
            self.is_busy = False
            self._generator.answers.others["no answer"] += 1
            self._generator.answered(self, reusable=False)
        self._generator.lost(self)

    def _close(self) -> None:
        assert self._transport is not None
        self._transport.close()


class _Generator:
    """Sends, and counts what comes back."""

    def __init__(self, url: str, images: Sequence[bytes]) -> None:
        self._host, self._port = _address(url)
        self._requests: Iterator[bytes] = itertools.cycle(requests_of(images, url))
        self._idle: list[_Connection] = []
        self._due: list[float] = []
        """When the requests should have been sent that found no connection."""
        self._connecting: set[asyncio.Task[None]] = set()
        """Connections that are made in the place of closed ones."""
        self._is_over = False
        self._open = 0
        self._busy = 0
        self._on_answer: Callable[[], None] = lambda: None
        self._last = math.inf
        """When the last answer came."""
        self.answers = Answers()

    async def closed(self, clients: int, seconds: float) -> Answers:
        end = time.perf_counter() + seconds

        def go_on() -> None:
            if time.perf_counter() < end:
                self._send(time.perf_counter())

        self._on_answer = go_on
        await self._connect(clients)
        with self._counted(seconds):
            for _ in range(clients):
                go_on()
            await asyncio.sleep(end - time.perf_counter())
        answers = await self._rest()
        answers.goodput = len(answers.accepted) / (self._last - (end - seconds))
        return answers

    async def open(self, rate: float, seconds: float) -> Answers:
        await self._connect(min(MAX_CONNECTIONS, _WAITING + int(rate)))
        began, sent = time.perf_counter(), 0
        with self._counted(seconds):
            while (elapsed := time.perf_counter() - began) < seconds:
                while sent < int(elapsed * rate):
                    self._send(began + sent / rate)
                    sent += 1
                await asyncio.sleep(_TICK_SECONDS)
        return await self._rest()

    def answered(self, connection: _Connection, *, reusable: bool) -> None:
        """A connection is free, or gone."""
        self._busy -= 1
        self._last = time.perf_counter()
        if reusable:
            self._idle.append(connection)
            if self._due:
                self._send(self._due.pop(0))
        self._on_answer()

    def lost(self, connection: _Connection) -> None:
        """A connection was closed."""
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._is_over:
            task = asyncio.get_running_loop().create_task(self._connect(1))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _send(self, due: float) -> None:
        if not self._idle:
            self._due.append(due)
            return
        self._busy += 1
        self.answers.own_delays.append(time.perf_counter() - due)
        self._idle.pop().send(next(self._requests))

    async def _connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(min(count, MAX_CONNECTIONS - self._open)):
            self._open += 1
            _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
            self._idle.append(connection)
            if self._due:
                self._send(self._due.pop(0))

    def _counted(self, seconds: float) -> _Counted:
        return _Counted(self.answers, seconds)

    async def _rest(self) -> Answers:
        """Wait for the last answers."""
        end = time.perf_counter() + _LINGER_SECONDS
        self._on_answer = lambda: None
        if self._due:
            self.answers.unsent = len(self._due)
            self._due.clear()
        while self._busy and time.perf_counter() < end:
            await asyncio.sleep(0.05)
        if self._busy:
            self.answers.others["no answer"] += self._busy
        self._is_over = True
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        return self.answers


class _Counted:
    """The stretch of time in which answers are goodput."""

    def __init__(self, answers: Answers, seconds: float) -> None:
        self._answers, self._seconds = answers, seconds

    def __enter__(self) -> None:
        self._cpu, self._began = time.process_time(), time.perf_counter()

    def __exit__(self, *error: object) -> None:
        seconds = time.perf_counter() - self._began
        self._answers.goodput = len(self._answers.accepted) / seconds
        self._answers.cpu = (time.process_time() - self._cpu) / seconds
