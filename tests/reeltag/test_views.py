"""Each way to fit a picture: what is drawn in it lies where the geometry says, and comes back from there."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exporters.graphs.plain import plainly_fitted
from reeltag.frames import Colour, Fit, Pixels, View, fit_pixels, geometry_of

SIDES = st.integers(40, 220)
VIEWS = st.builds(
    View,
    st.sampled_from(list(Fit)),
    st.integers(32, 128),
    st.integers(32, 128),
    st.just(0),
    st.sampled_from([0.5, 0.875, 0.95, 1.0]),
)


def with_rectangle(height: int, width: int, box: tuple[int, int, int, int]) -> Pixels:
    """White on black."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = 255
    return pixels


def edges(levels: npt.NDArray[Any]) -> tuple[float, float]:
    """Where a profile rises over the half and where it falls below it again, in pixels."""
    lit = np.flatnonzero(levels >= 128)
    return float(lit[0]), float(lit[-1] + 1)


@settings(max_examples=200, deadline=None)
@given(VIEWS, SIDES, SIDES, st.data())
def test_a_rectangle_lies_where_the_geometry_says(view: View, height: int, width: int, data: st.DataObject) -> None:
    geometry = geometry_of(view, width, height)
    visible = geometry.boxes_to_source(np.array([0, 0, view.width, view.height], np.float32)).tolist()
    wide, high = (math.ceil(3 / scale) for scale in (geometry.scale_x, geometry.scale_y))  # three of the input's pixels
    left, top, right, bottom = (int(side) for side in visible)
    assume(right - left > wide + 4)
    assume(bottom - top > high + 4)
    x1 = data.draw(st.integers(left + 2, right - wide - 2))
    y1 = data.draw(st.integers(top + 2, bottom - high - 2))
    x2 = data.draw(st.integers(x1 + wide, right - 2))
    y2 = data.draw(st.integers(y1 + high, bottom - 2))
    fitted = fit_pixels(view, with_rectangle(height, width, (x1, y1, x2, y2)), width, height)[..., 0]
    found = np.array([edges(fitted.max(0)), edges(fitted.max(1))], np.float32).T.ravel()
    # Half of an input's pixel for each edge, and of the picture's, as a crop begins and ends at whole ones.
    slack = 1.0 + max(geometry.scale_x, geometry.scale_y)
    expected = geometry.boxes_to_input(np.array([x1, y1, x2, y2], np.float32))
    np.testing.assert_allclose(found, expected, atol=slack)
    back = geometry.boxes_to_source(found)
    least = min(geometry.scale_x, geometry.scale_y)
    np.testing.assert_allclose(back, [x1, y1, x2, y2], atol=slack / least)


@given(VIEWS, st.integers(1, 4000), st.integers(1, 4000))
def test_only_a_stretch_squeezes(view: View, height: int, width: int) -> None:
    geometry = geometry_of(view, width, height)
    if view.fit is Fit.STRETCH:
        assert (geometry.scale_x * width, geometry.scale_y * height) == pytest.approx((view.width, view.height))
    else:
        whole_pixels = 0 if view.fit is Fit.CENTER_CROP else 1 / min(width, height)
        assert geometry.scale_x == pytest.approx(geometry.scale_y, rel=1e-9, abs=whole_pixels)


@pytest.mark.parametrize(
    ("view", "source", "scale", "offset"),
    [
        (View(Fit.CENTER_CROP, 224, 224), (256, 512), (1, 1), (-144, -16)),  # torchvision: Resize(256), CenterCrop(224)
        (View(Fit.CENTER_CROP, 224, 224, 0, 1.0), (448, 448), (0.5, 0.5), (0, 0)),
        (View(Fit.CENTER_CROP, 96, 192, 0, 1.0), (200, 200), (0.96, 0.96), (0, -48)),  # the middle half, not squeezed
        (View(Fit.CENTER_CROP, 96, 192, 0, 0.5), (100, 400), (1.92, 1.92), (-288, -48)),
        (View(Fit.STRETCH, 320, 640), (480, 640), (1, 2 / 3), (0, 0)),
        (View(Fit.LETTERBOX_TOP_LEFT, 640, 640), (480, 1280), (0.5, 0.5), (0, 0)),
        (View(Fit.LETTERBOX, 640, 640), (480, 1280), (0.5, 0.5), (0, 200)),
    ],
)
def test_each_fit_is_that_of_its_publisher(
    view: View, source: tuple[int, int], scale: tuple[float, float], offset: tuple[float, float]
) -> None:
    geometry = geometry_of(view, source[1], source[0])
    assert (geometry.scale_x, geometry.scale_y) == pytest.approx(scale)
    assert (geometry.offset_x, geometry.offset_y) == pytest.approx(offset)


@pytest.mark.parametrize("fit", [Fit.LETTERBOX, Fit.LETTERBOX_TOP_LEFT])
def test_a_border_has_its_colour(fit: Fit) -> None:
    fitted = fit_pixels(View(fit, 40, 40, (1, 2, 3)), np.full((20, 40, 3), 9, np.uint8), 40, 20)
    border = np.argwhere((fitted == (1, 2, 3)).all(2))
    assert len(border) == 20 * 40
    assert border[:, 0].min() == (0 if fit is Fit.LETTERBOX else 20)


@given(VIEWS, st.one_of(st.integers(0, 255), st.tuples(*[st.integers(0, 255)] * 3)), st.integers(1, 10_000))
def test_names_hold_all_of_a_view(view: View, pad: int | Colour, crop: int) -> None:
    full = View(view.fit, view.height, view.width, pad, crop / 10_000)
    assert View.parse(full.name) == full


@pytest.mark.parametrize("fit", list(Fit))
def test_the_plain_way_fits_alike(fit: Fit) -> None:
    """Smooth colours, so that a shift is seen and a sharper filter is not."""
    coarse = np.random.default_rng(4).integers(0, 256, (6, 8, 3), np.uint8)
    pixels = cv2.resize(coarse, (400, 300), interpolation=cv2.INTER_CUBIC)
    view = View(fit, 96, 160, 114)
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    plain, geometry = plainly_fitted(data, view)
    ours = fit_pixels(view, np.asarray(pixels, np.uint8), 400, 300)
    assert np.abs(ours.astype(int) - plain).mean() < 3
    expected = geometry_of(view, 400, 300)
    assert (geometry.scale_x, geometry.offset_x) == pytest.approx((expected.scale_x, expected.offset_x), rel=0.01)
