from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from reeltag.frames import Fit, View
from tests.vod.numbered import CORNERS, HEIGHT, WIDTH, Encoding, numbered, write_numbered
from vod.decoding.geometry import Orientation, Shape, Shapes, fitted
from vod.decoding.video import Video

EIGHT = [Orientation(*flags) for flags in product((False, True), repeat=3)]


def matrix_of(orientation: Orientation) -> tuple[int, int, int, int]:
    """a, b, c, d: a stored point (x, y) is shown at (a x + c y, b x + d y)."""
    columns, rows = (-1 if flag else 1 for flag in (orientation.mirrors_columns, orientation.mirrors_rows))
    return (0, rows, columns, 0) if orientation.transposes else (columns, 0, 0, rows)


@pytest.mark.parametrize("orientation", EIGHT, ids=str)
def test_the_matrix_moves_points_as_the_standard_says(orientation: Orientation) -> None:
    a, b, c, d = matrix_of(orientation)
    pixels = np.arange(12).reshape(3, 4, 1)
    shown = orientation.apply(pixels)
    places = {(a * x + c * y, b * x + d * y): pixels[y, x, 0] for y in range(3) for x in range(4)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    assert all(shown[y - top, x - left, 0] == value for (x, y), value in places.items())


@pytest.mark.parametrize("orientation", EIGHT, ids=str)
def test_a_file_with_each_matrix_is_shown_the_right_way_up(tmp_path: Path, orientation: Orientation) -> None:
    a, b, c, d = (value << 16 for value in matrix_of(orientation))

    def prepare(stream: av.VideoStream) -> None:
        stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))

    path = write_numbered(tmp_path / "v.mp4", range(3), prepare=prepare)
    video = Video(path)
    expected = orientation.apply(numbered(0))
    height, width = expected.shape[:2]
    assert video.displayed_size == (width, height)
    picture = next(video.frames())
    out = np.zeros((height, width, 3), np.uint8)
    video.scaler(View(Fit.STRETCH, height, width)).fit(picture.frame, picture.shape, out)
    assert np.abs(out.astype(int) - expected).mean() < 6
    video.close()


def test_the_codecs_shape_of_pixels_counts_unless_the_container_says_another() -> None:
    frame = av.VideoFrame(720, 576, "yuv420p")
    follows, overruled = Shapes(Fraction(16, 15)), Shapes(Fraction(2))
    assert [follows.of(frame, r).ratio for r in (Fraction(16, 15), Fraction(64, 45))] == [
        Fraction(16, 15),
        Fraction(64, 45),
    ]
    assert [overruled.of(frame, r).ratio for r in (Fraction(16, 15), Fraction(64, 45))] == [2, 2]
    assert Shapes(None).of(frame, None).displayed == (720, 576)


@pytest.mark.parametrize(
    ("inner", "outer", "size"),
    [((512, 288), (384, 288), (384, 216)), ((288, 512), (384, 288), (162, 288)), ((8192, 2), (48, 27), (48, 1))],
)
def test_the_largest_size_that_fits(inner: tuple[int, int], outer: tuple[int, int], size: tuple[int, int]) -> None:
    assert fitted(inner, outer) == size


def test_a_size_that_changes_in_the_middle(tmp_path: Path) -> None:
    """Two transport streams, one behind the other: wide, then high pictures."""
    wide = write_numbered(tmp_path / "wide.ts", range(25))
    high = write_numbered(tmp_path / "high.ts", range(25, 50), shape=np.rot90)
    path = tmp_path / "v.ts"
    path.write_bytes(wide.read_bytes() + high.read_bytes())
    video = Video(path)
    pictures = list(video.frames())
    assert [p.time for p in pictures] == pytest.approx([i / 25 for i in range(50)])
    assert video.displayed_size == (WIDTH, HEIGHT)
    view = View(Fit.LETTERBOX, 320, 320, 114)
    out = np.zeros((320, 320, 3), np.uint8)
    video.scaler(view).fit(pictures[-1].frame, pictures[-1].shape, out)
    inside = np.argwhere((out != 114).any(axis=2))
    assert np.ptp(inside, axis=0).tolist() == [HEIGHT - 1, round(HEIGHT * HEIGHT / WIDTH) - 1]
    top, left = inside.min(axis=0)
    assert np.abs(out[top + 5, left + 5].astype(int) - CORNERS["top right"]).max() < 40
    crop = np.zeros((96, 96, 3), np.uint8)
    video.scaler(View(Fit.CENTER_CROP, 96, 96)).fit(pictures[-1].frame, pictures[-1].shape, crop)
    expected = np.rot90(numbered(49))[64:256]
    assert np.abs(crop.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 8
    video.close()


@pytest.mark.parametrize("size", [(8192, 2), (2, 8192)])
def test_extreme_shapes_fill_each_kind_of_input(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    ramp = np.linspace(0, 255, max(size)).astype(np.uint8).reshape((1, -1, 1) if width > height else (-1, 1, 1))
    pixels = np.broadcast_to(ramp, (height, width, 3))
    path = write_numbered(tmp_path / "v.mov", range(3), Encoding("png", pixel_format="rgb24"), shape=lambda _: pixels)
    video = Video(path)
    picture = next(video.frames())
    assert picture.shape == Shape(width, height, Fraction(1), Orientation())
    for view in (View(Fit.LETTERBOX, 64, 64, 0), View(Fit.STRETCH, 64, 64), View(Fit.CENTER_CROP, 64, 64)):
        out = np.full((64, 64, 3), 9, np.uint8)
        video.scaler(view).fit(picture.frame, picture.shape, out)
        lit = out[..., 0].max(axis=0 if width > height else 1)
        if view.fit is Fit.CENTER_CROP:
            assert abs(int(lit[32]) - 128) < 8
        else:
            assert lit[2] < 20
            assert lit[-3] > 235
    video.close()
