from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from reeltag.tags import SCHEMA_VERSION, json_schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / f"tags-{SCHEMA_VERSION}.json"


def test_the_published_schema_is_current() -> None:
    expected = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert PUBLISHED.read_text() == expected, f"write this into {PUBLISHED.name}:\n{expected}"


def test_the_published_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(json.loads(PUBLISHED.read_text()))
