"""The networks that look at a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reeltag.contract import SHOTS_ENSEMBLE, ModelCard, Task
from reeltag.frames import View
from reeltag.machine import this_machine
from reeltag.sizing import THREADS
from vod.decoding.blocks import RingLayout
from vod.decoding.windows import stride_of
from vod.inference.ring import FrameTagger, with_patience
from vod.options import Sample, TagOptions
from vod.provenance import labels_of, tasks_of

IN_FLIGHT: Final = max(3, min(16, this_machine().cores // THREADS))
"""Blocks and windows that wait for Triton at once, while the child fills the next: enough for every instance."""


@dataclass(frozen=True)
class Networks:
    """Those that a server has for a video, as it was asked once."""

    cards: Mapping[str, ModelCard]
    """By ensemble name."""

    @property
    def tasks(self) -> dict[Task, ModelCard]:
        """What is done with each sampled frame, and by which network."""
        return {task: self.cards[task.frames_ensemble] for task in tasks_of(self.cards)}

    @property
    def shot_detector(self) -> ModelCard | None:
        """None where no shots are looked for."""
        return self.cards.get(SHOTS_ENSEMBLE)

    @property
    def stride(self) -> int:
        """Frames from one window of the shot detector to the next; 0 without one."""
        return stride_of(self.layout.window_frames) if self.shot_detector else 0

    @property
    def layout(self) -> RingLayout:
        """Of a ring that holds what they take."""
        views: tuple[View, ...] = tuple(dict.fromkeys(card.frames_view() for card in self.tasks.values()))
        detector = self.shot_detector
        if detector is None:
            return RingLayout(views)
        return RingLayout(views, window_slots=IN_FLIGHT, window_frames=detector.shot_window)

    @property
    def versions(self) -> dict[str, str]:
        """Which network each ensemble was, by what it said of itself."""
        return {ensemble: f"{card.version} {card.sha256}" for ensemble, card in sorted(self.cards.items())}


async def networks_of(client: FrameTagger, options: TagOptions) -> Networks:
    """The networks for a video.

    Raises:
        InvalidOption: The taxonomy names labels that none of them knows.
        ServiceError: Triton was away for too long, or serves no such models.
    """
    ensembles = [task.frames_ensemble for task in tasks_of(await with_patience(client.cards))]
    if options.sample is not Sample.KEYFRAMES:
        ensembles.append(SHOTS_ENSEMBLE)
    networks = Networks({ensemble: await client.card(ensemble) for ensemble in ensembles})
    options.taxonomy.check_labels(labels_of(networks.cards))
    return networks
