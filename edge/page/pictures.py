"""The picture that somebody looks at: copied while a frame is there, drawn and encoded outside of the loop."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple, Protocol, Sequence

import cv2
import numpy as np

from edge.labels import Labels
from edge.veils import NOTHING, Veils, veil
from edge.words import LazyPicture, Picture

SIDES = (480, 1280)
"""Longest sides that a picture is sent with at most, pixels: for phones, and for desks."""
_TRACK = (60, 220, 120)


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
        self._encoded: dict[int, bytes] = {}
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
            self._encoded.clear()
            self._lock.notify_all()
        finally:
            self._lock.release()

    def next(self, after: int, seconds: float, longest: int = SIDES[-1]) -> tuple[int, bytes]:
        """The first picture after one that was seen.

        Args:
            after: Number of that one; 0 for any.
            seconds: To wait for it, at most.
            longest: One of `SIDES`.

        Returns:
            Its number and its JPEG; the same number where none came.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._number > after, seconds)
            if self._number <= after or self._buffer is None:
                return after, b""
            if not self._encoded:
                veil(self._buffer, self._veils, shows_plates=self._shows_plates)
            if longest not in self._encoded:
                self._encoded[longest] = _jpeg(self._buffer, self._boxes, longest)
            return self._number, self._encoded[longest]


def _drawn(track: Any, class_names: Sequence[str]) -> Drawn:
    x1, y1, x2, y2 = (int(side) for side in track.box)
    return Drawn((x1, y1, x2, y2), f"{track.number} {class_names[track.class_index]}")


def _jpeg(picture: Picture, boxes: Sequence[Drawn], longest: int) -> bytes:
    """Labels have their size in the picture that is sent, so that they can be read on a phone and hide little else."""
    scale = min(1.0, longest / max(picture.shape[:2]))
    small = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    labels = Labels(small)
    placed = [(np.rint(np.multiply(scale, box)).astype(int).tolist(), text) for box, text in boxes]
    for (x1, y1, x2, y2), _ in placed:
        cv2.rectangle(small, (x1, y1), (x2, y2), _TRACK, 2)
    for (x1, y1, x2, y2), text in placed:
        labels.put(text, (x1, y1, x2, y2), _TRACK)
    return bytes(cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1])
