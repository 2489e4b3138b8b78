"""What the recogniser read of each track, frame by frame, and what the vote and the country's form make of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.capture.addresses import parse
from edge.configuration import load
from edge.options import CameraOptions, WatchOptions, configured
from edge.traffic.plate_reading import PlateReading
from edge.traffic.plates import PATTERNS, PlateReader, Reading, fitted, vote
from edge.traffic.scene import Scene
from edge.traffic.tracker import Track
from edge.watching import Watch
from edge.words import FrameTime, LazyPicture

_LEAST_CONFIDENCE = 0.5
Ways = dict[str, dict[int, str]]


class Noting:
    """A reader of plates whose readings are kept."""

    def __init__(self, reader: PlateReader) -> None:
        self._reader = reader
        self.of: dict[int, list[Reading]] = {}
        self.took: list[float] = []
        """Seconds of each look."""

    def look(self, tracks: Sequence[Track], picture: LazyPicture) -> Track | None:
        """As `PlateReader.look`."""
        began = time.perf_counter()
        read = self._reader.look(tracks, picture)
        self.took.append(time.perf_counter() - began)
        return read

    def settled(self, number: int, time: FrameTime) -> dict[str, Any] | None:
        """As `PlateReader.settled`."""
        self.of[number] = list(self._reader.readings(number))
        return self._reader.settled(number, time)


def noted(folder: Path, configuration: Path) -> Noting:
    """Watch a recording here, as `reeltag watch --config` does, and keep the readings."""
    read = load(configuration)
    cameras = configured(read, CameraOptions("", parse("pattern:")))
    options = WatchOptions(cameras, folder / "models", read.detector["model"], score_threshold=0.1, is_lossless=True)
    plates = PlateReading(read, options.repository)
    noting = Noting(plates.reader())

    def scene_of(names: Sequence[str], camera: str) -> Scene:
        return Scene(read, names, camera, "noted", plates=noting)

    Watch(options, lambda _: None, scene_of).run()
    plates.close()
    return noting


def ways(readings: dict[int, list[Reading]], country: str) -> Ways:
    """The plate of each track with and without the vote, and with and without the country's form."""
    chosen: dict[str, Callable[[list[Reading]], tuple[str, float]]] = {"surest reading": _surest, "vote": vote}
    return {
        f"{name}, {form}": _plates(readings, choose, PATTERNS[form])
        for name, choose in chosen.items()
        for form in ("any", country)
    }


def _plates(
    readings: dict[int, list[Reading]], choose: Callable[[list[Reading]], tuple[str, float]], pattern: str
) -> dict[int, str]:
    found = {}
    for track, ones in readings.items():
        text, confidence = choose(ones)
        plate = fitted(text, pattern)
        if plate and confidence >= _LEAST_CONFIDENCE:
            found[track] = plate
    return found


def _surest(readings: list[Reading]) -> tuple[str, float]:
    if not readings:
        return "", 0.0
    best = max(readings, key=lambda one: float(np.mean(one.scores)))
    return best.text, float(np.mean(best.scores))
