"""Number plates: found in a vehicle, read, and agreed on over its track; kept as hashes unless asked otherwise."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any, Callable, Iterable, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from edge.traffic.salts import Salts
from edge.traffic.tracker import Track
from edge.words import FrameTime, LazyPicture, Picture

PATTERNS = {
    "any": r"[A-Z0-9]{4,10}",
    "at": r"[A-Z]{1,2}[0-9]{1,5}[A-Z]{1,3}",
    "ch": r"[A-Z]{2}[0-9]{1,6}",
    "de": r"[A-ZÄÖÜ]{1,3}[A-Z]{1,2}[1-9][0-9]{0,3}[EH]?",
    "es": r"[0-9]{4}[BCDFGHJKLMNPRSTVWXYZ]{3}",
    "fr": r"[A-Z]{2}[0-9]{3}[A-Z]{2}",
    "gb": r"[A-Z]{2}[0-9]{2}[A-Z]{3}",
    "it": r"[A-Z]{2}[0-9]{3}[A-Z]{2}",
    "nl": r"(?=.*[0-9])(?=.*[A-Z])[A-Z0-9]{6}",
    "pl": r"[A-Z]{2,3}[A-Z0-9]{4,5}",
    "us": r"[A-Z0-9]{5,8}",
}
"""What the plates of a country look like, without spaces; the usual ones of cars."""
_ALIKE = {"0": "O", "O": "0", "1": "I", "I": "1", "8": "B", "B": "8", "5": "S", "S": "5", "2": "Z", "Z": "2"}
_ENOUGH = 8
"""Readings of a track that vote."""
_LOOKS = 8
"""At a vehicle in a row, whether or not a plate was seen; after them others come first."""
_AGAIN_SECONDS = 1.0
_GROWN = 1.1
"""A vehicle that has come so much nearer is looked at again: its plate is easier to read."""
_LEAST_HEIGHT = 48
_LEAST_CONFIDENCE = 0.5
_SHORTEST = 3
_SURENESS = 4
"""Power of the recogniser's mean score in a reading's weight; chosen on two drawn streets."""


class Reading(NamedTuple):
    """One plate as it was read once."""

    text: str
    scores: tuple[float, ...]
    """Of each character, 0 to 1."""
    height: float = 1.0
    """Of the plate in the picture, pixels."""


Find = Callable[[Picture], npt.NDArray[np.float32]]
"""Plates in the picture of a vehicle: float32 `[N, 6]`, the best first."""
Read = Callable[[Picture], Reading]
"""What a picture of a plate says."""


class Looks:
    """What was seen of one vehicle's plate so far."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self._count, self._tallest, self._seconds = 0, 0.0, float("-inf")

    def is_open(self, track: Track) -> bool:
        """Whether one more look may make the plate surer."""
        height = _height(track)
        if height < _LEAST_HEIGHT:
            return False
        if height >= _GROWN * self._tallest:
            return True
        is_due = self._count < _LOOKS or track.last_seconds - self._seconds >= _AGAIN_SECONDS
        return is_due and len(self.readings) < _ENOUGH

    def looked(self, track: Track) -> None:
        """One more look, at what this frame shows."""
        self._count, self._seconds = self._count + 1, track.last_seconds
        self._tallest = max(self._tallest, _height(track))

    def add(self, reading: Reading) -> bool:
        """Keep a reading; of more than are enough those of the largest plates. Whether it is of the largest."""
        is_largest = all(reading.height > one.height for one in self.readings)
        self.readings.append(reading)
        if len(self.readings) > _ENOUGH:
            self.readings.remove(min(self.readings, key=lambda one: one.height))
        return is_largest


