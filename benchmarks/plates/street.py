"""A street whose vehicles and plates are known: frames, a video, and where each vehicle is in each frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

import av
import cv2
import numpy as np

from benchmarks.plates.vehicle import Box, Look, Picture, any_look, draw

RATE: Final = 15
"""Frames a second."""
HEIGHT: Final = 720
WIDTH: Final = 1280
LINE: Final = 12.0
"""Metres before the camera, where vehicles are counted: half of them are read before it, half behind it."""
_LANES: Final = ((-2.4, -1), (0.9, -1), (4.2, 1))
"""Metres to the right of the camera's axis; -1 comes, 1 goes."""
_NEAR: Final = 7.0
_FAR: Final = 34.0
_FOCAL: Final = 1500.0
_ABOVE: Final = 3.2
"""Metres from the road to the camera."""
_HORIZON: Final = 20.0
_WIDE: Final = (1.65, 2.05)
_POLE: Final = (556, 600)
"""Columns that a lamp post hides."""


class Vehicle(NamedTuple):
    """One vehicle at constant speed."""

    look: Look
    lane: int
    starts: float
    """Seconds at which it is at its end of the street."""
    pace: float
    """Metres a second."""
    wide: float
    """Metres."""

    @property
    def ends(self) -> float:
        """Seconds at which it is at the other end."""
        return self.starts + (_FAR - _NEAR) / self.pace

    def away(self, seconds: float) -> float | None:
        """Metres before the camera; None where it is not there."""
        if not self.starts <= seconds < self.ends:
            return None
        gone = self.pace * (seconds - self.starts)
        return _FAR - gone if _LANES[self.lane][1] < 0 else _NEAR + gone

    def box(self, seconds: float) -> Box | None:
        """Where it is in the picture, which it may exceed."""
        away = self.away(seconds)
        if away is None:
            return None
        scale = _FOCAL / away
        middle, foot = WIDTH / 2 + scale * _LANES[self.lane][0], foot_of(away)
        half = scale * self.wide / 2
        return middle - half, foot - 2 * half * self.look.shape, middle + half, foot


def foot_of(away: float) -> float:
    """Row at which something stands so many metres before the camera."""
    return _HORIZON + _FOCAL * _ABOVE / away


def vehicles(count: int, seed: int) -> list[Vehicle]:
    """Vehicles in three lanes that never drive into each other, but hide each other's plates at times."""
    random = np.random.default_rng(seed)
    made: list[Vehicle] = []
    last: dict[int, Vehicle] = {}
    for number in range(count):
        lane = number % len(_LANES)
        look = any_look(random)._replace(is_from_behind=_LANES[lane][1] > 0)
        pace, wide = float(random.uniform(6, 11)), float(random.uniform(*_WIDE))
        starts = float(random.exponential(2.5))
        if lane in last:
            before, gap = last[lane], float(random.uniform(6, 12))
            starts += max(before.starts + gap / before.pace, before.ends + gap / pace - (_FAR - _NEAR) / pace)
        last[lane] = Vehicle(look, lane, starts, pace, wide)
        made.append(last[lane])
    return made


def ground(random: np.random.Generator, height: int, width: int) -> Picture:
    """A road of grey noise with brighter and darker stripes."""
    base = random.integers(60, 130)
    noise = 12 * random.standard_normal((height, width, 1), np.float32)
    picture = np.clip(base + noise + 4 * random.standard_normal((1, 1, 3), np.float32), 0, 255)
    picture = cv2.GaussianBlur(np.broadcast_to(picture, (height, width, 3)).astype(np.uint8), (5, 5), 0)
    for _ in range(int(random.integers(1, 5))):
        ends = random.integers(0, (width, height), (2, 2)).tolist()
        shade = int(random.integers(30, 230))
        cv2.line(picture, ends[0], ends[1], (shade, shade, shade), int(random.integers(2, 10)))
    return np.asarray(picture, np.uint8)


def frames(street: list[Vehicle], seed: int) -> Iterator[Picture]:
    """What the camera gives, uint8 `[H, W, 3]` RGB: blurred by movement and lens, with noise, brighter and darker."""
    random = np.random.default_rng(seed + 1)
    road = ground(random, HEIGHT, WIDTH)
    blurs = {vehicle: float(random.uniform(0, 1.1)) for vehicle in street}
    for index in range(round((max(one.ends for one in street) + 0.5) * RATE)):
        seconds = index / RATE
        picture = road.copy()
        for vehicle in sorted(street, key=lambda one: -(one.away(seconds) or 0)):
            box = vehicle.box(seconds)
            if box is not None:
                draw(picture, box, vehicle.look)
                _blur(picture, box, vehicle, blurs[vehicle])
        picture[:, _POLE[0] : _POLE[1]] = (90, 96, 92)
        noise = 5 * random.standard_normal(picture.shape, np.float32)
        bright = picture * np.float32(1 + 0.15 * np.sin(seconds / 5)) + noise
        yield np.clip(bright, 0, 255).astype(np.uint8)


def _blur(picture: Picture, box: Box, vehicle: Vehicle, lens: float) -> None:
    """By the lens, a standard deviation in pixels, and down by how far it moves while the shutter is open."""
    left, top, right, bottom = (max(round(side), 0) for side in box)
    inside = picture[top:bottom, left:right]
    if not inside.size:
        return
    away = _FOCAL * _ABOVE / max(bottom - _HORIZON, 1)
    moved = max(round(foot_of(away) * vehicle.pace / 500 / away), 1)
    if moved > 1:
        inside[:] = cv2.blur(inside, (1, moved))
    if lens > 0.3:
        inside[:] = cv2.GaussianBlur(inside, (0, 0), lens)


def write(path: Path, pictures: Iterable[Picture], rate: int = RATE) -> None:
    """Pictures of one size as a video, H.264."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, rate)
        for index, picture in enumerate(pictures):
            stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
