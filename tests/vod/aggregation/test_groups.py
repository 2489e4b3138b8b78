from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vod.aggregation.groups import ClassGroups

GROUPS = {"car": (0, 1), "vehicle": (0, 1, 2)}


def test_the_score_of_a_group_is_the_sum_over_its_classes() -> None:
    groups = ClassGroups(GROUPS, 4)
    assert groups.names == ("car", "vehicle")
    assert groups.scores(np.array([0.2, 0.3, 0.1, 0.4], np.float32)) == pytest.approx([0.5, 0.6])


def test_without_groups_there_are_no_scores() -> None:
    assert ClassGroups({}, 4).scores(np.zeros(4, np.float32)).shape == (0,)


@given(arrays(np.float32, 1000, elements=st.floats(0, 10, width=32)).filter(lambda logits: bool(logits.any())))
def test_scores_are_probabilities_and_a_broader_group_has_no_less(weights: np.ndarray) -> None:  # type: ignore[type-arg]
    groups = ClassGroups({"narrow": range(300), "broad": range(700), "all": range(1000)}, 1000)
    narrow, broad, everything = groups.scores(weights / weights.sum())
    assert 0 <= narrow <= broad + 1e-6
    assert broad - 1e-6 <= everything <= 1
    assert everything == pytest.approx(1, abs=1e-4)
