from __future__ import annotations

import math
from collections import Counter

import pytest

from loadtests import shapes
from loadtests.known import Found, Picture, problem
from loadtests.samples import Sample, percentile
from loadtests.verdict import Gates, judge

CAR: Found = ("car", 0.9, (10.0, 20.0, 30.0, 40.0))
PICTURE = Picture("a.jpg", b"", 640, 480, (CAR, ("dog", 0.31, (0.0, 0.0, 5.0, 5.0))))


def test_shapes_over_time() -> None:
    assert [shapes.constant(8, 10)(t) for t in (0, 9.9, 10)] == [8, 8, None]
    assert [shapes.ramp(64, 60)(t) for t in (0, 11, 25, 59, 60)] == [2, 4, 8, 64, None]
    assert [shapes.spike(100, 40)(t) for t in (0, 10, 29, 30, 40)] == [10, 100, 100, 10, None]


@pytest.mark.parametrize("capacity", [1, 2, 5, 24, 63])
def test_the_knee_is_found_near_the_last_number_of_users_that_keep_the_bound(capacity: int) -> None:
    search = shapes.KneeSearch(p99_seconds=1.0, peak=64)
    while (users := search.next_users()) is not None:
        assert len(search.stages) < 12
        search.stages.append(shapes.Stage(users, min(users, capacity) * 10.0, users / capacity))
    knee = search.knee()
    assert knee is not None
    assert capacity * 0.8 <= knee.users <= capacity


def test_no_knee_where_nothing_keeps_the_bound() -> None:
    search = shapes.KneeSearch(p99_seconds=1.0, peak=64)
    search.stages.append(shapes.Stage(1, 10.0, 2.0))
    assert search.next_users() is None
    assert search.knee() is None


def test_percentiles_count_each_request() -> None:
    durations = Counter({10: 98, 500: 1, 2000: 1})
    assert [percentile(durations, share) for share in (0.5, 0.98, 0.99, 1.0)] == [0.01, 0.01, 0.5, 2.0]
    assert percentile(Counter(), 0.99) == 0


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([CAR], ""),  # the dog is too near the threshold to be missed
        ([("car", 0.87, (11.0, 18.5, 30.0, 42.0))], ""),
        ([], "misses car"),
        ([("car", 0.9, (14.0, 20.0, 30.0, 40.0))], "misses car"),
        ([("bus", 0.9, CAR[2])], "misses car"),
        ([CAR, ("cat", 0.8, (1.0, 1.0, 2.0, 2.0))], "invents cat"),
    ],
)
def test_answers_are_compared_with_what_is_known(objects: list[Found], expected: str) -> None:
    fault = problem(PICTURE, 640, 480, objects)
    assert expected in fault
    assert bool(fault) == bool(expected)


def test_another_pictures_answer_is_seen() -> None:
    assert "320x240 instead of 640x480" in problem(PICTURE, 320, 240, [CAR])


def sample(
    second: int, rate: float = 50.0, milliseconds: int = 100, cpu: float = 0.3, batches: float = 10, batch: float = 6.0
) -> Sample:
    return Sample(second, 8, rate, 0, 0, Counter({milliseconds: 50}), Counter(), cpu, batches, batch, 3)


@pytest.mark.parametrize(
    ("gates", "errors", "words"),
    [
        (Gates(), 0, "Every gate was passed."),
        (Gates(), 1, "0.20% of the requests failed; at most 0.00% may."),
        (Gates(max_error_share=0.01), 1, "Every gate was passed."),
        (Gates(max_p99_seconds=0.05), 0, "longer than 100 ms; the gate is 50 ms"),
        (Gates(min_images_per_second=60), 0, "50.0 images/s were reached; the gate is 60.0."),
    ],
)
def test_gates(gates: Gates, errors: int, words: str) -> None:
    verdict = judge([sample(second) for second in range(1, 20)], gates, 500, errors)
    assert any(words in sentence for sentence in verdict.sentences), verdict
    assert verdict.passed == (words == "Every gate was passed.")


def test_a_busy_client_is_blamed_itself() -> None:
    verdict = judge([sample(second, cpu=0.97) for second in range(1, 20)], Gates(), 500, 0)
    assert any("it, not the server, set the pace" in sentence for sentence in verdict.sentences)


def test_the_verdict_says_how_large_batches_were_and_who_set_the_pace() -> None:
    samples = [sample(6, batches=30, batch=8.0), sample(7, batches=10, batch=4.0), sample(8, batches=0, batch=math.nan)]
    verdict = judge(samples, Gates(), 500, 0)
    assert verdict.mean_batch == 7.0
    assert "A request to Triton held 7.0 images on average." in verdict.sentences
    assert any("30% of a core, so that the server set the pace" in sentence for sentence in verdict.sentences)


def test_images_that_wait_and_go_one_by_one_are_seen() -> None:
    verdict = judge([sample(second, batch=1.0) for second in range(1, 20)], Gates(), 500, 0)
    assert any("the gateway does not batch" in sentence for sentence in verdict.sentences)


def test_nothing_answered_is_no_pass() -> None:
    assert not judge([], Gates(), 0, 0).passed
    assert not judge([sample(second, rate=0) for second in range(1, 9)], Gates(), 10, 0).passed
