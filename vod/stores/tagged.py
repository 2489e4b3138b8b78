"""The result of one video, of which the parts that there are many of are made when they are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reeltag.tags import Coverage, Detection, FrameDetections, Provenance, Tag, TaggedShot, VideoSource


@dataclass(frozen=True)
class TaggedVideo:
    """All of `reeltag.tags.VideoTags`, and what a video's page shows beside it; hours of video need little memory."""

    source: VideoSource
    shots: Sequence[TaggedShot]
    tags: tuple[Tag, ...]
    """By falling confidence."""
    coverage: Coverage
    provenance: Provenance
    frames: Mapping[float, tuple[Detection, ...]]
    """Objects of every sampled frame by its presentation time, seconds; by falling score."""
    frame_results: Iterable[FrameDetections] | None = None
    """Every sampled frame, where they were asked for; can be gone through again and again."""
