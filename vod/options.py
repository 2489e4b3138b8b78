"""What a user can choose when videos and images are tagged, and the thresholds behind the tags."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from reeltag.errors import InvalidOption
from vod.decoding.sampling import Sample
from vod.tiles import Tiles

__all__ = ["MAX_FPS", "Hysteresis", "Sample", "TagOptions", "Thresholds", "Tiles"]

MAX_FPS: Final = 60.0
"""Most frames a second that may be sampled."""


@dataclass(frozen=True)
class Hysteresis:
    """A tag opens where its smoothed score reaches `high` and holds while the score stays at `low` or above."""

    high: float
    """0 to 1."""
    low: float
    """0 to `high`."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise InvalidOption(f"hysteresis needs 0 <= low <= high <= 1, not low {self.low} and high {self.high}")


@dataclass(frozen=True)
class Thresholds:
    """When scores become tags: a wrong tag costs a user more than a missing one."""

    detector: Hysteresis = Hysteresis(high=0.5, low=0.4)
    """For the highest score of a label among a frame's boxes. `nanodet_g` on single pictures of COCO's validation set:
    of the labels at 0.5 and above 97 % are right, at 0.4 and above 90 % (found: 45 % and 57 % of those there)."""
    classifier: Hysteresis = Hysteresis(high=0.6, low=0.4)
    """For softmax scores of the whole frame. ImageNet's classes fit few frames of a film: looking at street, animation
    and portrait clips, nearly all that stayed below 0.5 was wrong."""
    groups: Hysteresis = Hysteresis(high=0.4, low=0.3)
    """For the summed softmax scores of a group of classes. On photographs of COCO, of the groups at 0.4 and above 93 %
    are right, at 0.5 and above 95 % (`docs/tags.md`)."""
    areas: Hysteresis = Hysteresis(high=0.05, low=0.03)
    """For the share of the picture that a class of a segmenter covers: not how sure the network is, but how much of it
    there is to see. Chosen, not measured: no trained segmenter comes with reeltag."""
    merge_gap_seconds: float = 1.0
    """Within a shot, intervals of a tag that are closer than this become one."""
    frame_score: float = 0.3
    """Lowest score of a detection in `frames` and on the page, and of a frame's class or group, 0 to 1."""
    image_detection_score: float = 0.4
    """Lowest score of a detection in a still image, 0 to 1."""
    image_tag_score: float = 0.35
    """Lowest score of a class of a still image, 0 to 1."""
    image_group_score: float = 0.4
    """Lowest score of a group of classes of a still image, 0 to 1."""
    image_area_share: float = 0.05
    """Least share of a still image that a class of a segmenter covers, 0 to 1."""
    image_top_k: int = 5
    """Most classes of a still image, and most groups."""


@dataclass(frozen=True)
class TagOptions:
    """How videos and images are tagged.

    Raises:
        InvalidOption: `fps` is not above 0 and at most `MAX_FPS`.
    """

    sample: Sample = Sample.FPS
    fps: float = 2.0
    """Frames sampled a second of video; for `KEYFRAMES` an upper limit; unused by `SHOTS`."""
    frames: bool = False
    """Write every sampled frame's objects and labels into the JSON."""
    force: bool = False
    """Tag again what is already tagged."""
    tiles: Tiles = Tiles.AUTO
    """Of images; a video is looked at as a whole."""
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and 0 < self.fps <= MAX_FPS):
            raise InvalidOption(f"fps is {self.fps:g}, but must be above 0 and at most {MAX_FPS:g} frames a second")

    def of_video(self, *, segments: bool) -> dict[str, str | float | int | bool]:
        """What changes a video's result, for its provenance.

        Args:
            segments: Whether a segmenter takes part.
        """
        areas = {"areas_high": self.thresholds.areas.high, "areas_low": self.thresholds.areas.low}
        rate = {} if self.sample is Sample.SHOTS else {"fps": self.fps}
        return {
            "sample": self.sample.value,
            **rate,
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
        }
