"""Decoded pictures of any colours to RGB, a band of rows at a time, so that no second picture is held beside them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from .header import ImageHeader, damaged
from .views import Pixels

_BAND_PIXELS: Final = 1 << 20

# Damage is said by an ImageError; OpenCV would print it as well. Newer versions have the function in another place.
(vars(cv2).get("setLogLevel") or vars(cv2.utils)["logging"].setLogLevel)(0)


def rgb_of_pillow(data: bytes, header: ImageHeader) -> Pixels:
    """Decode a file with Pillow to uint8 `(H, W, 3)` RGB; what is transparent is laid over white.

    Raises:
        ImageError: `truncated`.
    """
    width, height = header.stored_width, header.stored_height
    try:
        with Image.open(io.BytesIO(data), formats=(header.format,)) as image:
            if image.size != (width, height):
                raise damaged(f"the {header.format}'s header is damaged (two sizes)")
            image.load()
            pixels = np.empty((height, width, 3), np.uint8)
            for top, bottom in bands(width, height):
                pixels[top:bottom] = rgb(image.crop((0, top, width, bottom)))
            return pixels
    except (MemoryError, Image.DecompressionBombError):
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and more
        raise damaged(f"the {header.format} data is damaged or cut off ({error})") from error


def decode_with_opencv(data: bytes, flags: int, width: int, height: int, name: str) -> npt.NDArray[Any]:
    """Decode a file with OpenCV to uint8 `(height, width, 3 or 4)` BGR or BGRA.

    Raises:
        ImageError: `truncated`.
    """
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from error
        decoded = None
    if decoded is None or decoded.shape[:2] != (height, width):
        raise damaged(f"the {name} data is damaged or cut off")
    return np.asarray(decoded)


def rgb_over_white(decoded: npt.NDArray[Any]) -> Pixels:
    """uint8 `(H, W, 3 or 4)` BGR or BGRA to uint8 `(H, W, 3)` RGB; what is transparent is laid over white."""
    height, width, channels = decoded.shape
    pixels = np.empty((height, width, 3), np.uint8) if channels == 4 else decoded
    for top, bottom in bands(width, height):
        if channels == 4:
            pixels[top:bottom] = rgb(Image.fromarray(cv2.cvtColor(decoded[top:bottom], cv2.COLOR_BGRA2RGBA)))
        else:
            pixels[top:bottom] = cv2.cvtColor(decoded[top:bottom], cv2.COLOR_BGR2RGB)
    return pixels


def bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    """First row and end of each band of a picture."""
    rows = max(1, _BAND_PIXELS // width)
    return ((top, min(height, top + rows)) for top in range(0, height, rows))


def rgb(image: Image.Image) -> npt.NDArray[Any]:
    """uint8 `(H, W, 3)` RGB of a band of any mode; what is transparent is laid over white."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip
        wide = np.asarray(image).astype(np.uint32)
        grey = np.minimum(wide >> 8, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "RGBa", "LA", "PA", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))
