"""Reads the packets of a file, decodes none, and says which frames there are; or why the packets cannot be trusted.

A file is decoded in one go, from its start, where

- its container has no index of key frames to seek by (transport and program streams, AVI, FLV, ASF, raw video);
- packets lack timestamps, go back in time, are marked as corrupt, or are hidden by an edit list;
- reading it fails anywhere, or it does not begin with a key frame that is shown first;
- it holds a single frame.

What packets do not tell, such as damage inside of them, shows when the segments are decoded: each frame is compared
with what is said here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from vod.decoding.containers import Source
from vod.decoding.frameindex import FrameIndex


def surveyed(path: Path, beat: Callable[[], None] = lambda: None) -> FrameIndex | str:
    """The frames of a file, or why it has to be decoded in one go.

    Args:
        path: The file.
        beat: Called again and again while it is read.

    Raises:
        VideoError: It cannot be opened.
    """
    source = Source(path)
    try:
        if not source.is_seekable:
            return f"its container ({source.container.format.name.split(',')[0]}) has no index of key frames"
        return _of_packets(source, beat)
    except av.FFmpegError as error:
        return f"reading its packets failed: {error.strerror}"
    finally:
        source.close()


def _of_packets(source: Source, beat: Callable[[], None]) -> FrameIndex | str:
    stamps: list[int] = []
    keys: list[bool] = []
    before: int | None = None
    for packet in source.packets():
        beat()
        if packet.stream.index != source.stream.index or not packet.size:
            continue
        problem = _problem_of(packet, before)
        if problem or packet.pts is None:
            return problem
        before = before if packet.dts is None else packet.dts  # Matroska holds none: FFmpeg guesses it
        stamps.append(packet.pts)
        keys.append(packet.is_keyframe)
    if len(stamps) < 2:
        return "a single frame"
    if not keys[0] or stamps[0] != min(stamps):
        return "it does not begin with a key frame that is shown first"
    return _indexed(source, stamps, keys)


def _problem_of(packet: av.Packet[av.VideoStream], before: int | None) -> str:
    if packet.pts is None:
        return "packets without timestamps"
    if before is not None and packet.dts is not None and packet.dts <= before:
        return "timestamps that go back"
    if packet.is_corrupt:
        return "packets that are marked as corrupt"
    return "frames that an edit list hides" if packet.is_discard else ""


def _indexed(source: Source, stamps: list[int], keys: list[bool]) -> FrameIndex | str:
    time_base = source.stream.time_base
    if not time_base:
        return "timestamps without a unit"
    order = np.argsort(np.array(stamps, np.int64), kind="stable")
    seconds = [float(stamps[i] * time_base) for i in order]  # as `passes.py` computes a frame's stamp
    times = np.array([round(each - seconds[0], 6) for each in seconds])
    if (np.diff(times) <= 0).any():
        return "frames that share a timestamp"
    return FrameIndex(times, np.array(keys, np.bool_)[order])
