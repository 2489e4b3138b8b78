"""The base of all JSON that the gateway answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Something that is answered."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def absent(schema: dict[str, Any]) -> None:
    """Take the default out of the schema: a field without a value is left out of the JSON, never null."""
    schema.pop("default", None)
