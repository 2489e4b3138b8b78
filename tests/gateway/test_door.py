"""Who may send a message, in which order, and who must go."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from gateway.grpc.door import Door
from reeltag.errors import Overloaded
from tests.gateway.clock import run


class Caller:
    """What a door needs of a call: it reads what is sent, and is ended."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.code: grpc.StatusCode | None = None

    async def read(self) -> Any:
        return await self.sent.get()

    def done(self) -> bool:
        return self.code is not None

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any) -> None:
        self.code = code
        self.sent.put_nowait(grpc.aio.EOF)
        raise grpc.aio.AbortError

    async def say(self, door: Door, is_busy: Any = lambda: False) -> bytes | None:
        async with door.entered(self, is_busy) as reading:  # type: ignore[arg-type]  # the part of it that is used
            return await reading.read()


def door() -> Door:
    return Door(2, slow_seconds=1.0, longest_seconds=10.0, wait_seconds=3.0)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_so_many_are_inside_and_who_came_last_is_let_in_first() -> None:
    async def main() -> None:
        one = door()
        callers = [Caller() for _ in range(5)]
        saying = [asyncio.ensure_future(caller.say(one)) for caller in callers]
        await settle()
        for caller, message in zip(callers, [b"0", b"1", b"2", b"3", b"4"], strict=True):
            caller.sent.put_nowait(message)
        order: list[asyncio.Future[bytes | None]] = []
        for task in saying:
            task.add_done_callback(order.append)
        assert await asyncio.gather(*saying) == [b"0", b"1", b"2", b"3", b"4"]
        assert set(order[:2]) == set(saying[:2])
        assert order[2:] == saying[:1:-1]

    run(main())


def test_who_sends_nothing_goes_when_others_wait_and_else_later() -> None:
    async def main() -> None:
        one, loop = door(), asyncio.get_running_loop()
        silent = [Caller() for _ in range(2)]
        saying = [asyncio.ensure_future(caller.say(one)) for caller in silent]
        await asyncio.sleep(5)
        assert [caller.code for caller in silent] == [None, None]
        other = Caller()
        other.sent.put_nowait(b"hello")
        start = loop.time()
        assert await other.say(one) == b"hello"
        assert loop.time() - start <= 1
        assert {caller.code for caller in silent} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert await asyncio.gather(*saying) == [None, None]
        alone, start = Caller(), loop.time()
        assert await alone.say(one) is None
        assert loop.time() - start == pytest.approx(10, abs=1)

    run(main())


def test_who_waits_for_us_is_not_slow() -> None:
    async def main() -> None:
        one = door()
        busy = [Caller() for _ in range(2)]
        saying = [asyncio.ensure_future(caller.say(one, lambda: True)) for caller in busy]
        await asyncio.sleep(60)
        with pytest.raises(Overloaded, match="2 calls"):
            await Caller().say(one)
        assert [caller.code for caller in busy] == [None, None]
        for caller in busy:
            caller.sent.put_nowait(b"more")
        assert await asyncio.gather(*saying) == [b"more"] * 2

    run(main())


def test_who_leaves_the_line_or_the_place_leaves_it_to_others() -> None:
    async def main() -> None:
        one = door()
        saying = [asyncio.ensure_future(Caller().say(one)) for _ in range(4)]
        await settle()
        saying[3].cancel()  # in line
        saying[0].cancel()  # inside, which lets the third in
        await settle()
        saying[2].cancel()
        saying[1].cancel()
        await asyncio.gather(*saying, return_exceptions=True)
        for _ in range(3):
            caller = Caller()
            caller.sent.put_nowait(b"hello")
            assert await caller.say(one) == b"hello"
        assert not one.is_waited_for

    run(main())
