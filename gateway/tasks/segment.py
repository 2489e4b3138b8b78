"""`segment`: how much of a picture each class covers, and where."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gateway.answering.class_maps import ClassMapPicture, picture_of
from gateway.answering.json import Answer, absent
from gateway.answering.sheets import Areas, Note, Sheet
from gateway.tasks.detect import SHARE_DECIMALS
from gateway.tasks.task import Asked, TaskAnswers
from reeltag import contract
from reeltag.contract import ModelCard, Task
from reeltag.triton import ImageOutputs
from reeltag.v1 import tagging_pb2 as pb


class ClassShare(Answer):
    """How much of a picture a class has."""

    label: str = Field(examples=["road"])
    share: float = Field(gt=0, le=1)
    """Of the picture's area."""


class SegmentFields(Answer):
    """What `segment` says of an image."""

    shares: tuple[ClassShare, ...] | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Classes by falling share of the picture's area, those without any left out; present when `segment` was asked."""
    class_map: ClassMapPicture | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Present when `class_map` was asked."""


def _read(answer: ImageOutputs, asked: Asked) -> Mapping[str, Any]:
    card = answer.cards[Task.SEGMENT]
    found: dict[str, Any] = {"shares": _shares(answer, card)}
    if asked.class_map and not asked.drawn:
        class_map = answer.tensors[Task.SEGMENT][contract.CLASS_MAP]
        found["class_map"] = picture_of(class_map, card, answer.width, answer.height)
    return found


def _shares(answer: ImageOutputs, card: ModelCard) -> tuple[ClassShare, ...]:
    rounded = answer.tensors[Task.SEGMENT][contract.SHARES].astype(float).round(SHARE_DECIMALS)
    order = np.argsort(-rounded, kind="stable")
    return tuple(ClassShare(label=card.labels[i], share=rounded[i]) for i in order if rounded[i] > 0)


def _write(result: SegmentFields, message: pb.ImageResult) -> None:
    for one in result.shares or ():
        message.shares.add(label=one.label, share=one.share)
    if result.class_map is not None:
        message.class_map.png = base64.b64decode(result.class_map.png)
        for colour in result.class_map.legend:
            message.class_map.legend.add(index=colour.index, label=colour.label, colour=colour.colour)


def _draw(result: SegmentFields, answer: ImageOutputs, sheet: Sheet) -> None:
    card = answer.cards[Task.SEGMENT]
    colours = dict(zip(card.labels, card.palette, strict=True))
    sheet.areas = Areas(answer.tensors[Task.SEGMENT][contract.CLASS_MAP], card.frames_view(), card.palette)
    sheet.notes += [Note(f"{one.label} {one.share:.1%}", colours[one.label]) for one in result.shares or ()]


SEGMENT: Final = TaskAnswers(Task.SEGMENT, SegmentFields, _read, _write, _draw, has_map=True)
