"""How pictures are fitted into networks' inputs, and the way back."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""uint8 `(H, W, 3)` RGB."""
Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

CROP_FRACTION: Final = 0.875
"""Of a centre crop: 224/256, as EfficientNet was evaluated."""
_CROP_STEPS: Final = 10_000
"""A crop's fraction is kept to four decimals."""
OVERSAMPLING: Final = 1.5
"""A JPEG is decoded at a reduced scale only where it stays this much larger than the input: closer ones lose small
objects."""


class Fit(str, Enum):
    """How a picture is fitted into a network's input."""

    LETTERBOX = "letterbox"
    """Scaled to fit, placed in the middle, the rest filled with `pad_value`."""
    LETTERBOX_TOP_LEFT = "letterbox_top_left"
    """Scaled to fit, placed at the top left, the rest filled with `pad_value`; as YOLOX was trained."""
    STRETCH = "stretch"
    """Scaled to the input, each side by itself."""
    CENTER_CROP = "center_crop"
    """Scaled so that the input takes `crop_fraction` of its shorter side (of an input that is not square: of the side
    that fits more tightly), and cut around the middle."""


@dataclass(frozen=True)
class View:
    """One way to fit pictures into an input of `height` x `width`; its name is the `decode` model's output tensor."""

    fit: Fit
    height: int
    """Rows, pixels."""
    width: int
    """Columns, pixels."""
    pad_value: int | Colour = 0
    """Of the letterbox's border: a grey level, 0 to 255, or a colour."""
    crop_fraction: float = CROP_FRACTION
    """Of a centre crop: above 0 to 1, to four decimals."""

    @property
    def name(self) -> str:
        """Such as `LETTERBOX_416X416_PAD0`, with a colour `_PAD124_116_104`, or `CENTER_CROP_8X8_PAD0_CROP9500`."""
        colour = self.pad_value if isinstance(self.pad_value, int) else "_".join(map(str, self.pad_value))
        name = f"{self.fit.value.upper()}_{self.height}X{self.width}_PAD{colour}"
        return name if self.crop_fraction == CROP_FRACTION else f"{name}_CROP{round(self.crop_fraction * _CROP_STEPS)}"

    @classmethod
    def parse(cls, name: str) -> View:
        """Read a view back from its name.

        Raises:
            ValueError: The name is not one that `View.name` gives.
        """
        match = re.fullmatch(r"([A-Z_]+)_(\d+)X(\d+)_PAD(\d+)(?:_(\d+)_(\d+))?(?:_CROP(\d+))?", name)
        if match is None:
            raise ValueError(f"view {name!r} is not of the form FIT_HEIGHTxWIDTH_PADVALUE, as LETTERBOX_416X416_PAD0")
        fit, height, width, grey, green, blue, crop = match.groups()
        colour = int(grey) if green is None else (int(grey), int(green), int(blue))
        fraction = CROP_FRACTION if crop is None else int(crop) / _CROP_STEPS
        return cls(Fit(fit.lower()), int(height), int(width), colour, fraction)


