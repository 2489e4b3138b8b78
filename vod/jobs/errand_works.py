"""What is done of a job as a whole: its sources are read, and at its end its own files are written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Final

from reeltag.errors import InvalidOption, OutputError, ReeltagError, StorageFull
from vod.jobs import errands, sources
from vod.jobs.claiming import Held
from vod.jobs.options import merged_options
from vod.jobs.running import Over, Runner
from vod.stores.checking import parsed_source
from vod.stores.expanding import expand
from vod.stores.job_files import VideoResult, write_job_files
from vod.stores.names import shown
from vod.stores.results import JSON_SUFFIX
from vod.stores.roots import Access
from vod.stores.source import BadLine, Found

_BATCHES: Final = (8, 200)
"""Videos that are added to a job in one go: few at first, so that work can begin."""
_log: Final = logging.getLogger(__name__)


class Errands(Runner):
    """The steps of jobs."""

    def expand(self, held: Held, job: errands.Job) -> None:
        """Read a job's sources: each becomes videos, or what is wrong with it is noted."""
        self.run(held, lambda _: self._expand(held, job))
        self.ask(lambda: errands.expanded(self.database, held))

    async def _expand(self, held: Held, job: errands.Job) -> None:
        access = sources.access_of(self.settings, job.tenant)
        batch: list[Found | BadLine] = []
        size = _BATCHES[0]

        async def add() -> None:
            if not await asyncio.to_thread(self.ask, lambda: errands.add(self.database, held, batch)):
                raise Over
            batch.clear()

        for text in job.sources:
            async for found in self._found(text, access, job.options):
                batch.append(found)
                if len(batch) >= size:
                    await add()
                    size = _BATCHES[1]
        await add()

    async def _found(self, text: str, access: Access, options: str) -> AsyncIterator[Found | BadLine]:
        """The videos of a source, and what is wrong with it."""
        try:
            source = parsed_source(text, access)
        except ReeltagError as error:
            yield BadLine(shown(text), error.code, str(error))
            return
        async for each in expand(source, access, self.cache):
            try:
                if isinstance(each, Found) and each.options:
                    known = await self.tagging.labels() if "taxonomy" in each.options else None
                    merged_options(options, each.options).check_labels(known)
            except InvalidOption as error:
                assert isinstance(each, Found)
                yield BadLine(f"{each.manifest}:{each.line}", error.code, str(error))
            else:
                yield each

    def finish(self, held: Held) -> None:
        """Write the files of a job whose videos are all done, and end it."""

        def videos() -> Iterator[VideoResult]:
            for row in errands.tagged(self.database, held.job_id):
                key = f"{held.job_id}/{row.name}{JSON_SUFFIX}"
                try:
                    with self.results.store.reading(key) as file:
                        yield VideoResult(row.number, row.name, row.source, file)
                except FileNotFoundError:
                    _log.error("the result %s was removed by somebody", key)
                    self.ask(partial(errands.lose, self.database, held, row.number))

        def written() -> None:
            write_job_files(self.results.store, held.job_id, videos())

        try:
            self.until_written(held, written)
        except (OutputError, StorageFull) as error:
            problem = BadLine("job", error.code, f"the files of the whole job are not there: {error}")
            self.ask(lambda: errands.add(self.database, held, [problem]))
        self.ask(lambda: errands.finish(self.database, held))
