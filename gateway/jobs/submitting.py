"""What a client sends to make a job, checked the same over REST and gRPC."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator

from reeltag.errors import InvalidOption, JobNotFound
from vod.client import JobOptions, Submission

MAX_SUBMISSION_BYTES: Final = 4 << 20
MAX_SOURCES: Final = 10_000
"""Of one submission; a manifest has any number."""
MAX_SOURCE_CHARACTERS: Final = 4096
MAX_KEY_CHARACTERS: Final = 255
MAX_PAGE: Final = 500
"""Most entries of one page of a list."""
MAX_CURSOR_CHARACTERS: Final = 1024
USUAL_PAGE: Final = 50
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY_CHARACTERS}}}")
_Source = Annotated[str, Field(min_length=1, max_length=MAX_SOURCE_CHARACTERS, pattern=r"^[^\x00-\x1f]+$")]


class JobRequest(BaseModel):
    """The body of `POST /v1/jobs`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    sources: list[_Source] = Field(
        min_length=1, max_length=MAX_SOURCES, examples=[["films/one.mp4", "s3://archive/2024/", "films.jsonl"]]
    )
    """Files, folders, globs and manifests (`.jsonl`, `.csv`) below the roots that the operator names, http and https
    URLs, addresses in object stores, or what was uploaded: `upload:<id>`."""
    options: Annotated[dict[str, Any], WithJsonSchema(JobOptions.model_json_schema())] = Field(default_factory=dict)
    """Of `reeltag tag`."""
    priority: int = Field(5, ge=1, le=9)
    """1 goes first, 9 last."""
    webhook: str | None = Field(None, min_length=1, max_length=2048, pattern=r"^https?://[^\x00-\x20]+$")
    """An address that hears how the job ends."""

    @field_validator("priority", mode="before")
    @classmethod
    def _is_number(cls, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("give a whole number")
        return value

    @field_validator("options")
    @classmethod
    def _are_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("frames", False), bool):
            raise ValueError("frames: give true or false")
        return value

    def submission(self) -> Submission:
        """The same, as jobs are made of it."""
        return Submission(
            sources=tuple(self.sources), options=self.options, priority=self.priority, webhook=self.webhook
        )


def submission_of(raw: bytes) -> Submission:
    """A submission from JSON.

    Raises:
        InvalidOption: It is none; the text names what is wrong.
    """
    try:
        return JobRequest.model_validate_json(raw or b"null").submission()
    except ValidationError as error:
        raise _invalid(error) from error


def checked_submission(given: dict[str, Any]) -> Submission:
    """A submission from its values; raises as `submission_of`."""
    try:
        return JobRequest(**given).submission()
    except ValidationError as error:
        raise _invalid(error) from error


def job_id_of(text: str) -> str:
    """An id that a job could have.

    Raises:
        JobNotFound: No job has it.
    """
    if _ID.fullmatch(text) is None:
        raise JobNotFound(f"there is no job {text[:64]!r}; list those that are there")
    return text


def idempotency_key_of(text: str | None) -> str | None:
    """The key that a client sent; None without one.

    Raises:
        InvalidOption: It is too long, or no printable ASCII.
    """
    if text is None:
        return None
    if _KEY.fullmatch(text) is None:
        raise InvalidOption(f"Idempotency-Key: give up to {MAX_KEY_CHARACTERS} printable ASCII characters, no spaces")
    return text


def _invalid(error: ValidationError) -> InvalidOption:
    problems = error.errors(include_url=False, include_context=False)
    told = [f"{'.'.join(map(str, problem['loc'])) or 'body'}: {str(problem['msg']).lower()}" for problem in problems]
    more = f" (and {len(told) - 5} more)" if len(told) > 5 else ""
    return InvalidOption("; ".join(told[:5]) + more)
