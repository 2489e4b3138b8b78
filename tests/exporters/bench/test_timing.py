from __future__ import annotations

import time

import pytest

from exporters.bench.others_load import OthersLoad
from exporters.bench.timing import WARM_UP_ITERATIONS, Timing, quantiles, time_call


def test_as_many_iterations_are_measured_as_were_asked_for_after_a_warm_up() -> None:
    calls: list[float] = []
    timing = time_call(lambda: calls.append(time.perf_counter()), iterations=50, seconds=60)
    assert timing.iterations == 50
    assert len(calls) == WARM_UP_ITERATIONS + 50


def test_time_that_is_up_ends_it_but_never_before_three() -> None:
    timing = time_call(lambda: time.sleep(0.02), iterations=900, seconds=0.001)
    assert timing.iterations == 3
    assert timing.mean_seconds >= 0.02


def test_one_iteration_can_be_asked_for() -> None:
    timing = time_call(lambda: None, iterations=1, seconds=60)
    assert (timing.iterations, timing.std_seconds) == (1, 0.0)


def test_calls_a_second_are_of_the_mean() -> None:
    assert Timing(0.05, 0.01, 9, (0.05, 0.06, 0.07)).per_second == pytest.approx(20)


def test_late_calls_are_told_by_their_quantiles() -> None:
    assert quantiles([0.001 * i for i in range(101)]) == pytest.approx((0.05, 0.095, 0.099))


def test_what_this_process_does_is_not_the_load_of_others() -> None:
    load = OthersLoad()
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    assert 0 <= load.share <= 1
    assert "other processes took" in str(load)
