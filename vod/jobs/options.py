"""The options of a job: those of `reeltag tag` that matter to videos."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reeltag.errors import InvalidOption
from vod.options import MAX_FPS, Sample, ShotFrames, TagOptions, Taxonomy
from vod.taxonomy import parse_taxonomy


class JobOptions(BaseModel):
    """How the videos of a job are tagged."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    sample: Literal["every", "fps", "keyframes", "shots", "adaptive"] = "fps"
    """Which frames are looked at: all; evenly in time; key frames, the fastest, without shots; a few of each shot;
    fewer where the picture stands still."""
    fps: float = Field(TagOptions.fps, gt=0, le=MAX_FPS)
    """Frames looked at per second of video, above 0 to 60; no more than that with `keyframes` and `adaptive`, unused
    with `every` and `shots`."""
    shot_frames: Literal["spread", "first", "middle", "sharpest"] = "spread"
    """With `shots`, which frames of each: three or more, or one."""
    frames: bool = False
    """Whether every sampled frame's detections and labels are written, too."""
    taxonomy: dict[str, Any] | None = None
    """The content of a taxonomy file: labels to keep, thresholds of labels, categories that they make."""

    def tagging(self) -> TagOptions:
        """As what tags a video takes them.

        Raises:
            InvalidOption: The taxonomy is none.
        """
        content = None if self.taxonomy is None else json.dumps(self.taxonomy, sort_keys=True).encode()
        return TagOptions(
            sample=Sample(self.sample),
            fps=self.fps,
            shot_frames=ShotFrames(self.shot_frames),
            frames=self.frames,
            taxonomy=Taxonomy() if content is None else parse_taxonomy(content, "taxonomy"),
        )

    def check_labels(self, known: Collection[str] | None) -> None:
        """See that networks know every label of the taxonomy.

        Args:
            known: To them; None where that is not known, and nothing is wrong.

        Raises:
            InvalidOption: They do not.
        """
        if self.taxonomy is not None and known is not None:
            self.tagging().taxonomy.check_labels(known)

    def canonical(self) -> str:
        """JSON, the same for the same options."""
        return json.dumps(self.model_dump(), sort_keys=True)


def options_of(given: Mapping[str, Any]) -> JobOptions:
    """The options that a client named.

    Raises:
        InvalidOption: One is not known, or outside its range.
    """
    try:
        options = JobOptions.model_validate(dict(given))
        options.tagging()
        return options
    except ValidationError as error:
        problems = []
        for detail in error.errors():
            name = ".".join(str(part) for part in detail["loc"])
            if detail["type"] == "extra_forbidden":
                problems.append(f"{name} is no option of a job; there are {', '.join(JobOptions.model_fields)}")
            else:
                problems.append(f"{name}={detail['input']!r}: {detail['msg'][0].lower()}{detail['msg'][1:]}")
        raise InvalidOption("; ".join(problems)) from error


def merged_options(of_job: str, of_video: Mapping[str, Any]) -> JobOptions:
    """The options of a job, JSON, with those of one of its videos on top.

    Raises:
        InvalidOption: One of the video's is not known, or outside its range.
    """
    return options_of({**json.loads(of_job), **of_video})
