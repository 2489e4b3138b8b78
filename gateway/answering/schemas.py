"""The JSON that the gateway answers; `/docs` is made from it."""

from __future__ import annotations

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gateway.answering.json import Answer, absent
from gateway.tasks.classify import ClassifyFields
from gateway.tasks.detect import DetectFields
from gateway.tasks.segment import SegmentFields
from reeltag.contract import ModelCard
from reeltag.frames import FORMATS


class ErrorDetail(Answer):
    """What went wrong."""

    code: str = Field(examples=["not_an_image"])
    """Stable machine-readable name."""
    message: str = Field(examples=[f"the bytes are no {FORMATS} image"])
    """What was wrong and what would be right, for a person."""


class _Picture(Answer):
    name: str = Field(examples=["street.jpg"])
    """File name of the form part; `image` for a raw body."""
    width: int | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Columns of the upright picture, pixels; absent with `error`."""
    height: int | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Rows of the upright picture, pixels; absent with `error`."""


class _Problem(Answer):
    error: ErrorDetail | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Present when this image could not be tagged; the other images of the request are not affected."""


class ImageResult(_Problem, SegmentFields, ClassifyFields, DetectFields, _Picture):
    """What was found in one image, or why it could not be tagged."""


class Timings(Answer):
    """Where the time went, milliseconds."""

    read: float
    """Receiving the body and checking the images' headers."""
    queue: float
    """Waiting to be sent to Triton."""
    triton: float
    """Waiting for Triton's answer."""
    total: float
    """From the request's first byte to the answer."""


class TagAnswer(Answer):
    """The answer to `POST /v1/images`."""

    results: tuple[ImageResult, ...]
    """One an image, in the order of the request."""
    model_versions: dict[str, str] = Field(
        examples=[{"nanodet_g": "145301728403266", "efficientnet_lite0": "27960014385715"}]
    )
    """Version of each network that answered, by its name; another export of it has another one. Two, separated by a
    comma, of a network that was replaced between the images of the request."""
    timings_ms: Timings


class ErrorAnswer(Answer):
    """The answer when the request failed as a whole."""

    error: ErrorDetail
    id: str | SkipJsonSchema[None] = Field(None, json_schema_extra=absent, examples=["8f14e45fceea467a"])
    """Of the request, as in the header `X-Request-ID`: the log has it under this."""
    results: tuple[ImageResult, ...] | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """The error of each image, where none could be tagged."""


class MeasuredNetwork(Answer):
    """What was measured of a network as it is served."""

    accuracy: dict[str, float] = Field(examples=[{"AP": 39.6, "AP of fp32": 39.8}])
    """By metric, such as `AP`, `agreement top-1` or `mIoU`, in percent; `... of fp32` is that of the network before its
    precision was lowered. Empty where only the speed is known."""
    pictures: int
    """That it was measured on."""
    through: str = Field(examples=["Triton"])
    """What ran it: `Triton` as in service, or `OpenVINO`; empty without accuracy."""
    images_per_second: float | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """Of the network alone, on all cores of `machine`."""
    machine: str = Field(examples=["Intel(R) Xeon(R) Processor @ 2.50GHz, 2 cores"])
    """Where its speed was measured; empty without."""


class ServedModel(Answer):
    """One network that does a task."""

    task: str = Field(examples=["detect"])
    network: str = Field(examples=["nanodet_g"])
    """What `model=` asks for."""
    is_default: bool
    """Whether it answers its task where no model is named."""
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
    measured: MeasuredNetwork | SkipJsonSchema[None] = Field(None, json_schema_extra=absent)
    """What was measured of it, where anything was."""

    @classmethod
    def of(cls, card: ModelCard, *, is_default: bool) -> ServedModel:
        """From the card that Triton carries."""
        return cls(**card.model_dump(include=set(cls.model_fields)), is_default=is_default)


class TritonAddress(Answer):
    """Where the gateway finds Triton."""

    grpc_url: str = Field(examples=["unix:/tmp/reeltag-triton-7-k3x9/grpc:1", "127.0.0.1:8001"])
    """Host and port of its gRPC endpoint, as seen from the gateway's host."""


class TritonState(TritonAddress):
    """One of several Tritons."""

    in_service: bool
    """Whether it is asked; one that fails is not, until it answers again."""
    models: dict[str, str] = Field(examples=[{"detect": "1718886409153210368"}])
    """Version of each ensemble that it serves, by name."""


class ModelsAnswer(Answer):
    """The answer to `GET /v1/models`."""

    models: tuple[ServedModel, ...]
    triton: TritonAddress
    """Where Triton is; of several one that is in service."""
    tritons: tuple[TritonState, ...] | None = None
    """Where there are several, each of them."""


class Health(Answer):
    """The answer of a health check that passed."""

    status: str = Field(examples=["ok"])
