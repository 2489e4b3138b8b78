"""`detect`: objects with their boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gateway.answering.json import Answer, absent
from gateway.answering.sheets import Mark, Sheet
from gateway.tasks.task import Asked, TaskAnswers
from reeltag import contract
from reeltag.contract import Task
from reeltag.readings import detections_of
from reeltag.tags import Box, Detection
from reeltag.triton import ImageOutputs
from reeltag.v1 import tagging_pb2 as pb

SHARE_DECIMALS: Final = 6
"""A pixel of 500,000 still shows."""


class DetectFields(Answer):
    """What `detect` finds in an image."""

    detections: tuple[Detection, ...] | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Objects by falling score, boxes in source pixels; present, if empty, when `detect` was asked."""


def _read(answer: ImageOutputs, asked: Asked) -> Mapping[str, Any]:
    tensors, threshold = answer.tensors[Task.DETECT], asked.score_threshold
    found = detections_of(
        tensors[contract.BOXES],
        tensors[contract.SCORES],
        tensors[contract.CLASSES],
        answer.cards[Task.DETECT].labels,
        score_threshold=asked.default_score_threshold if threshold is None else threshold,
        top_k=asked.top_k,
    )
    if asked.normalised and not asked.drawn:
        found = tuple(one.model_copy(update={"box": _shares_of(one.box, answer)}) for one in found)
    return {"detections": found}


def _shares_of(box: Box, answer: ImageOutputs) -> Box:
    """A box in pixels as shares of the picture's width and height."""
    x1, y1, x2, y2 = box
    across, down = answer.width, answer.height
    shares = (x1 / across, y1 / down, x2 / across, y2 / down)
    left, top, right, bottom = (round(share, SHARE_DECIMALS) for share in shares)
    return left, top, right, bottom


def _write(result: DetectFields, message: pb.ImageResult) -> None:
    for found in result.detections or ():
        x1, y1, x2, y2 = found.box
        message.detections.add(label=found.label, score=found.score, box=pb.Box(x1=x1, y1=y1, x2=x2, y2=y2))


def _draw(result: DetectFields, answer: ImageOutputs, sheet: Sheet) -> None:
    sheet.marks += [Mark(found.label, found.score, found.box) for found in result.detections or ()]


DETECT: Final = TaskAnswers(Task.DETECT, DetectFields, _read, _write, _draw)
