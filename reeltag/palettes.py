"""Colours for classes that nobody chose colours for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Channel = Annotated[int, Field(ge=0, le=255)]
RGB = tuple[Channel, Channel, Channel]
"""Red, green and blue, 0 to 255."""


def default_palette(classes: int) -> tuple[RGB, ...]:
    """Colours of the PASCAL VOC development kit (Everingham et al., 2010), from its second on: none is black.

    Each is made of the bits of its index, dealt out to red, green and blue in turn, so that neighbours differ much.

    Args:
        classes: How many colours, at most 255.
    """
    return tuple(_colour(index + 1) for index in range(classes))


def _colour(index: int) -> RGB:
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> (3 * bit) & 1) << (7 - bit)
        green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue
