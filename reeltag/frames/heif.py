"""HEIC and AVIF: boxes to a header; pixels of HEIC from libheif and libde265 (pi-heif), of AVIF from Pillow's libavif.

`pi-heif` is `pillow-heif` without the encoder, which is under the GPL.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from PIL import AvifImagePlugin, Image

from .colours import bands, rgb, rgb_of_pillow
from .header import ImageError, ImageHeader, damaged
from .heif_items import Primary, primary_of
from .views import Pixels

BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"avif", b"avis", b"avio"}
    | {b"mif1", b"mif2", b"mif3", b"msf1", b"miaf", b"avci", b"avcs", b"j2ki", b"j2is", b"jpeg", b"jpgs", b"vvic"}
)
"""Major brands of files that hold still pictures; those of videos are others."""
_HEVC: Final = (b"hvc1", b"hev1")

_SECONDS_PER_PIXEL: Final = {"HEIC": 40e-9, "AVIF": 30e-9}
_SECONDS_PER_BYTE: Final = {"HEIC": 100e-9, "AVIF": 80e-9}
_BYTES_PER_PIXEL: Final = {"HEIC": 14, "AVIF": 14}
"""Planes of 16 bits, colours with alpha, and three as RGB."""

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # pictures are spread over processes


class Heif:
    """A HEIC or AVIF file; of several pictures the primary one.

    Raises:
        ImageError: `not_an_image`, `truncated` or `too_costly`.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._primary: Primary = primary_of(data)
        kind = self._primary.kind
        if kind not in (*_HEVC, b"av01"):
            raise ImageError(
                "not_an_image",
                f"a HEIF picture coded as {kind.decode('latin-1')!r} is not decoded (HEVC and AV1 are); "
                "save it as a JPEG",
            )
        name = "HEIC" if kind in _HEVC else "AVIF"
        width, height = self._primary.size
        area = self._primary.width * self._primary.height
        seconds = area * _SECONDS_PER_PIXEL[name] + len(data) * _SECONDS_PER_BYTE[name]
        memory = area * _BYTES_PER_PIXEL[name]
        self.header = ImageHeader(name, width, height, self._primary.orientation, seconds, memory)

    def pixels(self, min_width: int, min_height: int) -> Pixels:
        """Decode at full size."""
        if self.header.format == "HEIC":
            return self._hevc()
        primary = self._primary
        whole = ImageHeader("AVIF", primary.width, primary.height, 1, 0.0, 0)
        pixels = rgb_of_pillow(self._data, whole)
        if primary.crop is None:
            return pixels
        left, top, width, height = primary.crop
        return pixels[top : top + height, left : left + width]

    def _hevc(self) -> Pixels:
        """Turned back into the order in which they are stored: libheif gives the picture upright."""
        upright = self._of_libheif()
        orientation = self.header.orientation
        if upright.shape[:2] != (self.header.height, self.header.width):
            raise damaged("the HEIC's header is damaged (two sizes)")
        if orientation in (3, 4, 7, 8):
            upright = upright[::-1]
        if orientation in (2, 3, 6, 7):
            upright = upright[:, ::-1]
        return upright.transpose(1, 0, 2) if orientation >= 5 else upright

    def _of_libheif(self) -> Pixels:
        try:
            import pi_heif  # noqa: PLC0415  few pictures need it, and every start would pay for it
        except ImportError as error:
            raise ImageError(
                "not_an_image", "a HEIC is decoded by pi-heif, which is not installed; install it, or save a JPEG"
            ) from error
        options: Any = pi_heif.options
        options.THUMBNAILS = options.AUX_IMAGES = options.DEPTH_IMAGES = False
        options.DECODE_THREADS = 1
        try:
            file = pi_heif.open_heif(io.BytesIO(self._data), convert_hdr_to_8bit=True, bgr_mode=False)
            picture = file[file.primary_index]
            decoded, mode = np.asarray(picture), picture.mode
        except MemoryError:
            raise
        except Exception as error:  # libheif's errors come as ValueError, RuntimeError, EOFError and more
            if "memory" in str(error).lower():
                raise MemoryError(str(error)) from error
            raise damaged(f"the HEIC data is damaged or cut off ({error})") from error
        height, width = decoded.shape[:2]
        pixels = np.empty((height, width, 3), np.uint8)
        for top, bottom in bands(width, height):
            pixels[top:bottom] = rgb(Image.fromarray(np.ascontiguousarray(decoded[top:bottom]), mode))
        return pixels
