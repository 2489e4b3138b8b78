"""Which frames are looked at: pure rules over presentation times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Final

import numpy as np

from reeltag.tags import Shot

SAMPLES_PER_SHOT: Final = 3
SHORT_SHOT_SECONDS: Final = 0.5
"""A shorter shot gets one sample."""
LONGEST_UNSAMPLED_SECONDS: Final = 10.0
"""A long shot gets more samples, so that they are not further apart than this."""
_TOLERANCE: Final = 1e-3


class Sample(str, Enum):
    """Which frames of a video are looked at."""

    FPS = "fps"
    """Evenly in time, `TagOptions.fps` a second."""
    KEYFRAMES = "keyframes"
    """Only key frames, at most `TagOptions.fps` a second: fastest. Shots cannot be found; the video is one shot."""
    SHOTS = "shots"
    """A few frames of each shot, after a first pass that finds the shots."""


class EvenSampler:
    """Takes the first frame at or after each multiple of `1 / fps` seconds.

    A frame that is displayed for longer than that, as in a variable frame rate, is taken once and stands for the
    whole time; frames that come faster are left out.

    Args:
        fps: Frames a second, above 0.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._next = 0

    def takes(self, time: float) -> bool:
        """Whether the frame at `time` seconds is sampled; times must rise from call to call."""
        position = (time + _TOLERANCE) * self._fps
        if position < self._next:
            return False
        self._next = math.floor(position) + 1
        return True


def shots_without(shots: Sequence[Shot], sample_times: Sequence[float]) -> list[Shot]:
    """The shots in which no sample lies, such as those that are shorter than the time between two samples.

    Args:
        shots: Disjoint, in order.
        sample_times: Seconds, rising.
    """
    times = np.asarray(sample_times, dtype=np.float64)
    counts = [np.ptp(np.searchsorted(times, [shot.start_seconds, shot.end_seconds])) for shot in shots]
    return [shot for shot, count in zip(shots, counts, strict=True) if count == 0]


def shot_sample_times(shots: Sequence[Shot], frame_times: Sequence[float]) -> tuple[float, ...]:
    """The frames to sample when shots are known: a few a shot, in the middle of equal parts.

    A shot shorter than `SHORT_SHOT_SECONDS` gets one, others `SAMPLES_PER_SHOT` or more, never further apart than
    `LONGEST_UNSAMPLED_SECONDS`.

    Args:
        shots: Disjoint, in order.
        frame_times: Presentation times of all frames in seconds, rising.

    Returns:
        Rising presentation times, each that of a frame inside its shot.
    """
    times = np.asarray(frame_times, dtype=np.float64)
    chosen: list[float] = []
    for shot in shots:
        first, last = np.searchsorted(times, [shot.start_seconds, shot.end_seconds])
        if first == last:
            continue
        length = shot.end_seconds - shot.start_seconds
        wanted = max(SAMPLES_PER_SHOT, math.ceil(length / LONGEST_UNSAMPLED_SECONDS))
        count = 1 if length < SHORT_SHOT_SECONDS else wanted
        targets = shot.start_seconds + length * (np.arange(count) + 0.5) / count
        displayed = np.searchsorted(times, targets, side="right") - 1
        chosen += [float(t) for t in times[np.unique(np.clip(displayed, first, last - 1))]]
    return tuple(chosen)
