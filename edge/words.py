"""What the rooms of the edge hand to each other."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Dict, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""uint8 `[H, W, 3]`, RGB."""
Detections = npt.NDArray[np.float32]
"""float32 `[N, 6]`: x1, y1, x2, y2 in pixels of the source, score, index of the class; the highest score first."""


class LazyPicture(Protocol):
    """A picture that is made of a camera's frame where somebody asks for it; valid while that frame is looked at."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def rgb(self) -> Picture:
        """uint8 `[H, W, 3]`, RGB; not to be kept or changed."""


class FrameTime(NamedTuple):
    """When a frame was captured, by both clocks."""

    index: int  # type: ignore[assignment]  # in place of the method that every tuple has
    """Of the frame in its source, from 0; frames that were dropped are counted, too."""
    captured: float
    """Seconds of the monotonic clock at capture."""
    wall: float
    """Seconds since the epoch at capture, by the wall clock as it was then."""
    jump: float
    """Seconds by which the wall clock has moved against the monotonic one since the source was opened."""


@dataclass
class Event:
    """Something that happened before a camera.

    Its own fields (a track, a class, a line) are in `fields`, and read and written as those of a dict.
    """

    id: str
    """The same for the same event, also after a restart."""
    kind: str
    source: str
    """Name of the camera."""
    time: FrameTime
    fields: Dict[str, Any] = field(default_factory=dict)  # noqa: UP006 - evaluated by Python 3.8's dataclasses

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.fields[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self.fields

    def to_json(self) -> str:
        """One line of JSON: what is common to all events first, then the kind's own fields."""
        common = {"id": self.id, "kind": self.kind, "source": self.source}
        return json.dumps({**common, **_times(self.time), **self.fields}, ensure_ascii=False, default=_plain)


def _times(time: FrameTime) -> dict[str, Any]:
    return {
        "frame": time.index,
        "time": round(time.wall, 6),
        "monotonic": round(time.captured, 6),
        "clock_jump_seconds": round(time.jump, 6),
    }


def _plain(value: Any) -> Any:
    """What numpy made, as JSON has it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        plain = value.item()
        return None if isinstance(plain, float) and not math.isfinite(plain) else plain
    raise TypeError(f"{type(value).__name__} has no form in JSON")
