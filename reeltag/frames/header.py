"""What an image says of itself before a pixel is decoded, and the limits that it must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FORMATS: Final = "JPEG, PNG, WebP, BMP, GIF, TIFF, HEIC, AVIF or JPEG 2000"
"""What is decoded, for people."""
MAX_IMAGE_PIXELS: Final = 1 << 26
"""Largest picture that is decoded: 67,108,864 pixels, such as 8192x8192."""
MAX_ENCODED_BYTES: Final = 1 << 29
"""Largest file of one picture: 536,870,912 bytes; the largest picture as an uncompressed bitmap takes half of it."""
MAX_DECODE_SECONDS: Final = 8.0
"""Longest estimate of the processor time that decoding takes, on a core of 2.5 GHz; more is refused by the header."""
ORDINARY_SECONDS: Final = 0.1
"""Pictures with a longer estimate are `large`: they are decoded beside the others, never before them."""
MAX_CHUNKS: Final = 16_384
"""Most chunks of a PNG or WebP: a PNG of 32 MiB, in the 8 KiB chunks that encoders write, has 4,096."""


class ImageError(ValueError):
    """A picture that cannot be decoded.

    `code` is one of `empty`, `not_an_image`, `truncated`, `too_many_pixels` and `too_costly`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class ImageHeader:
    """What an image says of itself before a pixel is decoded."""

    format: str
    """`JPEG`, `PNG`, `WEBP`, `BMP`, `GIF`, `TIFF`, `HEIC`, `AVIF` or `JPEG2000`."""
    stored_width: int
    """Columns as they are stored, pixels."""
    stored_height: int
    """Rows as they are stored, pixels."""
    orientation: int
    """EXIF orientation, 1 to 8; 1 is upright."""
    seconds: float
    """Estimate of the processor time that decoding takes, on a core of 2.5 GHz; at most `MAX_DECODE_SECONDS`."""
    memory: int
    """Estimate of the memory that decoding takes beside the file, bytes."""

    @property
    def width(self) -> int:
        """Columns after the EXIF orientation was applied."""
        return self.stored_width if self.orientation < 5 else self.stored_height

    @property
    def height(self) -> int:
        """Rows after the EXIF orientation was applied."""
        return self.stored_height if self.orientation < 5 else self.stored_width

    @property
    def is_large(self) -> bool:
        """Whether decoding is estimated to take longer than `ORDINARY_SECONDS`."""
        return self.seconds > ORDINARY_SECONDS


def damaged(what: str) -> ImageError:
    """The error of a picture that is damaged or cut off."""
    return ImageError("truncated", f"{what}; send the whole file as it was written")


def too_many_chunks(kind: str) -> ImageError:
    """The error of a file that is cut into more than `MAX_CHUNKS` parts."""
    return ImageError(
        "too_costly", f"the {kind} has more than {MAX_CHUNKS:,} chunks; save it anew, without its metadata"
    )
