"""What a user can choose when videos and images are tagged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from reeltag.errors import InvalidOption
from vod.decoding.decoders import Decoder
from vod.decoding.sampling import Sample, ShotFrames
from vod.taxonomy import Taxonomy
from vod.thresholds import Hysteresis, Thresholds
from vod.tiles import Tiles

__all__ = ["MAX_FPS", "Decoder", "Hysteresis", "Sample", "ShotFrames", "TagOptions", "Taxonomy", "Thresholds", "Tiles"]

MAX_FPS: Final = 60.0
"""Most frames a second that may be sampled."""


@dataclass(frozen=True)
class TagOptions:
    """How videos and images are tagged.

    Raises:
        InvalidOption: `fps` is not above 0 and at most `MAX_FPS`.
    """

    sample: Sample = Sample.FPS
    fps: float = 2.0
    """Frames sampled a second of video; an upper limit for `KEYFRAMES` and `ADAPTIVE`, unused by `EVERY`, `SHOTS`."""
    shot_frames: ShotFrames = ShotFrames.SPREAD
    """Of each shot, for `SHOTS` alone."""
    frames: bool = False
    """Write every sampled frame's objects and labels into the JSON."""
    force: bool = False
    """Tag again what is already tagged."""
    decoder: Decoder = Decoder.AUTO
    """Of videos."""
    tiles: Tiles = Tiles.AUTO
    """Of images; a video is looked at as a whole."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    taxonomy: Taxonomy = field(default_factory=Taxonomy)
    """Which labels are kept, from which score on, and what categories they make."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and 0 < self.fps <= MAX_FPS):
            raise InvalidOption(f"fps is {self.fps:g}, but must be above 0 and at most {MAX_FPS:g} frames a second")

    def of_video(self, *, segments: bool) -> dict[str, str | float | int | bool]:
        """What changes a video's result, for its provenance.

        Args:
            segments: Whether a segmenter takes part.
        """
        areas = {"areas_high": self.thresholds.areas.high, "areas_low": self.thresholds.areas.low}
        rate = {} if self.sample in (Sample.SHOTS, Sample.EVERY) else {"fps": self.fps}
        is_usual = self.sample is not Sample.SHOTS or self.shot_frames is ShotFrames.SPREAD
        return {
            "sample": self.sample.value,
            **rate,
            **({} if is_usual else {"shot_frames": self.shot_frames.value}),
            "frames": self.frames,
            "detector_high": self.thresholds.detector.high,
            "detector_low": self.thresholds.detector.low,
            "classifier_high": self.thresholds.classifier.high,
            "classifier_low": self.thresholds.classifier.low,
            "groups_high": self.thresholds.groups.high,
            "groups_low": self.thresholds.groups.low,
            **(areas if segments else {}),
            "merge_gap_seconds": self.thresholds.merge_gap_seconds,
            "frame_score": self.thresholds.frame_score,
            **self.taxonomy.provenance(),
        }

    def of_image(self, *, segments: bool, tiles: int = 0) -> dict[str, str | float | int | bool]:
        """What changes an image's result, for its provenance.

        Args:
            segments: Whether a segmenter takes part.
            tiles: How many the image is cut into.
        """
        return {
            **({"tiles": tiles} if tiles else {}),
            "detection_score": self.thresholds.image_detection_score,
            "tag_score": self.thresholds.image_tag_score,
            "group_score": self.thresholds.image_group_score,
            "top_k": self.thresholds.image_top_k,
            **({"area_share": self.thresholds.image_area_share} if segments else {}),
            **self.taxonomy.provenance(),
        }
