"""A vehicle with a number plate, drawn: from the front or from behind."""

from __future__ import annotations

import string
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""uint8 `[H, W, 3]`, RGB."""
Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""
Colour = tuple[int, int, int]
_FONTS: Final = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX)
_PLATE_SHARE: Final = 0.3
"""Of a vehicle's width: 52 cm of 1.75 m."""
_BLACK: Final = (15, 15, 15)
_TALL: Final = 1.0
"""Height by width from which it is drawn as a van."""


class Look(NamedTuple):
    """What a vehicle looks like."""

    plate: str
    """Town, letters and number, with spaces between."""
    colour: Colour
    shape: float = 0.8
    """Height by width."""
    is_from_behind: bool = False
    font: int = _FONTS[0]


def plate_text(random: np.random.Generator) -> str:
    """A German plate without umlauts."""
    letters, digits = list(string.ascii_uppercase), list(string.digits)
    town, both = random.choice(letters, int(random.integers(1, 4))), random.choice(letters, int(random.integers(1, 3)))
    number = [random.choice(digits[1:]), *random.choice(digits, int(random.integers(1, 4)))]
    return " ".join("".join(part) for part in (town, both, number))


def any_look(random: np.random.Generator) -> Look:
    """Of one vehicle in six a van's, of one in two from behind."""
    red, green, blue = random.integers(20, 235, 3).tolist()
    shape = 1.15 if random.random() < 1 / 6 else float(random.uniform(0.72, 0.85))
    font = _FONTS[int(random.integers(len(_FONTS)))]
    return Look(plate_text(random), (red, green, blue), shape, bool(random.random() < 0.5), font)


def draw(picture: Picture, box: Box, look: Look) -> Box:
    """Draw a vehicle that fills a box, in place; the box of its plate, whole pixels."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top

    def at(x: float, y: float) -> tuple[int, int]:
        return round(left + x * width), round(top + y * height)

    is_van = look.shape >= _TALL
    roof = 0.08 if is_van else 0.27
    body, glass = (0.48, (40, 50, 60)) if not look.is_from_behind else (0.45, (30, 34, 40))
    cv2.fillConvexPoly(
        picture, np.array([at(0.06, body), at(roof, 0.02), at(1 - roof, 0.02), at(0.94, body)]), look.colour
    )
    corners = (at(0.14, 0.43), at(roof + 0.05, 0.08), at(0.95 - roof, 0.08), at(0.86, 0.43))
    cv2.fillConvexPoly(picture, np.array(corners), glass)
    for x in (0.04, 0.80):
        cv2.rectangle(picture, at(x, 0.8), at(x + 0.16, 1.0), _BLACK, -1)
    cv2.rectangle(picture, at(0.0, body - 0.02), at(1.0, 0.92), look.colour, -1)
    lamp = (170, 20, 20) if look.is_from_behind else (235, 235, 215)
    for x in (0.03, 0.81):
        cv2.rectangle(picture, at(x, 0.54), at(x + 0.16, 0.64), lamp, -1)
    if not look.is_from_behind:
        cv2.rectangle(picture, at(0.28, 0.52), at(0.72, 0.64), (25, 25, 25), -1)
    x1, y1, x2, y2 = map(round, plate_box(box, look))
    _stick(picture, (x1, y1, x2, y2), _plate(look))
    return float(x1), float(y1), float(x2), float(y2)


def plate_box(box: Box, look: Look) -> Box:
    """Where the plate of a vehicle is that fills a box."""
    left, top, right, bottom = box
    middle = top + (0.72 if look.is_from_behind else 0.78) * (bottom - top)
    half = _PLATE_SHARE / 2 * (right - left)
    down = half * 110 / 520
    return (left + right) / 2 - half, middle - down, (left + right) / 2 + half, middle + down


def _plate(look: Look) -> Picture:
    """White with a blue edge, 520 by 110; drawn large, to be made small as a camera would."""
    plate = np.full((110, 520, 3), 245, np.uint8)
    plate[:, :40] = (20, 60, 170)
    (wide, _), _ = cv2.getTextSize(look.plate, look.font, 2.9, 8)
    cv2.putText(plate, look.plate, (52, 86), look.font, 2.9 * min(1.0, 455 / wide), _BLACK, 8, cv2.LINE_AA)
    cv2.rectangle(plate, (0, 0), (519, 109), _BLACK, 4)
    return plate


def _stick(picture: Picture, box: tuple[int, int, int, int], plate: Picture) -> None:
    x1, y1, x2, y2 = box
    small = cv2.resize(plate, (max(x2 - x1, 1), max(y2 - y1, 1)), interpolation=cv2.INTER_AREA)
    left, top = max(x1, 0), max(y1, 0)
    inside = picture[top : max(y2, top), left : max(x2, left)]
    inside[:] = small[top - y1 :, left - x1 :][: inside.shape[0], : inside.shape[1]]
