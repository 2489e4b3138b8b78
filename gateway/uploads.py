"""Request bodies to named images: limits are held while reading, so no more than the limit is ever in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from reeltag.errors import BodyTooLarge, ImageRejected, InputError, InvalidOption, Overloaded, UnsupportedMediaType

RAW_TYPES: Final = ("image/jpeg", "image/png", "image/webp", "image/bmp", "application/octet-stream")
"""Content types of a body that is one image; what it is indeed is read from its bytes."""
MULTIPART: Final = "multipart/form-data"
PART_NAME: Final = "file"


@dataclass(frozen=True)
class UploadLimits:
    """Bounds of the bodies."""

    max_bytes: int
    """Largest body."""
    max_buffered_bytes: int
    """Bodies of all requests that are held at one time."""
    max_images: int
    """Most images in one request."""


@dataclass(frozen=True)
class Upload:
    """One image of a request."""

    name: str
    data: bytes
    """As it was sent; not checked."""


class UploadReader:
    """Reads the bodies of one app's requests and counts the bytes that are held."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self.held_bytes = 0
        """Of all bodies in work."""

    @contextmanager
    def hold(self) -> Iterator[Holding]:
        """Count what is read in the block until the block ends."""
        holding = Holding(self, self._limits)
        try:
            yield holding
        finally:
            self.held_bytes -= holding.bytes


class Holding:
    """The body of one request; made by `UploadReader.hold`."""

    def __init__(self, reader: UploadReader, limits: UploadLimits) -> None:
        self._reader = reader
        self._limits = limits
        self.bytes = 0
        """Read so far."""

    async def read(self, request: Request) -> list[Upload]:
        """The images of a request.

        Raises:
            UnsupportedMediaType: The Content-Type is neither of `RAW_TYPES` nor multipart/form-data.
            BodyTooLarge: More bytes or images than the limits allow; nothing beyond the limit was kept.
            Overloaded: The bodies of all requests together exceed their limit.
            ImageRejected: The body is empty.
            InputError: The form is damaged.
            InvalidOption: The form has parts that are no images, or none that is one.
            starlette.requests.ClientDisconnect: The client went away.
        """
        media_type = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
        if media_type not in (*RAW_TYPES, MULTIPART):
            raise UnsupportedMediaType(
                f"Content-Type {media_type!r} is not taken; send one image as {', '.join(RAW_TYPES)}, "
                f"or several as {MULTIPART} parts named {PART_NAME!r}"
            )
        self._check_announced_size(request)
        if media_type == MULTIPART:
            return await _parse_form(request.headers, self._stream(request), self._limits)
        data = b"".join([chunk async for chunk in self._stream(request)])
        if not data:
            raise ImageRejected("empty", "the body is empty; send an encoded JPEG, PNG, WebP or BMP image")
        return [Upload("image", data)]

    def take(self, uploads: list[Upload]) -> list[Upload]:
        """Count images that came as a whole, in one message.

        Raises:
            InvalidOption: There are none.
            BodyTooLarge: More bytes or images than the limits allow.
            Overloaded: The bodies of all requests together exceed their limit.
        """
        if not uploads:
            raise InvalidOption("the request has no images; send at least one")
        if len(uploads) > self._limits.max_images:
            raise BodyTooLarge(
                f"the request has more than {self._limits.max_images} images; send them in several requests"
            )
        size = sum(len(upload.data) for upload in uploads)
        self._check_size(self.bytes + size)
        self.bytes += size
        self._reader.held_bytes += size
        return uploads

    def _check_announced_size(self, request: Request) -> None:
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit():
            self._check_size(int(announced))

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise BodyTooLarge(
                f"the body is larger than {self._limits.max_bytes:,} bytes; send fewer or smaller images"
            )
        if self._reader.held_bytes - self.bytes + size > self._limits.max_buffered_bytes:
            raise Overloaded("the bodies of other requests fill the gateway's memory limit; try again later")

    async def _stream(self, request: Request) -> AsyncGenerator[bytes, None]:
        async for chunk in request.stream():
            self._check_size(self.bytes + len(chunk))
            self.bytes += len(chunk)
            self._reader.held_bytes += len(chunk)
            if chunk:
                yield chunk


class _FormParser(MultiPartParser):
    """Starlette's parser, kept in memory (the body is bounded already), that notices a body which is cut off."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], limits: UploadLimits) -> None:
        super().__init__(headers, self._whole(stream), max_files=limits.max_images, max_fields=limits.max_images)
        self.spool_max_size = limits.max_bytes
        self._ended = False

    def on_end(self) -> None:
        self._ended = True

    async def _whole(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in stream:
            yield chunk
        if not self._ended:
            raise MultiPartException("it was cut off before its closing boundary")


async def _parse_form(headers: Headers, stream: AsyncGenerator[bytes, None], limits: UploadLimits) -> list[Upload]:
    try:
        form = await _FormParser(headers, stream, limits).parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):  # Starlette tells its errors apart by their text alone
            raise BodyTooLarge(
                f"the form has more than {limits.max_images} images; send them in several requests"
            ) from error
        raise InputError(f"the multipart body cannot be read: {error.message}") from error
    try:
        return [await _upload(name, part) for name, part in _parts(form.multi_items())]
    finally:
        await form.close()


def _parts(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    if not items:
        raise InvalidOption(f"the form has no parts; send each image as a part named {PART_NAME!r}")
    return items


async def _upload(name: str, part: UploadFile | str) -> Upload:
    if name != PART_NAME:
        raise InvalidOption(f"the form part {name!r} is not known; send each image as a part named {PART_NAME!r}")
    if isinstance(part, str):
        raise InvalidOption(f"the form part {name!r} is text; send a file, with a filename in its Content-Disposition")
    return Upload(part.filename or "image", await part.read())
