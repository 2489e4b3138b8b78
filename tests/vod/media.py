"""Makes small videos for the tests: solid colours, so that what was decoded is easy to tell."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)
Colour = tuple[int, int, int]


def picture(colour: Colour, width: int, height: int, shade: int = 0, ramp: int = 25) -> npt.NDArray[np.uint8]:
    """A colour that darkens to the right, so that scaling and turning can be seen."""
    falling = np.broadcast_to(np.linspace(0, -ramp, width)[None, :, None] + shade, (height, width, 1))
    pixels: npt.NDArray[np.uint8] = np.clip(np.array(colour)[None, None, :] + falling, 0, 255).astype(np.uint8)
    return pixels


def write_video(
    path: Path,
    colours: Sequence[Colour],
    *,
    milliseconds: Sequence[int] | None = None,
    fps: int = 25,
    size: tuple[int, int] = (160, 96),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
    ramp: int = 25,
) -> Path:
    """Write one frame a colour, at the given times or evenly."""
    width, height = size
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = width, height
        stream.pix_fmt = "rgb24" if codec == "qtrle" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000) if milliseconds else Fraction(1, fps)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for index, colour in enumerate(colours):
            frame = av.VideoFrame.from_ndarray(
                picture(colour, width, height, shade=index % 5, ramp=ramp), format="rgb24"
            )
            frame.pts = milliseconds[index] if milliseconds else index
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        assert isinstance(stream, av.AudioStream)
        for index in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, index * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def damage(path: Path, start: float, end: float) -> Path:
    """Overwrite a share of the file with noise."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * start), int(len(data) * end)
    data[first:last] = np.random.default_rng(1).integers(0, 256, last - first, np.uint8).tobytes()
    path.write_bytes(data)
    return path


def cut_off(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
