"""What happens before a camera without a traffic configuration: what was detected, frame by frame."""

from __future__ import annotations

from typing import Sequence

from edge.words import Detections, Event, FrameTime, LazyPicture


class PlainScene:
    """One event for each frame in which something was detected.

    Args:
        class_names: Of the network.
        source_name: Of the camera.
    """

    def __init__(self, class_names: Sequence[str], source_name: str) -> None:
        self._class_names, self._source_name = class_names, source_name
        self.tracks: Sequence[object] = ()

    def update(self, time: FrameTime, detections: Detections, picture: LazyPicture) -> list[Event]:
        """The frame's event."""
        if not len(detections):
            return []
        found = [
            {
                "class": self._class_names[int(row[5])],
                "score": round(float(row[4]), 3),
                "box": [round(float(side), 1) for side in row[:4]],
            }
            for row in detections
        ]
        name = self._source_name
        height, width = picture.size
        size = {"height": height, "width": width}
        return [Event(f"{name}:{time.wall:.3f}", "detections", name, time, {**size, "detections": found})]

    def end(self, *, is_over: bool) -> list[Event]:
        """Nothing: every frame was told."""
        return []
