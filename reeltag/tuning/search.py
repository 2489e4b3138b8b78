"""The search: one size after the other, each time on from the best, and at last the best against the rule in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from reeltag.errors import SetupError
from reeltag.machine import Machine
from reeltag.tuning.candidates import Candidate, of_rule, steps
from reeltag.tuning.trial import Measured

BETTER: Final = 1.02
"""So much more counts as better: two measurements of the same server differ by as much."""

Told = Callable[[Candidate, "Measured | None", str], None]
"""Hears of each candidate: what it reached, or None with the reason."""


class Bench(Protocol):
    """Measures candidates; `reeltag.tuning.trial.Servers` does it with real ones."""

    def measured(self, candidate: Candidate) -> Measured:
        """What it reaches; raises `SetupError` where it cannot be served."""
        ...

    def compared(self, one: Candidate, other: Candidate) -> tuple[float, float]:
        """Images a second of two, measured in turns; raises `SetupError` where one cannot be served."""
        ...


@dataclass(frozen=True)
class Found:
    """What the search came to."""

    best: Candidate
    """The rule's where no other is better by more than chance."""
    rule: Candidate
    gain: float
    """Images a second of the best, of those of the rule."""
    images_per_second: float
    """Of the best."""
    tried: int
    closest: float | None = None
    """Where the rule stays, what the fastest of the others reached of it in turns; none where none was faster at first.
    """

    @property
    def verdict(self) -> str:
        """Why the rule stays, in words."""
        if self.closest is None:
            return f"none of {self.tried} was faster than the rule's sizes"
        return (
            f"the fastest of {self.tried} reached {self.closest:.2f} of the rule's sizes when both worked in turns: "
            "the rule's are as good"
        )


def search(machine: Machine, fixed: Mapping[str, int], bench: Bench, told: Told, *, seconds: float) -> Found:
    """Try candidates for about so many seconds, then compare the best with the rule.

    Args:
        machine: What there is.
        fixed: Settings that a person set; they are not varied.
        bench: Measures.
        told: Hears of each candidate.
        seconds: After which no more are tried.

    Raises:
        SetupError: Not even the rule's sizes can be served.
        ServiceError: A request failed.
    """
    end = time.monotonic() + seconds
    rule = of_rule(machine, fixed)
    first = bench.measured(rule)
    told(rule, first, "")
    rates = {rule: first.images_per_second}
    for step in steps(machine, fixed):
        best = _best_of(rates)
        for candidate in step(best):
            if candidate not in rates and time.monotonic() < end:
                rates[candidate] = _rate(bench, candidate, told)
    best, closest = _best_of(rates), None
    if best != rule:
        ours, theirs = bench.compared(best, rule)
        if ours > theirs * BETTER:
            return Found(best, rule, ours / theirs if theirs else float("inf"), ours, len(rates))
        closest = ours / theirs
    return Found(rule, rule, 1.0, rates[rule], len(rates), closest)


def _rate(bench: Bench, candidate: Candidate, told: Told) -> float:
    """Images a second, 0 where it cannot be served."""
    try:
        measured = bench.measured(candidate)
    except SetupError as error:
        told(candidate, None, str(error))
        return 0.0
    told(candidate, measured, "")
    return measured.images_per_second


def _best_of(rates: Mapping[Candidate, float]) -> Candidate:
    """The fastest; what was tried first where another is not better by more than chance."""
    best, *others = rates
    for candidate in others:
        if rates[candidate] > rates[best] * BETTER:
            best = candidate
    return best
