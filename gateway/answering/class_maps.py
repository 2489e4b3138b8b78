"""Class maps as pictures with a palette, of the size of the image that they are of."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from gateway.answering.json import Answer
from reeltag.areas import NO_CLASS, ClassMap, shares_of
from reeltag.contract import ModelCard
from reeltag.frames import Geometry, geometry_of
from reeltag.palettes import RGB

_COMPRESS_LEVEL: Final = 3
"""zlib's: of 12 megapixels in 50 ms instead of 240 at the usual 6, for a file a tenth larger."""


class ClassColour(Answer):
    """A class in a class map."""

    index: int = Field(ge=0, lt=NO_CLASS, examples=[13])
    """Value of its pixels."""
    label: str = Field(examples=["car"])
    colour: str = Field(examples=["#00008e"], pattern="^#[0-9a-f]{6}$")
    """In the palette; red, green and blue."""


class ClassMapPicture(Answer):
    """The class of each pixel of an image."""

    png: str = Field(json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/png"})
    """As large as the upright image, with a palette: each pixel is the index of its class, or 255 where the network did
    not look."""
    legend: tuple[ClassColour, ...]
    """Classes in the picture, by index."""


def picture_of(class_map: ClassMap, card: ModelCard, width: int, height: int) -> ClassMapPicture:
    """An image's class map for its reader.

    Args:
        class_map: Of the network's input.
        card: Of the network.
        width: Columns of the upright image, pixels.
        height: Rows of the upright image, pixels.
    """
    indexes = to_source(class_map, geometry_of(card.frames_view(), width, height))
    seen = np.flatnonzero(shares_of(indexes, len(card.labels))).tolist()
    legend = tuple(ClassColour(index=i, label=card.labels[i], colour=f"#{bytes(card.palette[i]).hex()}") for i in seen)
    return ClassMapPicture(png=base64.b64encode(_png(indexes, card.palette)).decode(), legend=legend)


def to_source(class_map: ClassMap, geometry: Geometry) -> ClassMap:
    """The class of each pixel of an image: that of the input's pixel which shows it, or `NO_CLASS` where none does.

    Args:
        class_map: Of the network's input, uint8 `(H, W)`.
        geometry: How the image lies in it.

    Returns:
        uint8 `(source_height, source_width)`.
    """
    rows = _shown_by(geometry.source_height, geometry.scale_y, geometry.offset_y)
    columns = _shown_by(geometry.source_width, geometry.scale_x, geometry.offset_x)
    height, width = class_map.shape
    source: ClassMap = class_map[rows.clip(0, height - 1)].take(columns.clip(0, width - 1), 1)
    source[(rows < 0) | (rows >= height)] = NO_CLASS
    source[:, (columns < 0) | (columns >= width)] = NO_CLASS
    return source


def _shown_by(size: int, scale: float, offset: float) -> npt.NDArray[np.int64]:
    """For each row or column of an image, that of the input which its middle lies in."""
    middles: npt.NDArray[np.float64] = (np.arange(size) + 0.5) * scale + offset
    return np.floor(middles).astype(np.int64)


def _png(indexes: ClassMap, palette: Sequence[RGB]) -> bytes:
    picture = Image.fromarray(indexes)
    colours = np.zeros((NO_CLASS + 1, 3), np.uint8)  # all of them, so that Pillow keeps a byte for each pixel
    colours[: len(palette)] = palette
    picture.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=_COMPRESS_LEVEL)
    return buffer.getvalue()
