"""Videos of numbered pictures: each shows its number as a bar code, coloured corners, and a scene that moves.

So a test can say of every decoded frame which picture it is, which way up it lies, and whether it is smeared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT, RATE = 320, 192, 25
_BITS, _CELL, _CORNER = 10, 16, 32
_BAR: Final = (slice(HEIGHT - _CELL - 8, HEIGHT - 8), slice((WIDTH - _BITS * _CELL) // 2, (WIDTH + _BITS * _CELL) // 2))
CORNERS: Final = {"top left": (220, 30, 30), "top right": (30, 200, 30), "bottom left": (30, 30, 220)}
"""Colours, RGB; the corner bottom right is yellow."""
YELLOW: Final = (220, 220, 30)
SHOT_FRAMES: Final = 50
"""Every 50th picture begins another scene: 2 s at 25 frames a second."""


def numbered(number: int, *, scene: int | None = None) -> Pixels:
    """The picture of a number: uint8 `(192, 320, 3)` RGB."""
    scene = number // SHOT_FRAMES if scene is None else scene
    pixels = np.roll(_texture(scene), (2 * (number % 40), 3 * (number % 40)), axis=(0, 1)).copy()
    q = _CORNER
    for rows, columns, colour in (
        (slice(q), slice(q), CORNERS["top left"]),
        (slice(q), slice(-q, None), CORNERS["top right"]),
        (slice(-q, None), slice(q), CORNERS["bottom left"]),
        (slice(-q, None), slice(-q, None), YELLOW),
    ):
        pixels[rows, columns] = colour
    bits = [255 * (number >> bit & 1) for bit in range(_BITS)]
    pixels[_BAR] = np.repeat(np.array(bits, np.uint8), _CELL)[None, :, None]
    return pixels


def number_of(pixels: Pixels) -> int:
    """The number that a picture shows."""
    cells = pixels[_BAR].mean(axis=2)[4:-4].reshape(-1, _BITS, _CELL)[:, :, 5:-5].mean(axis=(0, 2))
    return sum(1 << bit for bit in range(_BITS) if cells[bit] > 127)


def is_smeared(pixels: Pixels) -> bool:
    """Whether the picture is clearly not the one whose number it shows."""
    wrong = np.abs(pixels.astype(int) - numbered(number_of(pixels))).mean(axis=2)
    return bool(wrong.reshape(HEIGHT // 16, 16, WIDTH // 16, 16).mean(axis=(1, 3)).max() > 40)


@lru_cache
def _texture(scene: int) -> Pixels:
    random = np.random.default_rng(scene)
    coarse = random.integers(40, 215, (HEIGHT // 16, WIDTH // 16, 3)).astype(np.float32)
    smooth = np.kron(coarse, np.ones((16, 16, 1), np.float32))
    for axis in (0, 1):
        smooth = np.mean([np.roll(smooth, shift, axis) for shift in range(-6, 7)], axis=0)
    return np.asarray(smooth, np.uint8)


@dataclass(frozen=True)
class Encoding:
    """How pictures become packets."""

    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    bit_rate: int = 0


def write_numbered(
    path: Path,
    numbers: Sequence[int] = range(200),
    encoding: Encoding | None = None,
    *,
    format: str | None = None,  # noqa: A002  as av.open calls it
    muxer: dict[str, str] | None = None,
    ticks: Sequence[int] | None = None,
    offset_seconds: float = 0,
    shape: Callable[[Pixels], Pixels] | None = None,
    prepare: Callable[[av.VideoStream], None] | None = None,
) -> Path:
    """Write numbered pictures.

    Args:
        path: To write.
        numbers: Of the pictures.
        encoding: Codec; H.264 without it.
        format: Muxer, where the suffix does not say it.
        muxer: Its options.
        ticks: Presentation time of each picture in 1/25 s; one after the other without it.
        offset_seconds: Added to all times.
        shape: Changes each picture before it is encoded.
        prepare: Changes the stream before the first picture.
    """
    encoding = encoding or Encoding()
    with av.open(str(path), "w", format=format, options=muxer or {}) as container:
        stream = container.add_stream(encoding.codec, rate=RATE, options=encoding.options)
        assert isinstance(stream, av.VideoStream)
        sample = numbered(0) if shape is None else shape(numbered(0))
        stream.height, stream.width = sample.shape[:2]
        stream.pix_fmt = encoding.pixel_format
        stream.codec_context.time_base = Fraction(1, RATE)
        stream.codec_context.thread_count = 1
        if encoding.bit_rate:
            stream.codec_context.bit_rate = encoding.bit_rate
        if prepare is not None:
            prepare(stream)
        for frame in _frames(numbers, ticks, shape):
            frame.pts = (frame.pts or 0) + round(offset_seconds * RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _frames(
    numbers: Sequence[int], ticks: Sequence[int] | None, shape: Callable[[Pixels], Pixels] | None
) -> Iterator[av.VideoFrame]:
    for index, number in enumerate(numbers):
        pixels = numbered(number) if shape is None else shape(numbered(number))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts = index if ticks is None else ticks[index]
        frame.time_base = Fraction(1, RATE)
        yield frame
