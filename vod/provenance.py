"""What made a result, and whether a result that is already there was made from the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from reeltag.contract import BUNDLED_TASKS, SHOTS_ENSEMBLE, ModelCard, Task
from reeltag.tags import SCHEMA_VERSION, ImageTags, ModelProvenance, Provenance, VideoTags
from vod.options import Sample, TagOptions


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def model_provenance(cards: Mapping[str, ModelCard], options: TagOptions | None = None) -> tuple[ModelProvenance, ...]:
    """The networks that take part, by task.

    Args:
        cards: By ensemble name.
        options: Of a video; None for images, which need no shot detector.
    """
    ensembles = [task.frames_ensemble for task in Task]
    if options is not None and options.sample is not Sample.KEYFRAMES:
        ensembles.append(SHOTS_ENSEMBLE)
    return tuple(
        ModelProvenance(
            task=card.task,
            name=card.network,
            version=card.version,
            runtime=card.runtime,
            precision=card.precision,
            sha256=card.sha256,
            passport_sha256=card.passport_sha256,
        )
        for card in (cards[ensemble] for ensemble in ensembles if ensemble in cards)
    )


def tasks_of(cards: Mapping[str, ModelCard]) -> tuple[Task, ...]:
    """What is done with each picture: the bundled tasks, and segmentation where a server has a segmenter.

    Args:
        cards: By ensemble name.
    """
    return tuple(task for task in Task if task in BUNDLED_TASKS or task.frames_ensemble in cards)


def labels_of(cards: Mapping[str, ModelCard]) -> frozenset[str]:
    """Every label that the networks of these cards can give: classes, and groups of them.

    Args:
        cards: By ensemble name.
    """
    taking_part = [cards[task.frames_ensemble] for task in tasks_of(cards) if task.frames_ensemble in cards]
    return frozenset(label for card in taking_part for label in (*card.labels, *card.groups))


def with_groups(
    options: Mapping[str, str | float | int | bool], cards: Mapping[str, ModelCard]
) -> dict[str, str | float | int | bool]:
    """Options and the SHA-256 of the classifier's groups, which change a result though no network's file does.

    Args:
        options: Of a video or an image.
        cards: By ensemble name.
    """
    card = cards.get(Task.CLASSIFY.frames_ensemble)
    if card is None or not card.groups:
        return dict(options)
    return {**options, "groups_sha256": hashlib.sha256(json.dumps(card.groups).encode()).hexdigest()}


def finished_video(path: Path) -> VideoTags | None:
    """The result in `path`, if there is a whole one."""
    try:
        return VideoTags.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def finished_image(path: Path) -> ImageTags | None:
    """The result in `path`, if there is a whole one."""
    try:
        return ImageTags.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def earlier_form(old: VideoTags | ImageTags) -> str:
    """What is told of a result that an earlier version of reeltag wrote, and that is kept; empty for others."""
    if old.schema_version == SCHEMA_VERSION:
        return ""
    return f"its result has the earlier form {old.schema_version}, not {SCHEMA_VERSION}; --force tags it again"


def is_same(
    old: Provenance, models: tuple[ModelProvenance, ...], options: Mapping[str, str | float | int | bool]
) -> bool:
    """Whether a result was made by the same networks with the same options."""
    return {(m.task, m.sha256) for m in old.models} == {(m.task, m.sha256) for m in models} and old.options == dict(
        options
    )
