"""Pictures and a video that are drawn, for machines without a package registry: they need no file but this one."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

WIDTH: Final = 1280
HEIGHT: Final = 720
_SCENE_SECONDS: Final = 2.0
_SCENES: Final = 2
_RATE: Final = 25


def jpegs_720p(count: int) -> list[bytes]:
    """`count` different 720p JPEGs of quality 85, about as large as photographs."""
    return [cv2.imencode(".jpg", _frame(i, 0.0), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes() for i in range(count)]


def video_720p(path: Path, seconds: float) -> None:
    """Write shapes that move over a textured ground, two scenes of 2 s in turns, H.264, key frame every 2 s."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=_RATE, options={"preset": "veryfast", "g": str(2 * _RATE)})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, _RATE)
        places = [divmod(index / _RATE, _SCENE_SECONDS) for index in range(round(_SCENES * _SCENE_SECONDS * _RATE))]
        drawn = [av.VideoFrame.from_ndarray(_frame(int(scene), time), format="bgr24") for scene, time in places]
        frames = [frame.reformat(format="yuv420p") for frame in drawn]
        for index in range(round(seconds * _RATE)):
            frame = frames[index % len(frames)]
            frame.pts, frame.time_base = index, Fraction(1, _RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def _frame(scene: int, time: float) -> Any:
    """uint8 `(720, 1280, 3)` BGR: figures on a street, `time` seconds into a scene."""
    ground = _ground(scene)
    random = np.random.default_rng(scene)
    frame = np.roll(ground, round(30 * time), axis=1)
    for _ in range(12):
        x, y, size = random.uniform(0, WIDTH), random.uniform(HEIGHT / 3, HEIGHT), random.uniform(20, 120)
        colour = tuple(int(part) for part in random.integers(0, 255, 3))
        place = (round((x + random.uniform(-120, 120) * time) % WIDTH), round(y))
        cv2.ellipse(frame, place, (round(size / 2), round(size)), 0, 0, 360, colour, -1, cv2.LINE_AA)
        cv2.circle(frame, (place[0], round(place[1] - 1.2 * size)), round(size / 3), (140, 170, 220), -1, cv2.LINE_AA)
    return frame


_grounds: Final[dict[int, Any]] = {}


def _ground(scene: int) -> Any:
    """Noise of several sizes, as grass, walls and leaves have it; its JPEG has some 150 KiB."""
    if scene not in _grounds:
        random = np.random.default_rng(1000 + scene)
        ground = np.full((HEIGHT, WIDTH, 3), 110.0, np.float32)
        for step in (4, 16, 64):
            coarse = random.normal(0, 6 * math.sqrt(step), (HEIGHT // step + 1, WIDTH // step + 1, 3))
            ground += cv2.resize(coarse.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        _grounds[scene] = np.clip(ground, 0, 255).astype(np.uint8)
    return _grounds[scene]
