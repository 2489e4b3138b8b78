"""What is to be drawn on a picture: each task adds its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from reeltag.areas import ClassMap
from reeltag.frames import View
from reeltag.palettes import RGB
from reeltag.tags import Box


class Mark(NamedTuple):
    """An object."""

    label: str
    score: float
    """0 to 1."""
    box: Box
    """x1, y1, x2, y2 in pixels of the upright picture."""


class Note(NamedTuple):
    """A line under the picture."""

    text: str
    colour: RGB | None = None
    """That the picture has it in."""


class Areas(NamedTuple):
    """The class of each pixel."""

    class_map: ClassMap
    """uint8 `(H, W)`, of the network's input."""
    view: View
    """How the picture lies in the input."""
    palette: tuple[RGB, ...]
    """A colour for each class."""


@dataclass
class Sheet:
    """All that is drawn on one picture."""

    marks: list[Mark] = field(default_factory=list)
    """By falling score."""
    notes: list[Note] = field(default_factory=list)
    areas: Areas | None = None
