from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reeltag.areas import NO_CLASS, picture_in, shares_of, without_borders
from reeltag.frames import Fit, View, fit_pixels, geometry_of

CLASSES = 7


@given(st.sampled_from(list(Fit)), st.integers(1, 500), st.integers(1, 500))
def test_the_picture_is_where_it_was_fitted(fit: Fit, width: int, height: int) -> None:
    view = View(fit, 48, 80, pad_value=0)
    white = np.full((height, width, 3), 255, np.uint8)
    fitted = fit_pixels(view, white, width, height)[..., 0]
    picture = picture_in(48, 80, geometry_of(view, width, height).to_array())
    assert (fitted[picture] == 255).all()
    assert (fitted == 255).sum() == fitted[picture].size


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_shares_are_of_the_picture_and_sum_to_one(height: int, width: int, seed: int) -> None:
    class_map = np.random.default_rng(seed).integers(0, CLASSES, (64, 64), np.uint8)
    part = class_map[3 : 3 + height, 5 : 5 + width]  # not contiguous
    shares = shares_of(part, CLASSES)
    assert shares.dtype == np.float32
    expected = np.bincount(part.ravel(), minlength=CLASSES) / max(part.size, 1)
    np.testing.assert_allclose(shares, expected, atol=1e-7)
    assert shares.sum() == pytest.approx(1.0 if part.size else 0.0, abs=1e-6)


def test_borders_get_no_class() -> None:
    class_maps = np.full((3, 4, 6), 2, np.uint8)
    pictures = [(slice(0, 4), slice(1, 5)), (slice(0, 4), slice(0, 6)), (slice(0, 0), slice(0, 0))]
    cleared = without_borders(class_maps, pictures)
    assert cleared[0].tolist() == [[NO_CLASS, 2, 2, 2, 2, NO_CLASS]] * 4
    assert (cleared[1] == 2).all()
    assert (cleared[2] == NO_CLASS).all()
    assert (class_maps == 2).all()


def test_a_picture_that_was_not_decoded_takes_no_pixel() -> None:
    picture = picture_in(48, 80, np.zeros(6, np.float32))
    assert np.zeros((48, 80))[picture].size == 0
    assert not shares_of(np.zeros((48, 80), np.uint8)[picture], CLASSES).any()
