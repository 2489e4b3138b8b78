"""The results that users read: of one image, and of one video, this on three levels: frames, shots and the whole.

Times are seconds from the first presented frame; intervals are half-open. Boxes are x1, y1, x2, y2 in source pixels.
`json_schema()` is the published JSON Schema of the files that `reeltag tag` writes.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

SchemaVersion = Literal["1.0", "1.1", "1.2", "1.3"]
"""A minor version adds fields; files of an earlier one remain valid."""
SCHEMA_VERSION: Final = "1.3"

Kind = Literal["area_share"]
"""What is meant by a tag's number, where it is no certainty: the share of the picture's area that the class has."""
Score = float
Box = tuple[float, float, float, float]


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Detection(_Result):
    """One object in one picture."""

    label: str
    score: float = Field(ge=0, le=1)
    box: Box
    """x1, y1, x2, y2 in source pixels."""


class ImageTag(_Result):
    """One class of a whole picture."""

    label: str
    score: float = Field(ge=0, le=1)
    """How sure the network is; of an `area_share` the share."""
    model: str
    """The network that gave it."""
    kind: Kind | None = None
    """Absent where the score is a certainty."""


class ImageLabel(ImageTag):
    """A class of a whole picture, or a category that its classes and objects make."""

    category: str | None = None
    """Id of the category in the user's taxonomy, whose name is `model`; absent for labels of a network."""


class Shot(_Result):
    """Frames taken without a cut: `[start_seconds, end_seconds)`."""

    start_seconds: float = Field(ge=0)
    end_seconds: float = Field(ge=0)


class Interval(_Result):
    """A stretch of time, `[start_seconds, end_seconds)`, in which a tag holds."""

    start_seconds: float = Field(ge=0)
    end_seconds: float = Field(ge=0)
    confidence: float = Field(ge=0, le=1)


class Tag(_Result):
    """What a video shows, and when."""

    label: str
    """A network's class or group of classes, or a category that such labels make."""
    model: str
    """The network that gave it; of a category the taxonomy."""
    kind: Kind | None = None
    """Absent where the confidence is a certainty."""
    category: str | None = None
    """Id of the category in the user's taxonomy, whose name is `model`; absent for labels of a network."""
    confidence: float = Field(ge=0, le=1)
    """The highest confidence of its intervals; of an `area_share` the largest share."""
    intervals: tuple[Interval, ...]


class ObjectCount(_Result):
    """How many objects of a label a shot shows at once."""

    label: str
    model: str
    """The detector."""
    count: int = Field(ge=1)
    """The most that neighbouring samples agree on while the tag holds (`vod/aggregation/levels.py` states the rule)."""


class TaggedShot(Shot):
    """A shot, and what it shows."""

    tags: tuple[Tag, ...] = ()
    """Those of the video, with their intervals in this shot; by falling confidence."""
    objects: tuple[ObjectCount, ...] = ()
    """Of every label of the detector among `tags`, in their order."""


class FrameDetections(_Result):
    """What one sampled frame shows."""

    pts_seconds: float = Field(ge=0)
    detections: tuple[Detection, ...]
    """Its objects, by falling score."""
    tags: tuple[ImageTag, ...] = ()
    """Labels of the whole frame, by falling score: of this frame alone, before its neighbours are looked at."""


class Gap(_Result):
    """A stretch of the video, `[start_seconds, end_seconds)`, that could not be decoded."""

    start_seconds: float = Field(ge=0)
    end_seconds: float = Field(ge=0)
    reason: str


class Coverage(_Result):
    """How much of the video the tags rest on."""

    frames_decoded: int = Field(ge=0)
    frames_sampled: int = Field(ge=0)
    gaps: tuple[Gap, ...] = ()


class VideoSource(_Result):
    """The video that was tagged."""

    name: str
    path: str | None = None
    r"""As it was given to `reeltag tag`; bytes that are no UTF-8 as `\xe9`."""
    sha256: str
    duration_seconds: float = Field(ge=0)
    width: int = Field(gt=0)
    """Columns as displayed, pixels."""
    height: int = Field(gt=0)
    frame_rate: float = Field(ge=0)
    """Mean frames per second; 0 when unknown."""


class ImageSource(_Result):
    """The image that was tagged."""

    name: str
    path: str | None = None
    r"""As it was given to `reeltag tag`; bytes that are no UTF-8 as `\xe9`."""
    sha256: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class ModelProvenance(_Result):
    """One network that took part."""

    task: str
    name: str
    version: str
    runtime: str
    precision: str
    sha256: str
    """Of the network's file."""
    passport_sha256: str = ""
    """Of the passport beside it: what it was built from and for, and what was measured."""


class Provenance(_Result):
    """What made the tags: enough to make them again."""

    reeltag_version: str
    models: tuple[ModelProvenance, ...]
    options: dict[str, str | float | int | bool] = Field(default_factory=dict)
    """The options that change the result, such as the sampling."""


class VideoTags(_Result):
    """The file `NAME.tags.json` of a video."""

    schema_version: SchemaVersion = SCHEMA_VERSION
    kind: Literal["video"] = "video"
    source: VideoSource
    shots: tuple[TaggedShot, ...]
    tags: tuple[Tag, ...]
    """By falling confidence."""
    frames: tuple[FrameDetections, ...] | None = None
    """Every sampled frame, where they were asked for."""
    coverage: Coverage
    provenance: Provenance


class ImageTags(_Result):
    """The file `NAME.tags.json` of an image."""

    schema_version: SchemaVersion = SCHEMA_VERSION
    kind: Literal["image"] = "image"
    source: ImageSource
    detections: tuple[Detection, ...]
    tags: tuple[ImageLabel, ...]
    """By falling score."""
    provenance: Provenance


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of every `.tags.json` file."""
    schema = TypeAdapter(VideoTags | ImageTags).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "reeltag tags", **schema}
