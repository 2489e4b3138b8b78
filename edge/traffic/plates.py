"""Number plates: found in a vehicle, read, and agreed on over its track; kept as hashes unless asked otherwise."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from edge.traffic.tracker import Track
from edge.words import FrameTime, Picture

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
_LEAST_HEIGHT = 48
_LEAST_CONFIDENCE = 0.5
_SALT_HOURS = 24.0
_HOUR = 3600.0


class Reading(NamedTuple):
    """One plate as it was read once."""

    text: str
    scores: tuple[float, ...]
    """Of each character, 0 to 1."""


Find = Callable[[Picture], npt.NDArray[np.float32]]
"""Plates in the picture of a vehicle: float32 `[N, 6]`, the best first."""
Read = Callable[[Picture], Reading]
"""What a picture of a plate says."""


class PlateReader:
    """Reads the plates of one camera's vehicles, at most one a frame: the largest that is not yet sure.

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
        self._readings: dict[int, list[Reading]] = {}

    def look(self, tracks: Sequence[Track], picture: Picture) -> None:
        """Read one plate.

        Args:
            tracks: Vehicles that the frame shows.
            picture: uint8 `[H, W, 3]`, RGB; not kept.
        """
        open_ones = [track for track in tracks if len(self._readings.get(track.number, ())) < _ENOUGH]
        large = [track for track in open_ones if track.box[3] - track.box[1] >= _LEAST_HEIGHT]
        if not large:
            return
        track = max(large, key=lambda one: float((one.box[2] - one.box[0]) * (one.box[3] - one.box[1])))
        vehicle = _cut(picture, track.box, 0.0)
        plates = self._find(vehicle) if vehicle.size else None
        if plates is not None and len(plates):
            reading = self._read(_cut(vehicle, plates[0][:4], 0.06))
            if len(reading.text) >= 3:
                self._readings.setdefault(track.number, []).append(reading)

    def settled(self, number: int, time: FrameTime) -> dict[str, Any] | None:
        """What the readings of a track that has ended agree on; None where too unsure or of no plate's form."""
        readings = self._readings.pop(number, [])
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

    Returns:
        The text, and the mean over its characters of their scores' share among all readings, 0 to 1.
    """
    if not readings:
        return "", 0.0
    lengths: dict[int, float] = {}
    for reading in readings:
        lengths[len(reading.text)] = lengths.get(len(reading.text), 0.0) + float(np.mean(reading.scores))
    length = max(lengths, key=lambda one: (lengths[one], one))
    text, sure = "", 0.0
    for place in range(length):
        votes: dict[str, float] = {}
        for reading in readings:
            if len(reading.text) == length:
                character = reading.text[place]
                votes[character] = votes.get(character, 0.0) + reading.scores[place]
        best = max(votes, key=lambda one: (votes[one], one))
        text, sure = text + best, sure + votes[best]
    return text, sure / length / len(readings)


def fitted(text: str, pattern: str) -> str:
    """The text as a plate of a country: characters that look alike (0 and O) are exchanged where the form asks for it.

    Returns:
        The plate, or nothing where it has not the form.
    """
    if re.fullmatch(pattern, text):
        return text
    places = [place for place, character in enumerate(text) if character in _ALIKE]
    for count in range(1, 1 << len(places[:8])):
        changed = list(text)
        for bit, place in enumerate(places[:8]):
            if count >> bit & 1:
                changed[place] = _ALIKE[changed[place]]
        if re.fullmatch(pattern, "".join(changed)):
            return "".join(changed)
    return ""


class Salts:
    """Random salts, each forgotten after its time: from then on nobody can say whose plate a hash is.

    Args:
        path: Keeps the salt over restarts; readable to its owner only.
        hours: How long hashes of the same plate are equal.
    """

    def __init__(self, path: Path, hours: float = _SALT_HOURS) -> None:
        self._path, self._seconds = path, hours * _HOUR
        self._made, self._name, self._salt = 0.0, "", b""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._made, self._name, self._salt = float(kept["made"]), str(kept["name"]), bytes.fromhex(kept["salt"])
        except (OSError, ValueError, KeyError, TypeError):  # the first start, or a file that a power cut left
            self._salt = b""

    def hashed(self, plate: str, wall: float) -> tuple[str, str]:
        """The salt's name and the plate's HMAC-SHA256, 32 hexadecimal digits.

        Args:
            plate: As it was agreed on.
            wall: Seconds since the epoch.
        """
        if not self._salt or not 0 <= wall - self._made < self._seconds:
            self._renew(wall)
        return self._name, hmac.new(self._salt, plate.encode(), hashlib.sha256).hexdigest()[:32]

    def _renew(self, wall: float) -> None:
        self._made, self._name, self._salt = wall, secrets.token_hex(4), secrets.token_bytes(32)
        kept = json.dumps({"made": wall, "name": self._name, "salt": self._salt.hex()})
        part = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(str(part), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(kept)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError:  # a full disk: the salt lives until the process ends
            return


def _cut(picture: Picture, box: Any, margin: float) -> Picture:
    height, width = picture.shape[:2]
    more = margin * float(box[3] - box[1])
    left, top = max(int(box[0] - more), 0), max(int(box[1] - more), 0)
    right, bottom = min(int(np.ceil(box[2] + more)), width), min(int(np.ceil(box[3] + more)), height)
    return picture[top : max(bottom, top), left : max(right, left)]
