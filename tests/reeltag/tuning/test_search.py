from __future__ import annotations

import pytest

from reeltag.errors import SetupError
from reeltag.machine import Machine
from reeltag.sizing import NETWORKS, by_rule, instance_mib
from reeltag.tuning.candidates import Candidate, of_rule, steps
from reeltag.tuning.search import search
from reeltag.tuning.trial import Measured

MACHINE = Machine(8, None, None)


class Model:
    """A machine on which `best` is the fastest, and what differs from it is slower by each difference."""

    def __init__(self, best: Candidate, *, broken: int = 0, lies: bool = False) -> None:
        self.best, self.broken, self.lies = best, broken, lies

    def rate(self, candidate: Candidate) -> float:
        different = [name for name, value in vars(candidate).items() if value != getattr(self.best, name)]
        return 100.0 / (1 + len(different))

    def measured(self, candidate: Candidate) -> Measured:
        if candidate.network_threads == self.broken:
            raise SetupError("no memory")
        return Measured(32, self.rate(candidate), 0.1)

    def compared(self, one: Candidate, other: Candidate) -> tuple[float, float]:
        return (50.0, 50.0) if self.lies else (self.rate(one), self.rate(other))


def verdict(model: Model) -> str:
    return search(MACHINE, {}, model, lambda *_: None, seconds=60).verdict


def tried(model: Model, **fixed: int) -> tuple[Candidate, float, dict[Candidate, Measured | None]]:
    seen: dict[Candidate, Measured | None] = {}
    found = search(MACHINE, fixed, model, lambda c, measured, _: seen.update({c: measured}), seconds=60)
    assert found.tried == len(seen)
    return found.best, found.gain, seen


def test_the_best_is_found_one_size_after_the_other() -> None:
    best = Candidate(2, 4, 500, 32, 6)
    found, gain, seen = tried(Model(best))
    assert found == best
    assert gain == pytest.approx(100 / Model(best).rate(of_rule(MACHINE, {})))
    assert len(seen) < 40


def test_where_the_rule_is_the_best_it_stays() -> None:
    assert tried(Model(of_rule(MACHINE, {})))[:2] == (of_rule(MACHINE, {}), 1.0)


def test_what_is_better_by_chance_alone_is_not_taken() -> None:
    found, gain, _ = tried(Model(Candidate(2, 4, 500, 32, 6), lies=True))
    assert (found, gain) == (of_rule(MACHINE, {}), 1.0)


def test_why_the_rule_stays_is_said() -> None:
    """The table before it may show others that were faster for once."""
    assert "reached 1.00 of the rule's sizes when both worked in turns" in verdict(
        Model(Candidate(2, 4, 500, 32, 6), lies=True)
    )
    assert "was faster than the rule's sizes" in verdict(Model(of_rule(MACHINE, {})))


def test_what_cannot_be_served_is_told_and_passed_over() -> None:
    best = Candidate(2, 4, 0, 16, 4)
    found, _, seen = tried(Model(best, broken=2))
    assert found == best
    assert {c.network_threads for c, measured in seen.items() if measured is None} == {2}


def test_what_is_set_is_not_varied() -> None:
    _, _, seen = tried(Model(Candidate(2, 4, 500, 32, 6)), network_threads=3, batch_max_images=5)
    assert {(c.network_threads, c.batch_max_images) for c in seen} == {(3, 5)}
    assert len({c.network_instances for c in seen}) > 1


@pytest.mark.parametrize(("cores", "mib"), [(1, None), (2, 3000), (16, 6000), (16, None), (128, 262_144)])
def test_nothing_is_tried_that_memory_cannot_hold(cores: int, mib: int | None) -> None:
    machine = Machine(cores, None, mib and mib << 20)
    rule = of_rule(machine, {})
    shapes = list(next(iter(steps(machine, ())))(rule))
    assert all(c.network_instances * c.network_threads <= cores + c.network_threads for c in shapes)
    for c in shapes:
        needed = NETWORKS * c.network_instances * instance_mib(c.network_threads)
        least = by_rule(machine, threads=c.network_threads).network_instances == c.network_instances == 1
        assert mib is None or least or needed <= mib
