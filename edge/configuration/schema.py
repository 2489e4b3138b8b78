"""The published JSON schema, and whether a document follows it.

A device has no library for this; what `schema.json` uses of JSON Schema 2020-12 is understood here.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from pathlib import Path
from typing import Any, Callable, Iterator

from edge.configuration.problems import Problem

FILE = Path(__file__).with_name("schema.json")
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
}
_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
}


def problems_of(document: Any) -> list[Problem]:
    """Where a document breaks the schema; empty where it does not.

    Args:
        document: As YAML has it: dicts, lists, texts, numbers, booleans.
    """
    schema = json.loads(FILE.read_text(encoding="utf-8"))
    return list(_Validator(schema).look(document, schema, ""))


class _Validator:
    def __init__(self, schema: dict[str, Any]) -> None:
        self._definitions = schema["$defs"]

    def look(self, value: Any, schema: dict[str, Any], path: str) -> Iterator[Problem]:
        """Problems of a value and of all inside it."""
        if "$ref" in schema:
            schema = self._definitions[schema["$ref"].rsplit("/", 1)[1]]
        right = f"; right is: {schema['description']}" if "description" in schema else ""
        wrong = _own_problem(value, schema)
        if wrong is not None:
            yield Problem(path, wrong + right)
        elif isinstance(value, dict):
            yield from self._members(value, schema, path)
        elif isinstance(value, list) and "items" in schema:
            for number, item in enumerate(value):
                yield from self.look(item, schema["items"], f"{path}[{number}]")

    def _members(self, value: dict[Any, Any], schema: dict[str, Any], path: str) -> Iterator[Problem]:
        known = schema.get("properties", {})
        for name in schema.get("required", []):
            if name not in value:
                yield Problem(path, f"{name} is missing{_described(known.get(name, {}))}")
        for name, member in value.items():
            inner = f"{path}.{name}" if path else str(name)
            if name in known:
                yield from self.look(member, known[name], inner)
            elif not schema.get("additionalProperties", True):
                yield Problem(inner, f"there is no such setting{meant(str(name), list(known))}")


def meant(word: str, known: list[str]) -> str:
    """What somebody who wrote `word` may have meant, as the end of a sentence."""
    near = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; perhaps {near[0]!r} is meant" if near else f"; there are: {', '.join(known)}"


def _described(schema: dict[str, Any]) -> str:
    return f": {schema['description']}" if "description" in schema else ""


def _own_problem(value: Any, schema: dict[str, Any]) -> str | None:
    """What is wrong with a value itself."""
    kind = schema.get("type")
    if kind is not None and not _is(value, kind):
        is_unquoted = kind == "string" and value is not None and not isinstance(value, (dict, list))
        hint = " unless it is quoted" if is_unquoted else ""
        return f"{_shown(value)} is not {_NAMES.get(kind, 'true or false')}{hint}"
    for keyword, check in _CHECKS.items():
        if keyword in schema:
            problem = check(value, schema[keyword])
            if problem is not None:
                return problem
    return None


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, _TYPES[kind])


def _shown(value: Any) -> str:
    if value is None:
        return "what is empty"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


_CHECKS: dict[str, Callable[[Any, Any], str | None]] = {
    "enum": lambda value, known: (
        None if value in known else f"{_shown(value)} is none of: {', '.join(map(str, known))}"
    ),
    "minimum": lambda value, least: None if value >= least else f"{value} is less than {least}",
    "exclusiveMinimum": lambda value, least: None if value > least else f"{value} is not above {least}",
    "maximum": lambda value, most: None if value <= most else f"{value} is more than {most}",
    "minLength": lambda value, least: None if len(value) >= least else "this is empty",
    "maxLength": lambda value, most: None if len(value) <= most else f"{len(value)} characters are more than {most}",
    "pattern": lambda value, form: None if re.search(form, value) else f"{_shown(value)} has not this form",
    "minItems": lambda value, least: None if len(value) >= least else f"{len(value)} are fewer than {least}",
    "maxItems": lambda value, most: None if len(value) <= most else f"{len(value)} are more than {most}",
}
