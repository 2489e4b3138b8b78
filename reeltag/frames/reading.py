"""Finds out what a file is, and holds it to the limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .bmp import SIGNATURE as BMP_SIGNATURE
from .bmp import Bmp
from .gif import SIGNATURES as GIF_SIGNATURES
from .gif import Gif
from .header import (
    FORMATS,
    MAX_DECODE_SECONDS,
    MAX_ENCODED_BYTES,
    MAX_IMAGE_PIXELS,
    ImageError,
    ImageHeader,
)
from .heif import BRANDS as HEIF_BRANDS
from .heif import Heif
from .jpeg import SIGNATURE as JPEG_SIGNATURE
from .jpeg import Jpeg
from .jpeg2000 import SIGNATURES as JPEG2000_SIGNATURES
from .jpeg2000 import Jpeg2000
from .png import SIGNATURE as PNG_SIGNATURE
from .png import Png
from .tiff import SIGNATURES as TIFF_SIGNATURES
from .tiff import Tiff
from .webp import SIGNATURES as WEBP_SIGNATURES
from .webp import Webp

Encoded = Jpeg | Png | Webp | Bmp | Gif | Tiff | Heif | Jpeg2000
"""A file whose header was read: it has a `header` and `pixels`."""
IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".jps", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif"}
    | {".tif", ".tiff", ".heic", ".heif", ".hif", ".heics", ".heifs", ".avif", ".avifs"}
    | {".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf", ".jxl"}
)
"""Of names of pictures, in lower case; that of JPEG XL so that it is refused by name, not overlooked."""
SIGNATURE_BYTES: Final = 32
"""So much of a file's beginning tells what it is."""
_BMP_HEADERS: Final = (12, 40, 52, 56, 64, 108, 124)
_JXL_SIGNATURES: Final = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")


def looks_like_image(beginning: bytes) -> bool:
    """Whether a file that begins so is a picture, be it one that is refused by name.

    Args:
        beginning: `SIGNATURE_BYTES` or more.
    """
    if beginning.startswith(BMP_SIGNATURE):  # two letters may begin anything
        return int.from_bytes(beginning[14:18], "little") in _BMP_HEADERS
    return _reader_of(beginning) is not None


def read_header(data: bytes, *, max_pixels: int = MAX_IMAGE_PIXELS) -> ImageHeader:
    """Read an image's header without decoding a pixel, in a time that its size hardly matters for.

    Args:
        data: An encoded image; its beginning is enough, of a TIFF as much as holds its first directory.
        max_pixels: Largest picture that is taken.

    Raises:
        ImageError: `empty`, `not_an_image`, `truncated` (no whole header), `too_many_pixels` or `too_costly`.
    """
    return read(data, max_pixels).header


def read(data: bytes, max_pixels: int = MAX_IMAGE_PIXELS) -> Encoded:
    """As `read_header`, ready to be decoded."""
    if not data:
        raise ImageError("empty", f"the image has no bytes; send an encoded {FORMATS} image")
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
    reader = _reader_of(data)
    if reader is None:
        raise ImageError("not_an_image", f"the bytes are no {FORMATS} image")
    return reader(data)


def _reader_of(data: bytes) -> Callable[[bytes], Encoded] | None:
    if data.startswith(JPEG_SIGNATURE):
        return Jpeg
    if data.startswith(PNG_SIGNATURE):
        return Png
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and data[12:16] in WEBP_SIGNATURES:
        return Webp
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return Heif
    readers: dict[tuple[bytes, ...], Callable[[bytes], Encoded]] = {
        (BMP_SIGNATURE,): Bmp,
        GIF_SIGNATURES: Gif,
        TIFF_SIGNATURES: Tiff,
        JPEG2000_SIGNATURES: Jpeg2000,
        _JXL_SIGNATURES: _refuse_jxl,
    }
    return next((reader for signatures, reader in readers.items() if data.startswith(signatures)), None)


def _refuse_jxl(data: bytes) -> Encoded:
    raise ImageError(
        "not_an_image", "the picture is a JPEG XL, whose codec is not known here; save it as a JPEG, PNG or AVIF"
    )
