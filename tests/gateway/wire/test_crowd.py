from __future__ import annotations

import pytest

from gateway.wire.crowd import ConnectionLimits, Crowd
from gateway.wire.meter import Body


class Reader:
    """A connection as far as the crowd sees it."""

    def __init__(self, crowd: Crowd, unread_bytes: int) -> None:
        self._crowd = crowd
        self.unread_bytes = unread_bytes
        self.dropped = ""

    def drop(self, reason: str) -> None:
        self.dropped = reason
        self.unread_bytes = 0
        self._crowd.answers.discard(self)  # type: ignore[arg-type]


@pytest.fixture
def crowd() -> Crowd:
    limits = ConnectionLimits(
        max_connections=10,
        max_header_bytes=1000,
        max_unread_bytes=1000,
        header_seconds=1,
        transfer_seconds=1,
        min_bytes_per_second=1,
        idle_seconds=1,
    )
    return Crowd(limits)


def test_answers_that_nobody_reads_take_no_more_than_their_share(crowd: Crowd) -> None:
    readers = [Reader(crowd, size) for size in (400, 0, 500, 300, 200)]
    for number, reader in enumerate(readers):
        crowd.answers.add(reader, number * 0.1)  # type: ignore[arg-type]
    crowd.sweep(0.5)
    assert [reader.dropped for reader in readers] == ["slow_reader", "", "", "", ""], "the oldest goes, and no more"
    readers[3].unread_bytes = 900
    crowd.sweep(0.6)
    assert [reader.dropped for reader in readers] == ["slow_reader", "", "slow_reader", "slow_reader", ""]


def test_a_body_is_slow_after_a_second_below_the_pace_and_not_before() -> None:
    body = Body(10.0, 100)
    assert not body.is_slow(10.9)
    assert body.is_slow(11.0)
    body.note(200_000, 11.0)
    assert body.is_slow(11.5), "it has to show first that it moves"
    body.note(200_000, 12.1)
    assert not body.is_slow(12.2)
    body.note(1, 13.2)
    body.note(1, 14.3)
    assert body.is_slow(14.4), "one byte a second is not moving"
    assert (body.moved(), body.moved()) == (400_002, 0)


def test_framing_is_in_proportion_to_the_body() -> None:
    body = Body(0.0, 100)
    for _ in range(1000):  # chunks of one byte
        body.note(1, 0.0)
        body.wire_bytes += 6
    assert not body.is_mostly_framing
    body.wire_bytes += 8000
    assert body.is_mostly_framing
