"""Cameras that do not behave; the sources are fakes of the public protocol, because no camera misbehaves when told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edge.capture import camera as cameras
from edge.capture.addresses import parse
from edge.capture.camera import Camera, NewestFrame
from edge.capture.clocks import Clocks
from edge.capture.colours import Colours
from edge.capture.frame import Frame
from edge.capture.source import SourceLost
from reeltag.errors import SourceRefused

Step = Callable[[Frame], float]


class Scripted:
    """Plays steps; what a step raises is raised."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps, self.opened, self.closed = list(steps), 0, 0

    def open(self) -> None:
        self.opened += 1

    def read(self, frame: Frame) -> float | None:
        return self.steps.pop(0)(frame) if self.steps else None

    def close(self) -> None:
        self.closed += 1


def picture(captured: float, value: int, *, height: int = 32, width: int = 64) -> Step:
    def fill(frame: Frame) -> float:
        frame.shape_as(height, width, None)
        frame.data[:] = value
        return captured

    return fill


def green(captured: float) -> Step:
    def fill(frame: Frame) -> float:
        frame.shape_as(32, 64, None)
        frame.rgb[:] = (0, 135, 0)
        return captured

    return fill


def lost(_: Frame) -> float:
    raise SourceLost("the plug is out")


def refused(_: Frame) -> float:
    raise SourceRefused("a wrong password")


def watched(steps: Sequence[Step], address: str = "csi:0") -> tuple[Camera, Scripted, list[tuple[int, float]]]:
    """A camera that has played all its steps, and index and time of the frames that came."""
    source, slot = Scripted(steps), NewestFrame(is_lossless=True)
    camera = Camera("gate", parse(address), source, slot, Clocks())
    camera.start()
    seen = []
    deadline = time.monotonic() + 20
    while not (slot.has_ended and not slot.is_waiting):
        assert time.monotonic() < deadline
        with slot.change:
            if not slot.is_waiting:
                slot.change.wait(0.05)
        frame = slot.take()
        if frame is not None:
            seen.append((frame.time.index, frame.time.captured))
            slot.give_back(frame)
    assert camera.stop()
    return camera, source, seen


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "FIRST_WAIT_SECONDS", 0.01)


def test_a_camera_that_was_unplugged_comes_back_with_its_indices_going_on() -> None:
    now = time.monotonic()
    camera, source, seen = watched([picture(now, 1), lost, lost, picture(now + 1, 2)])
    assert [index for index, _ in seen] == [0, 1]
    assert camera.changes == ["delivering", "lost", "delivering", "ended"]
    assert camera.counts["reconnects"] == 2
    assert source.opened == source.closed == 3


def test_a_wrong_password_is_not_tried_again() -> None:
    camera, source, _ = watched([refused, picture(0, 1)])
    assert camera.state == "refused"
    assert source.opened == 1
    assert "wrong password" in str(camera.problem)


def test_a_file_that_breaks_off_ends() -> None:
    camera, source, _ = watched([picture(0, 1), lost], "street.mp4")
    assert camera.state == "lost"
    assert source.opened == 1


def test_green_frames_are_told_of() -> None:
    camera, _, seen = watched([picture(1, 9), green(2), green(3), picture(4, 9)])
    assert camera.changes == ["delivering", "green", "delivering", "ended"]
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("yuv", "colours", "state"),
    [
        ((0, 0, 0), Colours(), "green"),
        ((0, 0, 0), Colours("bt709", is_full_range=True), "green"),
        ((84, 85, 74), Colours(), "green"),  # the same that a recorder has encoded anew
        ((79, 84, 72), Colours(is_full_range=True), "green"),
        ((16, 128, 128), Colours(), "delivering"),  # black
        ((90, 110, 110), Colours(), "delivering"),  # a lawn
    ],
)
def test_the_green_of_nothing_is_known_in_nv12(yuv: tuple[int, int, int], colours: Colours, state: str) -> None:
    def fill(frame: Frame) -> float:
        frame.shape_as(70, 130, colours)
        frame.luma[:], frame.chroma[:] = yuv[0], yuv[1:]
        return 1.0

    camera, _, _ = watched([fill])
    assert camera.changes == [state, "ended"]


def test_black_is_not_green() -> None:
    camera, _, _ = watched([picture(1, 0)])
    assert camera.changes == ["delivering", "ended"]


def test_a_picture_that_stands_still_for_half_a_minute_is_frozen() -> None:
    camera, _, _ = watched([picture(t, 9) for t in (1, 20, 30.9, 31.1, 40)] + [picture(41, 10)])
    assert camera.changes == ["delivering", "frozen", "delivering", "ended"]


def test_time_never_goes_back_for_those_who_look() -> None:
    now = time.monotonic()
    camera, _, seen = watched([picture(now - 1, 1), picture(now - 3, 2), picture(now - 2.9, 3), picture(now + 5, 4)])
    times = [captured for _, captured in seen]
    assert times == sorted(times)
    assert len(set(times)) == 4
    assert times[-1] == now + 5
    assert camera.counts["time_went_back"] == 2


def test_the_resolution_may_change() -> None:
    camera, _, seen = watched([picture(1, 1), picture(2, 2, height=48, width=80), picture(3, 3, height=48, width=80)])
    assert camera.counts["resized"] == 1
    assert len(seen) == 3


def test_a_clock_that_jumps_at_boot_is_recorded() -> None:
    wall = [0.0]
    clocks = Clocks(lambda: 100.0, lambda: wall[0])
    assert clocks.stamp(0, 99.5) == (0, 99.5, -0.5, 0.0)
    wall[0] = 1_800_000_000.0  # the time server was reached
    stamped = clocks.stamp(1, 99.6)
    assert stamped.jump == 1_800_000_000.0
    assert np.isclose(stamped.wall, 1_800_000_000.0 - 0.4)
