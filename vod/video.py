"""Tags one video: decoding in the child, inference in Triton, and their results brought together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import reeltag
from reeltag.contract import BOXES, CLASSES, SCORES, SHOT_CONTEXT_FRAMES, SHOTS_ENSEMBLE, ModelCard, Task
from reeltag.errors import VideoError
from reeltag.frames import Geometry, geometry_of
from reeltag.readings import detections_of
from reeltag.tags import Coverage, Detection, Provenance, Shot, Tag, VideoSource, VideoTags
from vod.aggregation.aggregate import ScoredSample, sorted_tags, stretches_of, tags_of, with_gaps
from vod.aggregation.areas import FrameAreas
from vod.aggregation.categories import with_categories
from vod.aggregation.groups import ClassGroups
from vod.aggregation.levels import FrameScores, counts_of, frame_results, kept_detections, tagged_shots
from vod.aggregation.shots import shots_of
from vod.decoding.blocks import (
    End,
    Fetch,
    FrameBlock,
    Position,
    Probe,
    RingLayout,
    Scan,
    ShotWindow,
    SlotKind,
    array_at,
)
from vod.decoding.reader import VideoReader
from vod.decoding.sampling import shot_sample_times, shots_without
from vod.inference.flight import Flight
from vod.inference.ring import FrameTagger, RingInference, with_patience
from vod.options import Hysteresis, Sample, TagOptions
from vod.provenance import labels_of, model_provenance, sha256_of, tasks_of, with_groups
from vod.stores.names import shown
from vod.stores.thumbnails import ThumbnailStore

IN_FLIGHT: Final = 3
"""Blocks and windows that wait for Triton at once, while the child fills the next."""
_LEAST_SCORE: Final = 0.01
"""Scores below it count as 0, so that a long video's classes need little memory."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TaggedVideo:
    """The tags of a video, and what its page shows beside them."""

    tags: VideoTags
    frames: Mapping[float, tuple[Detection, ...]]
    """Objects of every sampled frame by its presentation time, seconds; by falling score."""


@dataclass
class _Findings:
    """What the networks said so far."""

    detections: dict[float, tuple[Detection, ...]] = field(default_factory=dict)
    objects: dict[float, dict[str, float]] = field(default_factory=dict)
    classes: dict[float, dict[str, float]] = field(default_factory=dict)
    groups: dict[float, dict[str, float]] = field(default_factory=dict)
    areas: dict[float, dict[str, float]] = field(default_factory=dict)
    cuts: dict[float, float] = field(default_factory=dict)


async def tag_video(
    path: Path,
    client: FrameTagger,
    options: TagOptions,
    thumbnails: ThumbnailStore,
    advanced: Callable[[float], None],
) -> TaggedVideo:
    """Tag one video.

    Args:
        path: The file.
        client: The server.
        options: How.
        thumbnails: Where a picture of every sampled frame is kept.
        advanced: Told the share of the video that was decoded, 0 to 1.

    Raises:
        VideoError: The file cannot be tagged at all.
        InvalidOption: The taxonomy names labels that no network knows.
        ServiceError: Triton was away for too long, or serves no such models.
        NetworkReplaced: Triton came to serve another network before the video was through.
    """
    tasks = tasks_of(await with_patience(client.cards))
    cards = {task.frames_ensemble: await client.card(task.frames_ensemble) for task in tasks}
    options.taxonomy.check_labels(labels_of(cards))
    views = tuple(dict.fromkeys(card.frames_view() for card in cards.values()))
    if options.sample is not Sample.KEYFRAMES:
        cards[SHOTS_ENSEMBLE] = await client.card(SHOTS_ENSEMBLE)
    digest = asyncio.ensure_future(asyncio.to_thread(sha256_of, path))
    try:
        keyframes_only = options.sample is Sample.KEYFRAMES
        async with VideoReader(path, RingLayout(views), keyframes_only=keyframes_only) as reader:
            probe = await reader.probe()
            async with RingInference(client, reader) as inference:
                run = _Run(reader, inference, cards, probe, thumbnails, options, advanced)
                end, shots = await run.both_passes()
        return _assembled(path, await digest, probe, end, shots, run.findings, cards, options)
    finally:
        digest.cancel()


