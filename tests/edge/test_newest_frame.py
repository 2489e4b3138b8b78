from __future__ import annotations

import threading

import pytest

from edge.capture.camera import NewestFrame
from edge.words import FrameTime


def put(slot: NewestFrame, index: int) -> None:
    frame = slot.blank()
    frame.shape_as(4, 4, None)
    frame.data[:] = index % 251
    frame.time = FrameTime(index, float(index), 0.0, 0.0)
    slot.put(frame)


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    slot = NewestFrame()
    for index in range(5):
        put(slot, index)
    frame = slot.take()
    assert frame is not None
    assert frame.time.index == 4
    assert (slot.captured, slot.taken, slot.dropped, slot.take()) == (5, 1, 4, None)
    put(slot, 5)  # while one is looked at, two buffers are left
    put(slot, 6)
    assert (slot.captured, slot.dropped, slot.is_waiting) == (7, 5, True)
    assert frame.data[0] == 4


@pytest.mark.parametrize("is_lossless", [False, True])
def test_no_frame_is_counted_twice_or_not_at_all(is_lossless: bool) -> None:
    slot = NewestFrame(is_lossless=is_lossless)

    def write() -> None:
        for index in range(2000):
            put(slot, index)
        slot.end()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not (slot.has_ended and not slot.is_waiting):
        with slot.change:
            if not slot.is_waiting and not slot.has_ended:
                slot.change.wait(5)
        frame = slot.take()
        if frame is not None:
            assert (frame.data == frame.time.index % 251).all()  # nobody wrote into it
            seen.append(frame.time.index)
            slot.give_back(frame)
    writer.join()
    assert seen == sorted(set(seen))
    assert seen[-1] == 1999
    assert slot.captured == 2000 == slot.taken + slot.dropped
    assert slot.taken == len(seen)
    assert not is_lossless or slot.dropped == 0
