"""The client for threads: `AsyncClient` in an event loop of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from anyio.from_thread import start_blocking_portal

from reeltag.client.asking import DEFAULT_WINDOW, AsyncClient
from reeltag.client.blocking_jobs import Jobs
from reeltag.client.images import ImageInput
from reeltag.client.results import Model, TaggedImage


class Client:
    """Asks one gateway; a context manager, to be used by any number of threads. Arguments as those of `AsyncClient`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        ca_file: str | Path | None = None,
    ) -> None:
        self._starting = start_blocking_portal()
        self._portal = self._starting.__enter__()
        try:
            # In the loop's own thread: gRPC ties a channel to the loop that is running.
            self._client = self._portal.call(
                partial(_opened, url, api_key=api_key, timeout_seconds=timeout_seconds, ca_file=ca_file)
            )
        except BaseException:
            self._starting.__exit__(None, None, None)
            raise
        self.jobs = Jobs(self._client.jobs, self._portal)
        """Videos in, tags out, for any number of them (docs/jobs-api.md)."""

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the loop's thread."""
        try:
            self._portal.call(self._client.close)
        finally:
            self._starting.__exit__(None, None, None)

    def tag_images(
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
        """As `AsyncClient.tag_images`."""
        ask = self._client.tag_images
        return self._portal.call(
            lambda: ask(
                images,
                tasks=tasks,
                score_threshold=score_threshold,
                top_k=top_k,
                class_map=class_map,
                model=model,
                priority=priority,
            )
        )

    def tag_stream(
        self,
        images: Iterable[ImageInput],
        *,
        tasks: Sequence[str] = (),
        score_threshold: float | None = None,
        top_k: int | None = None,
        class_map: bool = False,
        model: str | Sequence[str] = (),
        priority: str | None = None,
        window: int = DEFAULT_WINDOW,
    ) -> Iterator[TaggedImage]:
        """As `AsyncClient.tag_stream`."""
        results = self._client.tag_stream(
            images,
            tasks=tasks,
            score_threshold=score_threshold,
            top_k=top_k,
            class_map=class_map,
            model=model,
            priority=priority,
            window=window,
        )
        try:
            while (result := self._portal.call(_next, results)) is not None:
                yield result
        finally:
            self._portal.call(_close, results)

    def models(self) -> list[Model]:
        """As `AsyncClient.models`."""
        return self._portal.call(self._client.models)


async def _opened(url: str, *, api_key: str | None, timeout_seconds: float, ca_file: str | Path | None) -> AsyncClient:
    return AsyncClient(url, api_key=api_key, timeout_seconds=timeout_seconds, ca_file=ca_file)


async def _close(results: AsyncGenerator[TaggedImage, None]) -> None:
    await results.aclose()


async def _next(results: AsyncIterator[TaggedImage]) -> TaggedImage | None:
    return await anext(results, None)
