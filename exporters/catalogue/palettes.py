"""Colours of data sets' classes."""

from __future__ import annotations

from typing import Final

from reeltag.palettes import RGB

CITYSCAPES19: Final[tuple[RGB, ...]] = (
    (128, 64, 128),
    (244, 35, 232),
    (70, 70, 70),
    (102, 102, 156),
    (190, 153, 153),
    (153, 153, 153),
    (250, 170, 30),
    (220, 220, 0),
    (107, 142, 35),
    (152, 251, 152),
    (70, 130, 180),
    (220, 20, 60),
    (255, 0, 0),
    (0, 0, 142),
    (0, 0, 70),
    (0, 60, 100),
    (0, 80, 100),
    (0, 0, 230),
    (119, 11, 32),
)
"""Red, green and blue, 0 to 255, of the classes in `labels/cityscapes19.txt`, by index (Cordts et al., 2016)."""
