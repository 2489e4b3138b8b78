"""`classify`: classes of the whole picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gateway.answering.json import Answer, absent
from gateway.answering.sheets import Note, Sheet
from gateway.tasks.task import Asked, TaskAnswers
from reeltag import contract
from reeltag.contract import Task
from reeltag.readings import image_tags_of
from reeltag.tags import ImageTag
from reeltag.triton import ImageOutputs
from reeltag.v1 import tagging_pb2 as pb


class ClassifyFields(Answer):
    """What `classify` says of an image."""

    tags: tuple[ImageTag, ...] | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Classes of the whole picture by falling score; present, if empty, when `classify` was asked."""


def _read(answer: ImageOutputs, asked: Asked) -> Mapping[str, Any]:
    card = answer.cards[Task.CLASSIFY]
    tags = image_tags_of(
        answer.tensors[Task.CLASSIFY][contract.SCORES],
        card.labels,
        card.network,
        score_threshold=asked.score_threshold or 0.0,
        top_k=asked.top_k or asked.default_top_k,
    )
    return {"tags": tags}


def _write(result: ClassifyFields, message: pb.ImageResult) -> None:
    for tag in result.tags or ():
        message.tags.add(label=tag.label, score=tag.score, model=tag.model)


def _draw(result: ClassifyFields, answer: ImageOutputs, sheet: Sheet) -> None:
    sheet.notes += [Note(f"{tag.label} {tag.score:.2f}") for tag in result.tags or ()]


CLASSIFY: Final = TaskAnswers(Task.CLASSIFY, ClassifyFields, _read, _write, _draw)
