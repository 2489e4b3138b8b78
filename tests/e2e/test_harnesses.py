"""The harnesses behind the figures of `benchmarks/RESULTS.md`, in their short form, and that they see what is wrong."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import faults, media, mutations, overload, soak
from benchmarks.faults import Answer, Fault, Seen
from benchmarks.generator import Answers, share_of
from benchmarks.overload import Knee, Overloaded
from benchmarks.server import Served, serving
from benchmarks.soak import Held, Soaked
from benchmarks.stages import stages
from reeltag.embedded import find
from reeltag.errors import EmbeddedUnavailable


@pytest.fixture(scope="module")
def served(model_repository: Path) -> Iterator[Served]:
    try:
        find()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    with serving("--model-repository", str(model_repository)) as served:  # the last of the tests kills it
        yield served


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    return media.jpegs_720p(16)


def test_overload_answers_everybody(served: Served, images: list[bytes]) -> None:
    knee = overload.find_knee(served, images, seconds=1.0, most_clients=8)
    seen = overload.overload(served, images, knee, seconds=3.0, again=1.0)
    assert not seen.load.others
    assert not seen.probe.others
    assert seen.load.refused
    assert seen.load.accepted
    assert set(seen.mebibytes) >= {"gateway", "Triton"}
    assert "of these two" in overload.report(seen)


def test_a_soak_leaves_nothing(served: Served, images: list[bytes]) -> None:
    seen = asyncio.run(soak.soak(served, images, warm_up_seconds=2.0, seconds=2.0))
    assert seen.images > 0
    assert seen.before.counts["files in /dev/shm"] > 0
    assert seen.before.counts["sockets of gateway"] > 0
    kept = ("sockets", "descriptors", "asyncio tasks", "files in /dev/shm")
    assert not [what for what in seen.grown() if what.startswith(kept)]
    assert "| all |" in soak.report(seen)


def test_where_the_time_goes(served: Served, images: list[bytes]) -> None:
    text = asyncio.run(stages(served, images, 2, 1.0))
    assert "| nanodet_g |" in text
    assert "the client waits" in text


def test_damaged_images_are_answered(served: Served) -> None:
    seen, _, broken = mutations.run(served, seed=1, over_rest=160, over_grpc=40)
    assert not broken
    assert sum(seen.outcomes.values()) == 200
    assert {"REST tagged", "REST truncated", "gRPC tagged"} <= set(seen.outcomes)


def test_a_killed_backend_is_recovered_from_over_both_interfaces(served: Served, images: list[bytes]) -> None:
    seen = asyncio.run(faults.run(served, Fault("Python backend nms", signal.SIGKILL), images, seconds=10.0))
    assert not [problem for problem in seen.broken() if "until all was well" not in problem]
    outcomes = Counter(one.outcome for one in seen.answers)
    assert outcomes["503"]
    assert outcomes["UNAVAILABLE"]
    assert seen.recovery_seconds() > 0


def test_a_killed_gateway_leaves_nothing_behind(served: Served, images: list[bytes]) -> None:
    assert soak.shared_memory_of(served.process.pid)
    assert asyncio.run(faults.kill_gateway(served, images)) == []


def test_damage_is_the_same_for_the_same_seed() -> None:
    some = list(itertools.islice(mutations.mutated(3), 50))
    assert some == list(itertools.islice(mutations.mutated(3), 50))
    assert some != list(itertools.islice(mutations.mutated(4), 50))


def test_errors_of_ours_are_no_refusals_of_a_picture() -> None:
    seen = mutations.Attacked()
    seen.note("REST", "truncated", b"")
    assert not seen.faults
    seen.note("REST", "internal", b"")
    assert seen.faults


def answers(goodput: float, **figures: list[float]) -> Answers:
    return Answers(goodput=goodput, **figures)  # type: ignore[arg-type]  # lists of times


@pytest.mark.parametrize(
    ("load", "probe", "mebibytes", "word"),
    [
        (answers(95, accepted=[2.0], refused=[0.01]), answers(0, refused=[0.09]), {}, ""),
        (answers(80, accepted=[2.0], refused=[0.01]), answers(0), {}, "0.80 of the knee's"),
        (answers(95, accepted=[31.0], refused=[0.01]), answers(0), {}, "took up to 31.0 s"),
        (answers(95, accepted=[2.0], refused=[0.01]), answers(0, refused=[0.2]), {}, "a refusal took 200 ms"),
        (answers(95, accepted=[2.0]), answers(0), {}, "no overload"),
        (answers(95, refused=[0.01]), answers(0), {"gateway": 2000.0}, "gateway held 2000 MiB"),
        (Answers(goodput=95, refused=[0.01], others=Counter({"no answer": 3})), answers(0), {}, "3 x no answer"),
    ],
)
def test_broken_bounds_of_an_overload(load: Answers, probe: Answers, mebibytes: dict[str, float], word: str) -> None:
    broken = Overloaded(Knee(8, answers(110)), load, probe, answers(110), answers(90), mebibytes).broken()
    assert any(word in problem for problem in broken) if word else not broken


def test_shares_of_times() -> None:
    assert share_of([], 0.99) == 0
    assert share_of([3.0, 1.0, 2.0], 0.5) == 2.0
    assert share_of([float(i) for i in range(1, 101)], 0.99) == 99.0


def soaked(last: float, tasks: int) -> Soaked:
    memory = [{"gateway": 100.0}] * 5 + [{"gateway": last}] * 5
    return Soaked(
        1, memory, Held({"asyncio tasks of the gateway": 9}, 100), Held({"asyncio tasks of the gateway": tasks}, 100)
    )


@pytest.mark.parametrize(("last", "tasks", "word"), [(102, 9, ""), (105, 9, "gateway"), (100, 10, "asyncio tasks")])
def test_what_grew_in_a_soak(last: float, tasks: int, word: str) -> None:
    grown = soaked(last, tasks).grown()
    assert any(word in what for what in grown) if word else not grown


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (Answer(3, 4, "503"), ""),
        (Answer(3, 4, "500"), "1 x 500"),
        (Answer(3, 30, "503"), "28.0 s until all was well"),
        (Answer(3, 4, "ServerDisconnectedError"), "ServerDisconnectedError"),
    ],
)
def test_broken_bounds_of_a_fault(answer: Answer, word: str) -> None:
    broken = Seen(2.0, [Answer(0, 1, "200"), answer, Answer(31, 32, "200")]).broken()
    assert any(word in problem for problem in broken) if word else not broken


def test_a_service_that_stays_away_is_seen() -> None:
    assert Seen(2.0, [Answer(0, 1, "200"), Answer(3, 4, "503")]).broken() == ["nothing was tagged any more"]