class _Run:
    """One video on its way through the networks."""

    def __init__(
        self,
        reader: VideoReader,
        inference: RingInference,
        cards: Mapping[str, ModelCard],
        probe: Probe,
        thumbnails: ThumbnailStore,
        options: TagOptions,
        advanced: Callable[[float], None],
    ) -> None:
        self.findings = _Findings()
        self._reader = reader
        self._inference = inference
        self._cards = {task: cards[task.frames_ensemble] for task in tasks_of(cards)}
        self._shot_detector = cards.get(SHOTS_ENSEMBLE)
        classifier = self._cards[Task.CLASSIFY]
        self._groups = ClassGroups(classifier.groups, len(classifier.labels))
        segmenter = self._cards.get(Task.SEGMENT)
        self._areas = FrameAreas(segmenter, probe.width, probe.height) if segmenter else None
        self._duration = probe.duration_seconds or 0.0
        self._detector_view = self._cards[Task.DETECT].frames_view()
        self._geometry: Geometry = geometry_of(self._detector_view, probe.width, probe.height)
        self._thumbnails = thumbnails
        self._options = options
        self._advanced = advanced

    async def both_passes(self) -> tuple[End, tuple[Shot, ...]]:
        """Decode once, and a second time what shots without a sample need; give the first end and the shots."""
        end = await self._pass(Scan(self._options.sample, self._options.fps))
        times = sorted(self.findings.cuts)
        shots = shots_of([self.findings.cuts[t] for t in times], times, end.end_seconds)
        wanted = shot_sample_times(shots_without(shots, sorted(self.findings.objects)), times)
        if wanted:
            end = await self._second_pass(wanted, end, shots)
        return end, shots

    async def _second_pass(self, wanted: tuple[float, ...], end: End, shots: tuple[Shot, ...]) -> End:
        """Look at frames again; where that fails, the first pass counts, and shots without a sample become gaps.

        Raises:
            VideoError: It failed, and the first pass had sampled nothing.
        """
        problem = "no frame of it was decoded a second time"
        try:
            await self._pass(Fetch(wanted))
        except VideoError as error:
            if not self.findings.objects:
                raise
            problem = f"not decoded a second time: {error}"
        lacking = shots_without(shots, sorted(self.findings.objects))
        return replace(end, gaps=with_gaps(end.gaps, lacking, problem)) if lacking else end

    async def _pass(self, order: Scan | Fetch) -> End:
        end: End | None = None
        async with Flight(IN_FLIGHT) as flight:
            async for report in self._reader.reports(order):
                if isinstance(report, FrameBlock):
                    await flight.launch(self._block(report))
                elif isinstance(report, ShotWindow):
                    await flight.launch(self._window(report))
                elif isinstance(report, Position) and self._duration:
                    self._advanced(min(1.0, report.seconds / self._duration))
                elif isinstance(report, End):
                    end = report
        if end is None:
            raise RuntimeError("the decoder's reports ended without an End")
        return end

    async def _window(self, window: ShotWindow) -> None:
        assert self._shot_detector is not None  # no windows are made of key frames
        cuts = await self._inference.cuts(self._shot_detector, window.slot)
        self._reader.release(SlotKind.WINDOW, window.slot)
        counted = cuts[SHOT_CONTEXT_FRAMES : SHOT_CONTEXT_FRAMES + len(window.times)]
        self.findings.cuts.update(zip(window.times, map(float, counted), strict=True))

    async def _block(self, block: FrameBlock) -> None:
        count = len(block.times)
        self._keep_thumbnails(block)
        class_maps = self._areas is not None and self._areas.needs_class_maps
        asked = (self._inference.frames(c, block.slot, count, class_maps=class_maps) for c in self._cards.values())
        answers = dict(zip(self._cards, await asyncio.gather(*asked), strict=True))
        self._reader.release(SlotKind.BLOCK, block.slot)
        for i, time in enumerate(block.times):
            self._note_objects(time, answers[Task.DETECT][i])
            self._note_classes(time, answers[Task.CLASSIFY][i][SCORES])
            if self._areas is not None:
                shares = self._areas.shares(answers[Task.SEGMENT][i])
                self.findings.areas[time] = _by_label(shares, self._cards[Task.SEGMENT].labels)

    def _note_objects(self, time: float, tensors: Mapping[str, Array]) -> None:
        labels = self._cards[Task.DETECT].labels
        boxes = self._geometry.boxes_to_source(tensors[BOXES])
        threshold = self._options.thresholds.frame_score
        self.findings.detections[time] = detections_of(
            boxes, tensors[SCORES], tensors[CLASSES], labels, score_threshold=threshold
        )
        best: dict[str, float] = {}
        for score, index in zip(tensors[SCORES], tensors[CLASSES], strict=True):
            if score >= _LEAST_SCORE:
                label = labels[int(index)]
                best[label] = max(best.get(label, 0.0), float(score))
        self.findings.objects[time] = best

    def _note_classes(self, time: float, scores: Array) -> None:
        self.findings.classes[time] = _by_label(scores, self._cards[Task.CLASSIFY].labels)
        self.findings.groups[time] = _by_label(self._groups.scores(scores), self._groups.names)

    def _keep_thumbnails(self, block: FrameBlock) -> None:
        view, geometry, layout = self._detector_view, self._geometry, self._reader.layout
        shape = layout.view_shape(view, len(block.times))
        frames = array_at(self._reader.buffer, layout.view_offset(block.slot, view), shape)
        rows, columns = geometry.picture
        for time, frame in zip(block.times, frames, strict=True):
            self._thumbnails.add(time, frame[rows, columns])


