from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.queueing.lane import HEAD_START, Lane
from gateway.queueing.ticket import Ticket
from reeltag.priority import Priority


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def ticket(loop: asyncio.AbstractEventLoop, images: int) -> Ticket:
    return Ticket([b""] * images, Priority.INTERACTIVE, 1.0, loop)


EVENTS = st.lists(st.integers(-12, 20).filter(bool), max_size=80)
"""A request of so many images comes; or below 0, so many images go."""


@given(events=EVENTS)
def test_nobody_waits_for_anothers_many_images_nor_for_all_who_come_later(events: list[int]) -> None:
    loop = asyncio.new_event_loop()
    lane = Lane()
    numbers: dict[Ticket, int] = {}
    overtaken: dict[Ticket, dict[Ticket, int]] = {}
    """Of each request that was not begun: how many images of each other one went since it came."""
    most: dict[Ticket, int] = {}
    newest_begun = -1
    for event in [*events, -sum(event for event in events if event > 0)]:
        if event > 0:
            came = ticket(loop, event)
            numbers[came], overtaken[came] = len(numbers), {}
            most[came] = 1 + math.ceil((len(lane.tickets) + 1) / HEAD_START)
            lane.add(came)
        for _ in range(min(-event, lane.waiting)):
            expected = lane.head
            goes, position = lane.pop(0.0)
            assert expected == (goes, position)
            assert position == goes.sent - 1
            overtaken.pop(goes, None)
            for came, of in overtaken.items():
                of[goes] = of.get(goes, 0) + 1
                assert of[goes] <= most[came]
            assert newest_begun <= numbers[goes] + HEAD_START * position, "who came much later went before"
            if not position:
                newest_begun = max(newest_begun, numbers[goes])
    assert not lane.waiting
    assert not lane.tickets
    assert lane.head is None
    loop.close()


def test_what_is_removed_does_not_come(loop: asyncio.AbstractEventLoop) -> None:
    lane = Lane()
    begun, fresh, stays = (ticket(loop, images) for images in (3, 2, 1))
    for each in (begun, fresh, stays):
        lane.add(each)
    assert lane.pop(0.0).ticket is begun
    assert lane.remove(begun) == 2
    assert lane.remove(fresh) == 2
    assert lane.remove(fresh) == 0
    assert lane.tickets == (stays,)
    assert lane.waiting == 1
    assert lane.pop(0.0).ticket is stays
    assert lane.remove(stays) == 0


def test_the_newest_gives_all_its_images_unless_a_newer_one_comes(loop: asyncio.AbstractEventLoop) -> None:
    lane = Lane(newest_first=True)
    old, new, newest = (ticket(loop, 2) for _ in range(3))
    lane.add(old)
    lane.add(new)
    assert lane.pop(0.0).ticket is new
    lane.add(newest)
    assert [lane.pop(0.0).ticket for _ in range(5)] == [newest, newest, new, old, old]
