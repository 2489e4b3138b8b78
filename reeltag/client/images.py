"""What is sent: encoded images with a name each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reeltag.errors import InputError


@dataclass(frozen=True)
class Image:
    """An encoded image."""

    name: str
    """Comes back with its result."""
    data: bytes = b""
    """JPEG, PNG, WebP, BMP, GIF, TIFF, HEIC, AVIF or JPEG 2000; empty with `url`."""
    url: str = ""
    """Where the server fetches it, on a host that its operator allows."""


ImageInput = Image | bytes | str | os.PathLike[str]
"""An image, its bytes, the path of its file, or its address, which begins with `https://` or `http://`."""


@dataclass(frozen=True)
class Options:
    """What is asked of images; None leaves it to the server."""

    tasks: Sequence[str] = ()
    """`detect`, `classify`, `segment`; none leaves the choice to the server."""
    score_threshold: float | None = None
    top_k: int | None = None
    class_map: bool = False
    priority: str | None = None
    """`interactive` or `bulk`; None takes that of the key."""


def image_of(given: ImageInput) -> Image:
    """Read what is to be sent.

    Raises:
        InputError: The file cannot be read.
    """
    if isinstance(given, Image):
        return given
    if isinstance(given, bytes):
        return Image("image", given)
    if isinstance(given, str) and given.lower().startswith(("https://", "http://")):
        return Image(urlsplit(given).path.rpartition("/")[2] or "image", url=given)
    path = Path(given)
    try:
        return Image(path.name, path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give an image file") from error