def _by_label(scores: Array, labels: tuple[str, ...]) -> dict[str, float]:
    best: dict[str, float] = {}
    for index in np.flatnonzero(scores >= _LEAST_SCORE):
        label = labels[int(index)]  # ImageNet names two classes "crane" and two "maillot"
        best[label] = max(best.get(label, 0.0), float(scores[index]))
    return best


def _assembled(
    path: Path,
    digest: str,
    probe: Probe,
    end: End,
    shots: tuple[Shot, ...],
    findings: _Findings,
    cards: Mapping[str, ModelCard],
    options: TagOptions,
) -> TaggedVideo:
    detections = kept_detections(findings.detections, options.taxonomy, options.thresholds.frame_score)
    tags = _tags(shots, end, findings, cards, options)
    detector = cards[Task.DETECT.frames_ensemble].network
    counts = counts_of(detections, options.taxonomy, options.thresholds.detector.low)
    scores = _frame_scores(findings, cards, options)
    frames = frame_results(detections, scores, options.taxonomy) if options.frames else None
    result = VideoTags(
        source=VideoSource(
            name=shown(path.name),
            path=shown(path),
            sha256=digest,
            duration_seconds=round(end.duration_seconds, 6),
            width=probe.width,
            height=probe.height,
            frame_rate=probe.frame_rate,
        ),
        shots=tagged_shots(shots, tags, counts, detector=detector),
        tags=tags,
        frames=frames,
        coverage=Coverage(frames_decoded=end.frames_decoded, frames_sampled=len(detections), gaps=end.gaps),
        provenance=Provenance(
            reeltag_version=reeltag.__version__,
            models=model_provenance(cards, options),
            options=with_groups(options.of_video(segments=Task.SEGMENT in tasks_of(cards)), cards),
        ),
    )
    return TaggedVideo(result, detections)


def _frame_scores(findings: _Findings, cards: Mapping[str, ModelCard], options: TagOptions) -> tuple[FrameScores, ...]:
    """What is said of each frame as a whole, with the least that counts there."""
    least, share = options.thresholds.frame_score, options.thresholds.areas.low
    classifier = cards[Task.CLASSIFY.frames_ensemble].network
    scores = [FrameScores(classifier, None, least, each) for each in (findings.classes, findings.groups)]
    if findings.areas:
        segmenter = cards[Task.SEGMENT.frames_ensemble].network
        scores.append(FrameScores(segmenter, "area_share", share, findings.areas))
    return tuple(scores)


def _tags(
    shots: tuple[Shot, ...], end: End, findings: _Findings, cards: Mapping[str, ModelCard], options: TagOptions
) -> tuple[Tag, ...]:
    stretches = stretches_of(shots, end.gaps)
    thresholds = options.thresholds
    found: list[tuple[Task, dict[float, dict[str, float]], Hysteresis]] = [
        (Task.DETECT, findings.objects, thresholds.detector),
        (Task.CLASSIFY, findings.classes, thresholds.classifier),
        (Task.CLASSIFY, findings.groups, thresholds.groups),
    ]
    if findings.areas:
        found.append((Task.SEGMENT, findings.areas, thresholds.areas))
    tags: list[Tag] = []
    for task, scores, hysteresis in found:
        tags += tags_of(
            [ScoredSample(time, scores[time]) for time in sorted(scores)],
            stretches,
            model=cards[task.frames_ensemble].network,
            kind="area_share" if task is Task.SEGMENT else None,
            hysteresis=hysteresis,
            by_label=options.taxonomy.thresholds,
            merge_gap_seconds=thresholds.merge_gap_seconds,
        )
    gap = thresholds.merge_gap_seconds
    return sorted_tags(with_categories(tags, options.taxonomy, stretches, merge_gap_seconds=gap))
