"""Jobs, for asyncio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from reeltag.client.grpc_jobs import GrpcJobs
from reeltag.client.jobs import Job, JobState, JobVideo, ResultFormat
from reeltag.client.rest_jobs import RestJobs
from reeltag.client.retrying import Refused, retried
from reeltag.errors import InputError

T = TypeVar("T")

_PAGE: Final = 200
_PIECE_BYTES: Final = 8 << 20
"""Of an upload, sent in one request."""
_AGAIN_SECONDS: Final = 1.0


class AsyncJobs:
    """The jobs of one gateway; `AsyncClient.jobs`.

    Each method raises `Refused` where the server says no, errors that may pass after they were retried.

    Args:
        transport: Asks once.
        timeout_seconds: Longest wait for one answer, tries that failed included.
    """

    def __init__(self, transport: RestJobs | GrpcJobs, timeout_seconds: float) -> None:
        self._transport = transport
        self._timeout_seconds = timeout_seconds

    async def submit(
        self,
        sources: str | Sequence[str],
        *,
        options: dict[str, Any] | None = None,
        priority: int | None = None,
        webhook: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Make a job, or find the one that was made of the same.

        Args:
            sources: Paths on the server, URLs, addresses in object stores, manifests, or what `upload` gave.
            options: Of `reeltag tag`, such as `{"fps": 1}`.
            priority: 1 goes first, 9 last.
            webhook: An address that hears how it ends.
            idempotency_key: The same key with another submission is an error.
        """
        said: dict[str, Any] = {"sources": [sources] if isinstance(sources, str) else list(sources)}
        said |= {"options": options} if options else {}
        said |= {"priority": priority} if priority is not None else {}
        said |= {"webhook": webhook} if webhook is not None else {}
        job_id, _ = await self._ask(partial(self._transport.submit, said, idempotency_key))
        return await self.get(job_id)

    async def get(self, job_id: str) -> Job:
        """A job as it is now."""
        return await self._ask(partial(self._transport.get, job_id))

    async def list(self, *, states: Sequence[JobState] = (), created_after: float = 0.0) -> AsyncGenerator[Job, None]:
        """All jobs, the newest first."""
        cursor: str | None = None
        while True:
            page = await self._ask(partial(self._transport.list, states, _PAGE, cursor, created_after))
            for job in page.items:
                yield job
            if (cursor := page.next_cursor) is None:
                return

    async def videos(self, job_id: str, *, states: Sequence[JobState] = ()) -> AsyncGenerator[JobVideo, None]:
        """The videos of a job, by their numbers."""
        cursor: str | None = None
        while True:
            page = await self._ask(partial(self._transport.videos, job_id, states, _PAGE, cursor))
            for video in page.items:
                yield video
            if (cursor := page.next_cursor) is None:
                return

    async def results(self, job_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """The `tags.json` of each video that is done, by their numbers."""
        async with aclosing(self._transport.documents(job_id, self._timeout_seconds)) as documents:
            async for document in documents:
                yield json.loads(document)

    async def result_file(self, job_id: str, form: ResultFormat | str, video: int | None = None) -> bytes:
        """A file of one video, by its number; Parquet is of the whole job."""
        return await self._ask(partial(self._transport.file, job_id, ResultFormat(form), video))

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        """The job now and after each change, until it has ended; a connection that breaks is made again."""
        loop = asyncio.get_running_loop()
        last: Job | None = None
        heard = loop.time()
        while last is None or not last.state.is_final:
            async with aclosing(self._changes(job_id)) as changes:
                async for change in changes:
                    if isinstance(change, Refused):
                        if change.wait_seconds is None or loop.time() - heard >= self._timeout_seconds:
                            raise change
                        await asyncio.sleep(max(change.wait_seconds, _AGAIN_SECONDS))
                        break
                    heard = loop.time()
                    if change != last:
                        last = change
                        yield change
                else:  # it ended without a fault: perhaps the server stops
                    await asyncio.sleep(0.0 if last is not None and last.state.is_final else _AGAIN_SECONDS)

    async def _changes(self, job_id: str) -> AsyncGenerator[Job | Refused, None]:
        """What one connection tells, and at last why it broke, if it did."""
        changes = self._transport.watch(job_id, self._timeout_seconds)
        try:
            async for job in changes:
                yield job
        except Refused as error:
            yield error
        finally:
            await changes.aclose()

    async def wait(self, job_id: str) -> Job:
        """The job when it has ended."""
        return [job async for job in self.watch(job_id)][-1]

    async def cancel(self, job_id: str) -> Job:
        """Stop the work on it; what is done is kept."""
        return await self._ask(partial(self._transport.turn, "cancel", job_id))

    async def resume(self, job_id: str) -> Job:
        """Go on where it was cancelled."""
        return await self._ask(partial(self._transport.turn, "resume", job_id))

    async def retry(self, job_id: str) -> Job:
        """Try again what failed."""
        return await self._ask(partial(self._transport.turn, "retry", job_id))

    async def delete(self, job_id: str) -> None:
        """Remove it and its results."""
        await self._ask(partial(self._transport.delete, job_id))

    async def upload(self, path: str | Path, advanced: Callable[[int, int], None] = lambda *_: None) -> str:
        """Send a video to the server; a connection that breaks is made again, and what came is not sent twice.

        Args:
            path: Of the file.
            advanced: Called with the bytes that are there, and with all.

        Returns:
            What `submit` takes.

        Raises:
            InputError: The file cannot be read.
        """
        path = Path(path)
        try:
            length = path.stat().st_size
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})") from error
        place = await self._ask(partial(self._transport.begin_upload, path.name, length))
        offset = 0
        while offset < length:
            piece = await asyncio.to_thread(_read, path, offset)
            offset = await self._ask(partial(self._sent, place, offset, piece))
            advanced(offset, length)
        return f"upload:{place.rpartition('/')[2]}"

    async def _sent(self, place: str, offset: int, piece: bytes, timeout_seconds: float) -> int:
        """Where the upload ends now; the server is asked for that where it went on otherwise than we think."""
        try:
            return await self._transport.send_piece(place, offset, piece, timeout_seconds)
        except Refused as error:
            if error.code != "upload_conflict":
                raise
            return await self._transport.offset(place, timeout_seconds)

    async def _ask(self, ask: Callable[[float], Awaitable[T]]) -> T:
        return await retried(ask, self._timeout_seconds)


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            piece = file.read(_PIECE_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    if not piece:
        raise InputError(f"{path} became shorter while it was sent; send it again")
    return piece
