"""The gateway's own results as messages of `reeltag.v1`, and its options from them."""

from __future__ import annotations

import base64

from gateway.options import TagOptions, checked_options
from gateway.schemas import ClassMapPicture, ImageResult
from gateway.uploads import Upload
from reeltag.contract import ModelCard
from reeltag.tags import Detection
from reeltag.v1 import tagging_pb2 as pb


def options_of(message: pb.TagOptions) -> TagOptions:
    """What is asked, checked as over REST.

    Raises:
        InvalidOption: An option is out of its range.
    """
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
    """An image of a request."""
    return Upload(image.name, image.data)


def result_message(result: ImageResult) -> pb.ImageResult:
    """What was found in one image, or why it could not be tagged."""
    message = pb.ImageResult(
        name=result.name,
        width=result.width or 0,
        height=result.height or 0,
        detections=[_detection(one) for one in result.detections or ()],
        tags=[pb.Tag(label=tag.label, score=tag.score, model=tag.model) for tag in result.tags or ()],
        shares=[pb.ClassShare(label=one.label, share=one.share) for one in result.shares or ()],
    )
    if result.class_map is not None:
        message.class_map.CopyFrom(_class_map(result.class_map))
    if result.error is not None:
        message.error.CopyFrom(pb.Error(code=result.error.code, message=result.error.message))
    return message


def model_message(card: ModelCard, is_default: bool) -> pb.Model:
    """A network that does a task, and whether it is the task's default."""
    return pb.Model(
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


def _detection(found: Detection) -> pb.Detection:
    x1, y1, x2, y2 = found.box
    return pb.Detection(label=found.label, score=found.score, box=pb.Box(x1=x1, y1=y1, x2=x2, y2=y2))


def _class_map(picture: ClassMapPicture) -> pb.ClassMap:
    legend = [pb.ClassColour(index=one.index, label=one.label, colour=one.colour) for one in picture.legend]
    return pb.ClassMap(png=base64.b64decode(picture.png), legend=legend)
