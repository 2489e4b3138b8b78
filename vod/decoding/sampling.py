"""Which frames are looked at: pure rules over presentation times, and over what decoding shows anyway.

What is decided about a frame depends on that frame and a bounded stretch of frames before it, or on the shots of the
whole video; never on where decoding began. A part of a video that is decoded on its own is shown the frames from
`first_needed` on, and then samples what it would have sampled of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from reeltag.tags import Shot

SAMPLES_PER_SHOT: Final = 3
SHORT_SHOT_SECONDS: Final = 0.5
"""A shorter shot gets one sample."""
LONGEST_UNSAMPLED_SECONDS: Final = 10.0
"""A long shot gets more samples, so that they are not further apart than this."""
SHARPEST_OF: Final = 5
"""Frames of a shot among which the sharpest one is sought."""
CELL_SAMPLES: Final = 4
"""Adaptive sampling takes at least one of so many frames that even sampling would take."""
CELL_SECONDS: Final = 8.0
"""It takes at least one in this time, or as many as even sampling: so far it has to look back."""
CHANGED_LEVELS: Final = 24
"""A pixel has changed where a colour of it differs by more than this, of 255: above the noise of codecs and cameras."""
CHANGED_SHARE: Final = 0.05
"""A picture has changed where more than this share of its pixels has: a car in the street, not a leaf in the wind."""
_TOLERANCE: Final = 1e-3

SmallFrame = npt.NDArray[np.uint8]
Times = Sequence[float] | npt.NDArray[np.float64]
"""uint8 `(27, 48, 3)` RGB, as the shot detector takes it."""


class Sample(str, Enum):
    """Which frames of a video are looked at."""

    EVERY = "every"
    """All of them: dearest."""
    FPS = "fps"
    """Evenly in time, `TagOptions.fps` a second."""
    KEYFRAMES = "keyframes"
    """Only key frames, at most `TagOptions.fps` a second: fastest. Shots cannot be found; the video is one shot."""
    SHOTS = "shots"
    """A few frames of each shot, after a first pass that finds the shots."""
    ADAPTIVE = "adaptive"
    """At most `TagOptions.fps` a second: where the picture changes that many, where it stands still a quarter."""


class ShotFrames(str, Enum):
    """Which frames of a shot `Sample.SHOTS` looks at; a long shot counts as several, of 10 seconds at most each."""

    SPREAD = "spread"
    """Three or more, in the middle of equal parts; one of a shot shorter than half a second."""
    FIRST = "first"
    """The first one."""
    MIDDLE = "middle"
    """The one in the middle."""
    SHARPEST = "sharpest"
    """The sharpest of five, in the middle of equal parts."""


class Sampler(Protocol):
    """Decides frame by frame, in order of time."""

    def takes(self, time: float, small: Callable[[], SmallFrame]) -> bool:
        """Whether the frame at `time` seconds is sampled; times must rise from call to call.

        Args:
            time: Presentation time.
            small: Gives the frame as the shot detector takes it.
        """
        ...


class EverySampler:
    """Takes all frames."""

    def takes(self, _time: float, _small: Callable[[], SmallFrame]) -> bool:
        """True."""
        return True


class NoSampler:
    """Takes no frame: which ones are wanted is known later."""

    def takes(self, _time: float, _small: Callable[[], SmallFrame]) -> bool:
        """False."""
        return False


class EvenSampler:
    """Takes the first frame at or after each multiple of `1 / fps` seconds.

    A frame that is displayed for longer than that, as in a variable frame rate, is taken once and stands for the
    whole time; frames that come faster are left out. It depends on the time of the frame before.

    Args:
        fps: Frames a second, above 0.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._next = 0

    def takes(self, time: float, _small: Callable[[], SmallFrame] | None = None) -> bool:
        """Whether the frame at `time` seconds is sampled; times must rise from call to call."""
        position = (time + _TOLERANCE) * self._fps
        if position < self._next:
            return False
        self._next = math.floor(position) + 1
        return True


