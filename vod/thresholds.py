"""When scores become tags."""

from __future__ import annotations

from dataclasses import dataclass

from reeltag.errors import InvalidOption


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
