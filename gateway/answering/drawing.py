"""An encoded picture and what was found in it to a picture for people; runs in a process of its own (`drawers.py`)."""

from __future__ import annotations

import io
import math
import mmap
import resource
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from gateway.answering.class_maps import to_source
from gateway.answering.labels import Area, colours_of, font_for, place, readable_on, shortened, width_of
from gateway.answering.sheets import Areas, Note, Sheet
from reeltag.areas import NO_CLASS
from reeltag.frames import ImageError, Pixels, decode_image, geometry_of, read_header
from reeltag.palettes import RGB
from reeltag.tags import Box

MAX_PIXELS: Final = 1 << 24
"""Of what is answered; larger pictures are scaled down."""
MAX_SIDE: Final = 16_384
"""Likewise, pixels."""
MIN_SIDE: Final = 640
"""A picture that is smaller both ways is scaled up, so that its labels can be read."""
MEMORY_BYTES: Final = 1 << 30
"""Most that one picture may take, beside its file."""
_LEAST_PAGE: Final = 240
"""Pixels each way: narrower pictures have a margin, so that labels find room."""
_MAX_NOTES: Final = 60
_TINT: Final = 0.5
"""How much a class's colour covers the picture."""
_QUALITY: Final = 88
_PAPER: Final = (24, 24, 24)
_INK: Final = (240, 240, 240)


class Refusal(NamedTuple):
    """Why a picture was not drawn."""

    code: str
    message: str


def draw(data: bytes, sheet: Sheet) -> bytes | Refusal:
    """Draw what was found.

    Args:
        data: An encoded image.
        sheet: In pixels of the upright picture.

    Returns:
        A JPEG: the upright picture with boxes and areas, and under it the notes.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * mmap.PAGESIZE + MEMORY_BYTES, hard))
    try:
        return _drawn(data, sheet)
    except ImageError as error:
        return Refusal(error.code, str(error))
    except (MemoryError, cv2.error) as error:
        return Refusal("too_costly", f"drawing on the image takes too much memory ({type(error).__name__})")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _drawn(data: bytes, sheet: Sheet) -> bytes:
    header = read_header(data)
    width, height = size_of(header.width, header.height)
    pixels = _scaled(decode_image(data, min_width=width, min_height=height)[0], width, height)
    if sheet.areas is not None:
        _tint(pixels, sheet.areas, header.width, header.height)
    text_size = max(15, min(96, round(math.sqrt(width * height) / 44)))
    page_width, page_height = max(width, _LEAST_PAGE), max(height, _LEAST_PAGE)
    lines = _lines(sheet.notes, text_size, page_width)
    page = Image.new("RGB", (page_width, page_height + _line_height(text_size) * len(lines)), _PAPER)
    page.paste(Image.fromarray(pixels), (0, 0))
    pen = ImageDraw.Draw(page)
    picture, whole = Area(0, 0, width, height), Area(0, 0, page_width, page_height)
    _draw_marks(pen, sheet, (width / header.width, height / header.height), text_size, picture, whole)
    for number, line in enumerate(lines):
        _draw_line(pen, line, page_height + number * _line_height(text_size), text_size)
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def size_of(width: int, height: int) -> tuple[int, int]:
    """How large a picture is drawn: as it is, unless it is very large or very small."""
    scale = min(1.0, math.sqrt(MAX_PIXELS / (width * height)), MAX_SIDE / max(width, height))
    scale = max(scale, MIN_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scaled(pixels: Pixels, width: int, height: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    interpolation = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(pixels, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)


def _tint(pixels: Pixels, areas: Areas, width: int, height: int) -> None:
    """Lay the colours of the classes over the picture, a strip at a time."""
    of_source = to_source(areas.class_map, geometry_of(areas.view, width, height))
    indexes = cv2.resize(of_source, (pixels.shape[1], pixels.shape[0]), interpolation=cv2.INTER_NEAREST)
    palette = np.zeros((NO_CLASS + 1, 3), np.uint8)
    palette[: len(areas.palette)] = areas.palette
    for top in range(0, len(pixels), 256):
        strip, classes = pixels[top : top + 256], indexes[top : top + 256]
        tinted = cv2.addWeighted(strip, 1 - _TINT, palette[classes], _TINT, 0)
        np.copyto(strip, tinted, where=(classes != NO_CLASS)[..., None])


def _draw_marks(
    pen: ImageDraw.ImageDraw, sheet: Sheet, scale: tuple[float, float], text_size: int, picture: Area, page: Area
) -> None:
    """Boxes first, then their labels: the best ones choose their places first and lie on top."""
    colours = colours_of(mark.label for mark in sheet.marks)
    thickness = max(2, text_size // 6)
    boxes = [_box(mark.box, scale, picture) for mark in sheet.marks]
    for mark, box in reversed(list(zip(sheet.marks, boxes, strict=True))):
        outer = (box.left, box.top, max(box.left, box.right - 1), max(box.top, box.bottom - 1))
        pen.rectangle(outer, outline=(0, 0, 0), width=thickness + 1)  # an edge on a ground of the same colour
        pen.rectangle(outer, outline=colours[mark.label], width=thickness)
    labels: list[tuple[str, Area, RGB]] = []
    for mark, box in zip(sheet.marks, boxes, strict=True):
        score = f" {mark.score:.2f}"
        room = page.right - page.left - text_size
        text = shortened(mark.label, text_size, room - width_of(score, text_size)) + score
        size = (width_of(text, text_size) + text_size // 2, _line_height(text_size))
        labels.append((text, place(box, *size, page, [area for _, area, _ in labels]), colours[mark.label]))
    for text, area, colour in reversed(labels):
        pen.rectangle((area.left, area.top, area.right - 1, area.bottom - 1), fill=colour)
        _write(pen, text, area.left + text_size // 4, area.top, text_size, readable_on(colour))


def _box(box: Box, scale: tuple[float, float], picture: Area) -> Area:
    across, down = scale
    left, top, right, bottom = (
        round(side) for side in (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    )
    return Area(max(0, left), max(0, top), min(picture.right, right), min(picture.bottom, bottom))


def _line_height(text_size: int) -> int:
    return text_size + text_size // 2


def _lines(notes: list[Note], text_size: int, width: int) -> list[list[tuple[int, Note]]]:
    """The notes side by side, as many as fit into a line; with each its place from the left."""
    if len(notes) > _MAX_NOTES:
        notes = [*notes[:_MAX_NOTES], Note(f"and {len(notes) - _MAX_NOTES} more")]
    lines: list[list[tuple[int, Note]]] = []
    left = width
    for note in notes:
        swatch = text_size if note.colour else 0
        text = shortened(note.text, text_size, width - swatch - text_size)
        needed = width_of(text, text_size) + swatch + text_size
        if left + needed > width:
            lines.append([])
            left = text_size // 2
        lines[-1].append((left, Note(text, note.colour)))
        left += needed
    return lines


def _draw_line(pen: ImageDraw.ImageDraw, line: list[tuple[int, Note]], top: int, text_size: int) -> None:
    for place_left, note in line:
        left = place_left
        if note.colour:
            margin = text_size // 3
            pen.rectangle((left, top + margin, left + text_size * 2 // 3, top + text_size + margin // 2), note.colour)
            left += text_size
        _write(pen, note.text, left, top, text_size, _INK)


def _write(pen: ImageDraw.ImageDraw, text: str, left: int, top: int, size: int, colour: RGB) -> None:
    middle = top + _line_height(size) // 2
    pen.text((left, middle), text, fill=colour, font=font_for(text, size), anchor="lm")
