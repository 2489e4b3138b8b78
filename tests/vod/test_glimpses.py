"""Tags of a segment before it is done."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reeltag.tags import Tag
from tests.vod.fake import FakeTagger
from vod.options import Sample, TagOptions
from vod.segments import merged, plan_video, tag_segment
from vod.segments.findings import Findings
from vod.segments.glimpses import MOST_FRAMES, Glimpses
from vod.segments.networks import networks_of
from vod.segments.plan import Segment
from vod.stores.thumbnails import ThumbnailStore


def note(findings: Findings, time: float) -> None:
    """A frame that is surely red."""
    none = np.array([])
    findings.objects.add(time, label=none, score=none)
    findings.classes.add(time, label=np.array([0]), score=np.array([0.9]))
    findings.groups.add(time, label=none, score=none)


def test_each_glimpse_is_of_four_times_as_much() -> None:
    findings, told = Findings(), list[tuple[Tag, ...]]()
    networks = asyncio.run(networks_of(FakeTagger(), TagOptions()))
    glimpses = Glimpses(Segment(1, 60.0, 120.0), networks, TagOptions(), told.append)
    glimpses.look(findings)
    assert told == []
    for frame in range(MOST_FRAMES + 8):
        note(findings, 60.0 + frame / 2)
        glimpses.look(findings)
    assert [(tag.label, tag.confidence) for tag in told[0]] == [("red", 0.9)]
    intervals = [(each.start_seconds, each.end_seconds) for (tag,) in told for each in tag.intervals]
    assert intervals == [(60.0, 60.0 + frames / 2) for frames in (1, 4, 16, 64, 256)]
    glimpses.look(findings, is_whole=True)
    assert len(told) == 5


@pytest.mark.parametrize("sample", [Sample.FPS, Sample.ADAPTIVE, Sample.EVERY, Sample.KEYFRAMES])
def test_the_last_glimpse_has_the_tags_of_the_video(three_colours: Path, sample: Sample) -> None:
    options, told = TagOptions(sample=sample), list[tuple[Tag, ...]]()

    async def run() -> tuple[Tag, ...]:
        client = FakeTagger()
        plan = await plan_video(three_colours, options)
        several = replace(plan, segments=plan.segments * 2)  # of a single one the results are about to come
        record = await tag_segment(three_colours, several, plan.segments[0], client, options, glimpsed=told.append)
        with ThumbnailStore() as thumbnails:
            return (await merged(three_colours, plan, [record], client, options, thumbnails)).tags

    tags = asyncio.run(run())
    assert tags
    assert [(tag.label, tag.model, tag.confidence) for tag in told[-1]] == [
        (tag.label, tag.model, tag.confidence) for tag in tags
    ]
