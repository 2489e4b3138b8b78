"""Makes the tags of a video of the records of its segments: pure aggregation, after a second look where one is due."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import reeltag
from reeltag.contract import Task
from reeltag.errors import StaleRecord, VideoError
from reeltag.tags import Coverage, Kind, Provenance, Shot, Tag, VideoSource
from vod.aggregation.aggregate import sorted_tags, stretches_of, tags_of, with_gaps
from vod.aggregation.categories import with_categories
from vod.aggregation.groups import ClassGroups
from vod.aggregation.levels import FrameResults, FrameScores, Objects, TaggedShots
from vod.aggregation.repeating import RepeatedSamples, Repeats, repeats_of
from vod.aggregation.shots import shots_of
from vod.decoding.blocks import End, Fetch
from vod.decoding.sampling import Sample, ShotFrames, shot_sample_groups, shots_without
from vod.inference.ring import FrameTagger
from vod.options import Hysteresis, TagOptions
from vod.provenance import model_provenance, with_groups
from vod.segments.findings import Findings, FrameObjects, Samples
from vod.segments.look import Look, looking
from vod.segments.networks import Networks, networks_of
from vod.segments.plan import VideoPlan
from vod.segments.record import SegmentRecord
from vod.stores.names import shown
from vod.stores.tagged import TaggedVideo
from vod.stores.thumbnails import ThumbnailStore, spacing_of

Opened = Callable[[], AbstractAsyncContextManager[Look]]
"""Opens the video for a second look."""


async def merged(
    path: Path,
    plan: VideoPlan,
    records: Iterable[SegmentRecord] | AsyncIterable[SegmentRecord],
    client: FrameTagger,
    options: TagOptions,
    thumbnails: ThumbnailStore,
) -> TaggedVideo:
    """The tags of a video.

    Shots in which no sample lies are looked at now, so the file and the server are needed.

    Args:
        path: The file.
        plan: That the records are of.
        records: One of each segment, in any order; each is let go of before the next one is asked for.
        client: The server.
        options: How the segments were tagged.
        thumbnails: Empty; gets a picture of the sampled frames, for the page.

    Raises:
        StaleRecord: A record is of other networks than those that are served now, or is missing.
        VideoError: The file cannot be read any more, and no frame of it was sampled.
        ServiceError: Triton was away for too long, or serves no such models.
        NetworkReplaced: Triton came to serve another network meanwhile.
    """
    plan.check(path, options)
    networks = await networks_of(client, options)
    findings, ends = Findings(), dict[int, End]()
    thumbnails.spacing_seconds = spacing_of(plan.probe.duration_seconds)
    async for record in _each(records):
        if record.networks != networks.versions:
            raise StaleRecord(f"segment {record.segment} of {path.name} was seen by other networks; tag it again")
        findings.extend(record.findings)
        ends[record.segment] = record.end
        for time, picture in record.thumbnails.items():
            thumbnails.keep(time, picture)
    end = _whole_end(path, plan, ends)
    return await finished(
        path, plan, findings, end, networks, options, thumbnails, lambda: looking(path, client, networks, options)
    )


async def finished(
    path: Path,
    plan: VideoPlan,
    findings: Findings,
    end: End,
    networks: Networks,
    options: TagOptions,
    thumbnails: ThumbnailStore,
    opened: Opened,
) -> TaggedVideo:
    """The tags of a video of all that was seen in it; as `merged`.

    Args:
        path: The file.
        plan: Of the file.
        findings: Of all its segments; gets what a second look finds.
        end: How decoding ended.
        networks: That looked.
        options: How.
        thumbnails: Gets pictures of the second look.
        opened: Opens the file for that.
    """
    times, scores = findings.cut_scores()
    shots = shots_of(scores, times, end.end_seconds)
    which = options.shot_frames if options.sample is Sample.SHOTS else ShotFrames.SPREAD
    wanted = shot_sample_groups(shots_without(shots, findings.sample_times()), times, which)
    if wanted:
        end = await _second_look(wanted, end, shots, findings, thumbnails, opened)
    return _assembled(path, plan, end, shots, findings, networks, options)


async def _second_look(
    wanted: tuple[tuple[float, ...], ...],
    end: End,
    shots: tuple[Shot, ...],
    findings: Findings,
    thumbnails: ThumbnailStore,
    opened: Opened,
) -> End:
    """Look at frames again; where that fails, the first look counts, and shots without a sample become gaps.

    Raises:
        VideoError: It failed, and nothing had been sampled before.
    """
    problem = "no frame of it was decoded a second time"
    thumbnails.spacing_seconds = 0.0
    try:
        async with opened() as look:
            await look.carry_out(Fetch(wanted), findings, thumbnails)
    except VideoError as error:
        if not len(findings.sample_times()):
            raise
        problem = f"not decoded a second time: {error}"
    lacking = shots_without(shots, findings.sample_times())
    return replace(end, gaps=with_gaps(end.gaps, lacking, problem)) if lacking else end


def _whole_end(path: Path, plan: VideoPlan, ends: Mapping[int, End]) -> End:
    missing = [segment.index for segment in plan.segments if segment.index not in ends]
    if missing:
        raise StaleRecord(f"the record of segment {missing[0]} of {path.name} is missing")
    last = ends[plan.segments[-1].index]
    return replace(last, frames_decoded=sum(end.frames_decoded for end in ends.values()))


async def _each(records: Iterable[SegmentRecord] | AsyncIterable[SegmentRecord]) -> AsyncIterator[SegmentRecord]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
        return
    for record in records:
        yield record


def _assembled(
    path: Path,
    plan: VideoPlan,
    end: End,
    shots: tuple[Shot, ...],
    findings: Findings,
    networks: Networks,
    options: TagOptions,
) -> TaggedVideo:
    cards, probe, detector = networks.cards, plan.probe, networks.tasks[Task.DETECT]
    taxonomy, least = options.taxonomy, options.thresholds.detector.high
    found = FrameObjects(findings.boxes, detector.labels, options.thresholds.frame_score, taxonomy)
    objects = Objects(detector.network, found.times, lambda label: found.counts(label, taxonomy.high(label, least)))
    said, stretches = _said(findings, networks, options), stretches_of(shots, end.gaps)
    repeats = None
    if options.sample is Sample.ADAPTIVE:
        repeats = repeats_of(found.times, findings.cut_scores()[0], stretches, options.fps)
        objects = objects.repeated(repeats)
    tags = _tags(stretches, said, repeats, options)
    return TaggedVideo(
        source=VideoSource(
            name=shown(path.name),
            path=shown(path),
            sha256=plan.sha256,
            duration_seconds=round(end.duration_seconds, 6),
            width=probe.width,
            height=probe.height,
            frame_rate=probe.frame_rate,
        ),
        shots=TaggedShots(shots, tags, objects),
        tags=tags,
        coverage=Coverage(frames_decoded=end.frames_decoded, frames_sampled=len(found), gaps=end.gaps),
        provenance=Provenance(
            reeltag_version=reeltag.__version__,
            models=model_provenance(cards, options),
            options=with_groups(options.of_video(segments=Task.SEGMENT in networks.tasks), cards),
        ),
        frames=found,
        frame_results=FrameResults(found, _frame_scores(said), taxonomy) if options.frames else None,
    )


def preliminary(findings: Findings, start_seconds: float, networks: Networks, options: TagOptions) -> tuple[Tag, ...]:
    """Tags of what was seen so far of a segment; those of the whole video may differ.

    Args:
        findings: Of the segment's first frames.
        start_seconds: Where the segment begins.
        networks: That looked.
        options: How.
    """
    sampled, (times, scores) = findings.sample_times(), findings.cut_scores()
    if not len(sampled):
        return ()
    end = max(sampled[-1] + 1 / options.fps, times[-1] if len(times) else 0.0)
    shots = shots_of(scores, times, float(end))
    stretches = [
        Shot(start_seconds=max(shot.start_seconds, start_seconds), end_seconds=shot.end_seconds)
        for shot in shots
        if shot.end_seconds > start_seconds
    ]
    repeats = None
    if options.sample is Sample.ADAPTIVE:
        repeats = repeats_of(np.asarray(sampled), times, stretches, options.fps)
    return _tags(stretches, _said(findings, networks, options), repeats, options)


@dataclass(frozen=True)
class _Said:
    """What one network said of the sampled frames."""

    task: Task
    model: str
    kind: Kind | None
    samples: Samples
    hysteresis: Hysteresis
    least: float
    """Lower scores are no labels of a frame, 0 to 1."""


def _said(findings: Findings, networks: Networks, options: TagOptions) -> list[_Said]:
    cards, thresholds = networks.tasks, options.thresholds
    detector, classifier, segmenter = (cards.get(task) for task in (Task.DETECT, Task.CLASSIFY, Task.SEGMENT))
    assert detector is not None
    assert classifier is not None
    least, names = thresholds.frame_score, ClassGroups(classifier.groups, len(classifier.labels)).names
    objects, classes = Samples(findings.objects, detector.labels), Samples(findings.classes, classifier.labels)
    groups = Samples(findings.groups, names)
    said = [
        _Said(Task.DETECT, detector.network, None, objects, thresholds.detector, least),
        _Said(Task.CLASSIFY, classifier.network, None, classes, thresholds.classifier, least),
        _Said(Task.CLASSIFY, classifier.network, None, groups, thresholds.groups, least),
    ]
    if segmenter is not None:
        areas = Samples(findings.areas, segmenter.labels)
        said.append(_Said(Task.SEGMENT, segmenter.network, "area_share", areas, thresholds.areas, thresholds.areas.low))
    return said


def _tags(
    stretches: Sequence[Shot], said: Sequence[_Said], repeats: Repeats | None, options: TagOptions
) -> tuple[Tag, ...]:
    gap = options.thresholds.merge_gap_seconds
    tags: list[Tag] = []
    for each in said:
        tags += tags_of(
            RepeatedSamples(each.samples, repeats) if repeats else each.samples,
            stretches,
            model=each.model,
            kind=each.kind,
            hysteresis=each.hysteresis,
            by_label=options.taxonomy.thresholds,
            merge_gap_seconds=gap,
        )
    return sorted_tags(with_categories(tags, options.taxonomy, stretches, merge_gap_seconds=gap))


def _frame_scores(said: Sequence[_Said]) -> tuple[FrameScores, ...]:
    """What is said of each frame as a whole; its objects are told with their boxes."""
    return tuple(
        FrameScores(each.model, each.kind, each.least, each.samples) for each in said if each.task is not Task.DETECT
    )
