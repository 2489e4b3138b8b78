"""Looks at images' headers beside the event loop, so that no file keeps it from its other work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from reeltag.errors import ImageRejected
from reeltag.frames import ImageError, ImageHeader, read_header

_JPEG: Final = b"\xff\xd8\xff"
_LITTLE: Final = 256 << 10
"""Bytes of a JPEG that is looked at on the spot: a photograph's takes a tenth of a millisecond, as long as to wake a
thread and to be woken by it, and one that was made to take long a few milliseconds."""


class HeaderReader:
    """Reads the headers of one app's images, one request at a time.

    Args:
        max_pixels: Largest picture that is taken.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        # With one thread the loop waits for the interpreter's lock behind one other thread, however many files come.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="headers")

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    async def read(self, images: Sequence[bytes]) -> list[ImageHeader | ImageRejected]:
        """The header of each encoded image, or why it is refused."""
        if len(images) == 1 and len(images[0]) <= _LITTLE and images[0].startswith(_JPEG):
            return self._read(images)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, images)

    def _read(self, images: Sequence[bytes]) -> list[ImageHeader | ImageRejected]:
        return [self._one(image) for image in images]

    def _one(self, image: bytes) -> ImageHeader | ImageRejected:
        try:
            return read_header(image, max_pixels=self._max_pixels)
        except ImageError as error:
            return ImageRejected(error.code, str(error))