class PlateReader:
    """Reads the plates of one camera's vehicles, at most one a frame: of the largest that may get surer.

    Args:
        settings: `plates` of the configuration.
        find: The plate detector.
        read: The text recogniser.
        salts: Of the hashes; None where plates are kept raw.
    """

    def __init__(self, settings: Any, find: Find, read: Read, salts: Salts | None) -> None:
        self._pattern = PATTERNS[settings.get("country", "any")]
        self._least = settings.get("least_confidence", _LEAST_CONFIDENCE)
        self._find, self._read, self._salts = find, read, salts
        self._looks: dict[int, Looks] = {}

    def look(self, tracks: Sequence[Track], picture: LazyPicture) -> Track | None:
        """Read one plate.

        Args:
            tracks: Vehicles that the frame shows.
            picture: Of the frame; not kept.

        Returns:
            The vehicle whose plate was read, where it was never seen as large before.
        """
        open_ones = [track for track in tracks if self._looks.setdefault(track.number, Looks()).is_open(track)]
        if not open_ones:
            return None
        track = max(open_ones, key=lambda one: float((one.box[2] - one.box[0]) * (one.box[3] - one.box[1])))
        looks = self._looks[track.number]
        looks.looked(track)
        vehicle, left, top = _cut(picture.rgb, track.box, 0.0)
        for plate in self._find(vehicle) if vehicle.size else ():
            if _is_of(track, plate[:4] + np.array([left, top, left, top]), tracks):
                reading = self._read(_cut(vehicle, plate[:4], 0.06)[0])
                reading = reading._replace(height=float(plate[3] - plate[1]))
                return track if len(reading.text) >= _SHORTEST and looks.add(reading) else None
        return None

    def readings(self, number: int) -> Sequence[Reading]:
        """Those of a track that will vote."""
        return self._looks[number].readings if number in self._looks else ()

    def settled(self, number: int, time: FrameTime) -> dict[str, Any] | None:
        """What the readings of a track that has ended agree on; None where too unsure or of no plate's form."""
        readings = self.readings(number)
        self._looks.pop(number, None)
        text, confidence = vote(readings)
        text = fitted(text, self._pattern)
        if not text or confidence < self._least:
            return None
        said = {"confidence": round(confidence, 3), "readings": len(readings)}
        if self._salts is None:
            return {"plate": text, **said}
        salt, digest = self._salts.hashed(text, time.wall)
        return {"plate_hash": digest, "salt": salt, **said}


def vote(readings: Sequence[Reading]) -> tuple[str, float]:
    """The plate that readings agree on, character by character among those of the likeliest length, and how sure it is.

    A reading weighs as much as its plate has pixels, and much less where the recogniser is not sure of it.

    Returns:
        The text, and the mean over its characters of their scores' share among all readings, 0 to 1.
    """
    if not readings:
        return "", 0.0
    weights = [reading.height**2 * float(np.mean(reading.scores)) ** _SURENESS for reading in readings]
    length = int(_heaviest(zip((len(reading.text) for reading in readings), weights))[0])
    text, sure = "", 0.0
    for place in range(length):
        votes = [
            (reading.text[place], weight * reading.scores[place])
            for reading, weight in zip(readings, weights)
            if len(reading.text) == length
        ]
        character, heavy = _heaviest(votes)
        text, sure = text + str(character), sure + heavy
    return text, sure / length / max(sum(weights), 1e-9)


def _heaviest(votes: Iterable[tuple[str | int, float]]) -> tuple[str | int, float]:
    """What has most of the weight, and how much; of equal ones the last in order."""
    weights: dict[Any, float] = {}
    for name, weight in votes:
        weights[name] = weights.get(name, 0.0) + weight
    best = max(weights, key=lambda one: (weights[one], one))
    return best, weights[best]


def fitted(text: str, pattern: str) -> str:
    """The text as a plate of a country: characters that look alike (0 and O) are exchanged where the form asks for it.

    Returns:
        The plate, as few characters exchanged as can be, or nothing where it has not the form.
    """
    if re.fullmatch(pattern, text):
        return text
    places = [place for place, character in enumerate(text) if character in _ALIKE][:8]
    for count in range(1, len(places) + 1):
        for chosen in combinations(places, count):
            changed = "".join(_ALIKE[one] if place in chosen else one for place, one in enumerate(text))
            if re.fullmatch(pattern, changed):
                return changed
    return ""


def _height(track: Track) -> float:
    return float(track.box[3] - track.box[1])


def _is_of(track: Track, plate: Any, tracks: Sequence[Track]) -> bool:
    """Whether a plate in the box of a vehicle is its own: of those around it the nearest stands lowest."""
    x, y = (plate[0] + plate[2]) / 2, (plate[1] + plate[3]) / 2
    around = [one for one in tracks if one.box[0] <= x <= one.box[2] and one.box[1] <= y <= one.box[3]]
    return all(one is track or one.box[3] <= track.box[3] for one in around)


def _cut(picture: Picture, box: Any, margin: float) -> tuple[Picture, int, int]:
    """A box of a picture with a margin, a share of its height, around it; where it begins: column and row."""
    height, width = picture.shape[:2]
    more = margin * float(box[3] - box[1])
    left, top = max(int(box[0] - more), 0), max(int(box[1] - more), 0)
    right, bottom = min(int(np.ceil(box[2] + more)), width), min(int(np.ceil(box[3] + more)), height)
    return picture[top : max(bottom, top), left : max(right, left)], left, top
