"""Tags one segment of a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from reeltag.errors import NotOnGpu, VideoError
from reeltag.tags import Tag
from vod.decoding.blocks import Scan
from vod.inference.ring import FrameTagger
from vod.options import Decoder, TagOptions
from vod.segments.findings import Findings
from vod.segments.glimpses import Glimpses
from vod.segments.look import looking, say_on_cpu
from vod.segments.networks import networks_of
from vod.segments.plan import Segment, VideoPlan
from vod.segments.record import SegmentRecord
from vod.stores.thumbnails import ThumbnailStore, spacing_of


async def tag_segment(
    path: Path,
    plan: VideoPlan,
    segment: Segment,
    client: FrameTagger,
    options: TagOptions,
    advanced: Callable[[float], None] = lambda _: None,
    glimpsed: Callable[[tuple[Tag, ...]], None] | None = None,
) -> SegmentRecord:
    """Tag the frames of a video whose presentation time lies in a segment.

    They are decoded in a child process, from a key frame before the segment on. The result depends on the file, the
    networks and the options alone, never on where the segment begins.

    Args:
        path: The file.
        plan: Of the file, made for these options.
        segment: One of the plan's.
        client: The server.
        options: How.
        advanced: Told the share of the segment that was decoded, 0 to 1.
        glimpsed: Told now and then the tags of what was seen so far.

    Raises:
        NotAsPlanned: The file can only be decoded in one go (`VideoPlan.in_one_go`).
        VideoError: It cannot be tagged at all, or it has changed since it was planned.
        ServiceError: Triton was away for too long, or serves no such models.
        NetworkReplaced: Triton came to serve another network before the segment was through.
    """
    try:
        return await _tagged(path, plan, segment, client, options, advanced, glimpsed)
    except NotOnGpu as error:
        say_on_cpu(path, str(error))
        on_cpu = replace(options, decoder=Decoder.CPU)
        return await _tagged(path, plan, segment, client, on_cpu, advanced, glimpsed)


async def _tagged(
    path: Path,
    plan: VideoPlan,
    segment: Segment,
    client: FrameTagger,
    options: TagOptions,
    advanced: Callable[[float], None],
    glimpsed: Callable[[tuple[Tag, ...]], None] | None,
) -> SegmentRecord:
    plan.check(path, options)
    networks = await networks_of(client, options)
    findings = Findings()
    glimpses = Glimpses(segment, networks, options, glimpsed) if glimpsed else None
    of_share = share_of(segment, advanced)

    def reached(seconds: float) -> None:
        of_share(seconds)
        if glimpses is not None:
            glimpses.look(findings)

    order = Scan(options.sample, options.fps, plan.part(segment, networks.stride, options))
    with ThumbnailStore(spacing_of(plan.probe.duration_seconds)) as thumbnails:
        async with looking(path, client, networks, options) as look:
            if look.probe != plan.probe:
                raise VideoError(f"{path.name} has changed since it was looked at; tag it again")
            end = await look.carry_out(order, findings, thumbnails, reached)
        if glimpses is not None and len(plan.segments) > 1:  # else the results are about to come
            glimpses.look(findings, is_whole=True)
        pictures = {time: thumbnails.get(time) for time in thumbnails.times}
    return SegmentRecord(segment.index, networks.versions, end, findings, pictures)


def share_of(segment: Segment, advanced: Callable[[float], None]) -> Callable[[float], None]:
    """What is told the time that was reached, and tells `advanced` the share of a segment, 0 to 1."""
    length = segment.end_seconds - segment.start_seconds

    def reached(seconds: float) -> None:
        if length > 0:
            advanced(min(1.0, max(0.0, (seconds - segment.start_seconds) / length)))

    return reached
