"""From the shot detector's probabilities to shots: a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from reeltag.tags import Shot

Numbers = Sequence[float] | npt.NDArray[Any]

CUT_THRESHOLD: Final = 0.5
"""Probability from which a frame belongs to a transition, as TransNetV2 was evaluated."""


def shots_of(
    probabilities: Numbers, times: Numbers, end_seconds: float, *, threshold: float = CUT_THRESHOLD
) -> tuple[Shot, ...]:
    """Shots between the transitions; they cover the video from 0 to its end without holes.

    Consecutive frames above the threshold are one transition. The cut lies after its most probable frame, in the
    middle of those where several are: at a hard cut that is the old shot's last frame.

    Args:
        probabilities: For each frame, 0 to 1, that a shot ends with it.
        times: Presentation time of each frame in seconds, rising.
        end_seconds: Where the last frame's display ends.
        threshold: 0 to 1.
    """
    starts = [0.0]
    scores = np.asarray(probabilities, np.float64)
    transitions = np.flatnonzero(scores > threshold)
    for frames in np.split(transitions, np.flatnonzero(np.diff(transitions) > 1) + 1):
        if not len(frames):
            continue
        best = frames[scores[frames] == scores[frames].max()]
        cut = int(best[(len(best) - 1) // 2])
        if cut + 1 < len(times):
            starts.append(float(times[cut + 1]))
    ends = [*starts[1:], end_seconds]
    return tuple(Shot(start_seconds=start, end_seconds=end) for start, end in zip(starts, ends, strict=True))
