"""Seconds of video per second: decoding and networks in one process, against `reeltag tag` through Triton.

Both sample 2 frames a second for the detector and the classifier and look at every frame for shots.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks import media
from benchmarks.bare_video import BareVideo
from benchmarks.server import serving
from reeltag.settings import load_settings
from reeltag.triton import TritonClient
from vod.options import TagOptions
from vod.tagging import tag_paths

VIDEO_SECONDS: Final = 60


async def tagging_seconds(triton_url: str, path: Path, out: Path) -> float:
    """Time of `reeltag tag` on a running server, results written."""
    async with TritonClient(triton_url) as client:
        began = time.perf_counter()
        await tag_paths([path], out, client, TagOptions(force=True), jobs=load_settings().tag_jobs)
        return time.perf_counter() - began


def report() -> str:
    """Markdown: both ways on one 720p street video, best of two."""
    with tempfile.TemporaryDirectory() as folder, serving() as served:
        path = Path(folder) / "street.mp4"
        media.street_video_720p(path, VIDEO_SECONDS)
        bare = BareVideo()
        asyncio.run(tagging_seconds(served.triton_url, path, Path(folder)))
        rounds = [
            (
                bare.spent(path, TagOptions()).seconds,
                asyncio.run(tagging_seconds(served.triton_url, path, Path(folder))),
            )
            for _ in "ab"
        ]
    bare_rate = VIDEO_SECONDS / min(seconds for seconds, _ in rounds)
    tag_rate = VIDEO_SECONDS / min(seconds for _, seconds in rounds)
    return (
        f"| {VIDEO_SECONDS} s of 720p H.264, 2 frames a second and shots | seconds of video a second | of bare |\n"
        f"|---|---|---|\n| bare process | {bare_rate:.1f} | 1.00 |\n"
        f"| reeltag tag | {tag_rate:.1f} | {tag_rate / bare_rate:.2f} |"
    )


if __name__ == "__main__":
    print(report())
