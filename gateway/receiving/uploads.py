"""Request bodies to named images: limits are held while reading, so no more than the limit is ever in memory."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from gateway.queueing.pace import Pace
from gateway.receiving.fetching import Fetcher
from gateway.receiving.forms import MULTIPART, PART_NAME, RAW_TYPES, FormReader, Part
from gateway.wire.meter import Meter
from gateway.wire.places import give_back_place
from reeltag.errors import (
    BodyTooLarge,
    ImageRejected,
    InvalidOption,
    Overloaded,
    ReeltagError,
    RequestTimeout,
    ServiceError,
    UnsupportedMediaType,
)
from reeltag.frames import FORMATS


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
    url: str = ""
    """Where it is to be fetched, instead of `data`."""
    problem: ReeltagError | None = None
    """Why there is no image."""


class UploadReader:
    """Reads the bodies of one app's requests and counts the bytes that are held.

    Args:
        limits: The bounds.
        fetcher: Fetches images that are sent as URLs.
    """

    def __init__(self, limits: UploadLimits, fetcher: Fetcher) -> None:
        self._limits = limits
        self.fetcher = fetcher
        self._arriving: dict[Holding, None] = {}
        self._pace = Pace()
        self._closed = False
        self.held_bytes = 0
        """Of all bodies in work."""

    @contextmanager
    def hold(self) -> Iterator[Holding]:
        """Count what is read in the block until the block ends."""
        holding = Holding(self, self._limits)
        try:
            yield holding
        finally:
            holding.release()

    @contextmanager
    def arriving(self, holding: Holding) -> Iterator[None]:
        """The time in which a body may be given up."""
        if self._closed:
            raise _stopping()
        self._arriving[holding] = None
        try:
            yield
        finally:
            self._arriving.pop(holding, None)

    def close(self) -> None:
        """Answer every unfinished body that the gateway stops, and take no more."""
        self._closed = True
        for holding in list(self._arriving):
            self._give_up(holding, _stopping())

    def count(self, size: int) -> None:
        """Note that so many bytes more are held, or fewer."""
        self.held_bytes += size
        now = time.monotonic()
        if size > 0:
            self._pace.begin(now)
        else:
            self._pace.done(-size, now, more=self.held_bytes > 0)

    def make_room(self, size: int, asking: Holding) -> None:
        """See to it that `size` bytes more may be held: uploads that hardly move are given up for them.

        Raises:
            Overloaded: All that is held is in work or arrives at a good pace.
        """
        now = time.monotonic()
        while self.held_bytes + size > self._limits.max_buffered_bytes:
            slow = [holding for holding in self._arriving if holding is not asking and holding.is_slow(now)]
            if not slow:
                raise Overloaded(
                    "the bodies of other requests fill the gateway's memory limit; try again later",
                    retry_after_seconds=self._pace.wait(self.held_bytes, now),
                )
            text = "the body came too slowly while others needed its memory; send it again, faster"
            self._give_up(max(slow, key=lambda holding: holding.bytes), RequestTimeout(text))

    def _give_up(self, holding: Holding, error: ReeltagError) -> None:
        del self._arriving[holding]
        holding.give_up(error)


class Holding:
    """The body of one request; made by `UploadReader.hold`."""

    def __init__(self, reader: UploadReader, limits: UploadLimits) -> None:
        self._reader = reader
        self._limits = limits
        self._body: FormReader | _RawBody | None = None
        self._task: asyncio.Task[Any] | None = None
        self._given_up: ReeltagError | None = None
        self._meter = Meter(time.monotonic())
        self._most_bytes = limits.max_bytes
        self.bytes = 0
        """Held now."""

    async def read(self, request: Request) -> list[Upload]:
        """The images of a request.

        Raises:
            UnsupportedMediaType: The Content-Type is neither of `RAW_TYPES` nor multipart/form-data, or the body comes
                in a content coding.
            BodyTooLarge: More bytes or images than the limits allow; nothing beyond the limit was kept.
            Overloaded: The bodies of all requests together exceed their limit.
            RequestTimeout: The body hardly moved while others needed its memory.
            ServiceError: The gateway stops.
            ImageRejected: The body is empty.
            InputError: The form is damaged.
            InvalidOption: The form has parts that are no images, or none that is one.
            starlette.requests.ClientDisconnect: The client went away.
        """
        content_type = request.headers.get("content-type", "application/octet-stream")
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type not in (*RAW_TYPES, MULTIPART):
            raise UnsupportedMediaType(
                f"Content-Type {media_type!r} is not taken; send one image as {', '.join(RAW_TYPES)}, "
                f"or several as {MULTIPART} parts named {PART_NAME!r}"
            )
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise UnsupportedMediaType(f"Content-Encoding {coding[:40]!r} is not taken: nothing is decompressed here")
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit():
            self._check_size(int(announced))
        form = media_type == MULTIPART
        self._body = body = FormReader(content_type, self._limits.max_images) if form else _RawBody()
        with self._reader.arriving(self):
            await self._fill(body, request)
        give_back_place(request.scope)
        return [_upload(part) for part in body.finish()]

    async def read_whole(self, request: Request, most_bytes: int) -> bytes:
        """A body that is no image, up to so many bytes; raises as `read`."""
        self._most_bytes = min(most_bytes, self._most_bytes)
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit():
            self._check_size(int(announced))
        self._body = body = _RawBody()
        with self._reader.arriving(self):
            await self._fill(body, request)
        return body.content

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
        self._note(size)
        return uploads

    async def fetched(self, uploads: Sequence[Upload]) -> Sequence[Upload]:
        """The images, with those that are URLs fetched; one that cannot be has its `problem`, and the others go on."""
        if not any(upload.url for upload in uploads):
            return uploads
        return await asyncio.gather(*(self._fetched(upload) for upload in uploads))

    async def _fetched(self, upload: Upload) -> Upload:
        if not upload.url or upload.problem is not None:
            return upload
        name, kept = upload.name or self._reader.fetcher.name_of(upload.url), 0

        def take(size: int) -> None:
            nonlocal kept
            self._check_size(self.bytes + size)
            self._note(size)
            kept += size

        try:
            return Upload(name, await self._reader.fetcher.fetch(upload.url, take))
        except ReeltagError as error:
            self._reader.count(-kept)
            self.bytes -= kept
            return Upload(name, b"", problem=error)

    def is_slow(self, now: float) -> bool:
        """Whether so little came of late that its memory is better given to others."""
        return self._meter.is_slow(now)

    def give_up(self, error: ReeltagError) -> None:
        """Free what was read, at once, and let `read` raise the error."""
        self._given_up = error
        self.release()
        if self._task is not None:
            self._task.cancel()

    def release(self) -> None:
        """Free what was read."""
        self._reader.count(-self.bytes)
        self.bytes = 0
        if self._body is not None:
            self._body.clear()

    async def _fill(self, body: FormReader | _RawBody, request: Request) -> None:
        self._task = asyncio.current_task()
        try:
            async for chunk in request.stream():
                self._check_size(self.bytes + len(chunk))
                self._note(len(chunk))
                body.write(chunk)
        except asyncio.CancelledError:
            if self._given_up is None:
                raise
            if sys.version_info >= (3, 11) and self._task is not None:
                self._task.uncancel()
            raise self._given_up from None

    def _check_size(self, size: int) -> None:
        if size > self._most_bytes:
            what = "fewer or smaller images" if self._most_bytes == self._limits.max_bytes else "less"
            raise BodyTooLarge(f"the body is larger than {self._most_bytes:,} bytes; send {what}")
        self._reader.make_room(size - self.bytes, self)

    def _note(self, size: int) -> None:
        self._meter.note(size, time.monotonic())
        self.bytes += size
        self._reader.count(size)


class _RawBody:
    """A body that is one image."""

    def __init__(self) -> None:
        self._content = io.BytesIO()

    def write(self, data: bytes) -> None:
        self._content.write(data)

    def finish(self) -> list[Part]:
        if not self._content.tell():
            raise ImageRejected("empty", f"the body is empty; send an encoded {FORMATS} image")
        return [Part("image", self._content)]

    def clear(self) -> None:
        self._content = io.BytesIO()

    @property
    def content(self) -> bytes:
        return self._content.getvalue()


def _upload(part: Part) -> Upload:
    content = part.content.getvalue()  # shared, not copied
    if not part.is_url:
        return Upload(part.name, content)
    return Upload("", b"", content.decode("utf-8", "replace"))


def _stopping() -> ServiceError:
    return ServiceError("the gateway is shutting down")
