"""Pictures of events: the vehicle, without its plate and faces."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path
from typing import Any, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from edge.veils import Veils, veil
from edge.words import Event, Picture

_LOG = logging.getLogger(__name__)
_LONGEST_SIDE = 640
_LONGEST_WITHOUT_PLATES = 192
"""What no detector has seen has no veil, but at this size no plate that can be read either."""
_MARGIN = 0.25
_DAY = 86400.0
KINDS = ("line_crossed", "vehicle_stopped", "wrong_way")


class Snapshots:
    """A folder of pictures, named after their events.

    Vehicles and people are made unrecognisable before a picture is kept. Beyond `max_megabytes`, or older than the
    events are kept, the oldest go.

    Args:
        settings: `events.snapshots` of the configuration.
        folder: Where a relative name begins.
        keep_days: As for events.
        shows_plates: Whether plates can be read in them: where `plates.raw` is asked for.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path, keep_days: float, *, shows_plates: bool) -> None:
        self._folder = folder / settings["folder"]
        self._kinds = frozenset(settings.get("kinds", KINDS))
        self._max_bytes = settings.get("max_megabytes", 500) * 1e6
        self._keep_seconds = keep_days * _DAY
        self._shows_plates = shows_plates
        self._held: dict[tuple[str, int], bytes] = {}
        self._since_trim = 10**9
        self.failed = 0
        """Pictures that could not be kept."""

    def take(self, event: Event, picture: Picture, box: npt.NDArray[Any], veils: Veils) -> None:
        """Keep a picture of an event, whose field `snapshot` is then its name.

        Args:
            event: Of a kind that is not asked for: nothing is done.
            picture: uint8 `[H, W, 3]`, RGB; not kept, not changed.
            box: Of the vehicle, float `[4]`, x1, y1, x2, y2.
            veils: Of the picture.
        """
        if event.kind in self._kinds:
            self._keep(event, self._encoded(picture, box, veils))

    def hold(self, track: tuple[str, int], picture: Picture, box: npt.NDArray[Any], veils: Veils) -> None:
        """Have a picture ready of a track, for its plate, which is said after its end.

        Args:
            track: Name of its camera, and its number.
            picture: As for `take`.
            box: Likewise.
            veils: Likewise.
        """
        if "plate" in self._kinds:
            self._held[track] = self._encoded(picture, box, veils)

    def let_go(self, track: tuple[str, int], event: Event | None) -> None:
        """Keep the picture that was held of a track as that of its plate; it is dropped where none was read."""
        data = self._held.pop(track, None)
        if data is not None and event is not None:
            self._keep(event, data)

    def _encoded(self, picture: Picture, box: npt.NDArray[Any], veils: Veils) -> bytes:
        cut = _cut(picture, box, veils, shows_plates=self._shows_plates)
        return bytes(cv2.imencode(".jpg", cut[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1])

    def _keep(self, event: Event, data: bytes) -> None:
        name = f"{re.sub('[^A-Za-z0-9_-]', '_', event.source)}-{event.id}.jpg"
        try:
            self._trim()
            part = self._folder / f"{name}.part"
            part.write_bytes(data)
            part.replace(self._folder / name)
        except OSError as error:
            if not self.failed:
                _LOG.warning("%s takes no snapshots: %s", self._folder, error.strerror)
            self.failed += 1
            return
        event["snapshot"] = name

    def forget(self) -> None:
        """Delete pictures that are too old, and the oldest of those that are too many.

        Raises:
            OSError: They cannot be.
        """
        if not self._folder.is_dir():
            return
        # Not those in writing: they get another name at any moment.
        found = [(one.stat(), one.path) for one in os.scandir(self._folder) if one.name.endswith(".jpg")]
        kept = 0
        for status, path in sorted(found, key=lambda one: one[0].st_mtime, reverse=True):
            kept += status.st_size
            if kept > self._max_bytes or time.time() - status.st_mtime > self._keep_seconds:
                Path(path).unlink(missing_ok=True)

    def _trim(self) -> None:
        self._since_trim += 1
        if self._since_trim >= 50:
            self._since_trim = 0
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.forget()


def _cut(picture: Picture, box: npt.NDArray[Any], veils: Veils, *, shows_plates: bool) -> Picture:
    height, width = picture.shape[:2]
    margin = _MARGIN * max(box[2] - box[0], box[3] - box[1])
    left, top = max(int(box[0] - margin), 0), max(int(box[1] - margin), 0)
    right, bottom = min(int(box[2] + margin) + 1, width), min(int(box[3] + margin) + 1, height)
    cut = picture[top : max(bottom, top + 1), left : max(right, left + 1)].copy()
    veil(cut, veils.beginning_at(left, top), shows_plates=shows_plates)
    scale = (_LONGEST_SIDE if shows_plates else _LONGEST_WITHOUT_PLATES) / max(cut.shape[:2])
    return cut if scale >= 1 else np.asarray(cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
