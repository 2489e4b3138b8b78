"""Sums the scores of related classes: a hedge for pictures whose exact class the network cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class ClassGroups:
    """The groups of a model card, ready to be scored.

    Where a softmax is spread over taxi, limousine and minivan, none of them is certain but a car is: the probability of
    a group is the sum over its classes. The choice of the right specificity follows Deng, Krause, Berg and Fei-Fei,
    "Hedging your bets: optimizing accuracy-specificity trade-offs in large scale visual recognition", CVPR 2012, with
    given thresholds instead of optimised rewards.

    Args:
        groups: Class indexes by group name (`ModelCard.groups`).
        classes: How many classes the network has.
    """

    def __init__(self, groups: Mapping[str, Sequence[int]], classes: int) -> None:
        self.names: tuple[str, ...] = tuple(groups)
        members = [sorted(set(indexes)) for indexes in groups.values()]
        if any(not 0 <= index < classes for of_group in members for index in of_group):
            raise IndexError(f"a group has a class that is none of the {classes}")
        # Class indexes group after group, and the group of each: a product of matrices would wake every core for it.
        self._members = np.array([index for of_group in members for index in of_group], np.intp)
        self._group_of = np.array([group for group, of_group in enumerate(members) for _ in of_group], np.intp)

    def scores(self, scores: Array) -> Array:
        """Of each group: float32 `(C,)` probabilities of the classes to float32 `(G,)`, 0 to 1, in `names`' order."""
        # Rounding may carry a sum of probabilities a little above 1, which no tag's score may be.
        sums = np.bincount(self._group_of, scores[self._members], len(self.names))
        return np.minimum(sums, 1).astype(np.float32)
