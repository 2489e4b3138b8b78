from __future__ import annotations

import os
import subprocess
import sys

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


def test_other_cores_are_not_woken_for_a_frame() -> None:
    code = (
        "import numpy as np, psutil\n"
        "from vod.aggregation.groups import ClassGroups\n"
        "groups = ClassGroups({str(i): range(i, i + 40) for i in range(73)}, 1000)\n"
        "scores, me = np.full(1000, 1e-3, np.float32), psutil.Process()\n"
        "took = lambda: [sum(one[1:]) for one in sorted(me.threads(), key=lambda one: one.id != me.pid)]\n"
        "before = took()\n"
        "for _ in range(10_000): groups.scores(scores)\n"
        "own, *others = [now - then for now, then in zip(took(), before, strict=True)]\n"
        "print(own, sum(others))\n"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "4"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    own, others = map(float, said.stdout.split())
    assert own > 0.1
    assert others < 0.1 * own
