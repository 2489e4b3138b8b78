"""All videos of a source."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from vod.stores.cache import SourceCache
from vod.stores.expanding import expand
from vod.stores.roots import Access
from vod.stores.source import BadLine, Found, Source


def all_of(source: Source, access: Access) -> list[Found | BadLine]:
    """In order."""

    async def main(folder: str) -> list[Found | BadLine]:
        files = SourceCache(Path(folder))
        try:
            return [each async for each in expand(source, access, files)]
        finally:
            files.close()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(folder))
