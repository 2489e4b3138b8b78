"""The client for asyncio."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from reeltag.client.asking_jobs import AsyncJobs
from reeltag.client.grpc import GrpcTransport
from reeltag.client.images import ImageInput, Options, image_of, names_of
from reeltag.client.rest import RestTransport
from reeltag.client.results import Model, TaggedImage
from reeltag.client.retrying import Refused, retried
from reeltag.errors import InvalidOption

DEFAULT_WINDOW: Final = 16
"""Images of a stream that are in work at one time."""


class AsyncClient:
    """Asks one gateway; an asynchronous context manager.

    Args:
        url: `http://127.0.0.1:8000` or `https://...` for REST, `grpc://127.0.0.1:8001` or `grpcs://...` for gRPC.
        api_key: Sent as `Authorization: Bearer`.
        timeout_seconds: Longest wait for one answer, tries that failed included.
        ca_file: PEM file of the authorities that servers over TLS are checked against; those that are commonly known
            without it.

    Raises:
        InvalidOption: The address is neither, or the file cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        ca_file: str | Path | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        parts = urlsplit(url)
        self._transport: RestTransport | GrpcTransport
        if parts.scheme in ("http", "https") and parts.netloc:
            self._transport = RestTransport(url, headers, authorities=_authorities(ca_file))
        elif parts.scheme in ("grpc", "grpcs") and parts.port:
            is_secure = parts.scheme == "grpcs"
            self._transport = GrpcTransport(
                parts.netloc, headers, is_secure=is_secure, authorities=_authorities(ca_file)
            )
        else:
            raise InvalidOption(f"{url!r} is no gateway's address; give http://HOST:PORT or grpc://HOST:PORT")

        self.jobs = AsyncJobs(self._transport.jobs, timeout_seconds)
        """Videos in, tags out, for any number of them (docs/jobs-api.md)."""

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def tag_images(
        self,
        images: Sequence[ImageInput],
        *,
        tasks: Sequence[str] = (),
        score_threshold: float | None = None,
        top_k: int | None = None,
        class_map: bool = False,
        model: str | Sequence[str] = (),
        priority: str | None = None,
    ) -> list[TaggedImage]:
        """Tag images in one request.

        Args:
            images: As many as the server takes in one request, 32 by default.
            tasks: `detect`, `classify`, `segment`; the server's choice without any.
            score_threshold: Lowest score, 0 to 1.
            top_k: Most detections and tags of an image.
            class_map: With `segment`, also the class of each pixel.
            model: Network that answers instead of the default of its task, or several, of a task each.
            priority: `interactive`, or `bulk` to let others go first where many wait; None takes that of the key.

        Returns:
            One result an image, in order; one that cannot be tagged has an `error` there.

        Raises:
            Refused: The request as a whole failed, or every image did; errors that may pass were retried.
            InputError: A file cannot be read.
        """
        options = Options(tasks, score_threshold, top_k, class_map, names_of(model), priority)
        read = [await asyncio.to_thread(image_of, image) for image in images]
        return await retried(partial(self._transport.tag, read, options), self._timeout_seconds)

    async def tag_stream(
        self,
        images: Iterable[ImageInput] | AsyncIterable[ImageInput],
        *,
        tasks: Sequence[str] = (),
        score_threshold: float | None = None,
        top_k: int | None = None,
        class_map: bool = False,
        model: str | Sequence[str] = (),
        priority: str | None = None,
        window: int = DEFAULT_WINDOW,
    ) -> AsyncGenerator[TaggedImage, None]:
        """Tag any number of images, `window` of them at a time; options as those of `tag_images`.

        Yields:
            One result an image, in order; one that cannot be tagged has an `error` there.

        Raises:
            Refused: The server did not answer in time, whatever was tried.
            InputError: A file cannot be read.
        """
        options = Options(tasks, score_threshold, top_k, class_map, names_of(model), priority)
        working: deque[asyncio.Task[TaggedImage]] = deque()
        try:
            async for image in _each(images):
                working.append(asyncio.create_task(self._tag_one(image, options)))
                if len(working) >= window:
                    yield await working.popleft()
            while working:
                yield await working.popleft()
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def models(self) -> list[Model]:
        """The networks that do each task.

        Raises:
            Refused: Triton is away, or the gateway is.
        """
        return await retried(self._transport.models, self._timeout_seconds)

    async def _tag_one(self, given: ImageInput, options: Options) -> TaggedImage:
        image = await asyncio.to_thread(image_of, given)
        try:
            (result,) = await retried(partial(self._transport.tag, [image], options), self._timeout_seconds)
        except Refused as error:
            if error.wait_seconds is not None or error.code in ("unknown_task", "unknown_model", "invalid_option"):
                raise
            return TaggedImage(image.name, error_code=error.code, error=str(error))
        return result


def _authorities(ca_file: str | Path | None) -> str | None:
    if ca_file is None:
        return None
    try:
        text = Path(ca_file).read_bytes().decode("ascii", "replace")
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError) as error:  # an `SSLError` is an `OSError`
        raise InvalidOption(f"ca_file {ca_file} holds no certificates that can be read ({error})") from error
    return text


async def _each(images: Iterable[ImageInput] | AsyncIterable[ImageInput]) -> AsyncIterator[ImageInput]:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
    else:
        for image in images:
            yield image
