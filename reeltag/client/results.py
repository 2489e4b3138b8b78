"""What a client gets: the same from both interfaces."""

from __future__ import annotations

from dataclasses import dataclass

from reeltag.measured import Measured
from reeltag.tags import Detection, ImageTag


@dataclass(frozen=True)
class ClassShare:
    """How much of a picture a class has."""

    label: str
    share: float
    """Of the picture's area, above 0 to 1."""


@dataclass(frozen=True)
class ClassMap:
    """The class of each pixel."""

    png: bytes
    """As large as the upright image, with a palette: each pixel is the index of its class, or 255 where the network did
    not look."""
    labels: dict[int, str]
    """Of the classes in it, by index."""


@dataclass(frozen=True)
class TaggedImage:
    """What was found in one image, or why it could not be tagged."""

    name: str
    width: int = 0
    """Columns of the upright picture, pixels; 0 with `error`."""
    height: int = 0
    """Rows of the upright picture, pixels; 0 with `error`."""
    detections: tuple[Detection, ...] = ()
    """By falling score, boxes in source pixels."""
    tags: tuple[ImageTag, ...] = ()
    """By falling score."""
    shares: tuple[ClassShare, ...] = ()
    """By falling share, where `segment` was asked."""
    class_map: ClassMap | None = None
    """Where it was asked."""
    error_code: str = ""
    """Stable name of what went wrong, such as `not_an_image`; empty where nothing did."""
    error: str = ""
    """What was wrong with this image and what would be right; the others are not affected."""


@dataclass(frozen=True)
class Model:
    """The network behind a task."""

    task: str
    network: str
    version: str
    runtime: str
    precision: str
    height: int
    """Rows of the network's input, pixels."""
    width: int
    """Columns of the network's input, pixels."""
    labels: tuple[str, ...]
    """Class names by index."""
    sha256: str
    """Of the served network file."""
    measured: Measured | None = None
    """What was measured of it, where anything was."""
