"""From NV12 to the network's input and back to boxes, each compared with a reference."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.colours import Colours, FromNv12, coefficients
from edge.capture.frame import Frame
from edge.pipeline.fitting import Fitting
from edge.pipeline.suppression import IOU_THRESHOLD, MAX_DETECTIONS, Suppression
from reeltag import contract
from reeltag.errors import ModelRepositoryError
from reeltag.frames import View
from reeltag.frames.views import fit_pixels, geometry_of

ALL_COLOURS = [Colours(matrix, full) for matrix in ("bt601", "bt709") for full in (False, True)]


def nv12(height: int, width: int, colours: Colours, seed: int = 5) -> Frame:
    """Smooth colours over the whole range of the numbers, and beyond where the range is limited."""
    frame = Frame()
    frame.shape_as(height, width, colours)
    frame.data[:] = np.random.default_rng(seed).integers(0, 256, len(frame.data), np.uint8)
    if not colours.is_full_range:  # blacker than black is black in OpenCV, whatever its chroma
        frame.luma[:] = np.maximum(frame.luma, 16)
    return frame


def reference(frame: Frame) -> npt.NDArray[np.float64]:
    """The standards' formulas in float64, pixel by pixel."""
    colours = frame.colours
    assert colours is not None
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[colours.matrix]
    luma = frame.luma.astype(np.float64)
    chroma = frame.chroma.repeat(2, 0).repeat(2, 1)[: frame.height, : frame.width].astype(np.float64) - 128
    y, pb, pr = (
        (luma / 255, chroma[..., 0] / 255, chroma[..., 1] / 255)
        if colours.is_full_range
        else ((luma - 16) / 219, chroma[..., 0] / 224, chroma[..., 1] / 224)
    )
    r, b = y + 2 * (1 - red) * pr, y + 2 * (1 - blue) * pb
    g = (y - red * r - blue * b) / (1 - red - blue)
    rgb: npt.NDArray[np.float64] = np.clip(np.stack([r, g, b], 2) * 255, 0, 255)
    return rgb


@pytest.mark.parametrize("colours", ALL_COLOURS, ids=str)
@pytest.mark.parametrize("size", [(48, 64), (46, 50), (47, 63)])
def test_nv12_becomes_rgb(colours: Colours, size: tuple[int, int]) -> None:
    frame, out = nv12(*size, colours), np.zeros((*size, 3), np.uint8)
    FromNv12(*size, colours)(frame.luma, frame.chroma, out)
    assert np.abs(out - reference(frame)).max() <= 1.5  # whole numbers, and OpenCV's own coefficients have 20 bits


def test_white_black_and_the_primaries_are_what_they_should_be() -> None:
    """Of BT.709's table of colour bars: limited range, 8 bits."""
    bars = {(235, 128, 128): (255, 255, 255), (16, 128, 128): (0, 0, 0), (63, 102, 240): (255, 0, 0)}
    matrix = coefficients(Colours("bt709"))
    for yuv, rgb in bars.items():
        assert np.abs(np.clip(matrix @ [*yuv, 1], 0, 255) - rgb).max() <= 1.5


@given(st.integers(16, 900), st.integers(16, 900), st.sampled_from(["letterbox", "letterbox_top_left", "stretch"]))
def test_pictures_are_fitted_as_on_a_server(height: int, width: int, fit: str) -> None:
    view = View.parse(f"{fit.upper()}_96X128_PAD114")
    picture = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)
    canvas = np.zeros((96, 128, 3), np.uint8)
    fitting = Fitting(view.name, height, width)
    fitting.place(picture, canvas)
    np.testing.assert_array_equal(canvas, fit_pixels(view, picture, width, height))
    boxes = np.array([[3, 5, 90, 80], [-5, -5, 500, 500]], np.float32)
    expected = geometry_of(view, width, height).boxes_to_source(boxes.copy())
    fitting.to_source(boxes)
    np.testing.assert_allclose(boxes, expected, rtol=1e-5, atol=1e-3)


def test_a_view_that_is_not_a_detectors_is_refused() -> None:
    with pytest.raises(ModelRepositoryError, match="CENTER_CROP"):
        Fitting("CENTER_CROP_224X224_PAD0", 480, 640)


@pytest.mark.parametrize("seed", range(20))
def test_suppression_answers_what_the_server_does(seed: int, suppression: ModuleType) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 200, (300, 2))
    sides = random.uniform(5, 90, (300, 2))
    candidates = np.concatenate([corners, corners + sides, random.random((300, 1)), random.integers(0, 4, (300, 1))], 1)
    candidates = candidates.astype(np.float32)
    candidates[::7, 4] = 0.5  # equal scores
    expected = suppression.suppress(
        candidates[None], score_threshold=0.3, iou_threshold=contract.IOU_THRESHOLD, max_detections=100
    )
    found = Suppression("python", 0.3)([candidates])
    count = int(expected.count[0, 0])
    assert (IOU_THRESHOLD, MAX_DETECTIONS) == (contract.IOU_THRESHOLD, contract.MAX_DETECTIONS)
    np.testing.assert_array_equal(found[:, :4], expected.boxes[0, :count])
    np.testing.assert_array_equal(found[:, 4], expected.scores[0, :count])
    np.testing.assert_array_equal(found[:, 5], expected.classes[0, :count])
    final = [expected.boxes[0], expected.scores[0], expected.classes[0], expected.count[0]]
    np.testing.assert_array_equal(Suppression("engine", 0.3)(final), found)
