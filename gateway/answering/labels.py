"""Text on pictures: fonts, widths, colours, and places where labels neither leave the page nor cover each other."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from PIL import ImageFont

from reeltag.palettes import RGB

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
DISTINCT: Final[tuple[RGB, ...]] = (
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240)),
    *((240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255), (170, 110, 40)),
    *((255, 250, 200), (128, 0, 0), (170, 255, 195), (128, 128, 0), (255, 215, 180), (0, 0, 128), (128, 128, 128)),
)
"""Colours that people tell apart at a glance."""
_OTHER_SCRIPTS: Final = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc")
"""Looked for on the machine, for labels in other than Latin letters; the font that Pillow brings has no others."""
_ELLIPSIS: Final = "..."


class Area(NamedTuple):
    """A rectangle on the page, half-open, pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def overlap(self, other: Area) -> int:
        """Pixels that both cover."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0, across) * max(0, down)


def colours_of(labels: Iterable[str]) -> dict[str, RGB]:
    """A colour for each label: mostly the same one in every picture, and no two alike in one with up to 20 labels."""
    colours: dict[str, RGB] = {}
    taken: set[int] = set()
    for label in dict.fromkeys(labels):
        index = zlib.crc32(label.encode()) % len(DISTINCT)
        if len(taken) == len(DISTINCT):
            taken.clear()
        while index in taken:
            index = (index + 1) % len(DISTINCT)
        taken.add(index)
        colours[label] = DISTINCT[index]
    return colours


def luminance(colour: RGB) -> float:
    """Of a colour of sRGB, 0 to 1, as WCAG 2 defines it."""
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def readable_on(colour: RGB) -> RGB:
    """Black or white, whichever has the higher contrast."""
    return (0, 0, 0) if luminance(colour) > 0.179 else (255, 255, 255)


@lru_cache(8)
def font_of(size: int, is_latin: bool = True) -> Font:
    """A font of that height, pixels."""
    for name in () if is_latin else _OTHER_SCRIPTS:
        if (font := _system_font(name, size)) is not None:
            return font
    return ImageFont.load_default(size)


def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def font_for(text: str, size: int) -> Font:
    """A font that has the letters of a text, where the machine has one."""
    return font_of(size, all(ord(letter) < 0x250 for letter in text))


def width_of(text: str, size: int) -> int:
    """Of a text in one line, pixels."""
    return int(font_for(text, size).getlength(text)) + 1


def shortened(text: str, size: int, width: int) -> str:
    """The text, or as much of its beginning as fits into a width."""
    text = "".join(letter if letter.isprintable() else " " for letter in text[:200])
    if width_of(text, size) <= width:
        return text
    least, most = 0, len(text)
    while least < most:
        middle = (least + most + 1) // 2
        if width_of(text[:middle] + _ELLIPSIS, size) <= width:
            least = middle
        else:
            most = middle - 1
    return text[:least] + _ELLIPSIS


def place(box: Area, width: int, height: int, page: Area, taken: Sequence[Area]) -> Area:
    """Where a label of that size goes: at its box, inside the page, over as little of the others as can be."""
    lefts = (box.left, box.right - width)
    tops = (box.top - height, box.top, box.bottom, box.bottom - height)
    places = [_inside(left, top, width, height, page) for top in tops for left in lefts]
    return min(places, key=lambda area: sum(area.overlap(other) for other in taken))


def _inside(left: int, top: int, width: int, height: int, page: Area) -> Area:
    left = max(page.left, min(left, page.right - width))
    top = max(page.top, min(top, page.bottom - height))
    return Area(left, top, left + width, top + height)