class AdaptiveSampler:
    """Takes of the frames that `EvenSampler` takes those that differ from the one that was taken before.

    Time is divided into cells of `CELL_SAMPLES` even frames, or as many as there are in `CELL_SECONDS`. The first one
    in a cell is always taken, and what came before the cell is forgotten: what is taken depends on the frames of the
    cell and the time of the one before it.

    Args:
        fps: Frames a second at most, above 0.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._even = EvenSampler(fps)
        self._cell = -1
        self._taken: SmallFrame | None = None

    def takes(self, time: float, small: Callable[[], SmallFrame]) -> bool:
        """As `Sampler.takes`."""
        if not self._even.takes(time):
            return False
        cell = int(_cells(np.array([time]), self._fps)[0])
        if cell == self._cell and self._taken is not None and not has_changed(self._taken, small()):
            return False
        self._cell, self._taken = cell, small()
        return True


def sampler_of(sample: Sample, fps: float) -> Sampler:
    """What decides while a video is decoded.

    Args:
        sample: The policy.
        fps: Frames a second, or their upper limit, above 0.
    """
    if sample is Sample.EVERY:
        return EverySampler()
    if sample is Sample.SHOTS:
        return NoSampler()
    return AdaptiveSampler(fps) if sample is Sample.ADAPTIVE else EvenSampler(fps)


def first_needed(sample: Sample, fps: float, times: npt.NDArray[np.float64], first: int) -> int:
    """Index of the first frame that a sampler must be shown, to decide about one as it does in the whole video.

    Args:
        sample: The policy.
        fps: Frames a second, or their upper limit, above 0.
        times: float64 `(n,)`: presentation times of all frames, seconds, rising.
        first: Index of the frame that it decides about.
    """
    before = max(0, first - 1)
    if sample is not Sample.ADAPTIVE or first == 0:
        return before
    cells = _cells(times[: first + 1], fps)
    return min(before, int(np.searchsorted(cells, cells[-1])))


def has_changed(before: SmallFrame, after: SmallFrame) -> bool:
    """Whether one picture differs from another one: in so many pixels by so much, as above."""
    distance = np.maximum(before, after) - np.minimum(before, after)
    changed = (distance > CHANGED_LEVELS).any(axis=2)
    return bool(np.count_nonzero(changed) > CHANGED_SHARE * changed.size)


def _cells(times: npt.NDArray[np.float64], fps: float) -> npt.NDArray[np.float64]:
    """The number of the cell of each time."""
    samples = max(1, min(CELL_SAMPLES, math.floor(CELL_SECONDS * fps)))
    return np.asarray(np.floor(np.floor((times + _TOLERANCE) * fps) / samples), np.float64)


def shots_without(shots: Sequence[Shot], sample_times: Times) -> list[Shot]:
    """The shots in which no sample lies, such as those that are shorter than the time between two samples.

    Args:
        shots: Disjoint, in order.
        sample_times: Seconds, rising.
    """
    times = np.asarray(sample_times, dtype=np.float64)
    counts = [np.ptp(np.searchsorted(times, [shot.start_seconds, shot.end_seconds])) for shot in shots]
    return [shot for shot, count in zip(shots, counts, strict=True) if count == 0]


def shot_sample_groups(
    shots: Sequence[Shot], frame_times: Times, which: ShotFrames = ShotFrames.SPREAD
) -> tuple[tuple[float, ...], ...]:
    """The frames to look at when shots are known.

    A shot is divided into equal parts of `LONGEST_UNSAMPLED_SECONDS` at most; into `SAMPLES_PER_SHOT` or more for
    `SPREAD`, but one where it is shorter than `SHORT_SHOT_SECONDS`.

    Args:
        shots: Disjoint, in order.
        frame_times: Presentation times of all frames in seconds, rising.
        which: Frames of a shot.

    Returns:
        Groups of presentation times, rising throughout, each that of a frame inside its shot; of each group the
        sharpest frame is to be looked at.
    """
    times = np.asarray(frame_times, dtype=np.float64)
    groups: list[tuple[float, ...]] = []
    reached = -1
    for shot in shots:
        first, last = np.searchsorted(times, [shot.start_seconds, shot.end_seconds])
        if first == last:
            continue
        length = shot.end_seconds - shot.start_seconds
        parts = max(1, math.ceil(length / LONGEST_UNSAMPLED_SECONDS))
        if which is ShotFrames.SPREAD and length >= SHORT_SHOT_SECONDS:
            parts = max(SAMPLES_PER_SHOT, parts)
        targets = shot.start_seconds + length * (np.arange(parts)[:, None] + _places_in_part(which)) / parts
        displayed = np.clip(np.searchsorted(times, targets, side="right") - 1, first, last - 1)
        for row in displayed:
            own = np.unique(row)
            own = own[own > reached]
            if len(own):
                groups.append(tuple(times[own].tolist()))
                reached = int(own[-1])
    return tuple(groups)


def _places_in_part(which: ShotFrames) -> npt.NDArray[np.float64]:
    """Where in a part of a shot its frames are displayed, from 0 to 1."""
    if which is ShotFrames.FIRST:
        return np.zeros(1)
    return (np.arange(SHARPEST_OF) + 0.5) / SHARPEST_OF if which is ShotFrames.SHARPEST else np.full(1, 0.5)
