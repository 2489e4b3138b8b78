"""Very wide and very tall pictures: where they are cut into tiles, and how the tiles' objects become the picture's.

A letterbox of 416 pixels leaves of a picture of 16000x400 a strip of 10 rows, in which nothing can be found. Tiles are
as long as the picture's shorter side and overlap by half, so that what is up to half as long as a tile is whole in one
of them. What a tile's edge cuts is dropped where another tile shows the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from reeltag.tags import Box, Detection

LEAST_RATIO: Final = 3.0
"""From this ratio of the longer side to the shorter on, a picture is cut."""
LEAST_SIDE: Final = 32
"""Pictures with a shorter side below it, pixels, are not cut: there is nothing to see in them."""
MAX_TILES: Final = 256
"""Of one picture; beyond it tiles are longer."""
_EDGE: Final = 0.01
"""Share of a tile's length: a box that ends so near to an inner edge is cut by it."""
_SAME: Final = 0.5
"""Overlap, as a share of the union, from which on two boxes of a label are one object."""
_INSIDE: Final = 0.7
"""Share of a cut box that lies in another one of its label, from which on it is a part of it."""


class Tiles(str, Enum):
    """Whether objects are looked for in parts of a picture, too."""

    AUTO = "auto"
    """In very wide and very tall ones."""
    OFF = "off"


@dataclass(frozen=True)
class Tile:
    """A part of a picture, pixels."""

    left: int
    top: int
    width: int
    height: int


def tiles_of(width: int, height: int) -> tuple[Tile, ...]:
    """The tiles of a picture of this size; none where it is looked at as a whole only."""
    length, side = max(width, height), min(width, height)
    if side < LEAST_SIDE or length < LEAST_RATIO * side:
        return ()
    extent = max(side, math.ceil(2 * length / (MAX_TILES + 1)))
    count = math.ceil((length - extent) / (extent / 2)) + 1
    starts = [round(i * (length - extent) / (count - 1)) for i in range(count)]
    if width >= height:
        return tuple(Tile(start, 0, extent, height) for start in starts)
    return tuple(Tile(0, start, width, extent) for start in starts)


def merged(
    found: Sequence[tuple[Tile, Sequence[Detection]]], whole: Sequence[Detection], width: int, height: int
) -> tuple[Detection, ...]:
    """The objects of a picture, by falling score.

    Args:
        found: Those of each tile, boxes in its own pixels.
        whole: Those of the picture as a whole.
        width: Of the picture, pixels.
        height: Likewise.
    """
    candidates = [(False, each) for each in whole]
    for tile, detections in found:
        for each in detections:
            x1, y1, x2, y2 = each.box
            box = (x1 + tile.left, y1 + tile.top, x2 + tile.left, y2 + tile.top)
            candidates.append((_is_cut(each.box, tile, width, height), each.model_copy(update={"box": box})))
    kept: list[Detection] = []
    for is_cut, each in sorted(candidates, key=lambda pair: (pair[0], -pair[1].score)):
        if not any(_is_shown(each.box, other.box, is_cut) for other in kept if other.label == each.label):
            kept.append(each)
    return tuple(sorted(kept, key=lambda each: -each.score))


def _is_cut(box: Box, tile: Tile, width: int, height: int) -> bool:
    """Whether a box ends at an edge of its tile that is none of the picture's."""
    x1, y1, x2, y2 = box
    if width >= height:
        slack = _EDGE * tile.width
        return (tile.left > 0 and x1 <= slack) or (tile.left + tile.width < width and x2 >= tile.width - slack)
    slack = _EDGE * tile.height
    return (tile.top > 0 and y1 <= slack) or (tile.top + tile.height < height and y2 >= tile.height - slack)


def _is_shown(box: Box, other: Box, is_cut: bool) -> bool:
    common = max(0.0, min(box[2], other[2]) - max(box[0], other[0])) * max(
        0.0, min(box[3], other[3]) - max(box[1], other[1])
    )
    area = _area(box)
    union = area + _area(other) - common
    return common > _SAME * union or (is_cut and common > _INSIDE * area)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
