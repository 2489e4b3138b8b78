"""A traffic configuration in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, NamedTuple, Tuple

from edge.configuration.ground import Ground

Point = Tuple[float, float]
"""x and y in pixels of the camera's `picture`."""


class Line(NamedTuple):
    """What vehicles are counted at; seen from its first point to its second, `forward` goes from left to right."""

    name: str
    points: tuple[Point, Point]
    forward: str = "forward"
    backward: str = "backward"
    classes: tuple[str, ...] | None = None
    """Those that count; None takes all."""


class Zone(NamedTuple):
    """A part of the road."""

    name: str
    points: tuple[Point, ...]
    classes: tuple[str, ...] | None = None
    way: tuple[Point, Point] | None = None
    """From where to where traffic may go."""
    stopped_seconds: float | None = None
    queue_kmh: float | None = None


class CameraSettings(NamedTuple):
    """One camera."""

    name: str
    source: str
    options: Mapping[str, Any]
    picture: tuple[int, int] | None
    """Width and height that points refer to; a picture of another size is scaled."""
    lines: tuple[Line, ...]
    zones: tuple[Zone, ...]
    ground: Ground | None


class Configuration(NamedTuple):
    """All of a file; `detector`, `plates`, `events` and `page` as they stand in it, checked."""

    path: Path
    cameras: tuple[CameraSettings, ...]
    detector: Mapping[str, Any]
    plates: Mapping[str, Any] | None
    events: Mapping[str, Any]
    page: Mapping[str, Any]

    @property
    def shows_plates(self) -> bool:
        """Whether plates are kept, and shown, as they are."""
        return bool(self.plates and self.plates.get("raw", False))

    def camera(self, name: str) -> CameraSettings:
        """The camera of this name."""
        return next(camera for camera in self.cameras if camera.name == name)
