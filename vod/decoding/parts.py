"""Which frames a part of a video needs beside its own, so that its results do not depend on where it was cut."""

from __future__ import annotations

from dataclasses import dataclass

from reeltag.contract import SHOT_CONTEXT_FRAMES
from vod.decoding.frameindex import FrameIndex, Times


@dataclass(frozen=True, eq=False)
class Part:
    """A run of a video's frames, and what is decoded with it.

    The windows of the shot detector lie on a grid over the whole video. A part has those whose first counted frame is
    one of its own, so that each window is of one part, and is the same whatever the parts are.
    """

    key_seconds: float
    """Time of the key frame that decoding begins with; of the first part the first frame's."""
    begins: int
    """Index in the video of the first frame that is needed."""
    times: Times
    """float64 `(n,)`: times of all frames that are needed, from `begins` on; a decoded frame must have its own."""
    first: int
    """Index in the video of the first frame that is the part's own."""
    last: int
    """Index behind its last one."""
    windows_from: int
    """Index of the first frame that its first window takes."""
    lead: int
    """Frames of context from `windows_from` on whose probabilities do not count; 0 at the video's start."""
    counted: int
    """Frames behind them whose probabilities count; 0 where it has no window."""
    is_last: bool
    """Whether the video ends with it."""

    @property
    def starts_video(self) -> bool:
        """Whether it is decoded from the file's start."""
        return self.begins == 0


def part_of(index: FrameIndex, first: int, last: int, *, stride: int = 0, needed: int | None = None) -> Part:
    """The part of the frames from `first` to before `last`.

    Args:
        index: Of the frames that are decoded.
        first: Index of its first frame.
        last: Index behind its last one; the number of all frames at the video's end.
        stride: Frames from one window of the shot detector to the next; 0 without a shot detector.
        needed: Index of the first frame that sampling needs (`first_needed`); the one before `first` without it.
    """
    count, context = len(index), SHOT_CONTEXT_FRAMES
    is_last = last >= count
    # One more at each end: sampling asks for the time before, deinterlacing for the pictures around.
    before = max(0, first - 1)
    begins, ends = before if needed is None else min(before, needed), min(count, last + 1)
    windows_from = lead = counted = 0
    if stride:
        counted_from = -(-first // stride) * stride
        counted_to = count if is_last else min(count, -(-last // stride) * stride)
        counted = max(0, counted_to - counted_from)
        lead = min(context, counted_from)
        windows_from = counted_from - lead
        if counted:
            begins, ends = min(begins, windows_from), max(ends, min(count, counted_to + context))
    return Part(
        key_seconds=index.key_before(begins),
        begins=begins,
        times=index.times[begins:ends],
        first=first,
        last=min(last, count),
        windows_from=windows_from,
        lead=lead,
        counted=counted,
        is_last=is_last,
    )
