"""NV12, as cameras and decoders give it, to RGB.

Source: ITU-R BT.601-7 and BT.709-6, clause 3, with the quantisation of their 8-bit forms: limited range has black at
16 and white at 235 and chroma of 16 to 240 around 128, full range (JPEG, most USB cameras) uses 0 to 255.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
"""Of red and blue in the luma."""


class Colours(NamedTuple):
    """How the numbers of a YUV picture are meant."""

    matrix: str = "bt601"
    """`bt601` or `bt709`."""
    is_full_range: bool = False


def guessed(height: int) -> Colours:
    """What a stream means that does not say it: BT.601 up to 576 rows, BT.709 above, limited range."""
    return Colours("bt601" if height <= 576 else "bt709")


def coefficients(colours: Colours) -> npt.NDArray[np.float32]:
    """float32 `[3, 4]`: red, green and blue from Y, U, V (0 to 255) and one."""
    red, blue = LUMA_WEIGHTS[colours.matrix]
    green = 1 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if colours.is_full_range else (255 / 219, 255 / 224, 16.0)
    of_u = np.array([0, -2 * blue * (1 - blue) / green, 2 * (1 - blue)]) * chroma
    of_v = np.array([2 * (1 - red), -2 * red * (1 - red) / green, 0]) * chroma
    constant = -luma * black - 128 * (of_u + of_v)
    matrix: npt.NDArray[np.float32] = np.stack([np.full(3, luma), of_u, of_v, constant], 1).astype(np.float32)
    return matrix


class FromYuv:
    """Converts planes that all have the same size, in memory of its own.

    Args:
        height: Rows, pixels.
        width: Columns, pixels.
        colours: What the numbers mean.
    """

    def __init__(self, height: int, width: int, colours: Colours) -> None:
        self.colours = colours
        self._matrix = coefficients(colours)
        self._joined = np.empty((height, width, 3), np.uint8)

    def __call__(self, luma: Plane, chroma: Plane, out: Plane) -> None:
        """Convert a picture.

        Args:
            luma: uint8 `[H, W]`, Y.
            chroma: uint8 `[H, W, 2]`, U and V.
            out: uint8 `[H, W, 3]`, RGB, overwritten.
        """
        cv2.mixChannels([luma, chroma], [self._joined], [0, 0, 1, 1, 2, 2])
        cv2.transform(self._joined, self._matrix, out)


class FromNv12:
    """Converts frames of one size, in memory of its own.

    Args:
        height: Rows, pixels.
        width: Columns, pixels.
        colours: What the numbers mean.
    """

    def __init__(self, height: int, width: int, colours: Colours) -> None:
        self.colours = colours
        self._size = (width, height)
        is_even = height % 2 == 0 and width % 2 == 0
        self._is_opencvs = is_even and colours == Colours()
        """OpenCV's own conversion, which is the fastest, knows even sides and BT.601 of limited range alone."""
        if not self._is_opencvs:
            self._chroma = np.empty((height, width, 2), np.uint8)
            self._convert = FromYuv(height, width, colours)

    def __call__(self, luma: Plane, chroma: Plane, out: Plane) -> None:
        """Convert a frame.

        Args:
            luma: uint8 `[H, W]`, Y.
            chroma: uint8 `[ceil(H / 2), ceil(W / 2), 2]`, U and V of every second row and column.
            out: uint8 `[H, W, 3]`, RGB, overwritten.
        """
        if self._is_opencvs:
            cv2.cvtColorTwoPlane(luma, chroma, cv2.COLOR_YUV2RGB_NV12, out)
            return
        rows, columns = chroma.shape[0] * 2, chroma.shape[1] * 2
        if (columns, rows) == self._size:
            cv2.resize(chroma, self._size, self._chroma, interpolation=cv2.INTER_NEAREST)
        else:
            self._chroma[:] = chroma.repeat(2, 0).repeat(2, 1)[: luma.shape[0], : luma.shape[1]]
        self._convert(luma, self._chroma, out)
