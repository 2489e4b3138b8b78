"""What a request may ask for: the same over REST and gRPC."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reeltag.contract import BUNDLED_TASKS
from reeltag.errors import InvalidOption


class TagOptions(BaseModel):
    """Query parameters of `POST /v1/images`, and `reeltag.v1.TagOptions`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    tasks: list[str] = [task.value for task in BUNDLED_TASKS]
    """What to do: `detect` finds objects, `classify` names the picture, `segment` (where a segmenter is served) says
    how much of it each class covers. Repeated, or separated by commas."""
    score_threshold: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    """Lowest score of detections and tags, 0 to 1. By default detections have the server's, tags have none."""
    top_k: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Most detections and tags of an image, 1 to 1000. By default tags have the server's, detections have none."""
    boxes: Literal["pixels", "normalised"] = "pixels"
    """Boxes of detections in pixels of the upright picture, or as shares of its width and height, 0 to 1."""
    class_map: bool = False
    """With `segment`: also the class of each pixel, as a PNG with a palette."""


def checked_options(given: dict[str, Any]) -> TagOptions:
    """Options from their values.

    Raises:
        InvalidOption: One is out of its range; the text names it.
    """
    try:
        return TagOptions(**given)
    except ValidationError as error:
        raise InvalidOption("; ".join(problem(dict(detail)) for detail in error.errors())) from error


def problem(detail: dict[str, Any]) -> str:
    """What pydantic says of one option, in a form for the user: `top_k=0: input should be ...`."""
    name = ".".join(str(part) for part in detail["loc"]) or "options"
    message = str(detail["msg"])
    return f"{name}={detail['input']}: {message[0].lower()}{message[1:]}"
