from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.vod.numbered import HEIGHT, WIDTH, Encoding, Pixels, write_numbered
from vod.decoding.video import Video

_STEP = 8
"""Columns that the bar moves between two fields."""


def _combed(shift: int) -> Pixels:
    """A bar that moves on between the two fields of a frame."""
    fields = []
    for field in range(2):
        pixels = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        left = 20 + _STEP * (2 * shift + field)
        pixels[:, left : left + 40] = 220
        fields.append(pixels)
    fields[0][1::2] = fields[1][1::2]
    return fields[0]


def _combs(grey: npt.NDArray[np.uint8]) -> float:
    """How much lines differ from those above and below them."""
    lines = grey.astype(int)
    return float(np.abs(2 * lines[2:-2] - lines[1:-3] - lines[3:-1]).mean())


def _interlaced(path: Path, encoding: Encoding) -> Path:
    shifts = iter([0, *range(12)])
    return write_numbered(path, range(12), encoding, shape=lambda _: _combed(next(shifts)))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "libx264"), (".ts", "mpeg2video")],
)
def test_what_moves_has_no_combs(tmp_path: Path, suffix: str, codec: str) -> None:
    path = _interlaced(tmp_path / f"v{suffix}", Encoding(codec, {"flags": "+ildct+ilme"}, bit_rate=6_000_000))
    video = Video(path)
    pictures = list(video.frames())
    assert [p.time for p in pictures] == pytest.approx([i / 25 for i in range(12)])
    for shift, picture in enumerate(pictures):
        assert picture.frame.interlaced_frame
        grey = picture.whole().to_ndarray(format="gray").astype(np.uint8)
        assert _combs(picture.frame.to_ndarray(format="gray").astype(np.uint8)) > 10
        assert _combs(grey) < 1
        left = int(np.flatnonzero(grey[HEIGHT // 2] > 130)[0])
        assert abs(left - (20 + 2 * _STEP * shift + _STEP / 2)) <= _STEP / 2 + 1
    video.close()


def test_one_key_frame_alone_gives_one_of_its_fields(tmp_path: Path) -> None:
    path = _interlaced(tmp_path / "v.mp4", Encoding("libx264", {"flags": "+ildct+ilme"}))
    video = Video(path, keyframes_only=True)
    picture = next(video.frames())
    assert picture.whole().height == HEIGHT // 2
    assert _combs(picture.whole().to_ndarray(format="gray").astype(np.uint8)) < 1
    video.close()


def test_a_progressive_frame_is_left_as_it_is(three_colours: Path) -> None:
    video = Video(three_colours)
    assert all(picture.whole() is picture.frame for picture in video.frames())
    video.close()
