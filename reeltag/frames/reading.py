"""Finds out what a file is, and holds it to the limits."""

from __future__ import annotations

from .bmp import SIGNATURE as BMP_SIGNATURE
from .bmp import Bmp
from .header import (
    MAX_DECODE_SECONDS,
    MAX_ENCODED_BYTES,
    MAX_IMAGE_PIXELS,
    ImageError,
    ImageHeader,
)
from .jpeg import SIGNATURE as JPEG_SIGNATURE
from .jpeg import Jpeg
from .png import SIGNATURE as PNG_SIGNATURE
from .png import Png
from .webp import SIGNATURES as WEBP_SIGNATURES
from .webp import Webp

Encoded = Jpeg | Png | Webp | Bmp
"""A file whose header was read: it has a `header` and `pixels`."""


def read_header(data: bytes, *, max_pixels: int = MAX_IMAGE_PIXELS) -> ImageHeader:
    """Read an image's header without decoding a pixel, in a time that its size hardly matters for.

    Args:
        data: An encoded JPEG, PNG, WebP or BMP image; its beginning is enough.
        max_pixels: Largest picture that is taken.

    Raises:
        ImageError: `empty`, `not_an_image`, `truncated` (no whole header), `too_many_pixels` or `too_costly`.
    """
    return read(data, max_pixels).header


def read(data: bytes, max_pixels: int = MAX_IMAGE_PIXELS) -> Encoded:
    """As `read_header`, ready to be decoded."""
    if not data:
        raise ImageError("empty", "the image has no bytes; send an encoded JPEG, PNG, WebP or BMP image")
    if len(data) > MAX_ENCODED_BYTES:
        raise ImageError("too_costly", f"the file has {len(data):,} bytes; at most {MAX_ENCODED_BYTES:,} are decoded")
    encoded = _parsed(data)
    header = encoded.header
    if header.width * header.height > max_pixels:
        raise ImageError(
            "too_many_pixels",
            f"the image is too large ({header.height}x{header.width}, rows x columns); at most {max_pixels:,} pixels "
            "are decoded: scale it down",
        )
    if header.seconds > MAX_DECODE_SECONDS:
        raise ImageError(
            "too_costly",
            f"decoding the {header.format} would take about {header.seconds:.0f} seconds, and at most "
            f"{MAX_DECODE_SECONDS:.0f} are allowed; scale it down, or save it as a baseline JPEG",
        )
    return encoded


def _parsed(data: bytes) -> Encoded:
    if data.startswith(JPEG_SIGNATURE):
        return Jpeg(data)
    if data.startswith(PNG_SIGNATURE):
        return Png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and data[12:16] in WEBP_SIGNATURES:
        return Webp(data)
    if data.startswith(BMP_SIGNATURE):
        return Bmp(data)
    raise ImageError("not_an_image", "the bytes are no JPEG, PNG, WebP or BMP image")
