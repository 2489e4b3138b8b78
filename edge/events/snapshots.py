"""Pictures of events: the vehicle, without faces."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from edge.words import Event, Picture

_LOG = logging.getLogger(__name__)
_LONGEST_SIDE = 640
_LONGEST_WITHOUT_PLATES = 192
"""A plate is about a sixth as wide as what is cut out: at 30 pixels nobody reads it."""
_MARGIN = 0.25
_DAY = 86400.0
LEFT_BYTES = 64 * 1024 * 1024
"""Of the disk: events need them more."""
KINDS = ("line_crossed", "vehicle_stopped", "wrong_way")


class Snapshots:
    """A folder of pictures, named after their events.

    People are made unrecognisable before a picture is kept. Beyond `max_megabytes`, or older than the events are kept,
    the oldest go.

    Args:
        settings: `events.snapshots` of the configuration.
        folder: Where a relative name begins.
        keep_days: As for events.
        shows_plates: Whether pictures are so large that plates can be read: where `plates.raw` is asked for.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path, keep_days: float, *, shows_plates: bool) -> None:
        self._folder = folder / settings["folder"]
        self._kinds = frozenset(settings.get("kinds", KINDS))
        self._max_bytes = settings.get("max_megabytes", 500) * 1e6
        self._keep_seconds = keep_days * _DAY
        self._longest_side = _LONGEST_SIDE if shows_plates else _LONGEST_WITHOUT_PLATES
        self._since_trim = 10**9
        self.failed = 0
        """Pictures that could not be kept."""

    def take(self, event: Event, picture: Picture, box: npt.NDArray[Any], hidden: npt.NDArray[Any]) -> None:
        """Keep a picture of an event, whose field `snapshot` is then its name.

        Args:
            event: Of a kind that is not asked for: nothing is done.
            picture: uint8 `[H, W, 3]`, RGB; not kept, not changed.
            box: Of the vehicle, float `[4]`, x1, y1, x2, y2.
            hidden: Of people, float `[N, 4]`.
        """
        if event.kind not in self._kinds:
            return
        name = f"{re.sub('[^A-Za-z0-9_-]', '_', event.source)}-{event.id}.jpg"
        _, data = cv2.imencode(
            ".jpg", _cut(picture, box, hidden, self._longest_side)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85]
        )
        try:
            self._trim()
            if shutil.disk_usage(self._folder).free < LEFT_BYTES:
                raise OSError(errno.ENOSPC, f"the last {LEFT_BYTES >> 20} MiB of the disk are left to the events")
            part = self._folder / f"{name}.part"
            part.write_bytes(data.tobytes())
            part.replace(self._folder / name)
        except OSError as error:
            if not self.failed:
                _LOG.warning("%s takes no snapshots: %s", self._folder, error.strerror)
            self.failed += 1
            return
        event["snapshot"] = name

    def _trim(self) -> None:
        self._since_trim += 1
        if self._since_trim < 50:
            return
        self._since_trim = 0
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = [(entry.stat(), entry.path) for entry in os.scandir(self._folder) if entry.is_file()]
        kept = 0
        for status, path in sorted(found, key=lambda one: one[0].st_mtime, reverse=True):
            kept += status.st_size
            if kept > self._max_bytes or time.time() - status.st_mtime > self._keep_seconds:
                Path(path).unlink()


def _cut(picture: Picture, box: npt.NDArray[Any], hidden: npt.NDArray[Any], longest: int) -> Picture:
    height, width = picture.shape[:2]
    margin = _MARGIN * max(box[2] - box[0], box[3] - box[1])
    left, top = max(int(box[0] - margin), 0), max(int(box[1] - margin), 0)
    right, bottom = min(int(box[2] + margin) + 1, width), min(int(box[3] + margin) + 1, height)
    cut = picture[top : max(bottom, top + 1), left : max(right, left + 1)].copy()
    for person in hidden - np.array([left, top, left, top]):
        _blur(cut, person)
    scale = longest / max(cut.shape[:2])
    return cut if scale >= 1 else np.asarray(cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def _blur(cut: Picture, box: npt.NDArray[Any]) -> None:
    """Make eight by eight areas of what is in a box, in place."""
    height, width = cut.shape[:2]
    left, top = max(int(box[0]), 0), max(int(box[1]), 0)
    right, bottom = min(int(box[2]) + 1, width), min(int(box[3]) + 1, height)
    if right <= left or bottom <= top:
        return
    inside = cut[top:bottom, left:right]
    small = cv2.resize(inside, (min(8, right - left), min(8, bottom - top)), interpolation=cv2.INTER_AREA)
    inside[:] = cv2.resize(small, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
