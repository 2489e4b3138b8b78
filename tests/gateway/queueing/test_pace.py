from __future__ import annotations

import pytest

from gateway.queueing.pace import Pace


def worked(seconds: float, amount: float, times: int, start: float = 0.0) -> tuple[Pace, float]:
    """A pace at which an amount was done every so many seconds, and the time of the last one."""
    pace = Pace()
    pace.begin(start)
    for time in range(1, times + 1):
        pace.done(amount, start + time * seconds, more=time < times)
    return pace, start + times * seconds


@pytest.mark.parametrize(("seconds", "amount"), [(0.1, 1), (2.0, 20), (0.001, 0.01)])
def test_the_wait_is_the_amount_over_the_rate(seconds: float, amount: float) -> None:
    pace, now = worked(seconds, amount, 1000)
    assert [pace.wait(left, now) for left in (0, 5, 200, 10_000)] == [1, 1, 20, 60]


def test_idle_time_does_not_count() -> None:
    pace, now = worked(0.1, 1, 1000)
    assert pace.wait(200, now + 1000) == 20
    pace.begin(now + 1000)
    pace.begin(now + 1000.05)
    assert pace.wait(200, now + 1000.1) == pytest.approx(20, abs=1)


def test_a_standstill_makes_the_wait_longer_and_work_makes_it_shorter_again() -> None:
    pace, now = worked(0.1, 1, 1000)
    pace.begin(now)
    waits = [pace.wait(100, now + seconds) for seconds in (0, 5, 10, 20, 50)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (10, 60)
    for step in range(600):
        pace.done(1, now + 50 + step * 0.1, more=True)
    assert pace.wait(100, now + 110) == pytest.approx(10, abs=1)


def test_what_was_never_done_takes_as_long_again_as_it_took_so_far() -> None:
    pace = Pace()
    assert pace.wait(1000, 5.0) == 1
    pace.begin(5.0)
    assert pace.wait(1000, 8.0) == pytest.approx(3, abs=1)
    assert pace.wait(1000, 1000.0) <= 60
