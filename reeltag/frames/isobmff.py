"""Boxes of the ISO base media file format (ISO/IEC 14496-12), which HEIC, AVIF and JPEG 2000 files are made of."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .header import ImageError, damaged

MAX_BOXES: Final = 4096
"""Most boxes that are looked at in one box or file: a grid of the largest picture in tiles of 512 pixels has 256."""


@dataclass(frozen=True)
class IsoBox:
    """One box: where its content lies in the data; the end may be behind the data's."""

    kind: bytes
    start: int
    end: int


def boxes(data: bytes, start: int, end: int) -> Iterator[IsoBox]:
    """The boxes in `data[start:end]`, as far as the data goes.

    Raises:
        ImageError: `truncated` or `too_costly`.
    """
    for _ in range(MAX_BOXES):
        if start + 8 > min(end, len(data)):
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:
            if content + 8 > len(data):
                return
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = end if size == 0 else start + size
        if stop < content or stop > end:
            raise damaged(f"the box {kind.decode('latin-1')!r} is damaged")
        yield IsoBox(kind, content, stop)
        start = stop
    raise ImageError("too_costly", f"the file has more than {MAX_BOXES:,} boxes; save it as a JPEG")


def found(data: bytes, start: int, end: int, *kinds: bytes) -> dict[bytes, IsoBox]:
    """The first box of each of these kinds that is in `data[start:end]`."""
    firsts: dict[bytes, IsoBox] = {}
    for box in boxes(data, start, end):
        if box.kind in kinds:
            firsts.setdefault(box.kind, box)
        if len(firsts) == len(kinds):
            break
    return firsts
