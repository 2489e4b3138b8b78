"""EXIF orientation, read from a bounded part of a picture's metadata.

Only the tag itself is looked at: values that an entry points to are never fetched, so that entries which overlap or
point anywhere cost nothing.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

MAX_EXIF_BYTES: Final = 1 << 16
"""So much of an EXIF block is looked at; a JPEG segment holds no more."""
MAX_EXIF_ENTRIES: Final = 275
"""So many entries of the first directory are looked at. They ascend (TIFF 6.0, page 15), so that orientation, tag 274,
is among these."""
MAX_XMP_BYTES: Final = 1 << 20
"""So much of an XMP packet is looked at."""
_MAX_PROFILE_BYTES: Final = 4 * MAX_EXIF_BYTES
_TAG: Final = 0x0112
_INLINE_FORMATS: Final = {3: "H", 4: "L", 8: "h", 9: "l"}
"""TIFF types of whole numbers that fit into an entry."""
_XMP: Final = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation_of(exif: bytes, xmp: bytes) -> int:
    """The orientation, 1 to 8, that an EXIF block states, or else an XMP packet; 1 where neither does."""
    value = _of_exif(exif)
    if value is None:
        match = _XMP.search(xmp, 0, MAX_XMP_BYTES)
        value = int(match[1]) if match else 1
    return value if 1 <= value <= 8 else 1


def _of_exif(block: bytes) -> int | None:
    r"""Of a TIFF structure, which `Exif\0\0` may precede; none where it states none or is damaged."""
    start = 6 if block.startswith(b"Exif\0\0") else 0
    tiff = block[start : start + MAX_EXIF_BYTES]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return None
    (directory,) = struct.unpack_from(f"{order}L", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, directory) if directory <= len(tiff) - 2 else (0,)
    value = None
    for index in range(min(count, MAX_EXIF_ENTRIES)):
        entry = directory + 2 + 12 * index
        if entry + 12 > len(tiff):
            break
        tag, kind, length = struct.unpack_from(f"{order}HHL", tiff, entry)
        if tag == _TAG and kind in _INLINE_FORMATS and length:
            (value,) = struct.unpack_from(order + _INLINE_FORMATS[kind], tiff, entry + 8)
    return value


def exif_of_profile(text: bytes) -> bytes:
    """The EXIF block in ImageMagick's text chunk `Raw profile type exif`: three lines, then hexadecimal digits."""
    digits = text[:_MAX_PROFILE_BYTES].split(b"\n", 3)[-1].replace(b"\n", b"")
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    except ValueError:
        return b""


def inflated(data: bytes) -> bytes:
    """A compressed text, as far as it is looked at; empty where it is damaged."""
    try:
        return zlib.decompressobj().decompress(data, MAX_XMP_BYTES)
    except zlib.error:
        return b""
