"""The picture that somebody looks at: copied while a frame is there, drawn and encoded outside of the loop."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple, Protocol, Sequence

import cv2
import numpy as np

from edge.veils import NOTHING, Veils, veil
from edge.words import LazyPicture, Picture

_LONGEST_SIDE = 1280


class Drawn(NamedTuple):
    """A box with its words."""

    box: tuple[int, int, int, int]
    text: str


class Shown(Protocol):
    """What is drawn of a scene, as `edge.traffic.scene.Scene` has it."""

    @property
    def tracks(self) -> Sequence[Any]:
        """`edge.traffic.tracker.Track` of each vehicle."""

    def veils(self) -> Veils:
        """Before what nobody should recognise; theirs for good."""


class View:
    """The newest picture of one camera, for those who look.

    Args:
        fps: Pictures a second, at most.
        shows_plates: Whether plates can be read: where `plates.raw` is asked for.
    """

    def __init__(self, fps: float, *, shows_plates: bool) -> None:
        self._period, self._shows_plates = 1.0 / fps, shows_plates
        self._veils = NOTHING
        self._lock = threading.Condition()
        self._last = float("-inf")
        self._buffer: Picture | None = None
        self._boxes: list[Drawn] = []
        self._number = 0
        self._encoded: tuple[int, bytes] = (0, b"")
        self.lookers = 0
        """How many are looking."""

    def look(self, more: int) -> None:
        """So many more are looking; less than 0 where they go."""
        with self._lock:
            self.lookers += more

    def show(self, picture: LazyPicture, scene: Shown, class_names: Sequence[str]) -> None:
        """Take a picture in; nothing is done while nobody looks, or has just got one.

        Args:
            picture: Of the frame.
            scene: Its tracks and veils.
            class_names: Of the detector.
        """
        if not self.lookers:
            return
        now = time.monotonic()
        if now - self._last < self._period or not self._lock.acquire(blocking=False):
            return
        try:
            self._last, rgb = now, picture.rgb
            if self._buffer is None or self._buffer.shape != rgb.shape:
                self._buffer = np.empty_like(rgb)
            np.copyto(self._buffer, rgb)
            self._boxes = [_drawn(track, class_names) for track in scene.tracks]
            self._veils = scene.veils()
            self._number += 1
            self._lock.notify_all()
        finally:
            self._lock.release()

    def next(self, after: int, seconds: float) -> tuple[int, bytes]:
        """The first picture after one that was seen.

        Args:
            after: Number of that one; 0 for any.
            seconds: To wait for it, at most.

        Returns:
            Its number and its JPEG; the same number where none came.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._number > after, seconds)
            if self._number <= after or self._buffer is None:
                return after, b""
            if self._encoded[0] != self._number:
                veil(self._buffer, self._veils, shows_plates=self._shows_plates)
                self._encoded = (self._number, _jpeg(self._buffer, self._boxes))
            return self._encoded


def _drawn(track: Any, class_names: Sequence[str]) -> Drawn:
    x1, y1, x2, y2 = (int(side) for side in track.box)
    return Drawn((x1, y1, x2, y2), f"{track.number} {class_names[track.class_index]}")


def _jpeg(picture: Picture, boxes: Sequence[Drawn]) -> bytes:
    """The buffer is drawn on: the next frame overwrites it."""
    thick = max(1, round(picture.shape[0] / 360))
    for (x1, y1, x2, y2), text in boxes:
        cv2.rectangle(picture, (x1, y1), (x2, y2), (60, 220, 120), thick)
        place = (x1, max(y1 - 4, 12))
        for colour, width in (((0, 0, 0), 3 * thick), ((255, 255, 255), thick)):
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * thick, colour, width, cv2.LINE_AA)
    scale = _LONGEST_SIDE / max(picture.shape[:2])
    small = picture if scale >= 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1])
