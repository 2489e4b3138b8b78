"""A video that is drawn, for machines without a package registry."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import av

from reeltag.tuning.pictures import HEIGHT, WIDTH, scene

_SCENE_SECONDS: Final = 2.0
_SCENES: Final = 2
_RATE: Final = 25


def video_720p(path: Path, seconds: float) -> None:
    """Write shapes that move over a textured ground, two scenes of 2 s in turns, H.264, key frame every 2 s."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=_RATE, options={"preset": "veryfast", "g": str(2 * _RATE)})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, _RATE)
        places = [divmod(index / _RATE, _SCENE_SECONDS) for index in range(round(_SCENES * _SCENE_SECONDS * _RATE))]
        drawn = [av.VideoFrame.from_ndarray(scene(int(number), time), format="bgr24") for number, time in places]
        frames = [frame.reformat(format="yuv420p") for frame in drawn]
        for index in range(round(seconds * _RATE)):
            frame = frames[index % len(frames)]
            frame.pts, frame.time_base = index, Fraction(1, _RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
