"""What a request may ask for: the same over REST and gRPC."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reeltag.contract import BUNDLED_TASKS, Task
from reeltag.errors import InvalidOption

_MODELS: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*(,[A-Za-z0-9][A-Za-z0-9._-]*)*$"
_MOST_QUERIES: Final = 256
_MOST_BYTES: Final = 512
"""Of a query string that is remembered."""
_TASK: Final = "|".join(task.value for task in Task)


def _without_null(schema: dict[str, Any]) -> None:
    """Leave out null, which a query cannot say."""
    (value, _) = schema.pop("anyOf")
    schema.update(value)


class TagOptions(BaseModel):
    """Query parameters of `POST /v1/images`, and `reeltag.v1.TagOptions`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    tasks: list[Annotated[str, Field(json_schema_extra={"pattern": f"^({_TASK})(,({_TASK}))*$"})]] = [
        task.value for task in BUNDLED_TASKS
    ]
    """What to do: `detect` finds objects, `classify` names the picture, `segment` (where a segmenter is served) says
    how much of it each class covers. Repeated, or separated by commas."""
    score_threshold: Annotated[
        float | None, Field(ge=0, le=1, allow_inf_nan=False, json_schema_extra=_without_null)
    ] = None
    """Lowest score of detections and tags, 0 to 1. By default detections have the server's, tags have none."""
    top_k: Annotated[int | None, Field(ge=1, le=1000, json_schema_extra=_without_null)] = None
    """Most detections and tags of an image, 1 to 1000. By default tags have the server's, detections have none."""
    boxes: Literal["pixels", "normalised"] = "pixels"
    """Boxes of detections in pixels of the upright picture, or as shares of its width and height, 0 to 1."""
    model: list[Annotated[str, Field(min_length=1, max_length=1024, json_schema_extra={"pattern": _MODELS})]] = []
    """Networks that answer instead of the defaults of their tasks, by name; at most one a task, whose task is asked.
    `GET /v1/models` lists them. Repeated, or separated by commas."""
    class_map: bool = False
    """Also the class of each pixel, as a PNG with a palette; the task `segment`, which makes it, is then done, too."""

    @property
    def all_tasks(self) -> list[str]:
        """Names of the tasks, with the one that a class map needs."""
        return [*self.tasks, *([Task.SEGMENT.value] if self.class_map else [])]


class CheckedQueries:
    """Options by the query string that gave them."""

    def __init__(self) -> None:
        self._options: dict[bytes, TagOptions] = {}

    def note(self, query: bytes, options: TagOptions) -> None:
        """Remember options that were checked; of too many the oldest are forgotten."""
        if len(query) <= _MOST_BYTES:
            if len(self._options) >= _MOST_QUERIES:
                del self._options[next(iter(self._options))]
            self._options[query] = options

    def options(self, query: bytes) -> TagOptions | None:
        """What it was checked to say; None where that is not known."""
        return self._options.get(query)


def checked_options(given: dict[str, Any]) -> TagOptions:
    """Options from their values.

    Raises:
        InvalidOption: One is out of its range; the text names it.
    """
    try:
        return TagOptions(**given)
    except ValidationError as error:
        raise InvalidOption("; ".join(_problem(dict(detail)) for detail in error.errors())) from error


def _problem(detail: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    message = str(detail["msg"])
    return f"{name}={detail['input']}: {message[0].lower()}{message[1:]}"
