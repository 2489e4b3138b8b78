"""The gateway's own results as messages of `reeltag.v1`, and its options from them."""

from __future__ import annotations

from typing import Final

from google.protobuf.unknown_fields import UnknownFieldSet

from gateway.answering.schemas import ImageResult
from gateway.receiving.options import TagOptions, checked_options
from gateway.receiving.uploads import Upload
from gateway.tasks import TASKS
from reeltag.contract import ModelCard
from reeltag.errors import InvalidOption
from reeltag.v1 import tagging_pb2 as pb

MAX_NAME_CHARACTERS: Final = 4096
"""Of an image's name, which comes back with its result."""


def options_of(message: pb.TagOptions) -> TagOptions:
    """What is asked, checked as over REST.

    Raises:
        InvalidOption: An option is not known here, or out of its range.
    """
    unknown = UnknownFieldSet(message)
    if len(unknown):
        raise InvalidOption(f"options: there is no field {unknown[0].field_number}; is the .proto file a newer one?")
    if message.boxes not in pb.Boxes.values():
        raise InvalidOption(f"boxes={message.boxes}: use one of {', '.join(pb.Boxes.keys())}")
    given: dict[str, object] = {"class_map": message.class_map}
    if message.boxes == pb.BOXES_NORMALISED:
        given["boxes"] = "normalised"
    if message.tasks:
        given["tasks"] = list(message.tasks)
    if message.model:
        given["model"] = [message.model]
    for name in ("score_threshold", "top_k"):
        if message.HasField(name):
            given[name] = getattr(message, name)
    return checked_options(given)


def upload_of(image: pb.Image) -> Upload:
    """An image of a request.

    Raises:
        InvalidOption: Its name is too long.
    """
    if len(image.name) > MAX_NAME_CHARACTERS:
        raise InvalidOption(f"an image's name has {len(image.name):,} characters, and may have {MAX_NAME_CHARACTERS:,}")
    if image.url and image.data:
        return Upload(
            image.name, b"", problem=InvalidOption("an image has either data or a url, and this one has both")
        )
    return Upload(image.name, image.data, image.url)


def result_message(result: ImageResult) -> pb.ImageResult:
    """What was found in one image, or why it could not be tagged."""
    message = pb.ImageResult(name=result.name, width=result.width or 0, height=result.height or 0)
    for answers in TASKS.values():
        answers.write(result, message)
    if result.error is not None:
        message.error.CopyFrom(pb.Error(code=result.error.code, message=result.error.message))
    return message


def model_message(card: ModelCard, is_default: bool) -> pb.Model:
    """A network that does a task, and whether it is the task's default."""
    message = pb.Model(
        task=card.task,
        network=card.network,
        version=card.version,
        runtime=card.runtime,
        precision=card.precision,
        height=card.height,
        width=card.width,
        labels=card.labels,
        sha256=card.sha256,
        is_default=is_default,
    )
    if card.measured is not None:
        message.measured.CopyFrom(pb.Measured(**card.measured.model_dump()))
    return message
