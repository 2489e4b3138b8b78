"""Where a video is cut: near key frames, by its packets alone."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from reeltag.contract import SHOT_CONTEXT_FRAMES
from reeltag.errors import StaleRecord, VideoError
from vod.decoding.blocks import Probe, RingLayout
from vod.decoding.frameindex import FrameIndex
from vod.decoding.nvdec import device_of
from vod.decoding.parts import Part, part_of
from vod.decoding.reader import VideoReader, prepare
from vod.decoding.sampling import first_needed
from vod.options import Sample, TagOptions
from vod.provenance import sha256_of

SEGMENT_SECONDS: Final = 60.0
"""Decoding what surrounds a segment costs about 3 seconds of video more, whatever its length."""
_SHORT: Final = 1.5
"""So many times a segment's length is not cut."""
_VERSION: Final = 1
_NO_FRAMES: Final = RingLayout(views=())


@dataclass(frozen=True)
class Segment:
    """A stretch of a video that is tagged on its own."""

    index: int
    """Its place among the segments, from 0."""
    start_seconds: float
    """Presentation time of its first frame, seconds from the video's first."""
    end_seconds: float
    """That of the next segment's first frame; of the last segment the end that the file states, 0 when unknown."""
    first: int = 0
    """Index of its first frame; unused where a video is one segment."""
    last: int = 0
    """Index behind its last frame."""


@dataclass(frozen=True)
class VideoPlan:
    """What is known of a video before it is decoded, and its segments."""

    probe: Probe
    sha256: str
    """Of the file."""
    size_bytes: int
    """Of the file."""
    segments: tuple[Segment, ...]
    """At least one; a single one is decoded from the file's start to its end, whatever its packets say."""
    keyframes_only: bool = False
    """Whether nothing but key frames is decoded, by `Sample.KEYFRAMES`; frames are counted accordingly."""
    index: FrameIndex | None = None
    """Of the frames that are decoded; none where it is a single segment."""
    problem: str = ""
    """Why it is not cut; empty where it is, or is not long enough."""

    def in_one_go(self, problem: str = "") -> VideoPlan:
        """The same video as a single segment, which every file can be tagged in."""
        return replace(self, segments=(whole(self.probe),), index=None, problem=problem or self.problem)

    def part(self, segment: Segment, stride: int, options: TagOptions) -> Part | None:
        """What is decoded for a segment; None where that is all.

        Args:
            segment: One of them.
            stride: Frames from one window of the shot detector to the next; 0 without one.
            options: How it is tagged.
        """
        if self.index is None:
            return None
        needed = first_needed(options.sample, options.fps, self.index.times, segment.first)
        return part_of(self.index, segment.first, segment.last, stride=stride, needed=needed)

    def check(self, path: Path, options: TagOptions) -> None:
        """See that a file may still be the one that was planned.

        Raises:
            VideoError: It has another size now.
            ValueError: It was planned for another kind of sampling.
        """
        if self.keyframes_only != (options.sample is Sample.KEYFRAMES):
            raise ValueError("a plan for key frames alone serves no other sampling, nor the reverse")
        if path.stat().st_size != self.size_bytes:
            raise VideoError(f"{path.name} has changed since it was looked at; tag it again")

    def to_json(self) -> dict[str, Any]:
        """As values that JSON has."""
        return asdict(replace(self, index=None)) | {
            "version": _VERSION,
            "index": self.index and self.index.to_text(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> VideoPlan:
        """The reverse of `to_json`.

        Raises:
            StaleRecord: Another version wrote it.
        """
        given = dict(values)
        if given.pop("version", None) != _VERSION:
            raise StaleRecord("the plan of a video was made by another version of reeltag; it has to be made again")
        index = given.pop("index")
        return cls(
            probe=Probe(**given.pop("probe")),
            segments=tuple(Segment(**each) for each in given.pop("segments")),
            index=FrameIndex.from_text(index) if index else None,
            **given,
        )


async def plan_video(path: Path, options: TagOptions, *, segment_seconds: float = SEGMENT_SECONDS) -> VideoPlan:
    """Look at a file, decode its first frame, and say where it is cut.

    A file is one segment where it is no longer than one and a half, and where its packets cannot be trusted:
    `vod/decoding/survey.py` lists those cases. The file is read by a child process that can be killed.

    Args:
        path: The file.
        options: How it will be tagged.
        segment_seconds: About how long a segment is, above 0; key frames decide.

    Raises:
        VideoError: It cannot be read, or holds no video.
    """
    size = path.stat().st_size
    keyframes_only = options.sample is Sample.KEYFRAMES
    digest = asyncio.ensure_future(asyncio.to_thread(sha256_of, path))
    try:
        prepare(await device_of(options.decoder))
        async with VideoReader(path, _NO_FRAMES, keyframes_only=keyframes_only) as reader:
            probe = await reader.probe()
            is_short = (probe.duration_seconds or np.inf) <= _SHORT * segment_seconds
            found = "" if is_short else await reader.survey()
        plan = VideoPlan(probe, await digest, size, (whole(probe),), keyframes_only)
    finally:
        digest.cancel()
    if isinstance(found, str):
        return replace(plan, problem=found)
    index = found.of_keys() if keyframes_only else found
    segments = cut(index, probe, segment_seconds, keyframes_only=keyframes_only)
    return replace(plan, segments=segments, index=index) if len(segments) > 1 else plan


def cut(index: FrameIndex, probe: Probe, segment_seconds: float, *, keyframes_only: bool) -> tuple[Segment, ...]:
    """Segments of about a length.

    Each begins with the frame that has just enough frames between itself and a key frame for the shot detector's
    context: then no second group of pictures has to be decoded for it.

    Args:
        index: Of the frames that are decoded.
        probe: Of the video.
        segment_seconds: Above 0.
        keyframes_only: Whether the frames are key frames alone.
    """
    starts = index.keys + (0 if keyframes_only else SHOT_CONTEXT_FRAMES)
    starts = starts[(starts > 0) & (starts < len(index))]
    length = float(index.times[-1])
    count = round(length / segment_seconds)
    if count < 2 or not len(starts):
        return _between(index, [0], probe)
    wanted = np.arange(1, count) * (length / count)
    above = np.searchsorted(index.times[starts], wanted).clip(0, len(starts) - 1)
    below = (above - 1).clip(0)
    is_nearer = wanted - index.times[starts[below]] < index.times[starts[above]] - wanted
    return _between(index, [0, *np.unique(starts[np.where(is_nearer, below, above)]).tolist()], probe)


def _between(index: FrameIndex, starts: list[int], probe: Probe) -> tuple[Segment, ...]:
    ends = [*starts[1:], len(index)]
    times = [float(index.times[each]) for each in starts]
    until = [*times[1:], probe.duration_seconds or float(index.times[-1])]
    return tuple(Segment(number, *each) for number, each in enumerate(zip(times, until, starts, ends, strict=True)))


def whole(probe: Probe) -> Segment:
    """The segment that is all of a video."""
    return Segment(0, 0.0, probe.duration_seconds or 0.0)
