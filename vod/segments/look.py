"""Frames of one video on their way through the networks: what these say is collected by presentation time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from reeltag.contract import BOXES, CLASSES, SCORES, SHOT_CONTEXT_FRAMES, Task
from reeltag.frames import Geometry, geometry_of
from vod.aggregation.areas import FrameAreas
from vod.aggregation.groups import ClassGroups
from vod.decoding.blocks import (
    End,
    Fetch,
    FrameBlock,
    Position,
    Probe,
    Scan,
    ShotWindow,
    SlotKind,
    array_at,
)
from vod.decoding.nvdec import device_of
from vod.decoding.reader import VideoReader, prepare
from vod.inference.flight import Flight
from vod.inference.ring import FrameTagger, RingInference
from vod.options import TagOptions
from vod.segments.findings import Findings, Vocabulary
from vod.segments.networks import IN_FLIGHT, Networks
from vod.stores.thumbnails import ThumbnailStore

Array = npt.NDArray[Any]
_LOG: Final = logging.getLogger(__name__)


class Look:
    """Carries out orders on one open video.

    Args:
        reader: Open.
        inference: Of its ring.
        networks: That look.
        probe: Of the video.
        options: How.
    """

    def __init__(
        self, reader: VideoReader, inference: RingInference, networks: Networks, probe: Probe, options: TagOptions
    ) -> None:
        self.probe = probe
        self.networks = networks
        self._reader = reader
        self._inference = inference
        self._cards = networks.tasks
        classifier = self._cards[Task.CLASSIFY]
        self._groups = ClassGroups(classifier.groups, len(classifier.labels))
        self._vocabularies = {task: Vocabulary(card.labels) for task, card in self._cards.items()}
        self._group_vocabulary = Vocabulary(self._groups.names)
        segmenter = self._cards.get(Task.SEGMENT)
        self._areas = FrameAreas(segmenter, probe.width, probe.height) if segmenter else None
        self._detector_view = self._cards[Task.DETECT].frames_view()
        self._geometry: Geometry = geometry_of(self._detector_view, probe.width, probe.height)
        self._frame_score = options.thresholds.frame_score

    async def carry_out(
        self,
        order: Scan | Fetch,
        findings: Findings,
        thumbnails: ThumbnailStore,
        reached: Callable[[float], None] = lambda _: None,
    ) -> End:
        """Let the networks look at what an order asks for.

        Args:
            order: Which frames.
            findings: Get what they say.
            thumbnails: Get a picture of the frames.
            reached: Told to which time the video was decoded, seconds.

        Raises:
            VideoError: The video cannot be decoded.
            NotAsPlanned: The frames of a part are not those that it names.
            ServiceError: Triton was away for too long.
            NetworkReplaced: It serves another network now.
        """
        end: End | None = None
        async with Flight(IN_FLIGHT) as flight:
            async for report in self._reader.reports(order):
                if isinstance(report, FrameBlock):
                    await flight.launch(self._block(report, findings, thumbnails))
                elif isinstance(report, ShotWindow):
                    await flight.launch(self._window(report, findings))
                elif isinstance(report, Position):
                    reached(report.seconds)
                elif isinstance(report, End):
                    end = report
        if end is None:
            raise RuntimeError("the decoder's reports ended without an End")
        return end

    async def _window(self, window: ShotWindow, findings: Findings) -> None:
        assert self.networks.shot_detector is not None  # no windows are made of key frames
        cuts = await self._inference.cuts(self.networks.shot_detector, window.slot)
        self._reader.release(SlotKind.WINDOW, window.slot)
        counted = cuts[SHOT_CONTEXT_FRAMES : SHOT_CONTEXT_FRAMES + len(window.times)]
        findings.cuts.add_each(window.times, score=counted)

    async def _block(self, block: FrameBlock, findings: Findings, thumbnails: ThumbnailStore) -> None:
        count = len(block.times)
        self._keep_thumbnails(block, thumbnails)
        class_maps = self._areas is not None and self._areas.needs_class_maps
        asked = (self._inference.frames(c, block.slot, count, class_maps=class_maps) for c in self._cards.values())
        answers = dict(zip(self._cards, await asyncio.gather(*asked), strict=True))
        self._reader.release(SlotKind.BLOCK, block.slot)
        for i, time in enumerate(block.times):
            self._note_objects(time, answers[Task.DETECT][i], findings)
            self._note_classes(time, answers[Task.CLASSIFY][i][SCORES], findings)
            if self._areas is not None:
                shares = self._areas.shares(answers[Task.SEGMENT][i])
                findings.areas.add(time, **_of_all(self._vocabularies[Task.SEGMENT], shares))

    def _note_objects(self, time: float, tensors: Mapping[str, Array], findings: Findings) -> None:
        scores, classes = tensors[SCORES], tensors[CLASSES]
        kept = scores >= self._frame_score
        x1, y1, x2, y2 = self._geometry.boxes_to_source(tensors[BOXES])[kept].T
        findings.boxes.add(time, x1=x1, y1=y1, x2=x2, y2=y2, score=scores[kept], label=classes[kept])
        findings.objects.add(time, **self._vocabularies[Task.DETECT].best(classes, scores))

    def _note_classes(self, time: float, scores: Array, findings: Findings) -> None:
        findings.classes.add(time, **_of_all(self._vocabularies[Task.CLASSIFY], scores))
        findings.groups.add(time, **_of_all(self._group_vocabulary, self._groups.scores(scores)))

    def _keep_thumbnails(self, block: FrameBlock, thumbnails: ThumbnailStore) -> None:
        view, geometry, layout = self._detector_view, self._geometry, self._reader.layout
        shape = layout.view_shape(view, len(block.times))
        frames = array_at(self._reader.buffer, layout.view_offset(block.slot, view), shape)
        rows, columns = geometry.picture
        for time, frame in zip(block.times, frames, strict=True):
            thumbnails.add(time, frame[rows, columns])


@asynccontextmanager
async def looking(path: Path, client: FrameTagger, networks: Networks, options: TagOptions) -> AsyncIterator[Look]:
    """Open a video in a child process, with its frames in memory that the server reads.

    Raises:
        VideoError: It cannot be read, or holds no video.
        SetupError: A GPU is to decode it, and does not work here.
    """
    device, keyframes_only = await device_of(options.decoder), networks.shot_detector is None
    prepare(device)
    async with VideoReader(path, networks.layout, keyframes_only=keyframes_only, device=device) as reader:
        probe = await reader.probe()
        if reader.why_not_on_gpu:
            say_on_cpu(path, reader.why_not_on_gpu)
        async with RingInference(client, reader) as inference:
            yield Look(reader, inference, networks, probe, options)


def say_on_cpu(path: Path, why: str) -> None:
    """Note that a video is decoded by the CPU where a GPU was to."""
    _LOG.warning("%s is decoded on the CPU, not on the GPU: %s", path.name, why.removeprefix(f"{path.name}: "))


def _of_all(vocabulary: Vocabulary, scores: Array) -> dict[str, Array]:
    """The columns for one score of each class."""
    return vocabulary.best(np.arange(len(scores)), scores)
