"""From the shot detector's probabilities to shots: a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from reeltag.tags import Shot

CUT_THRESHOLD: Final = 0.5
"""Probability from which a frame belongs to a transition, as TransNetV2 was evaluated."""


def shots_of(
    probabilities: Sequence[float], times: Sequence[float], end_seconds: float, *, threshold: float = CUT_THRESHOLD
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
    for is_transition, group in groupby(range(len(times)), key=lambda i: probabilities[i] > threshold):
        if not is_transition:
            continue
        frames = list(group)
        peak = max(probabilities[i] for i in frames)
        best = [i for i in frames if probabilities[i] == peak]
        cut = best[(len(best) - 1) // 2]
        if cut + 1 < len(times):
            starts.append(times[cut + 1])
    ends = [*starts[1:], end_seconds]
    return tuple(Shot(start_seconds=start, end_seconds=end) for start, end in zip(starts, ends, strict=True))
