"""Tags one video for `reeltag tag`: in one go, or in segments side by side where there are cores for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, nullcontext
from dataclasses import replace
from pathlib import Path

from reeltag.errors import NotAsPlanned, NotOnGpu
from vod.decoding.blocks import Scan
from vod.inference.ring import FrameTagger
from vod.options import Decoder, Sample, TagOptions
from vod.provenance import sha256_of
from vod.segments import SegmentRecord, VideoPlan, merged, plan_video, tag_segment
from vod.segments.findings import Findings
from vod.segments.look import looking, say_on_cpu
from vod.segments.merging import finished
from vod.segments.networks import networks_of
from vod.segments.plan import SEGMENT_SECONDS, whole
from vod.segments.tagging import share_of
from vod.stores.tagged import TaggedVideo
from vod.stores.thumbnails import ThumbnailStore, spacing_of


async def tag_video(
    path: Path,
    client: FrameTagger,
    options: TagOptions,
    thumbnails: ThumbnailStore,
    advanced: Callable[[float], None],
    *,
    at_once: int = 1,
    segment_seconds: float = SEGMENT_SECONDS,
) -> TaggedVideo:
    """Tag one video.

    Args:
        path: The file.
        client: The server.
        options: How.
        thumbnails: Empty; where pictures of sampled frames are kept.
        advanced: Told the share of the video that was decoded, 0 to 1.
        at_once: Segments that are tagged side by side, at least 1.
        segment_seconds: About how long they are.

    Raises:
        VideoError: The file cannot be tagged at all.
        ServiceError: Triton was away for too long, or serves no such models.
        NetworkReplaced: Triton came to serve another network before the video was through.
    """
    if at_once > 1:
        plan = await plan_video(path, options, segment_seconds=segment_seconds)
        if len(plan.segments) > 1:
            try:
                return await _side_by_side(path, plan, client, options, thumbnails, advanced, at_once)
            except NotAsPlanned:
                thumbnails.clear()
    try:
        return await _in_one_go(path, client, options, thumbnails, advanced)
    except NotOnGpu as error:
        say_on_cpu(path, str(error))
        thumbnails.clear()
        return await _in_one_go(path, client, replace(options, decoder=Decoder.CPU), thumbnails, advanced)


async def _in_one_go(
    path: Path,
    client: FrameTagger,
    options: TagOptions,
    thumbnails: ThumbnailStore,
    advanced: Callable[[float], None],
) -> TaggedVideo:
    networks = await networks_of(client, options)
    digest = asyncio.ensure_future(asyncio.to_thread(sha256_of, path))
    findings, size = Findings(), path.stat().st_size
    try:
        async with looking(path, client, networks, options) as look:
            probe, segment = look.probe, whole(look.probe)
            thumbnails.spacing_seconds = spacing_of(probe.duration_seconds)
            order = Scan(options.sample, options.fps)
            end = await look.carry_out(order, findings, thumbnails, share_of(segment, advanced))
            plan = VideoPlan(probe, await digest, size, (segment,), options.sample is Sample.KEYFRAMES)
            # The same child looks again: it need not be started anew.
            return await finished(path, plan, findings, end, networks, options, thumbnails, lambda: nullcontext(look))
    finally:
        digest.cancel()


async def _side_by_side(
    path: Path,
    plan: VideoPlan,
    client: FrameTagger,
    options: TagOptions,
    thumbnails: ThumbnailStore,
    advanced: Callable[[float], None],
    at_once: int,
) -> TaggedVideo:
    shares = dict.fromkeys(range(len(plan.segments)), 0.0)

    async def record(number: int) -> SegmentRecord:
        def told(share: float) -> None:
            shares[number] = share
            advanced(sum(shares.values()) / len(shares))

        return await tag_segment(path, plan, plan.segments[number], client, options, told)

    async with aclosing(_as_they_come(record, len(shares), at_once)) as records:
        # A second look is at few frames.
        return await merged(path, plan, records, client, replace(options, decoder=Decoder.CPU), thumbnails)


async def _as_they_come(
    record: Callable[[int], Coroutine[None, None, SegmentRecord]], count: int, at_once: int
) -> AsyncGenerator[SegmentRecord, None]:
    waiting, running = iter(range(count)), set[asyncio.Future[SegmentRecord]]()
    try:
        while True:
            for number in waiting:
                running.add(asyncio.ensure_future(record(number)))
                if len(running) >= at_once:
                    break
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                yield each.result()
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
