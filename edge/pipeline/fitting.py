"""A picture into a network's input, in place, and boxes back; as `reeltag.frames` does it on a server."""

from __future__ import annotations

import re

import cv2
import numpy as np
import numpy.typing as npt
from reeltag.errors import ModelRepositoryError

from edge.capture.colours import Colours, FromYuv, coefficients
from edge.capture.frame import row_bytes
from edge.runtimes.nv12 import Nv12Weights
from edge.words import Picture

_VIEW = re.compile(r"(LETTERBOX|LETTERBOX_TOP_LEFT|STRETCH)_(\d+)X(\d+)_PAD(\d+)(?:_(\d+)_(\d+))?")


class Fitting:
    """How pictures of one size are fitted into an input.

    Args:
        view: Such as `LETTERBOX_416X416_PAD114`.
        height: Rows of the pictures, pixels.
        width: Their columns.

    Raises:
        ModelRepositoryError: The view is not one of detectors.
    """

    def __init__(self, view: str, height: int, width: int) -> None:
        match = _VIEW.fullmatch(view)
        if match is None:
            raise ModelRepositoryError(f"pictures for {view} are not fitted here: detectors have letterboxes")
        rows, columns = self._rows, self._columns = int(match[2]), int(match[3])
        self.size = (height, width)
        self._pad = tuple(int(match[i] or match[4]) for i in (4, 5, 6))
        fit_height, fit_width, top, left = _placed(match[1], (rows, columns), (height, width))
        self._inside = (slice(top, top + fit_height), slice(left, left + fit_width))
        self._target = (fit_width, fit_height)
        self.averages = width >= 2 * fit_width and height >= 2 * fit_height
        """Whether areas are averaged, which pictures that shrink to less than half need."""
        self._interpolation = cv2.INTER_AREA if self.averages else cv2.INTER_LINEAR
        self._planes: _ScaledPlanes | None = None
        self._offset = np.array([left, top] * 2, np.float32)
        self._scale = np.array([fit_width / width, fit_height / height] * 2, np.float32)
        self._limit = np.array([width, height] * 2, np.float32)

    def place(self, picture: Picture, canvas: Picture) -> None:
        """Fit a picture.

        Args:
            picture: uint8 `[H, W, 3]` of the size that was said.
            canvas: uint8 `[rows, columns, 3]` of the input, overwritten.
        """
        cv2.resize(picture, self._target, self._padded(canvas), interpolation=self._interpolation)

    def place_nv12(self, luma: Picture, chroma: Picture, colours: Colours, canvas: Picture) -> None:
        """Fit a frame whose sides are even and whose areas are averaged: scaled first, then made RGB.

        That is what `place` makes of its RGB, because all of it is linear up to rounding, and of half of the numbers.

        Args:
            luma: uint8 `[H, W]`, Y.
            chroma: uint8 `[H / 2, W / 2, 2]`, U and V.
            colours: What they mean.
            canvas: uint8 `[rows, columns, 3]` of the input, overwritten.
        """
        if self._planes is None or self._planes.colours != colours:
            self._planes = _ScaledPlanes(self._target, colours)
        self._planes(luma, chroma, self._padded(canvas))

    def _padded(self, canvas: Picture) -> Picture:
        """Where the picture lies in the input, whose rest is filled."""
        rows, columns = self._inside
        canvas[: rows.start] = self._pad
        canvas[rows.stop :] = self._pad
        canvas[rows, : columns.start] = self._pad
        canvas[rows, columns.stop :] = self._pad
        return canvas[rows, columns]

    def nv12_weights(self, colours: Colours) -> Nv12Weights:
        """How frames in NV12 of this size are fitted where the network computes: as `place` fits them in RGB."""
        rows, columns = self._inside
        (height, width), (fit_width, fit_height) = self.size, self._target
        of_rows = np.zeros((self._rows, (height + 1) // 2 * 2), np.float32)
        of_rows[rows, :height] = _shares(height, fit_height, self._interpolation)
        of_columns = np.zeros((row_bytes(width), self._columns), np.float32)
        of_columns[:width, columns] = _shares(width, fit_width, self._interpolation).T
        coloured = coefficients(colours)
        ground = np.empty((self._rows, self._columns, 3), np.float32)
        ground[:] = self._pad
        ground[rows, columns] = coloured[:, 3]
        return Nv12Weights(
            of_rows.astype(np.float16),
            of_columns.astype(np.float16),
            # Each number of chroma stands for two rows and two columns.
            _paired(of_rows.T).T.astype(np.float16, order="C"),
            _paired(of_columns).astype(np.float16),
            np.ascontiguousarray(coloured[:, :3].T),
            ground,
        )

    def to_source(self, boxes: npt.NDArray[np.float32]) -> None:
        """Map boxes `[N, 4]` x1, y1, x2, y2 from pixels of the input to those of the picture, in place, clipped."""
        boxes -= self._offset
        boxes /= self._scale
        np.clip(boxes, 0, self._limit, out=boxes)


class _ScaledPlanes:
    """Frames in NV12 to RGB of a smaller size, in memory of its own; an area of chroma is as large as one of luma."""

    def __init__(self, size: tuple[int, int], colours: Colours) -> None:
        width, height = size
        self.colours, self._size = colours, size
        self._luma, self._chroma = np.empty((height, width), np.uint8), np.empty((height, width, 2), np.uint8)
        self._convert = FromYuv(height, width, colours)

    def __call__(self, luma: Picture, chroma: Picture, out: Picture) -> None:
        cv2.resize(luma, self._size, self._luma, interpolation=cv2.INTER_AREA)
        cv2.resize(chroma, self._size, self._chroma, interpolation=cv2.INTER_AREA)
        self._convert(self._luma, self._chroma, out)


def _placed(fit: str, target: tuple[int, int], source: tuple[int, int]) -> tuple[int, int, int, int]:
    """Rows and columns of the scaled picture, and of its first row and column in the input."""
    (rows, columns), (height, width) = target, source
    if fit == "STRETCH":
        return rows, columns, 0, 0
    if fit == "LETTERBOX":  # exact: rounding of a float ratio is off by a pixel at some sizes
        is_wide = columns * height <= rows * width
        fit_height = rows if not is_wide else max(1, _rounded(height * columns, width))
        fit_width = columns if is_wide else max(1, _rounded(width * rows, height))
        return fit_height, fit_width, (rows - fit_height) // 2, (columns - fit_width) // 2
    # YOLOX was trained on pictures whose scaled sizes were cut to whole pixels.
    numerator, denominator = (rows, height) if rows * width <= columns * height else (columns, width)
    return max(1, height * numerator // denominator), max(1, width * numerator // denominator), 0, 0


def _shares(source: int, target: int, interpolation: int) -> npt.NDArray[np.float32]:
    """float32 `[target, source]`: of the source's pixels in the target's, as `cv2.resize` takes them."""
    pixels: npt.NDArray[np.float32] = np.eye(source, dtype=np.float32)
    return np.asarray(cv2.resize(pixels, (source, target), interpolation=interpolation), np.float32)


def _paired(shares: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32 `[N / 2, ...]`: every two rows as one."""
    paired: npt.NDArray[np.float32] = shares[0::2] + shares[1::2]
    return paired


def _rounded(numerator: int, denominator: int) -> int:
    """Half to even, as `round` of a fraction."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))
