"""The JSON that the gateway answers; `/docs` is made from it."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from gateway.pace import LONGEST_WAIT_SECONDS
from reeltag.areas import NO_CLASS
from reeltag.contract import ModelCard
from reeltag.tags import Detection, ImageTag


def _absent(schema: dict[str, Any]) -> None:
    """Take the default out of the schema: a field without a value is left out of the JSON, never null."""
    schema.pop("default", None)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ErrorDetail(_Answer):
    """What went wrong."""

    code: str = Field(examples=["not_an_image"])
    """Stable machine-readable name."""
    message: str = Field(examples=["the bytes are no JPEG, PNG, WebP or BMP image"])
    """What was wrong and what would be right, for a person."""


class ClassShare(_Answer):
    """How much of a picture a class has."""

    label: str = Field(examples=["road"])
    share: float = Field(gt=0, le=1)
    """Of the picture's area."""


class ClassColour(_Answer):
    """A class in a class map."""

    index: int = Field(ge=0, lt=NO_CLASS, examples=[13])
    """Value of its pixels."""
    label: str = Field(examples=["car"])
    colour: str = Field(examples=["#00008e"], pattern="^#[0-9a-f]{6}$")
    """In the palette; red, green and blue."""


class ClassMapPicture(_Answer):
    """The class of each pixel of an image."""

    png: str = Field(json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/png"})
    """As large as the upright image, with a palette: each pixel is the index of its class, or 255 where the network did
    not look."""
    legend: tuple[ClassColour, ...]
    """Classes in the picture, by index."""


class ImageResult(_Answer):
    """What was found in one image, or why it could not be tagged."""

    name: str = Field(examples=["street.jpg"])
    """File name of the form part; `image` for a raw body."""
    width: int | SkipJsonSchema[None] = Field(None, json_schema_extra=_absent)
    """Columns of the upright picture, pixels; absent with `error`."""
    height: int | SkipJsonSchema[None] = Field(None, json_schema_extra=_absent)
    """Rows of the upright picture, pixels; absent with `error`."""
    detections: tuple[Detection, ...] | SkipJsonSchema[None] = Field(None, json_schema_extra=_absent)
    """Objects by falling score, boxes in source pixels; present, if empty, when `detect` was asked."""
    tags: tuple[ImageTag, ...] | SkipJsonSchema[None] = Field(None, json_schema_extra=_absent)
    """Classes of the whole picture by falling score; present, if empty, when `classify` was asked."""
    shares: tuple[ClassShare, ...] | SkipJsonSchema[None] = Field(None, json_schema_extra=_absent)
    """Classes by falling share of the picture's area, those without any left out; present when `segment` was asked."""
    class_map: ClassMapPicture | SkipJsonSchema[None] = Field(None, json_schema_extra=_absent)
    """Present when `class_map` was asked."""
    error: ErrorDetail | SkipJsonSchema[None] = Field(None, json_schema_extra=_absent)
    """Present when this image could not be tagged; the other images of the request are not affected."""


class Timings(_Answer):
    """Where the time went, milliseconds."""

    read: float
    """Receiving the body and checking the images' headers."""
    queue: float
    """Waiting to be sent to Triton."""
    triton: float
    """Waiting for Triton's answer."""
    total: float
    """From the request's first byte to the answer."""


class TagAnswer(_Answer):
    """The answer to `POST /v1/images`."""

    results: tuple[ImageResult, ...]
    """One an image, in the order of the request."""
    model_versions: dict[str, str] = Field(
        examples=[{"nanodet_g": "145301728403266", "efficientnet_lite0": "27960014385715"}]
    )
    """Version of each network that answered, by its name; another export of it has another one. Two, separated by a
    comma, of a network that was replaced between the images of the request."""
    timings_ms: Timings


class ErrorAnswer(_Answer):
    """The answer when the request failed as a whole."""

    error: ErrorDetail
    id: str | SkipJsonSchema[None] = Field(None, json_schema_extra=_absent, examples=["8f14e45fceea467a"])
    """Of the request, as in the header `X-Request-ID`: the log has it under this."""
    results: tuple[ImageResult, ...] | SkipJsonSchema[None] = Field(None, json_schema_extra=_absent)
    """The error of each image, where none could be tagged."""


_RETRY_AFTER: Final = {
    "description": "Seconds to wait before trying again, by the queue and the pace of late.",
    "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_WAIT_SECONDS},
}
_FAILURES: Final = {
    401: "A key is needed, and none that is good was sent.",
    400: "The request is not valid HTTP/1.1.",
    408: "The request came too slowly.",
    413: "Too many bytes, images or pixels.",
    415: "The Content-Type is not taken, or the bytes are no image.",
    421: "The Host header is not on the server's allow-list.",
    422: "An option is not valid, or the image is damaged.",
    429: "Too much waits already.",
    431: "The request's line and headers, or the trailers of its body, are too large.",
    500: "A defect of the server or of a model.",
    503: "Triton or a model is not there, or the gateway stops or has too many connections.",
    504: "No answer in time.",
}


def failures(*statuses: int, **descriptions: str) -> dict[int | str, dict[str, Any]]:
    """Error answers of an operation for its documentation.

    Args:
        statuses: Those described in general words.
        descriptions: Those described in particular words, such as `status_400="The body is empty."`.
    """
    texts = {status: _FAILURES[status] for status in statuses}
    texts |= {int(name.removeprefix("status_")): text for name, text in descriptions.items()}
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted(texts):
        found[status] = {"model": ErrorAnswer, "description": texts[status]}
        if status in (429, 503, 504):
            found[status]["headers"] = {"Retry-After": _RETRY_AFTER}
    return found


class ServedModel(_Answer):
    """One network behind a task."""

    task: str = Field(examples=["detect"])
    network: str = Field(examples=["nanodet_g"])
    version: str
    runtime: str = Field(examples=["openvino"])
    precision: str = Field(examples=["bf16"])
    height: int
    """Rows of the network's input, pixels."""
    width: int
    """Columns of the network's input, pixels."""
    labels: tuple[str, ...]
    """Class names by index."""
    sha256: str
    """Of the served network file."""

    @classmethod
    def of(cls, card: ModelCard) -> ServedModel:
        """From the card that Triton carries."""
        return cls(**card.model_dump(include=set(cls.model_fields)))


class TritonAddress(_Answer):
    """Where the gateway finds Triton."""

    grpc_url: str = Field(examples=["unix:/tmp/reeltag-triton-7-k3x9/grpc:1", "127.0.0.1:8001"])
    """Host and port of its gRPC endpoint, as seen from the gateway's host."""


class ModelsAnswer(_Answer):
    """The answer to `GET /v1/models`."""

    models: tuple[ServedModel, ...]
    triton: TritonAddress


class Health(_Answer):
    """The answer of a health check that passed."""

    status: str = Field(examples=["ok"])
