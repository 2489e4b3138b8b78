"""How fast a manifest becomes videos, and what memory that takes: `python -m benchmarks.manifests [LINES]`."""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

from reeltag.fetching.url_hosts import UrlHosts
from reeltag.fetching.web import Web
from vod.stores.cache import SourceCache
from vod.stores.expanding import expand
from vod.stores.roots import Access, Roots
from vod.stores.source import Found, Source, SourceKind


def main(lines: int) -> None:
    """Expand a manifest of objects, of which nothing is asked."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "films.jsonl")
        with path.open("w") as file:
            file.writelines(f'{{"source": "s3://films/archive/{i:08}.mp4"}}\n' for i in range(lines))
        access = Access(Roots.of([folder, "s3://films/"]), Web(UrlHosts([])))
        before, began = _peak_mib(), time.perf_counter()
        found = asyncio.run(_count(Source(str(path), SourceKind.PATH, str(path)), access, Path(folder)))
        seconds = time.perf_counter() - began
    print(f"{found:,} videos in {seconds:.1f} s, {found / seconds:,.0f} a second, {_peak_mib() - before:.0f} MiB more")


async def _count(source: Source, access: Access, folder: Path) -> int:
    files = SourceCache(folder / "cache")
    try:
        count = 0
        async for each in expand(source, access, files):
            count += isinstance(each, Found)
        return count
    finally:
        files.close()


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