@dataclass(frozen=True)
class Geometry:
    """The affine map from source pixels to input pixels: `input = source * scale + offset`."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    source_width: int
    source_height: int

    def to_array(self) -> npt.NDArray[np.float32]:
        """float32 `(6,)` in the order of the fields; the `GEOMETRY` tensor."""
        return np.array(
            [self.scale_x, self.scale_y, self.offset_x, self.offset_y, self.source_width, self.source_height],
            dtype=np.float32,
        )

    @property
    def picture(self) -> tuple[slice, slice]:
        """Rows and columns of a letterbox's input that the picture takes."""
        left, top = round(self.offset_x), round(self.offset_y)
        height, width = round(self.scale_y * self.source_height), round(self.scale_x * self.source_width)
        return slice(top, top + height), slice(left, left + width)

    def boxes_to_source(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Map boxes `(..., 4)` x1, y1, x2, y2 from input to source pixels, clipped to the picture."""
        offset = np.array([self.offset_x, self.offset_y] * 2, dtype=np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, dtype=np.float32)
        limit = np.array([self.source_width, self.source_height] * 2, dtype=np.float32)
        return np.clip((boxes - offset) / scale, 0, limit).astype(np.float32)

    def boxes_to_input(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Map boxes `(..., 4)` x1, y1, x2, y2 from source to input pixels."""
        offset = np.array([self.offset_x, self.offset_y] * 2, dtype=np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, dtype=np.float32)
        return (boxes * scale + offset).astype(np.float32)


def geometry_of(view: View, source_width: int, source_height: int) -> Geometry:
    """Where a picture of the given size, in pixels, lands in the view's input."""
    if view.fit is Fit.STRETCH:
        return Geometry(view.width / source_width, view.height / source_height, 0, 0, source_width, source_height)
    if view.fit is Fit.CENTER_CROP:
        width, height = _crop(view, source_width, source_height)
        left, top = (source_width - width) / 2, (source_height - height) / 2
        scale_x, scale_y = view.width / width, view.height / height
        return Geometry(scale_x, scale_y, -left * scale_x, -top * scale_y, source_width, source_height)
    ratio = min(Fraction(view.width, source_width), Fraction(view.height, source_height))
    middle = view.fit is Fit.LETTERBOX
    # YOLOX was trained on pictures whose scaled sizes were cut to whole pixels.
    whole = round if middle else math.floor
    scaled_width, scaled_height = (max(1, whole(source_width * ratio)), max(1, whole(source_height * ratio)))
    x, y = ((view.width - scaled_width) // 2, (view.height - scaled_height) // 2) if middle else (0, 0)
    return Geometry(scaled_width / source_width, scaled_height / source_height, x, y, source_width, source_height)


def _crop(view: View, width: int, height: int) -> tuple[float, float]:
    """Columns and rows, in pixels of a picture of this size, of the part that a centre crop takes of it."""
    if view.width * height >= view.height * width:
        return view.crop_fraction * width, view.crop_fraction * width * view.height / view.width
    return view.crop_fraction * height * view.width / view.height, view.crop_fraction * height


def fit_pixels(view: View, pixels: Pixels, source_width: int, source_height: int, out: Pixels | None = None) -> Pixels:
    """Fit a picture into the view's input.

    Args:
        view: The input to fill.
        pixels: uint8 `(h, w, 3)`, the picture at any scale.
        source_width: Columns of the whole picture, pixels; with `source_height` it fixes the geometry.
        source_height: Rows of the whole picture, pixels.
        out: Where to write, uint8 `(height, width, 3)`; a new array without it.

    Returns:
        uint8 `(height, width, 3)`; `geometry_of` says where the picture lies in it.
    """
    canvas = np.empty((view.height, view.width, 3), np.uint8) if out is None else out
    place = placement_of(view, pixels.shape[1], pixels.shape[0], source_width, source_height)
    scaled = _resize(pixels[place.rows, place.columns], place.width, place.height)
    if view.fit is Fit.CENTER_CROP:
        canvas[:] = scaled
    else:
        place_letterbox(view, scaled, canvas)
    return canvas


@dataclass(frozen=True)
class Placement:
    """Which of a picture's pixels become which of a view's input."""

    rows: slice
    """Of the picture, as it was decoded."""
    columns: slice
    input_rows: slice
    """Of the input; what is beside them is border."""
    input_columns: slice

    @property
    def width(self) -> int:
        """Columns of the input that the picture takes."""
        return int(self.input_columns.stop - self.input_columns.start)

    @property
    def height(self) -> int:
        """Rows of the input that the picture takes."""
        return int(self.input_rows.stop - self.input_rows.start)


def placement_of(view: View, width: int, height: int, source_width: int, source_height: int) -> Placement:
    """Where a picture that was decoded with `width` x `height` pixels goes; the arguments are those of `fit_pixels`."""
    if view.fit is not Fit.CENTER_CROP:
        input_rows, input_columns = geometry_of(view, source_width, source_height).picture
        return Placement(slice(0, height), slice(0, width), input_rows, input_columns)
    wide, high = (max(1, round(side)) for side in _crop(view, width, height))
    top, left = (height - high) // 2, (width - wide) // 2
    return Placement(slice(top, top + high), slice(left, left + wide), slice(0, view.height), slice(0, view.width))


def place_letterbox(view: View, scaled: Pixels, canvas: Pixels) -> None:
    """Put a picture that already has its final size into a letterbox.

    Args:
        view: A letterbox.
        scaled: uint8 `(h, w, 3)`, at most `view.height` x `view.width`.
        canvas: uint8 `(view.height, view.width, 3)`, overwritten: the picture, and the border around it.
    """
    height, width = scaled.shape[:2]
    middle = view.fit is Fit.LETTERBOX
    left, top = ((view.width - width) // 2, (view.height - height) // 2) if middle else (0, 0)
    canvas[:top] = canvas[top + height :] = view.pad_value
    rows = canvas[top : top + height]
    rows[:, :left] = rows[:, left + width :] = view.pad_value
    rows[:, left : left + width] = scaled


def minimum_size(view: View, source_width: int, source_height: int) -> tuple[int, int]:
    """Columns and rows, at least, at which a picture may be decoded for this view."""
    geometry = geometry_of(view, source_width, source_height)
    return (
        min(source_width, int(np.ceil(source_width * geometry.scale_x * OVERSAMPLING))),
        min(source_height, int(np.ceil(source_height * geometry.scale_y * OVERSAMPLING))),
    )


def _resize(pixels: Pixels, width: int, height: int) -> Pixels:
    rows, columns = pixels.shape[:2]
    if (columns, rows) == (width, height):
        return pixels
    averages = is_averaged(columns, rows, width, height)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if averages else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def is_averaged(columns: int, rows: int, width: int, height: int) -> bool:
    """Whether pixels are averaged over areas where so many columns and rows become others, or else interpolated."""
    return columns >= 2 * width and rows >= 2 * height
